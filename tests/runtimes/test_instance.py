"""Everything that a module and its instances have, on every available runtime."""

from __future__ import annotations

import array
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt import (
    ExportType,
    ExternKind,
    FunctionType,
    GlobalType,
    HostModule,
    ImportType,
    InvalidConfigurationError,
    Limits,
    MemoryType,
    ModuleCompileError,
    ModuleInstantiateError,
    Runtime,
    TableType,
    Trap,
    TrapCode,
    ValueType,
)
from pywasmrt.testing import Module, const, guests

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
FUNCREF, EXTERNREF = ValueType.FUNCREF, ValueType.EXTERNREF
NOTHING = FunctionType()
UNARY = FunctionType((I32,), (I32,))
BINARY = FunctionType((I32, I32), (I32,))

Needs = Callable[..., None]


def instantiate(runtime: Runtime, guest: Module, *imports: Any, **kwargs: Any) -> Any:
    return runtime.instantiate(runtime.compile(guest.encode()), *imports, **kwargs)


# --- modules ---------------------------------------------------------------------------------------------------------


def test_a_module_comes_from_any_kind_of_source(runtime: Runtime, tmp_path: Path) -> None:
    data = guests.arithmetic().encode()
    path = tmp_path / "guest.wasm"
    path.write_bytes(data)
    views = (memoryview(data), memoryview(b"-" + data)[1:], array.array("B", data))
    for source in (data, bytearray(data), *views, path):
        runtime.validate(source)
        with runtime.compile(source) as module:
            assert runtime.instantiate(module).exports.add(1, 2) == 3


def test_a_module_comes_from_text(runtime: Runtime, tmp_path: Path, needs: Needs) -> None:
    needs("wat")
    text = '(module (func (export "π") (result i32) i32.const 3))'
    path = tmp_path / "guest.wat"
    path.write_text(text, encoding="utf-8")
    for source in (text, path):
        runtime.validate(source)
        assert runtime.instantiate(runtime.compile(source)).exports["π"]() == 3


@pytest.mark.parametrize("way", ["validate", "compile"])
def test_what_is_no_module_is_refused_with_the_reason(runtime: Runtime, way: str) -> None:
    read = getattr(runtime, way)
    with pytest.raises(ModuleCompileError, match="there are no bytes"):
        read(b"")
    with pytest.raises(ModuleCompileError, match="begins with"):
        read(b"\x7fELF....")
    with pytest.raises(ModuleCompileError, match=r"unexpected end|unexpected-eof|end-of-file"):
        read(guests.arithmetic().encode()[:-3])
    wrong = Module()
    wrong.function(FunctionType((), (I32,)), [("i64.const", 1)], export="f")
    with pytest.raises(ModuleCompileError, match="type mismatch"):
        read(wrong.encode())
    with pytest.raises(ModuleCompileError, match=r"pass the text format as a str, or in a file named \.wat$"):
        read(b"(module)")
    with pytest.raises(FileNotFoundError):
        read(Path("no such file.wasm"))
    for nothing in (5, None, [0], object()):
        with pytest.raises(
            TypeError, match=r"^a module is bytes, a pathlib\.Path to a file, or a str that holds its text"
        ):
            read(nothing)


def test_wrong_text_is_refused_with_its_place(runtime: Runtime, needs: Needs) -> None:
    needs("wat")
    for way in (runtime.validate, runtime.compile):
        with pytest.raises(ModuleCompileError, match=r"expected valid module field\n.*:1:10"):
            way("(module (fun))")
        with pytest.raises(ModuleCompileError, match=r"pathlib\.Path"):
            way("guest.wasm")


def everything() -> Module:
    guest = Module()
    guest.import_("env", "f", FunctionType((I32, F64), (I64,)))
    guest.import_("env", "m", MemoryType(1, 2))
    guest.import_("other", "t", TableType(FUNCREF, 1, 10))
    guest.import_("other", "g", GlobalType(I64, True))
    guest.import_("", "", NOTHING)
    guest.function(BINARY, [("local.get", 0)], export="run")
    guest.global_(GlobalType(F32), const(F32, 1.5), export="pi")
    guest.table(TableType(EXTERNREF, 2), export="objects")
    guest.export("memory", ExternKind.MEMORY, 0)
    guest.export("ü", ExternKind.FUNCTION, 0)
    return guest


def test_a_module_tells_its_imports_and_exports(runtime: Runtime) -> None:
    module = runtime.compile(everything().encode())
    assert module.imports == (
        ImportType("env", "f", ExternKind.FUNCTION, FunctionType((I32, F64), (I64,))),
        ImportType("env", "m", ExternKind.MEMORY, MemoryType(1, 2)),
        ImportType("other", "t", ExternKind.TABLE, TableType(FUNCREF, 1, 10)),
        ImportType("other", "g", ExternKind.GLOBAL, GlobalType(I64, True)),
        ImportType("", "", ExternKind.FUNCTION, NOTHING),
    )
    assert module.exports == (
        ExportType("run", ExternKind.FUNCTION, BINARY),
        ExportType("pi", ExternKind.GLOBAL, GlobalType(F32)),
        ExportType("objects", ExternKind.TABLE, TableType(EXTERNREF, 2)),
        ExportType("memory", ExternKind.MEMORY, MemoryType(1, 2)),
        ExportType("ü", ExternKind.FUNCTION, FunctionType((I32, F64), (I64,))),
    )


def test_a_module_tells_unusual_types(runtime: Runtime, needs: Needs) -> None:
    needs("memory64", "threads", "multi-memory")
    guest = guests.memories(MemoryType(1, is_64=True), MemoryType(1, 3, shared=True))
    exports = {export.name: export.type for export in runtime.compile(guest.encode()).exports}
    assert exports["memory"] == MemoryType(1, is_64=True)
    assert exports["memory1"] == MemoryType(1, 3, shared=True)


def test_one_module_serves_many_instances(runtime: Runtime) -> None:
    module = runtime.compile(guests.globals_([I32]).encode())
    first, second = runtime.instantiate(module), runtime.instantiate(module)
    first.exports.set0(5)
    assert (first.exports.get0(), second.exports.get0()) == (5, 0)
    assert first.module is module
    assert first.store is not second.store


# --- serialised modules ----------------------------------------------------------------------------------------------


def test_a_serialised_module_comes_back_whole(runtime: Runtime, needs: Needs) -> None:
    needs("serialize")
    module = runtime.compile(everything().encode())
    blob = module.serialize()
    assert isinstance(blob, bytes)
    for source in (blob, bytearray(blob), memoryview(blob), array.array("B", blob)):
        again = runtime.deserialize(source)
        assert (again.imports, again.exports) == (module.imports, module.exports)
    plain = runtime.deserialize(runtime.compile(guests.arithmetic().encode()).serialize())
    assert runtime.instantiate(plain).exports.add(20, 22) == 42
    assert runtime.instantiate(runtime.deserialize(plain.serialize())).exports.add(20, 22) == 42


def test_a_blob_from_elsewhere_is_refused(runtime: Runtime, runtimes: list[Runtime], needs: Needs) -> None:
    needs("serialize")
    name = runtime.info.name
    module = runtime.compile(guests.arithmetic().encode())
    with pytest.raises(ModuleCompileError, match="use compile"):
        runtime.deserialize(guests.arithmetic().encode())
    with pytest.raises(ModuleCompileError, match="no compiled module"):
        runtime.deserialize(b"")
    for other in runtimes:
        if other.info.name != name and "serialize" in other.info.features:
            with pytest.raises(ModuleCompileError, match=f"for another engine or other settings.*{other.info.name}"):
                runtime.deserialize(other.compile(guests.arithmetic().encode()).serialize())
    fewer = runtime.info.features - {"multi-memory"}
    differently = pywasmrt.new_runtime(name, pywasmrt.RuntimeConfig(features=fewer))
    with differently, pytest.raises(ModuleCompileError, match=r"other settings.*compile it again"):
        differently.deserialize(module.serialize())
    with pywasmrt.new_runtime(name) as same:
        assert same.instantiate(same.deserialize(module.serialize())).exports.add(1, 1) == 2


# --- exports ---------------------------------------------------------------------------------------------------------


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


# --- globals and tables ----------------------------------------------------------------------------------------------


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
    assert caught.value.code is TrapCode.INDIRECT_CALL_TO_NULL
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


# --- the start function ----------------------------------------------------------------------------------------------


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


# --- imports ---------------------------------------------------------------------------------------------------------


def using(field: str = "f", type: FunctionType = UNARY) -> Module:
    guest = Module()
    guest.import_("env", field, type)
    guest.function(type, [*(("local.get", n) for n in range(len(type.params))), ("call", 0)], export="run")
    return guest


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


# --- stores, limits, contexts ----------------------------------------------------------------------------------------


def test_a_store_of_ones_own_or_a_common_one(runtime: Runtime) -> None:
    module = runtime.compile(guests.arithmetic().encode())
    store = runtime.new_store()
    with runtime.instantiate(module, store=store) as first:
        assert first.store is store
    assert first.closed
    assert not store.closed
    with runtime.instantiate(module) as second:
        own = second.store
    assert own.closed


def test_instantiate_with_host_gives_the_context_too(runtime: Runtime) -> None:
    module = runtime.compile(using().encode())
    instance, context = runtime.instantiate_with_host(module, {"env": {"f": lambda x: x + 1}})
    assert isinstance(context, pywasmrt.Context)
    assert context.store is instance.store
    with context:
        assert instance.exports.run(1) == 2
        assert not context.closed
    assert context.closed
    assert instance.closed
    with pytest.raises(pywasmrt.ClosedError):
        instance.function("run")


def test_limits_bound_memories_tables_and_instances(runtime: Runtime) -> None:
    limits = Limits(memory_bytes=3 * 65536, table_elements=10)
    store = runtime.new_store(limits)
    instance = instantiate(runtime, guests.memories(MemoryType(1)), store=store)
    assert instance.exports.grow0(2) == 1
    assert instance.exports.grow0(1) == -1
    with pytest.raises(pywasmrt.MemoryAccessError, match="grow"):
        instance.memory().grow(1)
    assert instance.memory().size == 3 * 65536
    objects = instantiate(runtime, guests.table(TableType(EXTERNREF, 4)), store=store)
    assert objects.exports.grow(None, 6) == 4
    assert objects.exports.grow(None, 1) == -1
    with pytest.raises(IndexError, match="grow"):
        objects.table("table").grow(1)
    with pytest.raises(ModuleInstantiateError):
        instantiate(runtime, guests.memories(MemoryType(4)), store=store)
    assert instance.exports.size0() == 3
    few = runtime.new_store(Limits(instances=2))
    for _ in range(2):
        instantiate(runtime, guests.arithmetic(), store=few)
    with pytest.raises(ModuleInstantiateError):
        instantiate(runtime, guests.arithmetic(), store=few)


@pytest.mark.parametrize(
    ("guest", "limits"),
    [
        (guests.memories(MemoryType(3)), Limits(memory_bytes=3 * 65536 - 1)),
        (guests.traps(), Limits(table_elements=1)),  # a table of 2
        (guests.arithmetic(), Limits(instances=0)),
    ],
)
def test_what_begins_beyond_a_limit_is_not_instantiated(runtime: Runtime, guest: Module, limits: Limits) -> None:
    module = runtime.compile(guest.encode())
    within = Limits(memory_bytes=3 * 65536, table_elements=2, instances=1)
    assert runtime.instantiate(module, limits=within)
    with pytest.raises(ModuleInstantiateError, match=r"cannot instantiate the module: .*(limit|exceed)"):
        runtime.instantiate(module, limits=limits)


def test_an_instance_too_many_is_refused(runtime: Runtime) -> None:
    module = runtime.compile(guests.arithmetic().encode())
    store = runtime.new_store(Limits(instances=2))
    kept = [runtime.instantiate(module, store=store) for _ in range(2)]
    with pytest.raises(ModuleInstantiateError, match=r"cannot instantiate the module: .*limit"):
        runtime.instantiate(module, store=store)
    assert [each.exports.add(1, 2) for each in kept] == [3, 3]


def test_an_option_bounds_the_stack(runtime: Runtime) -> None:
    for size, enough in ((1 << 15, False), (1 << 19, True)):
        with pywasmrt.new_runtime(runtime.info.name, {"options": {"max_wasm_stack": size}}) as bounded:
            deep = instantiate(bounded, guests.recursion()).exports.deep
            if enough:
                assert deep(4000) == 4000
            else:
                with pytest.raises(pywasmrt.Trap) as caught:
                    deep(4000)
                assert caught.value.code is pywasmrt.TrapCode.STACK_OVERFLOW
            assert deep(100) == 100


def test_limits_are_given_to_the_instance_or_to_the_store(runtime: Runtime) -> None:
    module = runtime.compile(guests.memories(MemoryType(1)).encode())
    instance = runtime.instantiate(module, limits=Limits(memory_bytes=65536))
    assert instance.exports.grow0(1) == -1
    with pytest.raises(InvalidConfigurationError, match="new_store"):
        runtime.instantiate(module, store=runtime.new_store(), limits=Limits())
    for wrong in (Limits(memory_bytes=-1), Limits(instances=1 << 63), Limits(table_elements="1")):  # type: ignore[arg-type]
        with pytest.raises(InvalidConfigurationError, match="Limits"):
            runtime.new_store(wrong)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda store: store.memory(-1), ValueError),
        (lambda store: store.memory(2, 1), ValueError),
        (lambda store: store.memory(1 << 40), ValueError),
        (lambda store: store.memory("1"), TypeError),
        (lambda store: store.memory(1, 1.5), TypeError),
        (lambda store: store.table(-1), ValueError),
        (lambda store: store.table(2, 1), ValueError),
        (lambda store: store.table(1, element=I32), (TypeError, ValueError)),
        (lambda store: store.table(1, element="funcref"), (TypeError, ValueError)),
        (lambda store: store.table(1, init=5), TypeError),
        (lambda store: store.global_("i32", 1), TypeError),
        (lambda store: store.global_(I32, "1"), TypeError),
        (lambda store: store.global_(I32, 1 << 40), OverflowError),
        (lambda store: store.global_(ValueType.REF, None), (TypeError, pywasmrt.UnsupportedFeatureError)),
    ],
)
def test_a_store_refuses_what_it_cannot_make(runtime: Runtime, make: Callable[[Any], Any], error: Any) -> None:
    store = runtime.new_store()
    with pytest.raises(error):
        make(store)
    assert store.memory(1).size == 65536


def test_what_a_store_has_no_room_for_is_named(runtime: Runtime, needs: Needs) -> None:
    needs("host-memory", "host-table", "memory64")
    store = runtime.new_store(Limits(memory_bytes=1 << 16, table_elements=4))
    for make, message in (
        (lambda: store.memory(2, 3), "cannot make a memory 2 3: "),
        (lambda: store.memory(1 << 40, is_64=True), "cannot make a memory64 1099511627776: "),
        (lambda: store.table(5), "cannot make a table 5 funcref: "),
    ):
        with pytest.raises(ModuleInstantiateError) as caught:
            make()
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
