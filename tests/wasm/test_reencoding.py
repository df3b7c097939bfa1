"""The same module in another encoding: engines give the same answers, and read every number however it is written."""

from __future__ import annotations

import pytest
from helpers.texts import wat
from hypothesis import given, settings
from hypothesis import strategies as st

from pywasmrt import ModuleCompileError, Runtime, RuntimeConfig, new_runtime
from pywasmrt.testing import common_features, differential, strategies
from pywasmrt.wasm.primitives import name, section, uleb, vector
from pywasmrt.wasm.reading import HEADER
from pywasmrt.wasm.reencoding import reencoded

EVERYTHING = """(module
  (type $pair (func (param i32 i32) (result i32 i32)))
  (type $shape (struct (field i8) (field (mut (ref null $shape)))))
  (type $list (array (mut i64)))
  (rec (type (sub (struct))) (type (func (result i64))))
  (import "env" "log" (func (param i32)))
  (import "env" "base" (global i32))
  (table 2 20 funcref) (table 1 externref) (table 1 (ref null 0) (ref.null 0))
  (memory (export "memory") 1 5) (memory i64 1)
  (tag (param i32))
  (global (mut i64) (i64.const -9223372036854775808))
  (export "run" (func $run)) (start $begin)
  (elem (i32.const 0) $run $begin) (elem funcref (ref.func $run) (ref.null func)) (elem declare func $run)
  (elem (table 0) (i32.const 0) func $run)
  (data (i32.const 3) "abc") (data "passive") (data (memory 1) (i64.const 0) "x")
  (func $begin)
  (func $run (param i32) (result i32) (local i64 f64 v128)
    (block (param) (result i32) (i32.const -65)) drop
    (i32.const 3) (i32.const 4) (block (type $pair)) drop drop
    (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 0))
    (i64.store 1 offset=0x1ffffffff (i64.const 0) (i64.const -64))
    (block (block (block (br_table 0 1 2 (local.get 0)))))
    (block $h (result i32) (block $n (try_table (catch 0 $h) (catch_all $n))) (i32.const 1)) drop
    (ref.null func) drop (ref.null $shape) drop
    (select (result i32) (i32.const 1) (i32.const 2) (i32.const 0)) drop
    (v128.const i64x2 1 2) (i8x16.extract_lane_s 3) drop
    (f32.const 1) drop (f64.const 1) drop
    (memory.size) (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0)) drop))
"""


def test_every_part_of_a_module_can_be_written_anew() -> None:
    binary = wat(EVERYTHING)
    shortest = reencoded(binary, lambda room: 0)
    longest = reencoded(binary, lambda room: room)
    assert len(longest) > len(binary) * 2
    assert reencoded(longest, lambda room: 0) == shortest
    assert reencoded(shortest, lambda room: room) == longest
    with new_runtime("wasmtime", RuntimeConfig(features=new_runtime("wasmtime").info.features)) as runtime:
        first, second = runtime.compile(binary), runtime.compile(longest)
        assert (first.imports, first.exports) == (second.imports, second.exports)


def test_a_module_cut_short_is_told() -> None:
    binary = wat(EVERYTHING)
    for end in range(len(binary)):
        try:
            reencoded(binary[:end], lambda room: room)
        except ModuleCompileError:
            continue


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_engines_agree_on_any_encoding(data: st.DataObject) -> None:
    module = data.draw(strategies.modules(common_features()))
    encoded = data.draw(strategies.reencoded(module))
    differential([module.encode(), encoded], calls=1)


INDEXES = """(module
  (type $one (func (result i32)))
  (table 2 funcref) (elem (i32.const 0) $size $grow)
  (memory 1 4)
  (func $size (result i32) (memory.size))
  (func $grow (result i32) (memory.grow (i32.const 1)))
  (func (export "call") (param i32) (result i32) (call_indirect (type $one) (local.get 0)))
  (func (export "size") (result i32) (call $size))
  (func (export "move") (result i32)
    (memory.fill (i32.const 0) (i32.const 7) (i32.const 8))
    (memory.copy (i32.const 16) (i32.const 0) (i32.const 8))
    (i32.trunc_sat_f64_s (f64.convert_i32_s (i32.load offset=16 (i32.const 0))))))
"""


def test_indexes_that_were_once_reserved_may_be_long(runtime: Runtime) -> None:
    """As linkers write them: of a table, of memories, and the opcode after a prefix."""
    binary = wat(INDEXES)
    for extra in range(5):
        longer = reencoded(binary, lambda room, extra=extra: min(room, extra))
        exports = runtime.instantiate(runtime.compile(longer)).exports
        assert exports.move() == 0x07070707
        assert (exports.call(0), exports.call(1), exports.size()) == (1, 1, 2)


def test_an_empty_section_of_memories_may_be_written_long(runtime: Runtime) -> None:
    binary = b"\0asm\1\0\0\0" + b"\x05\x83\x80\x00\x80\x80\x00"
    assert runtime.compile(binary).exports == ()


@pytest.mark.parametrize("reached", [True, False], ids=["reached", "not reached"])
def test_an_access_may_name_its_only_memory(runtime: Runtime, reached: bool) -> None:
    """Where several memories are allowed, bit 6 of the alignment says that an index follows."""
    load = b"\x41\x00\x2d\x40\x00\x08"  # i32.const 0, i32.load8_u of memory 0 with the offset 8
    code = b"\x00" + (load if reached else b"\x41\xf8\x00\x0f" + load) + b"\x0b"
    parts = [
        section(1, vector([b"\x60\x00\x01\x7f"])),
        section(3, vector([b"\x00"])),
        section(5, vector([b"\x00\x01"])),
        section(7, vector([name("f") + b"\x00\x00"])),
        section(10, vector([uleb(len(code)) + code])),
        section(11, vector([b"\x00\x41\x08\x0b" + name("x")])),
    ]
    assert runtime.instantiate(runtime.compile(HEADER + b"".join(parts))).exports.f() == ord("x")
