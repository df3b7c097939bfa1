"""Compiled modules: where they come from, what they tell, how they are serialised."""

from __future__ import annotations

import array
from pathlib import Path

import pytest
from helpers.instances import BINARY, EXTERNREF, F32, F64, FUNCREF, I32, I64, NOTHING, Needs, everything

import pywasmrt
from pywasmrt import (
    ExportType,
    ExternKind,
    FunctionType,
    GlobalType,
    ImportType,
    MemoryType,
    ModuleCompileError,
    Runtime,
    TableType,
)
from pywasmrt.testing import Module, guests


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
    with pytest.raises(ModuleCompileError, match=r"unexpected end|unexpected-eof|unexpected EOF|end-of-file"):
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
