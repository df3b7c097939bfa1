"""Runs work on an engine whose operations fail on demand: `python faulty.py [RUNTIME]`, in a build with
PYWASMRT_FAULTS=1.

Every operation fails at its first calls, one after the other, under the scenarios of `leak_scenarios`, which use all
that a runtime has. Each failure must raise an error of the library's own where the operation was asked for, and the
same work must succeed afterwards. Prints as JSON, for each operation: how often it was made to fail, and what was
wrong.

As a plugin (`pytest -p faulty`, with PYWASMRT_FAULT=OPERATION:FIRST:COUNT) it lets a whole test run be done on such an
engine. Tests may then fail; the process must not.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Callable
from typing import Any

from pywasmrt._shim._wrt import ffi, lib

import pywasmrt
from pywasmrt.runtimes.native import engine as native

FIRST_CALLS = (1, 2, 5)
# Operations whose failure only says that something is missing, with the errors that may follow: the work goes on
# without it, or fails for lack of it.
MISSING: dict[str, Any] = {
    "instance_export": (),
    "call_is_short": (),
    "caller_export": AttributeError,
    "table_get": IndexError,
    "exception_tag": (),  # it is a plain trap then
    "exception_is": (),  # or another exception
    "object_is": (),
}


def install(only: str | None = None) -> Any:
    """Put the failing engine under every runtime that is made from now on, or under those of one engine; returns the C
    library.
    """
    original = native.Engine.__init__

    def wrapping(self: Any, ops: Any, *args: Any, **kwargs: Any) -> None:
        wrapped = only is None or ffi.string(ops.name).decode() == only
        original(self, lib.wrt_fault_ops(ops) if wrapped else ops, *args, **kwargs)

    native.Engine.__init__ = wrapping  # type: ignore[method-assign]
    return lib


def arm(lib: Any, operation: str | None, first: int = 1, count: int = 1) -> None:
    """Have an operation fail, or none."""
    assert lib.wrt_fault_arm(ffi.NULL if operation is None else operation.encode(), first, count), operation


def operations(lib: Any) -> list[str]:
    """The operations that can fail."""
    names = lib.wrt_fault_operations()
    found = []
    while names[len(found)] != ffi.NULL:
        found.append(ffi.string(names[len(found)]).decode())
    return found


def more_work(runtime: pywasmrt.Runtime) -> None:
    """Work that no scenario covers."""
    features = runtime.info.features
    module = runtime.compile('(module (memory (export "m") 1 3))')
    runtime.validate(b"\0asm\1\0\0\0")
    runtime.instantiate(module).memory("m").grow(1)  # type: ignore[union-attr]
    table = runtime.new_store().table(1, 5, element=pywasmrt.ValueType.EXTERNREF)
    table[0] = object()
    table.grow(1, [])
    table[1]
    same = '(module (func (export "same") (param i32) (result i32) (local.get 0)))'
    column = runtime.instantiate(runtime.compile(same)).exports.same.map(array("i", range(600)))
    assert list(column) == list(range(600))
    with pywasmrt.new_runtime(pywasmrt.RuntimeConfig(runtime.info.name, interruptible=False)) as free:
        assert free.instantiate(free.compile(same)).exports.same(1) == 1
    if "serialize" in features:
        runtime.deserialize(module.serialize())
    if "profiling" in features:
        with pywasmrt.profile(runtime.instantiate(module)) as profile:
            pass
        assert profile.samples == 0
    if runtime.info.name == "wasmtime":  # it counts fuel where it is asked to
        with pywasmrt.new_runtime(runtime.info.name, {"options": {"consume_fuel": True}}) as counting:
            store = counting.new_store(pywasmrt.Limits(fuel=1000))
            store.fuel = 500
            assert store.fuel == 500


def works() -> dict[str, Callable[[pywasmrt.Runtime], object]]:
    """Work by name: to be done on a runtime, from the beginning."""
    from helpers.leak_scenarios import Scenarios

    def turn_of(name: str) -> Callable[[pywasmrt.Runtime], object]:
        def work(runtime: pywasmrt.Runtime) -> None:
            turn, _ = getattr(Scenarios(runtime), name)()
            turn()
            turn()

        return work

    names = [
        name
        for name, method in vars(Scenarios).items()
        if callable(method) and method.__code__.co_argcount == 1 and method.__annotations__.get("return") == "Work"
    ]
    return {**{name: turn_of(name) for name in names}, "more": more_work}


def run(
    lib: Any, runtime_name: str, name: str, work: Callable[[pywasmrt.Runtime], object], told: dict[str, Any]
) -> None:
    """Every operation that the work uses, failing at each of its first calls."""
    arm(lib, None)
    with pywasmrt.new_runtime(runtime_name) as runtime:
        try:
            work(runtime)
        except pywasmrt.UnsupportedFeatureError as error:
            if error.feature is None or error.feature in runtime.info.features:
                raise
            return
    used = {operation: lib.wrt_fault_calls(operation.encode()) for operation in told}
    for operation, calls in used.items():
        for first in FIRST_CALLS:
            if first > calls:
                continue
            arm(lib, operation, first)
            what = f"{name}, {operation} failing at call {first}"
            try:
                with pywasmrt.new_runtime(runtime_name) as runtime:
                    work(runtime)
            except pywasmrt.WasmError as error:
                if "this failure was asked for" not in str(error) and operation not in MISSING:
                    told[operation]["wrong"].append(f"{what}: {error!r}")
            except BaseException as error:
                if not isinstance(error, MISSING.get(operation, ())):
                    told[operation]["wrong"].append(f"{what}: {error!r}")
            told[operation]["failed"] += lib.wrt_fault_fired()
            arm(lib, None)
    with pywasmrt.new_runtime(runtime_name) as runtime:
        work(runtime)  # the failures have left nothing behind


def main(runtime: str = "wasmtime") -> None:
    lib = install(only=runtime)
    told = {operation: {"failed": 0, "wrong": []} for operation in operations(lib)}
    for name, work in works().items():
        print(name, file=sys.stderr, flush=True)  # if the process crashes, the last line names the work
        run(lib, runtime, name, work, told)
    print(json.dumps(told))


def pytest_configure(config: Any) -> None:
    """As a plugin: arm what the environment says."""
    operation, first, count = os.environ["PYWASMRT_FAULT"].split(":")
    arm(install(), operation, int(first), int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
