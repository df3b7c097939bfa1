"""A user's program as type checkers see it. `make lint` has mypy read it, strictly; nothing runs it.

`assert_type` states the type that an expression must have; a `type: ignore` marks an error that must be reported.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pywasmrt
from pywasmrt import Caller, HostModule, Limits, RuntimeConfig, ValueType, externref, f32, f64, funcref, i32, i64, v128

if TYPE_CHECKING:
    from typing_extensions import assert_type

env = HostModule("env")


@env.function
def add_one(x: i32) -> i32:
    return x + 1


@env.function(name="mix")
def mixed(x: f32, y: f64, vector: v128, item: externref, function: funcref) -> tuple[f64, i64]:
    if function is not None:
        assert_type(function, pywasmrt.FunctionInstance)
        function(item)
    return x * y, len(vector)


@env.function
def log(caller: Caller, offset: i32, size: i32) -> None:
    assert_type(caller.memory(), pywasmrt.Memory)
    caller.memory().read(offset, size).decode()


def host_functions() -> None:
    assert_type(add_one(1), int)  # the decorator gives the function back
    add_one("1")  # type: ignore[arg-type]
    assert_type(mixed(1, 2.5, b"", object(), None), tuple[float, int])
    env.add_function("raw", [ValueType.I32], (ValueType.I32,), lambda x: x)
    env.add_function("raw", ["i32"], [], print)  # type: ignore[list-item]


def runtimes() -> None:
    assert_type(pywasmrt.new_runtime(), pywasmrt.Runtime)
    pywasmrt.new_runtime("wasmtime", {"features": ["simd"]})
    pywasmrt.new_runtime(RuntimeConfig(features=frozenset({"simd"})))
    pywasmrt.new_runtime(5)  # type: ignore[arg-type]
    assert_type([info.reason for info in pywasmrt.list_runtimes()], list["str | None"])

    def factory(config: RuntimeConfig) -> pywasmrt.Runtime:
        return pywasmrt.new_runtime("wasm3", config)

    pywasmrt.register_runtime("mine", factory)


def modules(runtime: pywasmrt.Runtime) -> None:
    for source in (b"", bytearray(), memoryview(b""), array("B"), "(module)", Path("guest.wasm")):
        runtime.validate(source)
        assert_type(runtime.compile(source), pywasmrt.CompiledModule)
    runtime.compile(5)  # type: ignore[arg-type]
    module = runtime.deserialize(runtime.compile("(module)").serialize())
    for export in module.exports:
        if isinstance(export.type, pywasmrt.FunctionType):
            assert_type(export.type.params, tuple[ValueType, ...])


def instances(runtime: pywasmrt.Runtime, module: pywasmrt.CompiledModule) -> None:
    with runtime.new_store(Limits(timeout=1)) as store, runtime.instantiate(module, env, store=store) as instance:
        assert_type(store, pywasmrt.Store)
        assert_type(instance, pywasmrt.ModuleInstance)
        imports = {"spectest": {"memory": store.memory(1, 2), "print": print}, "other": instance, "env": env}
        again, context = runtime.instantiate_with_host(module, imports, store=store)
        assert_type(again, pywasmrt.ModuleInstance)
        assert_type(context, pywasmrt.Context)
        assert_type(instance.exports.anything, Any)
        instance.fuel = 1000
        with instance.deadline(0.5):
            instance.run()
    with pywasmrt.new_runtime() as runtime, runtime.compile(b"") as module:
        pass


async def functions(instance: pywasmrt.ModuleInstance) -> None:
    function = instance.function("add")
    function(1, 2)  # type: ignore[misc]  # None where there is no such export
    if function is not None:
        assert_type(function.call(1, 2), list[int])
        assert_type(function.type, pywasmrt.FunctionType)
        assert_type(await function.call_async(1, 2), Any)


def externs(instance: pywasmrt.ModuleInstance) -> None:
    memory, variable, table = instance.memory(), instance.global_("g"), instance.table("t")
    assert memory is not None
    assert variable is not None
    assert table is not None
    assert_type(memory.read(0, 4), bytes)
    assert_type(memory.read(offset=0, size=4), bytes)
    memory.write(0, array("i", [1]))
    memory.write(0, "text")  # type: ignore[arg-type]
    assert_type(memory.grow(1), int)
    memoryview(memory)[0:1] = b"x"
    variable.value += 1
    assert_type(variable.type, pywasmrt.GlobalType)
    table[0] = None
    assert_type(table.grow(1), int)


def errors(run: pywasmrt.FunctionInstance) -> None:
    try:
        run()
    except pywasmrt.Trap as trap:
        assert_type(trap.code, pywasmrt.TrapCode)
        assert_type(trap.frames, tuple[pywasmrt.Frame, ...])
    except pywasmrt.Exit as end:
        assert_type(end.code, int)
