"""What an instance exports: functions, globals, tables, and its start function."""

from __future__ import annotations

import pytest
from helpers.instances import BINARY, EXTERNREF, F32, F64, FUNCREF, I32, I64, NOTHING, Needs, everything, instantiate

import pywasmrt
from pywasmrt import (
    FunctionType,
    GlobalType,
    HostModule,
    MemoryType,
    ModuleInstantiateError,
    Runtime,
    TableType,
    Trap,
    TrapCode,
)
from pywasmrt.testing import Module, guests


def test_exports_are_found_in_every_way(runtime: Runtime) -> None:
    guest = guests.arithmetic()
    guest.memory(MemoryType(1), export="memory")
    guest.global_(GlobalType(I32), ("i32.const", 7), export="seven")
    guest.table(TableType(FUNCREF, 1), export="a table")
    guest.function(NOTHING, [], export="")
    instance = instantiate(runtime, guest)
    exports = instance.exports
    names = ["add", "sub", "add64", "add_f32", "add_f64", "nothing", "memory", "seven", "a table", ""]
    assert list(exports) == names
    assert len(exports) == len(names)
    assert "add" in exports
    assert "subtract" not in exports
    assert 1 not in exports
    assert exports.add(1, 2) == exports["add"](1, 2) == instance.function("add")(1, 2) == 3
    assert exports[""]() is None
    assert exports.seven.value == instance.global_("seven").value == 7
    assert len(exports["a table"]) == len(instance.table("a table")) == 1
    assert exports.memory.size == instance.memory().size == instance.memory("memory").size == 65536
    for value, protocol in (
        (exports.add, pywasmrt.FunctionInstance),
        (exports.memory, pywasmrt.Memory),
        (exports.seven, pywasmrt.Global),
        (exports["a table"], pywasmrt.Table),
        (exports, pywasmrt.Exports),
        (instance, pywasmrt.ModuleInstance),
        (instance.module, pywasmrt.CompiledModule),
        (instance.store, pywasmrt.Store),
        (runtime, pywasmrt.Runtime),
    ):
        assert isinstance(value, protocol)


def test_what_is_not_exported_is_none_or_an_error(runtime: Runtime) -> None:
    instance = instantiate(runtime, guests.globals_([I32]))
    for find in (instance.function, instance.memory, instance.global_, instance.table):
        assert find("nothing") is None
        for wrong in (5, None, [], b"g0"):
            with pytest.raises(TypeError, match="an export is asked for by its name, a str, not "):
                find(wrong)
    assert instance.memory() is None
    # an export of another kind is none of this kind
    assert instance.function("g0") is instance.table("get0") is instance.memory("g0") is None
    with pytest.raises(AttributeError, match=r"'get1'.*did you mean 'get0'"):
        _ = instance.exports.get1
    with pytest.raises(KeyError, match="'get1'"):
        instance.exports["get1"]
    assert not hasattr(instance.exports, "get1")
    with pytest.raises(AttributeError):
        instance.exports.g0 = 5


def test_a_function_tells_its_type(runtime: Runtime) -> None:
    types = (I32, I64, F32, F64, FUNCREF, EXTERNREF)
    function = instantiate(runtime, guests.identities(types)).function("straight")
    assert function.type == FunctionType(types, types)
    assert str(function.type) == "(i32, i64, f32, f64, funcref, externref) -> (i32, i64, f32, f64, funcref, externref)"


def test_no_one_and_several_results(runtime: Runtime) -> None:
    exports = instantiate(runtime, guests.rearranged([I32, F64], [1, 0, 1])).exports
    assert exports.rearrange(1, 2.5) == (2.5, 1, 2.5)
    assert isinstance(exports.rearrange(1, 2.5), tuple)
    arithmetic = instantiate(runtime, guests.arithmetic()).exports
    assert arithmetic.nothing() is None
    assert arithmetic.nothing.call() == []
    assert arithmetic.add.call(1, 0xFFFF_FFFF) == [0]
    assert arithmetic.sub(1, 2) == -1
    assert arithmetic.sub.call(1, 2) == [0xFFFF_FFFF]
    assert arithmetic.add64.call(1, (1 << 64) - 1) == [0]


def test_many_parameters_and_results(runtime: Runtime) -> None:
    types = [I32, F64, I64, F32] * 25
    args = tuple(range(100))
    exports = instantiate(runtime, guests.identities(types)).exports
    for name in ("straight", "locals", "block", "call", "globals", "memory"):
        assert exports[name](*args) == args


def test_an_immutable_global_cannot_be_set(runtime: Runtime) -> None:
    global_ = instantiate(runtime, guests.globals_([I32], mutable=False)).global_("g0")
    assert global_.type == GlobalType(I32)
    with pytest.raises(TypeError, match="immutable"):
        global_.value = 1
    assert global_.value == 0
    made = runtime.new_store().global_(F64, 2.5)
    with pytest.raises(TypeError, match="immutable"):
        made.value = 1.0
    assert made.value == 2.5


def test_a_global_is_shared_by_its_instances(runtime: Runtime) -> None:
    store = runtime.new_store()
    shared = store.global_(I32, 1, mutable=True)
    guest = Module()
    guest.import_("env", "g", GlobalType(I32, True))
    guest.function(NOTHING, [("global.get", 0), ("i32.const", 1), ("i32.add",), ("global.set", 0)], export="count")
    module = runtime.compile(guest.encode())
    for _ in range(3):
        runtime.instantiate(module, {"env": {"g": shared}}, store=store).exports.count()
    assert shared.value == 4


def test_a_table_of_functions(runtime: Runtime) -> None:
    guest = guests.arithmetic()
    guest.table(TableType(FUNCREF, 4, 6), export="table")
    guest.elements([0, 1], offset=1)
    guest.function(
        BINARY, [("local.get", 0), ("local.get", 1), ("i32.const", 0), ("call_indirect", BINARY, 0)], export="via"
    )
    instance = instantiate(runtime, guest)
    table = instance.table("table")
    assert table.type == TableType(FUNCREF, 4, 6)
    assert len(table) == 4
    assert table[0] is None
    assert table[3] is None
    assert table[1](3, 4) == 7
    assert table[2](3, 4) == -1
    assert table[1].type == BINARY
    table[0] = table[2]
    assert instance.exports.via(10, 3) == 7
    table[0] = instance.function("add")
    assert instance.exports.via(10, 3) == 13
    table[0] = None
    with pytest.raises(Trap) as caught:
        instance.exports.via(10, 3)
    null = TrapCode.INDIRECT_CALL_TO_NULL
    told_apart = "trap-null-element" in runtime.info.features
    assert caught.value.code is (null if told_apart else TrapCode.TABLE_OUT_OF_BOUNDS)
    assert table.grow(2, instance.function("sub")) == 4
    assert len(table) == 6
    assert table[5](1, 1) == 0
    with pytest.raises(IndexError, match="grow"):
        table.grow(1)
    assert len(table) == 6


class One:
    """An int for whoever asks, as NumPy's are."""

    def __index__(self) -> int:
        return 1


def test_table_indices_and_values_are_checked(runtime: Runtime) -> None:
    table = runtime.new_store().table(2, 3)
    table[One()] = None
    assert table[One()] is None
    for index in (2, 100, 1 << 32, 1 << 64, 1 << 200, 10**5000, -1, -3):
        with pytest.raises(IndexError):
            table[index]
        with pytest.raises(IndexError):
            table[index] = None
    for wrong in ("0", 0.0, None):
        with pytest.raises(TypeError):
            table[wrong]
    with pytest.raises(TypeError, match="funcref takes a FunctionInstance or None"):
        table[0] = 5
    with pytest.raises(TypeError, match="funcref takes a FunctionInstance or None"):
        table.grow(1, len)
    for wrong in ("1", 1.0, None):
        with pytest.raises(TypeError):
            table.grow(wrong)
    for delta in (-1, 1 << 32, 1 << 64, 1 << 200, 1 << 20000):
        with pytest.raises((IndexError, ValueError, OverflowError)):
            table.grow(delta)
    assert len(table) == 2
    assert table.grow(One()) == 2


def test_a_table_of_objects_keeps_identity(runtime: Runtime) -> None:
    instance = instantiate(runtime, guests.table(TableType(EXTERNREF, 2, 5)))
    first, second = object(), [1]
    table = instance.table("table")
    table[0] = first
    instance.exports.set(1, second)
    assert table[0] is instance.exports.get(0) is first
    assert table[1] is instance.exports.get(1) is second
    assert instance.exports.grow(first, 3) == 2
    assert table[4] is first
    assert instance.exports.grow(first, 1) == -1
    made = runtime.new_store().table(1, element=EXTERNREF, init=second)
    assert made[0] is second
    assert made.type == TableType(EXTERNREF, 1)


def test_a_function_of_another_store_is_refused_as_a_reference(runtime: Runtime) -> None:
    stranger = instantiate(runtime, guests.arithmetic()).function("add")
    store = runtime.new_store()
    with pytest.raises(TypeError, match="another store"):
        store.table(1)[0] = stranger
    with pytest.raises(TypeError, match="another store"):
        store.table(1, init=stranger)
    with pytest.raises(TypeError, match="another store"):
        store.global_(FUNCREF, stranger)
    identity = instantiate(runtime, guests.identities([FUNCREF]), store=store).function("straight")
    with pytest.raises(TypeError, match="another store"):
        identity(stranger)


def test_a_guests_function_is_a_value(runtime: Runtime) -> None:
    """A funcref that a guest hands out can be called, also after going through the host and back."""
    guest = guests.arithmetic()
    guest.function(FunctionType((), (FUNCREF,)), [("ref.func", 0)], export="give")
    guest.function(FunctionType((FUNCREF,), (FUNCREF,)), [("local.get", 0)], export="pass")
    guest.declare(0)
    exports = instantiate(runtime, guest).exports
    add = exports.give()
    assert isinstance(add, pywasmrt.FunctionInstance)
    assert add(1, 2) == 3
    assert add.type == BINARY
    assert add.call(1, 2) == [3]
    assert exports["pass"](exports["pass"](add))(5, 6) == 11
    assert exports["pass"](None) is None


def test_the_start_function_runs_exactly_once(runtime: Runtime) -> None:
    module = runtime.compile(guests.starting().encode())
    for _ in range(3):
        instance = runtime.instantiate(module)
        assert instance.global_("runs").value == 1


def test_the_start_function_may_trap(runtime: Runtime) -> None:
    with pytest.raises(Trap) as caught:
        instantiate(runtime, guests.starting([("unreachable",)]))
    assert caught.value.code is TrapCode.UNREACHABLE
    if "trap-frames" in runtime.info.features:
        assert [frame.func_name for frame in caught.value.frames] == ["start"]


def test_the_start_function_may_throw(runtime: Runtime, needs: Needs) -> None:
    """What nobody catches is a trap, there as in any function, and is gone with it."""
    needs("exceptions", "wat")
    store = runtime.new_store()
    text = '(module (tag $t) (func $throw (export "throw") (throw $t)) {})'
    thrower = runtime.instantiate(runtime.compile(text.format("")), store=store).exports.throw
    start = runtime.compile(text.format("(start $throw)"))
    for throw in [lambda: runtime.instantiate(start, store=store), thrower] * 2:
        with pytest.raises(Trap, match="thrown Wasm exception") as caught:
            throw()
        assert caught.value.code is TrapCode.UNCAUGHT_EXCEPTION
        if runtime.info.name == "wasmtime":
            assert [frame.func_name for frame in caught.value.frames] == ["throw"]


def test_the_start_function_may_raise_through_the_host(runtime: Runtime) -> None:
    error = KeyboardInterrupt()

    def f() -> None:
        raise error

    with pytest.raises(KeyboardInterrupt) as caught:
        instantiate(runtime, guests.starting([("call", 0)], imports=NOTHING), {"env": {"f": f}})
    assert caught.value is error


def test_the_start_function_may_call_the_host_with_its_caller(runtime: Runtime) -> None:
    found = []
    env = HostModule("env")

    @env.function
    def f(caller: pywasmrt.Caller, address: pywasmrt.i32) -> None:
        caller.memory().write(address, b"from the start")
        found.append(caller.global_("runs").value)

    instance = instantiate(runtime, guests.starting([("i32.const", 9), ("call", 0)], imports=FunctionType((I32,))), env)
    assert found == [1]
    assert instance.memory().read(9, 14) == b"from the start"


def test_what_was_instantiated_before_a_failure_goes_on(runtime: Runtime) -> None:
    store = runtime.new_store()
    good = instantiate(runtime, guests.arithmetic(), store=store)
    with pytest.raises(Trap):
        instantiate(runtime, guests.starting([("unreachable",)]), store=store)
    with pytest.raises(ModuleInstantiateError):
        instantiate(runtime, everything(), store=store)
    assert good.exports.add(1, 2) == 3


def test_segments_beyond_the_end_trap(runtime: Runtime) -> None:
    guest = Module()
    guest.memory(MemoryType(1, 1), export="memory")
    guest.data(b"abc", offset=65534)
    with pytest.raises(Trap) as caught:
        instantiate(runtime, guest)
    assert caught.value.code is TrapCode.MEMORY_OUT_OF_BOUNDS
    guest = Module()
    guest.table(TableType(FUNCREF, 1))
    guest.elements([guest.function(NOTHING, [])], offset=1)
    with pytest.raises(Trap) as caught:
        instantiate(runtime, guest)
    assert caught.value.code is TrapCode.TABLE_OUT_OF_BOUNDS
