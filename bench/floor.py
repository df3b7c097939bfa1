"""The floor: the least that the measured operations could cost. Builds `floor.c` into `build/bench`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "floor.c"
HEADERS = HERE.parent / "csrc"
TARGET = HERE.parent / "build" / "bench" / f"_floor{sysconfig.get_config_var('EXT_SUFFIX')}"

_BUILD = """
import sys
from setuptools import Extension, setup
source, include, target, temporary = sys.argv[1:]
setup(
    name="floor",
    ext_modules=[Extension("_floor", [source], include_dirs=[include], libraries=["dl"], extra_compile_args=["-O3"])],
    script_args=["--quiet", "build_ext", "--build-lib", target, "--build-temp", temporary],
)
"""


def build() -> Path:
    """Build the extension if it is older than its sources; return where it lies. Needs setuptools and a compiler."""
    sources = [SOURCE, *HEADERS.glob("wrt*.h")]
    if TARGET.exists() and all(path.stat().st_mtime <= TARGET.stat().st_mtime for path in sources):
        return TARGET
    folder = TARGET.parent
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [os.path.relpath(path, folder) for path in (SOURCE, HEADERS)]
    command = [sys.executable, "-c", _BUILD, *arguments, ".", "temporary"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return TARGET


def load() -> ModuleType:
    """The extension: `noop`, `engine_loop`, `callback_loop`."""
    spec = importlib.util.spec_from_file_location("_floor", build())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class EngineLoop:
    """A C loop over the engine's call of the `add` that `data`, a module without imports, exports.

    It makes an engine of its own, and everything in it, through the engine table. The engine has the settings that
    pywasmrt uses, without the checks by which guests are stopped.
    """

    def __init__(self, floor: ModuleType, data: bytes, runtime: Any = None, imported: bool = False) -> None:
        """`runtime` is one over the engine table, else Wasmtime's; `imported` says that the module imports one function
        from an int to an int, for which one in C serves.
        """
        from pywasmrt import RuntimeConfig
        from pywasmrt._shim import _wrt
        from pywasmrt._shim import wasmtime_library as library
        from pywasmrt.runtimes.native import wasmtime

        ffi = _wrt.ffi
        self._floor = floor
        self._library = os.fspath(library.find().path)
        self._runtime: Any = runtime or wasmtime.create(RuntimeConfig("wasmtime", interruptible=False))
        engine = self._runtime.engine
        self._ops = engine.ops
        failure = ffi.new("wrt_failure *")

        def done(result: int) -> None:
            if result != 0:
                raise RuntimeError(ffi.string(failure.message).decode())

        store = ffi.new("wrt_store **")
        done(self._ops.store_new(engine.handle, -1, -1, -1, store, failure))
        self._store = ffi.gc(store[0], self._ops.store_delete)
        instance = ffi.new("wrt_instance *")
        self._module = engine.compile(data)
        module = ffi.cast("wrt_module *", self._module.address)
        imports = ffi.new("wrt_extern[1]")
        if imported:
            host = ffi.cast("wrt_host_function", floor.host_increment())
            types = ffi.new("uint8_t[2]")  # i32, i32
            done(self._ops.function_new(self._store, types, 1, 1, host, ffi.NULL, imports, failure))
        done(self._ops.instantiate(self._store, module, imports, int(imported), instance, failure))
        self._instance = instance
        self._addresses = tuple(int(ffi.cast("uintptr_t", each)) for each in (self._ops, self._store))

    def export(self, name: bytes) -> bytes:
        """The handle of an export."""
        from pywasmrt._shim import _wrt

        found = _wrt.ffi.new("wrt_extern *")
        if not self._ops.instance_export(self._store, self._instance, name, len(name), found):
            raise RuntimeError(f"the module exports no {name.decode()}")
        return bytes(_wrt.ffi.buffer(found))

    def run(self, n: int) -> float:
        """Nanoseconds for each of `n` calls of the engine's own function."""
        taken: float = self._floor.engine_loop(*self._addresses, self.export(b"add"), n, self._library)
        return taken

    def run_through_table(self, n: int) -> float:
        """The same through the engine table."""
        taken: float = self._floor.engine_loop(*self._addresses, self.export(b"add"), n, None)
        return taken

    def call_back(self, n: int) -> float:
        """Nanoseconds for each of `n` calls of the function in C by the guest's `loop`."""
        taken: float = self._floor.guest_loop(*self._addresses, self.export(b"loop"), n)
        return taken

    def run_texts(self, name: bytes, data: bytes, ends: Any, at: int) -> float:
        """Nanoseconds for each row of text, copied in and out around a call of `name`, and one of `free`."""
        from pywasmrt._shim import _wrt

        ffi = _wrt.ffi
        memory, size = ffi.new("wrt_extern *"), ffi.new("size_t *")
        ffi.buffer(memory)[:] = self.export(b"memory")
        start = int(ffi.cast("uintptr_t", self._ops.memory_data(self._store, memory, size)))
        out = bytearray(len(data) * 2 + 1)
        functions = (self.export(name), self.export(b"free"))
        taken: float = self._floor.text_loop(self._addresses[1], *functions, start, at, data, ends, out, self._library)
        return taken
