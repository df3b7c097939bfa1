"""What an instance imports: providers, matching, other stores and runtimes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers.instances import BINARY, EXTERNREF, F32, FUNCREF, I32, I64, NOTHING, UNARY, Needs, instantiate, using

import pywasmrt
from pywasmrt import (
    ExternKind,
    FunctionType,
    GlobalType,
    HostModule,
    MemoryType,
    ModuleInstantiateError,
    Runtime,
    TableType,
)
from pywasmrt.testing import Module, guests


def test_a_function_is_imported_in_every_way(runtime: Runtime) -> None:
    module = runtime.compile(using().encode())
    env = HostModule("env")
    env.add_function("f", [I32], [I32], lambda x: x + 1)
    store = runtime.new_store()
    other = Module()
    other.function(UNARY, [("local.get", 0), ("i32.const", 1), ("i32.add",)], export="f")
    provider = instantiate(runtime, other, store=store)
    for imports, kwargs in (
        (env, {}),
        ({"env": env}, {}),
        ({"env": {"f": lambda x: x + 1}}, {}),
        ({"env": {"f": (1).__add__}}, {}),
        ({"env": env.functions}, {}),
        ({"env": provider}, {"store": store}),
        ({"env": {"f": provider.function("f")}}, {"store": store}),
    ):
        assert runtime.instantiate(module, imports, **kwargs).exports.run(41) == 42


def test_the_first_provider_that_has_a_name_serves_it(runtime: Runtime) -> None:
    guest = Module()
    for field in ("f", "g", "h"):
        guest.import_("env", field, FunctionType((), (I32,)), export=field)
    first, second = HostModule("env"), HostModule("env")
    first.add_function("f", [], [I32], lambda: 1)
    second.add_function("f", [], [I32], lambda: 2)
    second.add_function("g", [], [I32], lambda: 2)
    last = {"env": {"f": lambda: 3, "g": lambda: 3, "h": lambda: 3}, "unused": {}}
    exports = instantiate(runtime, guest, first, second, last).exports
    assert (exports.f(), exports.g(), exports.h()) == (1, 2, 3)


def test_externs_made_by_the_host_are_imported(runtime: Runtime) -> None:
    store = runtime.new_store()
    memory = store.memory(1, 3)
    table = store.table(2, 5)
    constant, counter = store.global_(I64, -5), store.global_(I32, 1, mutable=True)
    guest = Module()
    guest.import_("env", "m", MemoryType(1, 3), export="memory")
    guest.import_("env", "t", TableType(FUNCREF, 1, 9), export="table")
    guest.import_("env", "c", GlobalType(I64), export="constant")
    guest.import_("env", "n", GlobalType(I32, True), export="counter")
    guest.function(NOTHING, [("i32.const", 7), ("global.set", 1)], export="set")
    guest.elements([0])
    guest.data(b"hello", offset=10)
    instance = instantiate(runtime, guest, {"env": {"m": memory, "t": table, "c": constant, "n": counter}}, store=store)
    assert memory.read(10, 5) == instance.memory().read(10, 5) == b"hello"
    memory.write(11, b"u")
    assert instance.memory().read(10, 5) == b"hullo"
    assert instance.global_("constant").value == -5
    table[0]()
    assert counter.value == instance.global_("counter").value == 7
    assert memory.grow(1) == 1
    assert instance.memory().size == memory.size == 2 * 65536
    assert memory.type == MemoryType(1, 3)
    assert table.type == TableType(FUNCREF, 2, 5)
    assert counter.type == GlobalType(I32, True)


def test_a_host_made_memory_has_each_form(runtime: Runtime, needs: Needs) -> None:
    store = runtime.new_store()
    assert store.memory(2).type == MemoryType(2)
    needs("memory64")
    wide = store.memory(1, 2, is_64=True)
    assert wide.type == MemoryType(1, 2, is_64=True)
    guest = Module()
    guest.import_("env", "m", MemoryType(1, 2, is_64=True), export="memory")
    instance = instantiate(runtime, guest, {"env": {"m": wide}}, store=store)
    wide.write(65530, b"abcdef")
    assert instance.memory().read(65530, 6) == b"abcdef"


def test_instances_link_in_a_common_store(runtime: Runtime) -> None:
    store = runtime.new_store()
    library = guests.memories(MemoryType(1, 2))
    library.global_(GlobalType(I32, True), ("i32.const", 3), export="g")
    library.table(TableType(FUNCREF, 1), export="t")
    library.elements([0])
    provider = instantiate(runtime, library, store=store)
    guest = Module()
    guest.import_("lib", "load0", UNARY, export="load")
    guest.import_("lib", "memory", MemoryType(1), export="memory")
    guest.import_("lib", "g", GlobalType(I32, True), export="g")
    guest.import_("lib", "t", TableType(FUNCREF, 1), export="t")
    user = instantiate(runtime, guest, {"lib": provider}, store=store)
    user.memory().write(5, b"\x2a")
    assert provider.exports.load0(5) == user.exports.load(5) == user.table("t")[0](5) == 42
    user.global_("g").value = 9
    assert provider.global_("g").value == 9
    assert user.store is provider.store is store


def test_an_export_may_be_an_import(runtime: Runtime) -> None:
    """A host function that a guest re-exports can be called, and linked on."""
    store = runtime.new_store()
    guest = Module()
    guest.import_("env", "f", UNARY, export="f")
    first = instantiate(runtime, guest, {"env": {"f": lambda x: x * 2}}, store=store)
    assert first.exports.f(21) == 42
    second = instantiate(runtime, using(), {"env": first}, store=store)
    assert second.exports.run(4) == 8


def test_every_problem_of_the_imports_is_in_one_error(runtime: Runtime) -> None:
    store = runtime.new_store()
    guest = Module()
    guest.import_("env", "missing", NOTHING)
    guest.import_("env", "logg", NOTHING)
    guest.import_("nowhere", "f", NOTHING)
    guest.import_("env", "narrow", UNARY)
    guest.import_("env", "memory", MemoryType(2, 3))
    guest.import_("env", "table", TableType(FUNCREF, 1, 5))
    guest.import_("env", "constant", GlobalType(I32))
    guest.import_("env", "variable", GlobalType(I32, True))
    guest.import_("env", "kind", GlobalType(I32))
    guest.import_("env", "number", NOTHING)
    guest.import_("env", "good", NOTHING)

    def narrow(x: pywasmrt.i64) -> pywasmrt.i32:
        return int(x)

    env = {
        "log": print,
        "narrow": narrow,
        "memory": store.memory(1, 3),
        "table": store.table(1),
        "constant": store.global_(I64, 1),
        "variable": store.global_(I32, 1),
        "kind": store.table(1),
        "number": 5,
        "good": lambda: None,
    }
    with pytest.raises(ModuleInstantiateError, match="10 imports do not fit") as caught:
        instantiate(runtime, guest, {"env": env}, store=store)
    wanted = [
        r"env\.missing: function \(\) -> \(\) is not provided",
        r"env\.logg: .* did you mean 'log'\?",
        r"nowhere\.f: .* no module 'nowhere'",
        r"env\.narrow: function \(i32\) -> \(i32\) does not fit its host function: .*i64",
        r"env\.memory: memory 2 3 was given one of 1 pages",
        r"env\.table: .* no maximum",
        r"env\.constant: .* was given global i64",
        r"env\.variable: .* was given global i32",
        r"env\.kind: .* was given a table",
        r"env\.number: .* was given 5 \(int\)",
    ]
    assert len(caught.value.problems) == len(wanted)
    for pattern, problem in zip(wanted, caught.value.problems, strict=True):
        assert re.search(pattern, problem), problem
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "given", "fits"),
    [
        (MemoryType(1), MemoryType(1), True),
        (MemoryType(1), MemoryType(2, 5), True),
        (MemoryType(1, 5), MemoryType(1, 5), True),
        (MemoryType(1, 5), MemoryType(2, 4), True),
        (MemoryType(2), MemoryType(1), False),
        (MemoryType(1, 5), MemoryType(1), False),
        (MemoryType(1, 5), MemoryType(1, 6), False),
        (MemoryType(1), MemoryType(1, is_64=True), False),
        (MemoryType(1, is_64=True), MemoryType(1), False),
        (MemoryType(1, is_64=True), MemoryType(1, is_64=True), True),
        (TableType(FUNCREF, 1), TableType(FUNCREF, 2), True),
        (TableType(FUNCREF, 1, 2), TableType(FUNCREF, 1, 3), False),
        (TableType(FUNCREF, 1), TableType(EXTERNREF, 1), False),
        (GlobalType(I32), GlobalType(I32), True),
        (GlobalType(I32), GlobalType(I32, True), False),
        (GlobalType(I32, True), GlobalType(I32), False),
        (GlobalType(I32), GlobalType(F32), False),
        (GlobalType(FUNCREF), GlobalType(EXTERNREF), False),
        (UNARY, UNARY, True),
        (UNARY, BINARY, False),
        (UNARY, FunctionType((I32,)), False),
    ],
    ids=str,
)
def test_imports_match_by_the_rules(runtime: Runtime, needs: Needs, wanted: Any, given: Any, fits: bool) -> None:
    if getattr(wanted, "is_64", False) or getattr(given, "is_64", False):
        needs("memory64")
    kinds = {
        MemoryType: ExternKind.MEMORY,
        TableType: ExternKind.TABLE,
        GlobalType: ExternKind.GLOBAL,
        FunctionType: ExternKind.FUNCTION,
    }
    store = runtime.new_store()
    provider = instantiate(runtime, guests.exported(kinds[type(given)], given), store=store)
    guest = Module()
    guest.import_("env", "it", wanted)
    if fits:
        instantiate(runtime, guest, {"env": provider}, store=store)
        return
    with pytest.raises(ModuleInstantiateError, match=r"1 import does not fit\n  env\.it: ") as caught:
        instantiate(runtime, guest, {"env": provider}, store=store)
    assert len(caught.value.problems) == 1


def test_a_memory_matches_by_its_present_size(runtime: Runtime) -> None:
    store = runtime.new_store()
    memory, table = store.memory(1, 9), store.table(1, 9)
    guest = Module()
    guest.import_("env", "m", MemoryType(2))
    guest.import_("env", "t", TableType(FUNCREF, 2))
    imports = {"env": {"m": memory, "t": table}}
    with pytest.raises(ModuleInstantiateError, match="2 imports"):
        instantiate(runtime, guest, imports, store=store)
    memory.grow(1)
    table.grow(1)
    instantiate(runtime, guest, imports, store=store)


def test_externs_of_another_store_are_refused(runtime: Runtime) -> None:
    store, other = runtime.new_store(), runtime.new_store()
    guest = Module()
    guest.import_("env", "f", BINARY)
    guest.import_("env", "m", MemoryType(1))
    guest.import_("env", "t", TableType(FUNCREF, 1))
    guest.import_("env", "g", GlobalType(I32))
    function = instantiate(runtime, guests.arithmetic(), store=other).function("add")
    imports = {"env": {"f": function, "m": other.memory(1), "t": other.table(1), "g": other.global_(I32, 1)}}
    for kwargs in ({"store": store}, {}):
        with pytest.raises(ModuleInstantiateError, match="another store") as caught:
            instantiate(runtime, guest, imports, **kwargs)
        assert len(caught.value.problems) == 4
    instantiate(runtime, guest, imports, store=other)


def test_modules_and_stores_of_another_runtime_are_refused(runtime: Runtime) -> None:
    with pywasmrt.new_runtime(runtime.info.name) as other:
        module = other.compile(guests.arithmetic().encode())
        with pytest.raises(ModuleInstantiateError, match="another runtime"):
            runtime.instantiate(module)
        with pytest.raises(ModuleInstantiateError, match="another runtime"):
            other.instantiate(module, store=runtime.new_store())
