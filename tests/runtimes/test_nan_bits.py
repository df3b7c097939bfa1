"""The bits of an f32 NaN, signaling ones included, between Python and guests: the feature "f32-nan-bits"."""

from __future__ import annotations

import asyncio
import struct
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import ValueType, f32, i32
from pywasmrt.testing import to_binary
from pywasmrt.testing.edge_values import F32_EDGES
from pywasmrt.wasm.floats import f32_bits, f32_from_bits

Needs = Callable[..., None]

WAT = """(module
  (import "env" "host" (func $host (param f32) (result f32)))
  (import "env" "hosts" (func $hosts (param i32 f32 f32) (result f32)))
  (memory (export "memory") 1)
  (global $g (export "g") (mut f32) (f32.const 0))
  (global (export "constant") f32 (f32.const nan:0x1))
  (func (export "fixed") (result f32) (f32.const nan:0x1))
  (func (export "of_bits") (param i32) (result f32) (f32.reinterpret_i32 (local.get 0)))
  (func (export "bits") (param f32) (result i32) (i32.reinterpret_f32 (local.get 0)))
  (func (export "wide") (param f64) (result i64) (i64.reinterpret_f64 (local.get 0)))
  (func (export "same") (param f32) (result f32) (local.get 0))
  (func (export "host") (param f32) (result f32) (call $host (local.get 0)))
  (func (export "hosts") (param f32) (result f32) (call $hosts (i32.const 1) (local.get 0) (f32.const 1)))
  (func (export "global") (param f32) (result f32) (global.set $g (local.get 0)) (global.get $g))
  (func (export "memory_") (param f32) (result f32)
    (f32.store (i32.const 8) (local.get 0)) (f32.load (i32.const 8)))
  (func (export "select") (param f32) (result f32)
    (select (select (f32.const 1) (local.get 0) (i32.const 0)) (f32.const 2) (i32.const 1)))
  (func (export "block") (param f32) (result f32)
    (block (result f32) (br_if 0 (f32.load (i32.const 16)) (i32.const 0)) (drop)
      (block (result f32) (local.get 0))))
  (func (export "reinterpreted") (param f32) (result f32)
    (f32.reinterpret_i32 (i32.reinterpret_f32 (f32.reinterpret_i32 (i32.reinterpret_f32 (local.get 0))))))
  (func (export "signs") (param f32) (result f32)
    (f32.neg (f32.neg (f32.copysign (f32.abs (local.get 0)) (local.get 0))))))
"""
WAYS = ("same", "host", "hosts", "global", "memory_", "select", "block", "reinterpreted", "signs")

nans = st.builds(int.__or__, st.integers(1, 0x7F_FFFF), st.sampled_from([0x7F80_0000, 0xFF80_0000]))
bit_patterns = st.sampled_from([*F32_EDGES, *(0x8000_0000 | each for each in F32_EDGES)]) | nans


def instance(runtime: pywasmrt.Runtime) -> pywasmrt.ModuleInstance:
    def host(x: f32) -> f32:
        return x

    def hosts(n: i32, x: f32, y: f32) -> f32:
        return x

    return runtime.instantiate(runtime.compile(to_binary(WAT)), {"env": {"host": host, "hosts": hosts}})


@given(bits=bit_patterns)
def test_the_two_conversions_are_each_others_inverse(bits: int) -> None:
    value = f32_from_bits(bits)
    assert f32_bits(value) == bits
    if value == value:
        assert struct.pack("<f", value) == bits.to_bytes(4, "little")


@given(bits=st.integers(1, 0xF_FFFF_FFFF_FFFF), sign=st.booleans())
def test_an_f64_nan_never_becomes_an_infinity(bits: int, sign: bool) -> None:
    wide = bits | 0x7FF0_0000_0000_0000 | sign << 63
    value = struct.unpack("<d", wide.to_bytes(8, "little"))[0]
    small = f32_bits(value)
    assert small & 0x7FFF_FFFF > 0x7F80_0000
    assert small >> 31 == sign
    assert small & 0x7F_FFFF in (bits >> 29, 0x40_0000)


@given(bits=bit_patterns)
def test_bits_survive_every_way_through_a_guest(runtime: pywasmrt.Runtime, needs: Needs, bits: int) -> None:
    needs("f32-nan-bits")
    guest = instance(runtime)
    value = f32_from_bits(bits)
    assert guest.exports.bits(value) & 0xFFFF_FFFF == bits
    assert f32_bits(guest.exports.of_bits(bits)) == bits
    for name in WAYS:
        assert f32_bits(guest.exports[name](value)) == bits, name
        assert guest.exports[name].call(bits) == [bits], name
        assert f32_bits(asyncio.run(guest.exports[name].call_async(value))) == bits, name
    assert f32_bits(guest.exports.fixed()) == 0x7F80_0001


@given(bits=bit_patterns)
def test_bits_survive_in_globals(runtime: pywasmrt.Runtime, needs: Needs, bits: int) -> None:
    needs("f32-nan-bits")
    guest = instance(runtime)
    held = guest.global_("g")
    assert held is not None
    held.value = f32_from_bits(bits)
    assert f32_bits(held.value) == bits
    constant = guest.global_("constant")
    assert constant is not None
    assert f32_bits(constant.value) == 0x7F80_0001


@given(bits=bit_patterns)
def test_bits_survive_in_globals_of_the_host(runtime: pywasmrt.Runtime, needs: Needs, bits: int) -> None:
    needs("f32-nan-bits", "import-global")
    store = runtime.new_store()
    made = store.global_(ValueType.F32, f32_from_bits(bits), mutable=False)
    assert f32_bits(made.value) == bits
    wat = '(module (global $g (import "env" "g") f32) (func (export "get") (result f32) (global.get $g)))'
    guest = runtime.instantiate(runtime.compile(to_binary(wat)), {"env": {"g": made}}, store=store)
    assert f32_bits(guest.exports.get()) == bits


@given(bits=st.lists(bit_patterns, min_size=1, max_size=5))
def test_bits_survive_in_columns(runtime: pywasmrt.Runtime, needs: Needs, bits: list[int]) -> None:
    needs("f32-nan-bits")
    function = instance(runtime).exports.same
    values = [f32_from_bits(each) for each in bits]

    def seen(result: Any) -> list[int]:
        return array("I", memoryview(result).tobytes()).tolist()

    assert seen(function.map(memoryview(array("I", bits)).cast("B").cast("f"))) == bits
    assert seen(function.map(array("d", values))) == bits
    out = array("f", bytes(4 * len(bits)))
    function.map(values[0], out=out)
    assert seen(out) == bits[:1] * len(bits)


@given(bits=bit_patterns)
def test_a_column_of_singles_keeps_its_bits_where_it_is_widened(
    runtime: pywasmrt.Runtime, needs: Needs, bits: int
) -> None:
    needs("f32-nan-bits")
    column = memoryview(array("I", [bits])).cast("B").cast("f")
    [wide] = memoryview(instance(runtime).exports.wide.map(column)).tolist()
    assert wide.to_bytes(8, "little", signed=True) == struct.pack("<d", f32_from_bits(bits))


@given(bits=bit_patterns)
def test_bits_survive_beside_references(runtime: pywasmrt.Runtime, needs: Needs, bits: int) -> None:
    needs("f32-nan-bits", "reference-types", "multi-value")
    wat = """(module
      (import "env" "host" (func $host (param externref f32) (result f32 externref)))
      (func (export "f") (param externref f32) (result f32 externref) (call $host (local.get 0) (local.get 1))))"""
    guest = runtime.instantiate(runtime.compile(to_binary(wat)), {"env": {"host": lambda ref, x: (x, ref)}})
    thing = object()
    value, same = guest.exports.f(thing, f32_from_bits(bits))
    assert f32_bits(value) == bits
    assert same is thing


@given(bits=bit_patterns)
def test_bits_survive_where_a_coroutine_serves_the_guest(runtime: pywasmrt.Runtime, needs: Needs, bits: int) -> None:
    needs("f32-nan-bits")
    wat = """(module (import "env" "host" (func $host (param f32) (result f32)))
      (func (export "f") (param f32) (result f32) (call $host (local.get 0))))"""

    async def host(x: f32) -> f32:
        await asyncio.sleep(0)
        return x

    async def main() -> float:
        guest = await runtime.instantiate_async(runtime.compile(to_binary(wat)), {"env": {"host": host}})
        return await guest.exports.f.call_async(f32_from_bits(bits))  # type: ignore[no-any-return]

    assert f32_bits(asyncio.run(main())) == bits


def test_a_runtime_without_the_promise_keeps_a_nan_a_nan(runtime: pywasmrt.Runtime) -> None:
    if "f32-nan-bits" in runtime.info.features:
        pytest.skip("this runtime keeps the bits as well")
    guest = instance(runtime)
    for bits in F32_EDGES:
        value = f32_from_bits(bits)
        assert (guest.exports.same(value) != guest.exports.same(value)) == (value != value)
