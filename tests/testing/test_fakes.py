"""The fake runtime: real modules, linking and rules; what guests do is scripted."""

from __future__ import annotations

from typing import Any

import pytest

import pywasmrt
from pywasmrt import Caller, ExternKind, FunctionType, GlobalType, Limits, MemoryType, TableType, Trap, ValueType
from pywasmrt.testing import FakeRuntime, Module, check_runtime, guests
from pywasmrt.testing.fakes import GUEST_SCRIPTS, FakeCaller

I32, F64 = ValueType.I32, ValueType.F64
UNARY = FunctionType((I32,), (I32,))
PARTS = ["memory", "host functions", "lifetimes"]


def test_it_passes_its_part_of_conformance() -> None:
    report = check_runtime(lambda config: FakeRuntime(GUEST_SCRIPTS), parts=PARTS)
    assert len(report.passed) > 20
    assert {result.check for result in report.skipped} == {"a_memory_is_a_buffer"}


def test_what_is_needed_of_it_needs_no_engine() -> None:
    import subprocess
    import sys

    program = (
        "import sys, pywasmrt.testing as t\n"
        "from pywasmrt.testing.fakes import GUEST_SCRIPTS\n"
        f"t.check_runtime(lambda config: t.FakeRuntime(GUEST_SCRIPTS), parts={PARTS})\n"
        "print({'wasmtime', 'cffi', 'hypothesis', 'pywasmrt._shim._wrt'} & set(sys.modules))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_the_functions_are_scripts_with_the_types_of_the_module() -> None:
    runtime = FakeRuntime({"add": lambda x, y: x + y, "add_f64": lambda x, y: "sum"})
    module = runtime.compile(guests.arithmetic())
    assert runtime.compiled == [guests.arithmetic().encode()]
    with runtime.instantiate(module) as instance:
        add = instance.exports.add
        assert (add(2, 3), add.call(2, 3), str(add.type)) == (5, [5], "(i32, i32) -> (i32)")
        assert add.calls == [(2, 3), (2, 3)]
        with pytest.raises(OverflowError, match="argument 1 of add"):
            add(1 << 40, 1)
        with pytest.raises(TypeError, match="takes 2 arguments"):
            add(1)
        with pytest.raises(OverflowError, match="out of range for i32"):
            add((1 << 31) - 1, (1 << 31) - 1) + add(0xFFFF_FFFF, 0) + instance.exports.add(-(1 << 31), -1)
        with pytest.raises(TypeError, match="add_f64 returned 'sum'"):
            instance.exports.add_f64(1.0, 2.0)
        with pytest.raises(pywasmrt.UnsupportedFeatureError, match="nothing says what sub does"):
            instance.exports.sub(1, 2)
    with pytest.raises(pywasmrt.ClosedError):
        add(1, 2)


def test_scripts_reach_imports_memory_and_each_other() -> None:
    def direct(caller: Caller, x: Any) -> Any:
        assert isinstance(caller, FakeCaller)
        caller.memory().write(0, bytes([x]))
        kept.append(caller)
        with pytest.raises(LookupError, match=r"does not import env\.g"):
            caller.imported("env", "g")
        return caller.imported("env", "f")(x + 1)

    kept: list[Any] = []
    runtime = FakeRuntime({"direct": direct})
    guest = guests.passthrough(UNARY, memory=MemoryType(1))
    instance = runtime.instantiate(runtime.compile(guest), {"env": {"f": lambda x: x * 10}})
    assert instance.exports.direct(3) == 40
    assert instance.memory().read(0, 1) == b"\3"
    with pytest.raises(pywasmrt.ClosedError, match="this caller is gone"):
        kept[0].memory()


def test_linking_is_the_real_one() -> None:
    runtime = FakeRuntime()
    module = runtime.compile(guests.passthrough(UNARY))
    with pytest.raises(pywasmrt.ModuleInstantiateError, match=r"env\.f.*is not provided"):
        runtime.instantiate(module)
    store = runtime.new_store(Limits(instances=1))
    runtime.instantiate(module, {"env": {"f": lambda x: x}}, store=store)
    with pytest.raises(pywasmrt.ModuleInstantiateError, match="limited to 1 instances"):
        runtime.instantiate(module, {"env": {"f": lambda x: x}}, store=store)
    with pytest.raises(pywasmrt.ModuleCompileError):
        runtime.compile(b"\0asm\1\0\0\0\1\xff")
    with pytest.raises(pywasmrt.UnsupportedFeatureError):
        runtime.compile("(module)")


def test_globals_and_tables_hold_their_values() -> None:
    runtime = FakeRuntime(globals={"g1": 2.5})
    instance = runtime.instantiate(runtime.compile(guests.globals_([I32, F64, ValueType.EXTERNREF])))
    g0, g1, g2 = (instance.global_(f"g{n}") for n in range(3))
    assert g0 is not None and g1 is not None and g2 is not None  # noqa: PT018
    assert (g0.value, g1.value, g2.value) == (0, 2.5, None)
    g0.value = 0xFFFF_FFFF
    assert g0.value == -1
    with pytest.raises(OverflowError):
        g0.value = 1 << 32
    store = runtime.new_store(Limits(table_elements=3, memory_bytes=65536))
    table = store.table(1, element=ValueType.EXTERNREF)
    table[0] = "x"
    assert (table.grow(2, "y"), table[2], len(table)) == (1, "y", 3)
    for wrong in (lambda: table.grow(1), lambda: table[3], lambda: table[-1]):
        with pytest.raises(IndexError):
            wrong()
    with pytest.raises(pywasmrt.ModuleInstantiateError):
        store.table(4)
    with pytest.raises(pywasmrt.ModuleInstantiateError):
        store.memory(2)
    fixed = store.global_(I32, 1)
    with pytest.raises(TypeError, match="immutable"):
        fixed.value = 2
    functions = store.table(1)
    with pytest.raises(TypeError, match="belongs to another store"):
        functions[0] = runtime.instantiate(runtime.compile(guests.arithmetic())).exports.add
    assert "FakeTable" in repr(table)


@pytest.mark.parametrize("kind", [ExternKind.MEMORY, ExternKind.TABLE, ExternKind.GLOBAL])
def test_what_is_imported_is_exported_again(kind: ExternKind) -> None:
    type: Any = {
        ExternKind.MEMORY: MemoryType(1),
        ExternKind.TABLE: TableType(ValueType.FUNCREF, 1),
        ExternKind.GLOBAL: GlobalType(I32, True),
    }[kind]
    runtime = FakeRuntime()
    store = runtime.new_store()
    made = store.memory(1) if kind is ExternKind.MEMORY else store.table(1)
    if kind is ExternKind.GLOBAL:
        made = store.global_(I32, 5, mutable=True)
    guest = Module()
    guest.import_("env", "it", type, export="again")
    instance = runtime.instantiate(runtime.compile(guest), {"env": {"it": made}}, store=store)
    assert instance.exports.again is made


def test_a_memory_takes_whatever_is_an_int() -> None:
    class Two:
        def __index__(self) -> int:
            return 2

    store = FakeRuntime().new_store()
    memory: Any = store.memory(1)
    memory.write(Two(), b"ab")
    assert memory.read(Two(), Two()) == b"ab"


@pytest.mark.parametrize(
    "ask",
    [
        lambda memory, table, variable, number: memory.read(number, 1),
        lambda memory, table, variable, number: memory.write(number, b"x"),
        lambda memory, table, variable, number: memory.grow(number),
        lambda memory, table, variable, number: table[number],
        lambda memory, table, variable, number: table.grow(number),
        lambda memory, table, variable, number: setattr(variable, "value", number),
    ],
    ids=["read", "write", "grow", "element", "grow the table", "global"],
)
def test_what_is_closed_while_a_number_is_asked_for(ask: Any) -> None:
    store = FakeRuntime().new_store()

    class Closing:
        def __index__(self) -> int:
            store.close()
            return 1

    made = store.memory(1), store.table(2, init=None), store.global_(I32, 1, mutable=True)
    with pytest.raises(pywasmrt.ClosedError):
        ask(*made, Closing())


def test_scripts_may_trap() -> None:
    def nothing() -> None:
        raise Trap("out of order", pywasmrt.TrapCode.UNREACHABLE)

    runtime = FakeRuntime({"nothing": nothing})
    with pytest.raises(Trap, match="out of order"):
        runtime.instantiate(runtime.compile(guests.arithmetic())).exports.nothing()
