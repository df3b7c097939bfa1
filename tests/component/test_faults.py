"""Every operation of the table for components fails in turn, and the library copes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pywasmrt import _shim

PROJECT = Path(__file__).resolve().parents[2]
HEADER = PROJECT / "csrc" / "wrt_component.h"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not HEADER.exists() or _shim.unavailable_reason() is not None, reason="needs the sources and a C compiler"
    ),
]

WORK = """
import asyncio, gc, json
import pywasmrt
from pywasmrt import wasi
from pywasmrt._shim._wrt import ffi, lib
from pywasmrt.runtimes.native import engine as native
from component import test_asynchronous as waiting
from component.guests import CALLS_HOST, COMMAND, COUNTERS, HOST_RESOURCE
from component.test_imports import Host
from component.test_resources import Thing, Things

original = native.Engine.__init__

def wrapping(self, ops, options, stack, explain, complete=None, component_ops=None):
    wrapped = None if component_ops is None else lib.wrt_fault_component_ops(component_ops)
    original(self, ops, options, stack, explain, complete, wrapped)

native.Engine.__init__ = wrapping
runtime = pywasmrt.new_runtime("wasmtime")

def work():
    calls = runtime.compile_component(CALLS_HOST)
    again = runtime.deserialize_component(calls.serialize())
    with runtime.instantiate_component(again, {"local:demo/host": Host()}) as instance:
        assert instance.exports.twice(1) == 3
        assert instance.exports.join_all(["a", "b"]) == "a-b"
    with runtime.instantiate_component(runtime.compile_component(COUNTERS)) as instance:
        counters = instance.exports["local:demo/counters"]
        with counters.Counter(1) as counter:
            counter.inc()
        counters.Counter(2)
        assert counters.consume(counters.Counter(3)) == 3
    with runtime.instantiate_component(
        runtime.compile_component(HOST_RESOURCE), {"local:demo/things": Things()}
    ) as instance:
        exports = instance.exports
        thing = Thing(1)
        exports.use(1)
        exports.borrow(thing)
        exports.keep(thing)
        assert exports.give_back() is thing
    out = bytearray()
    with runtime.instantiate_component(
        runtime.compile_component(COMMAND), wasi=wasi.WasiConfig(args=["a"], stdout=out)
    ) as instance:
        assert instance.run() == 0
    assert out == b"a\\n"

async def wait():
    component = runtime.compile_component(CALLS_HOST)
    with await runtime.instantiate_component_async(component, {"local:demo/host": waiting.Host()}) as instance:
        assert await instance.exports.twice.call_async(1) == 3
        assert await instance.exports.join_all.call_async(["a", "b"]) == "a-b"
        call = asyncio.ensure_future(instance.exports.twice.call_async(1))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    component = runtime.compile_component(HOST_RESOURCE)
    with await runtime.instantiate_component_async(component, {"local:demo/things": waiting.Things()}) as instance:
        thing = waiting.Thing(1)
        assert await instance.exports.use.call_async(1) == 4
        assert await instance.exports.borrow.call_async(thing) == 11
        await instance.exports.keep.call_async(thing)
        assert await instance.exports.give_back.call_async() is thing

def all_work():
    work()
    asyncio.run(wait())

names = lib.wrt_fault_component_operations()
told = {}
at = 0
while names[at] != ffi.NULL:
    name = ffi.string(names[at])
    at += 1
    fired = 0
    for first in (1, 2, 3, 4, 6, 9):
        lib.wrt_fault_component_arm(name, first, 1)
        wrong = None
        try:
            all_work()
        except (pywasmrt.WasmError, RuntimeError, AssertionError) as error:
            wrong = f"{type(error).__name__}: {error}"
        fired += lib.wrt_fault_component_fired()
        lib.wrt_fault_component_arm(ffi.NULL, 1, 0)
        gc.collect()
        all_work()
    told[name.decode()] = fired
gc.collect()
assert Thing.alive == 0, Thing.alive
print(json.dumps(told))
"""


def can_fail() -> list[str]:
    header = HEADER.read_text(encoding="utf-8")
    table = header[header.index("typedef struct wrt_component_ops {") : header.index("} wrt_component_ops;")]
    without_comments = re.sub(r"/\*.*?\*/", "", table, flags=re.DOTALL)
    return re.findall(r"^\s*(?:int|bool) \(\*(\w+)\)", without_comments, re.MULTILINE)


def test_the_library_survives_each_failure(tmp_path: Path) -> None:
    for name in ("csrc", "pywasmrt"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__", "_build_info.py")
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, tmp_path)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=tmp_path,
        env={**os.environ, "PYWASMRT_FAULTS": "1", "PYWASMRT_NO_WASM3": "1", "CFLAGS": "-O0"},
        check=True,
        timeout=300,
    )
    path = os.pathsep.join([str(tmp_path), str(PROJECT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", WORK],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PYWASMRT_NO_PLUGINS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert sorted(told) == sorted(can_fail()), "csrc/engines/fault/component.c lacks some"
    assert [name for name, fired in told.items() if not fired] == []
