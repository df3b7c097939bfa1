"""Modules: sources, validation, imports and exports, and the protocols that every object keeps."""

from __future__ import annotations

import pathlib
import tempfile

from ... import protocols
from ...errors import ModuleCompileError
from ...types import ExternKind, FunctionType, GlobalType, MemoryType, RuntimeInfo, TableType, ValueType
from ...wasm.module import Module
from .. import guests
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("modules")

_I32 = ValueType.I32
_ADD = FunctionType((_I32, _I32), (_I32,))


@PART
def the_runtime_describes_itself(subject: Subject) -> None:
    runtime = subject.runtime
    require(isinstance(runtime, protocols.Runtime), "it lacks methods of protocols.Runtime")
    info = runtime.info
    require(isinstance(info, RuntimeInfo), f"info is {info!r}, no RuntimeInfo")
    require(isinstance(info.name, str) and info.name, "info.name is empty")
    require(info.available, "info.available is False for a runtime that is there")
    require(isinstance(info.features, frozenset), f"info.features is {info.features!r}, no frozenset")
    require(all(isinstance(name, str) for name in info.features), "info.features holds other things than names")


@PART
def every_object_keeps_its_protocol(subject: Subject) -> None:
    guest = guests.arithmetic()
    guest.memory(MemoryType(1), export="memory")
    guest.global_(GlobalType(_I32, True), ("i32.const", 1), export="global")
    guest.table(TableType(ValueType.FUNCREF, 1), export="table")
    runtime = subject.runtime
    module = runtime.compile(guest.encode())
    require(isinstance(module, protocols.CompiledModule), "a module lacks methods of protocols.CompiledModule")
    instance, context = runtime.instantiate_with_host(module)
    require(isinstance(context, protocols.Context), "a context lacks methods of protocols.Context")
    require(context.store is instance.store, "the context's store is not the instance's")
    require(isinstance(instance, protocols.ModuleInstance), "an instance lacks methods of protocols.ModuleInstance")
    require(isinstance(instance.store, protocols.Store), "a store lacks methods of protocols.Store")
    require(instance.module is module, "instance.module is another object than was instantiated")
    exports = instance.exports
    require(isinstance(exports, protocols.Exports), "exports lack methods of protocols.Exports")
    for name, found, protocol in (
        ("add", instance.function("add"), protocols.FunctionInstance),
        ("memory", instance.memory(), protocols.Memory),
        ("global", instance.global_("global"), protocols.Global),
        ("table", instance.table("table"), protocols.Table),
    ):
        require(isinstance(found, protocol), f"{name} lacks methods of protocols.{protocol.__name__}")
        require(type(exports[name]) is type(found), f"exports[{name!r}] is of another kind than the finder's")
        require(name in exports, f"{name!r} is not `in` the exports")
    listed = ["add", "sub", "add64", "add_f32", "add_f64", "nothing", "memory", "global", "table"]
    equal(list(exports), listed, "the order of the exports")
    equal(len(exports), len(listed), "len(exports)")
    for found in (instance.function("memory"), instance.memory("add"), instance.global_("x"), instance.table("add")):
        equal(found, None, "looking for what is not there")
    expect(KeyError, 'exports["missing"]', lambda: exports["missing"])
    expect(AttributeError, "exports.missing", lambda: exports.missing)


@PART
def imports_and_exports_are_listed_in_order(subject: Subject) -> None:
    guest = Module()
    guest.import_("env", "f", _ADD)
    guest.import_("other", "g", FunctionType((ValueType.F64,), ()), export="again")
    guest.memory(MemoryType(1, 2), export="memory")
    guest.global_(GlobalType(ValueType.I64), ("i64.const", 5), export="constant")
    guest.table(TableType(ValueType.FUNCREF, 3, 4), export="table")
    module = subject.runtime.compile(guest.encode())
    equal(
        [(each.module, each.name, each.kind, each.type) for each in module.imports],
        [
            ("env", "f", ExternKind.FUNCTION, _ADD),
            ("other", "g", ExternKind.FUNCTION, FunctionType((ValueType.F64,), ())),
        ],
        "the imports",
    )
    equal(
        [(each.name, each.kind, each.type) for each in module.exports],
        [
            ("again", ExternKind.FUNCTION, FunctionType((ValueType.F64,), ())),
            ("memory", ExternKind.MEMORY, MemoryType(1, 2)),
            ("constant", ExternKind.GLOBAL, GlobalType(ValueType.I64)),
            ("table", ExternKind.TABLE, TableType(ValueType.FUNCREF, 3, 4)),
        ],
        "the exports",
    )


@PART
def a_module_comes_from_bytes_and_from_a_file(subject: Subject) -> None:
    data = guests.arithmetic().encode()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "guest.wasm")
        path.write_bytes(data)
        for source in (data, bytearray(data), memoryview(data), path):
            subject.runtime.validate(source)
            instance = subject.runtime.instantiate(subject.runtime.compile(source))
            equal(instance.exports.add(1, 2), 3, f"add(1, 2), compiled from {type(source).__name__}")
    wrong: list[object] = [None, 5, ["x"]]
    for each in wrong:
        expect(TypeError, f"compile({each!r})", subject.runtime.compile, each)


@PART.needs("wat")
def a_module_comes_from_text(subject: Subject) -> None:
    instance = subject.runtime.instantiate(subject.runtime.compile(guests.arithmetic().wat()))
    equal(instance.exports.sub(5, 3), 2, "sub(5, 3), compiled from text")
    expect(ModuleCompileError, "text that is none", lambda: subject.runtime.compile("(module (func"))


@PART
def what_is_no_module_is_refused(subject: Subject) -> None:
    data = guests.arithmetic().encode()
    for what, wrong in (
        ("no bytes", b""),
        ("another format", b"\x7fELF" + bytes(20)),
        ("a module cut short", data[:-5]),
        ("another version", data[:4] + b"\x63\0\0\0" + data[8:]),
        ("an unknown section", data + b"\x63\x00"),
    ):
        expect(ModuleCompileError, f"compile of {what}", subject.runtime.compile, wrong)
        expect(ModuleCompileError, f"validate of {what}", subject.runtime.validate, wrong)


@PART
def invalid_modules_are_refused(subject: Subject) -> None:
    for body in ([("i64.const", 1)], [], [("local.get", 9)], [("call", 7)], [("i32.const", 1), ("i32.add",)]):
        guest = Module()
        guest.function(FunctionType((), (_I32,)), body, export="f")
        data = guest.encode()
        expect(ModuleCompileError, f"compile of the body {body}", subject.runtime.compile, data)
        expect(ModuleCompileError, f"validate of the body {body}", subject.runtime.validate, data)


@PART.needs("serialize")
def a_compiled_module_can_be_kept(subject: Subject) -> None:
    blob = subject.runtime.compile(guests.arithmetic().encode()).serialize()
    require(isinstance(blob, bytes), f"serialize gave {type(blob).__name__} instead of bytes")
    module = subject.runtime.deserialize(blob)
    equal(subject.runtime.instantiate(module).exports.add(20, 22), 42, "add(20, 22), of a module that was kept")
    damaged = blob[:-1] + bytes([blob[-1] ^ 1])
    expect(ModuleCompileError, "a damaged blob", lambda: subject.runtime.deserialize(damaged))
    expect(ModuleCompileError, "an empty blob", lambda: subject.runtime.deserialize(b""))


@PART
def the_start_function_runs_once(subject: Subject) -> None:
    instance = subject.instance(guests.starting())
    counter = instance.global_("runs")
    require(counter is not None, "the exported global 'runs' is not found")
    equal(counter and counter.value, 1, "the number of runs of the start function")
