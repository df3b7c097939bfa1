"""Reading a module's interface without an engine: everything that the binary format allows, and nothing that it does
not.
"""

from __future__ import annotations

import contextlib

import pytest

from pywasmrt import (
    ExportType,
    ExternKind,
    FunctionType,
    GlobalType,
    ImportType,
    MemoryType,
    ModuleCompileError,
    TableType,
    ValueType,
)
from pywasmrt.wasm.reading import interface_only, read_interface

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

I32, I64, F32, F64, V128 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64, ValueType.V128
FUNCREF, EXTERNREF, REF = ValueType.FUNCREF, ValueType.EXTERNREF, ValueType.REF

HEADER = b"\0asm\1\0\0\0"


def wat(text: str) -> bytes:
    return bytes(pytest.importorskip("wasmtime").wat2wasm(text))


def section(id: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([id, len(content)]) + content


EVERYTHING = """(module
  (type $plain (func (param i32) (result i64)))
  (rec (type $a (sub (func (param (ref null $b))))) (type $b (struct (field (mut i8)) (field i16 (ref $a)))))
  (type $array (sub final (array (mut f64))))
  (type $sub (sub $a (func (param (ref null $b)))))
  (import "m" "f" (func $f (type $plain)))
  (import "m" "\\c3\\a9 name" (func (param i32 i64 f32 f64 v128 funcref externref) (result v128 f32)))
  (import "m" "t" (table 1 2 externref))
  (import "m" "mem" (memory 1))
  (import "m" "shared" (memory 1 2 shared))
  (import "m" "g" (global (mut i32)))
  (import "" "" (tag (param f32)))
  (table $t1 3 funcref)
  (table $t2 i64 1 9 (ref null func) (ref.null func))
  (table $t3 1 (ref func) (ref.func $f))
  (memory $m64 i64 1 70000)
  (memory $tiny 5 (pagesize 1))
  (global $g1 i32 (i32.add (i32.const 1000000) (i32.mul (i32.const -1) (global.get $imm))))
  (import "m" "imm" (global $imm i32))
  (global $g2 (mut f64) (f64.const 1))
  (global $g3 f32 (f32.const 1))
  (global $g4 v128 (v128.const i32x4 1 2 3 4))
  (global $g5 (ref null $array) (array.new_fixed $array 2 (f64.const 1) (f64.const 2)))
  (global $g6 anyref (ref.i31 (i32.const 1)))
  (global $g7 externref (extern.convert_any (ref.null any)))
  (global $g8 (ref $b) (struct.new $b (i32.const 1) (i32.const 2) (ref.func $s)))
  (global $g9 i64 (i64.sub (i64.const -9223372036854775808) (i64.const 1)))
  (tag $tag (param i64))
  (func $s (type $a))
  (func $h (type $sub))
  (func $i (type $plain) i64.const 1)
  (export "f" (func $f)) (export "s" (func $s)) (export "i" (func $i)) (export "f again" (func $f)) (export "h" (func
  $h)) (export "t1" (table $t1)) (export "t2" (table $t2)) (export "t3" (table $t3)) (export "t0" (table 0))
  (export "m64" (memory $m64)) (export "tiny" (memory $tiny)) (export "shared" (memory 1))
  (export "g0" (global 0)) (export "g1" (global $g1)) (export "g2" (global $g2)) (export "g4" (global $g4))
  (export "g5" (global $g5)) (export "g7" (global $g7)) (export "g8" (global $g8)) (export "g9" (global $g9))
  (export "tag" (tag $tag)) (export "" (tag 0))
  (elem declare func $s $f)
)"""


def test_reads_every_kind_of_type() -> None:
    text = EVERYTHING.replace('(import "m" "imm" (global $imm i32))', "").replace(
        '(import "m" "g" (global (mut i32)))', '(import "m" "g" (global (mut i32)))(import "m" "imm" (global $imm i32))'
    )
    interface = read_interface(wat(text))
    plain, odd = FunctionType((I32,), (I64,)), FunctionType((REF,))
    function, table, memory = ExternKind.FUNCTION, ExternKind.TABLE, ExternKind.MEMORY
    global_, tag = ExternKind.GLOBAL, ExternKind.TAG
    assert interface.imports == (
        ImportType("m", "f", function, plain),
        ImportType("m", "é name", function, FunctionType((I32, I64, F32, F64, V128, FUNCREF, EXTERNREF), (V128, F32))),
        ImportType("m", "t", table, TableType(EXTERNREF, 1, 2)),
        ImportType("m", "mem", memory, MemoryType(1)),
        ImportType("m", "shared", memory, MemoryType(1, 2, shared=True)),
        ImportType("m", "g", global_, GlobalType(I32, True)),
        ImportType("m", "imm", global_, GlobalType(I32)),
        ImportType("", "", tag, FunctionType((F32,))),
    )
    assert interface.exports == (
        ExportType("f", function, plain),
        ExportType("s", function, odd),
        ExportType("i", function, plain),
        ExportType("f again", function, plain),
        ExportType("h", function, odd),
        ExportType("t1", table, TableType(FUNCREF, 3)),
        ExportType("t2", table, TableType(FUNCREF, 1, 9, is_64=True)),
        ExportType("t3", table, TableType(REF, 1)),
        ExportType("t0", table, TableType(EXTERNREF, 1, 2)),
        ExportType("m64", memory, MemoryType(1, 70000, is_64=True)),
        ExportType("tiny", memory, MemoryType(5, page_size=1)),
        ExportType("shared", memory, MemoryType(1, 2, shared=True)),
        ExportType("g0", global_, GlobalType(I32, True)),
        ExportType("g1", global_, GlobalType(I32)),
        ExportType("g2", global_, GlobalType(F64, True)),
        ExportType("g4", global_, GlobalType(V128)),
        ExportType("g5", global_, GlobalType(REF)),
        ExportType("g7", global_, GlobalType(EXTERNREF)),
        ExportType("g8", global_, GlobalType(REF)),
        ExportType("g9", global_, GlobalType(I64)),
        ExportType("tag", tag, FunctionType((I64,))),
        ExportType("", tag, FunctionType((F32,))),
    )
    assert set(interface.function_types) >= {plain, odd}


def test_an_empty_module_has_no_interface() -> None:
    assert read_interface(HEADER) == ((), (), (), False, 0, False)


def test_interface_only_keeps_the_interface_and_drops_the_code() -> None:
    data = wat(
        '(module (import "a" "b" (func)) (memory (export "m") 1) (global (export "g") i32 i32.const 300)'
        f'(func (export "f") nop nop nop) (data (i32.const 0) "{"x" * 1000}") (func $start) (start $start))'
    )
    small = interface_only(data)
    assert len(small) < 100
    assert read_interface(small) == read_interface(data)
    assert interface_only(small) == small


def test_long_forms_of_numbers_are_read() -> None:
    # type count, parameter count, section size and function index as padded LEB128
    types = section(1, b"\x81\x80\x00" + b"\x60\x82\x00\x7f\x7e\x81\x00\x7d")
    functions = section(3, b"\x81\x00\x80\x00")
    exports = section(7, b"\x01\x81\x00f\x00\x80\x80\x00")
    padded = b"\x03" + b"\x84\x00" + functions[2:]
    interface = read_interface(HEADER + types + padded + exports)
    assert interface.exports == (ExportType("f", ExternKind.FUNCTION, FunctionType((I32, I64), (F32,))),)


def test_many_functions_are_read_as_far_as_needed() -> None:
    functions = "".join(f'(func (export "f{n}") (type {n % 2}))' for n in range(300))
    interface = read_interface(wat(f"(module (type (func)) (type (func (param i32))) {functions})"))
    assert [export.type for export in interface.exports[:2]] == [FunctionType(), FunctionType((I32,))]
    assert interface.exports[299] == ExportType("f299", ExternKind.FUNCTION, FunctionType((I32,)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a WebAssembly module"),
        (b"\0asm\2\0\0\0", "not a WebAssembly module of version 1"),
        (b"\0asm\x0d\0\1\0", "not a WebAssembly module of version 1"),  # a component
        (HEADER + b"\1\5\0", "reaches beyond the end"),
        (HEADER + b"\1", "ends too early"),
        (HEADER + b"\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "is too long"),
        (HEADER + section(1, b"\1\x55"), "unknown type form 0x55"),
        (HEADER + section(1, b"\1\x60\1\x42\0"), "unknown value type 0x42"),
        (HEADER + section(1, b"\2\x60\0\0"), "ends too early|does not end where it says"),
        (HEADER + section(1, b"\1\x60\0\0\0"), "section 1 does not end where it says"),
        (HEADER + section(1, b"\0") + section(1, b"\0"), "section 1 occurs twice"),
        (HEADER + section(2, b"\1\0\0\0\5"), "type 5 is not a function type"),
        (HEADER + section(1, b"\1\x5f\0") + section(2, b"\1\0\0\0\0"), "type 0 is not a function type"),
        (HEADER + section(2, b"\1\0\0\7"), "unknown import kind 7"),
        (HEADER + section(2, b"\1\x02\xff\xfe\0\0\0"), "a name is not UTF-8"),
        (HEADER + section(2, b"\1\x7f"), "ends too early"),
        (HEADER + section(2, b"\1\0\0\2\x10\1"), "unknown memory flags 0x10"),
        (HEADER + section(2, b"\1\0\0\2\x08\1\x41"), "page size"),
        (HEADER + section(2, b"\1\0\0\1\x70\x08\1"), "unknown table flags 0x08"),
        (HEADER + section(2, b"\1\0\0\3\x7f\2"), "unknown mutability"),
        (HEADER + section(7, b"\1\0\0\0"), "export '' names function 0, which is not there"),
        (HEADER + section(7, b"\1\0\5\0"), "unknown export kind 5"),
        (
            HEADER + section(6, b"\2\x7f\0\x20\0\x0b\x7f\0\x41\0\x0b") + section(7, b"\1\0\3\1"),
            "no constant expression",
        ),
        (
            HEADER + section(6, b"\2\x6e\0\xfb\x63\x0b\x7f\0\x41\0\x0b") + section(7, b"\1\0\3\1"),
            "no constant expression",
        ),
    ],
)
def test_what_is_malformed_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ModuleCompileError, match=message):
        read_interface(content)


def test_interface_only_refuses_what_is_cut_off() -> None:
    with pytest.raises(ModuleCompileError, match="ends too early"):
        interface_only(HEADER + b"\1")


def test_every_truncation_is_refused_or_a_shorter_module() -> None:
    data = wat(
        EVERYTHING.replace('(import "m" "imm" (global $imm i32))', "").replace("(global.get $imm)", "(i32.const 1)")
    )
    for end in range(len(data)):
        with contextlib.suppress(ModuleCompileError):
            read_interface(data[:end])


@hypothesis.given(st.binary(max_size=60))
def test_random_bytes_are_never_a_crash(content: bytes) -> None:
    with contextlib.suppress(ModuleCompileError):
        read_interface(HEADER + content)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=200)
def test_mutated_modules_are_never_a_crash(data: st.DataObject) -> None:
    module = bytearray(
        wat(
            '(module (import "a" "b" (global i32)) (table (export "t") 1 funcref) (memory (export "m") 1 2)'
            '(global (export "g") i64 i64.const 1) (func (export "f") (param i32 i64) (result f32) f32.const 0))'
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        module[data.draw(st.integers(8, len(module) - 1))] = data.draw(st.integers(0, 255))
    try:
        interface = read_interface(bytes(module))
    except ModuleCompileError:
        return
    assert read_interface(interface_only(bytes(module))) == interface
