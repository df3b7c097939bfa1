"""The value rules and their messages."""

from __future__ import annotations

import enum
import math
import re
import struct
from typing import Any

import pytest

from pywasmrt import FunctionType, MemoryAccessError, ValueType
from pywasmrt.values import (
    bytes_of,
    checked_delta,
    checked_index,
    checked_size,
    did_you_mean,
    from_slots,
    memory_access_error,
    raise_argument_error,
    raise_result_error,
    results_from_host,
    shown,
    slot_count,
    to_slots,
    to_wasm,
)

hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, hypothesis.strategies

I32, I64, F32, F64, V128 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64, ValueType.V128
FUNCREF, EXTERNREF, REF = ValueType.FUNCREF, ValueType.EXTERNREF, ValueType.REF
BITS = {I32: 32, I64: 64}


@given(st.sampled_from([I32, I64]), st.data())
def test_integers_come_out_signed(type: ValueType, data: st.DataObject) -> None:
    bits = BITS[type]
    value = data.draw(st.integers(-(1 << bits - 1), (1 << bits) - 1))
    result = to_wasm(value, type, "it")
    assert -(1 << bits - 1) <= result < 1 << bits - 1
    assert (result - value) % (1 << bits) == 0


@given(st.sampled_from([I32, I64]), st.data())
def test_integers_out_of_range_are_refused(type: ValueType, data: st.DataObject) -> None:
    bits = BITS[type]
    value = data.draw(st.integers(min_value=1 << bits) | st.integers(max_value=-(1 << bits - 1) - 1))
    with pytest.raises(OverflowError, match=f"^it: .* is out of range for {type} "):
        to_wasm(value, type, "it")


def test_the_message_of_a_huge_int_is_short() -> None:
    with pytest.raises(OverflowError, match=r"^it: an int of 10001 bits is out of range for i32 "):
        to_wasm(1 << 10000, I32, "it")
    with pytest.raises(OverflowError, match=r"^it: an int of 10001 bits is too large for f64$"):
        to_wasm(1 << 10000, F64, "it")


def test_subclasses_of_int_become_plain_ints() -> None:
    colour = enum.IntEnum("Colour", {"RED": 3})
    for value, wanted in ((True, 1), (colour.RED, 3)):
        assert type(to_wasm(value, I32, "")) is int
        assert to_wasm(value, I64, "") == wanted
        assert to_wasm(value, F64, "") == float(wanted)


@given(st.floats())
def test_f64_keeps_every_bit(value: float) -> None:
    assert struct.pack("<d", to_wasm(value, F64, "it")) == struct.pack("<d", value)


@given(st.floats(allow_nan=False))
def test_f32_rounds_as_demotion_does(value: float) -> None:
    result = to_wasm(value, F32, "it")
    try:
        wanted = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        wanted = math.copysign(math.inf, value)
    assert struct.pack("<d", result) == struct.pack("<d", wanted)


def test_f32_takes_nan_and_ints() -> None:
    assert math.isnan(to_wasm(math.nan, F32, "it"))
    assert to_wasm(16777217, F32, "it") == 16777216.0
    assert to_wasm(10**300, F32, "it") == math.inf


def test_v128_is_sixteen_bytes() -> None:
    for value in (bytes(range(16)), bytearray(range(16)), memoryview(bytes(range(16)))):
        result = to_wasm(value, V128, "it")
        assert type(result) is bytes
        assert result == bytes(range(16))
    with pytest.raises(TypeError, match=r"^it: v128 takes 16 bytes, not 15$"):
        to_wasm(bytes(15), V128, "it")


@pytest.mark.parametrize(
    ("type", "value", "message"),
    [
        (I32, 1.0, "it: i32 takes an int, not 1.0 (float)"),
        (I64, "1", "it: i64 takes an int, not '1' (str)"),
        (I32, None, "it: i32 takes an int, not None"),
        (F32, "1", "it: f32 takes a float or an int, not '1' (str)"),
        (F64, 1j, "it: f64 takes a float or an int, not 1j (complex)"),
        (V128, "x" * 16, "it: v128 takes 16 bytes, not 'xxxxxxxxxxxxxxxx' (str)"),
        (
            FUNCREF,
            len,
            "it: funcref takes a FunctionInstance or None, not <built-in function len> (builtin_function_or_method)",
        ),
        (ValueType.STRUCTREF, 5, "it: structref takes a Reference to a struct or None, not 5 (int)"),
        (
            ValueType.EQREF,
            "x",
            "it: eqref takes a Reference to a struct or an array, an int or None, not 'x' (str)",
        ),
        (ValueType.I31REF, 0.5, "it: i31ref takes an int or None, not 0.5 (float)"),
        (ValueType.EXNREF, 5, "it: exnref takes None, not 5 (int)"),
    ],
)
def test_other_types_are_refused(type: ValueType, value: object, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        to_wasm(value, type, "it")


def test_references_pass() -> None:
    thing = object()
    assert to_wasm(thing, EXTERNREF, "it") is thing
    assert to_wasm(None, EXTERNREF, "it") is None
    assert to_wasm(None, FUNCREF, "it") is None


TWO = FunctionType((I32, I32), (I32,))


@pytest.mark.parametrize(
    ("type", "args", "message"),
    [
        (TWO, (1, 2, 3), "add() takes 2 arguments (i32, i32), 3 given"),
        (FunctionType((F64,)), (), "add() takes 1 argument (f64), 0 given"),
        (FunctionType(), (1,), "add() takes no arguments, 1 given"),
        (TWO, (1, "x"), "argument 2 of add(): i32 takes an int, not 'x' (str)"),
        (TWO, (1 << 32, "x"), "argument 1 of add(): 4294967296 is out of range for i32 (-2147483648 to 4294967295)"),
    ],
)
def test_the_first_wrong_argument_is_named(type: FunctionType, args: tuple[object, ...], message: str) -> None:
    with pytest.raises((TypeError, OverflowError), match=f"^{re.escape(message)}$"):
        raise_argument_error("add", type, args)


@pytest.mark.parametrize(
    ("results", "value", "message"),
    [
        ((I32,), "x", "host function env.log returned 'x' (str) where i32 is wanted"),
        ((I32,), None, "host function env.log returned None where i32 is wanted"),
        ((), 5, "host function env.log returned 5 (int) where None is wanted: it has no results"),
        ((I32, F64), 5, "host function env.log returned 5 (int) where a tuple of 2 (i32, f64) is wanted"),
        ((I32, F64), (5,), "host function env.log returned 1 values where a tuple of 2 (i32, f64) is wanted"),
        ((I32, F64), (5, "x"), "host function env.log returned 'x' (str) as result 2 where f64 is wanted"),
        (
            (I32,),
            1 << 32,
            (
                "host function env.log returned a wrong value: 4294967296 is out of range for i32 (-2147483648 to"
                " 4294967295)"
            ),
        ),
    ],
)
def test_wrong_results_name_the_host_function(results: tuple[ValueType, ...], value: object, message: str) -> None:
    with pytest.raises((TypeError, OverflowError), match=f"^{re.escape(message)}$"):
        raise_result_error("env.log", FunctionType((), results), value)


@pytest.mark.parametrize("results", [(), (I32,), (I32, I64)])
def test_a_coroutine_is_told_for_what_it_is(results: tuple[ValueType, ...]) -> None:
    async def wait() -> int:
        return 1

    coroutine = wait()
    with pytest.raises(
        TypeError, match=r"where .* wanted.*; a host function cannot be async, as its guest waits for it$"
    ):
        results_from_host("env.wait", results, coroutine)
    coroutine.close()


def test_the_raising_functions_always_raise() -> None:
    with pytest.raises(RuntimeError, match="conversion disagreed: the arguments of add"):
        raise_argument_error("add", TWO, (1, 2))
    with pytest.raises(RuntimeError, match=r"conversion disagreed: what host function env\.f returned"):
        raise_result_error("env.f", TWO, 1)


def test_results_are_normalised() -> None:
    assert results_from_host("f", (), None) == ()
    assert results_from_host("f", (I32,), 0xFFFFFFFF) == (-1,)
    assert results_from_host("f", (I32, F64), [True, 2]) == (1, 2.0)


NUMBERS = [I32, I64, F32, F64, V128]


def slots_for(type: ValueType) -> st.SearchStrategy[list[int]]:
    bits = st.integers(0, (1 << (32 if type in (I32, F32) else 64)) - 1)
    if type is F32:  # a signalling NaN becomes quiet on its way through a Python float
        bits = bits.filter(
            lambda slot: not (slot & 0x7F800000 == 0x7F800000 and slot & 0x7FFFFF and not slot & 0x400000)
        )
    return st.lists(bits, min_size=slot_count([type]), max_size=slot_count([type]))


@given(st.lists(st.sampled_from(NUMBERS), max_size=6), st.data())
def test_slots_survive_the_round_trip(types: list[ValueType], data: st.DataObject) -> None:
    slots = [slot for type in types for slot in data.draw(slots_for(type))]
    values = from_slots("f", FunctionType(tuple(types)), slots)
    assert len(values) == len(types)
    assert to_slots(types, values) == slots


@pytest.mark.parametrize(
    ("params", "slots", "error", "message"),
    [
        ((I32,), (), TypeError, "f.call() takes 1 slot for 1 argument (i32), 0 given"),
        ((V128, I32), (1, 2), TypeError, "f.call() takes 3 slots for 2 arguments (v128, i32), 2 given"),
        ((I32,), (1.0,), TypeError, "slot 1 of f.call() holds the bits of i32 as an int, not 1.0 (float)"),
        ((I32,), (-1,), OverflowError, "slot 1 of f.call() is -1, beyond the 32 unsigned bits of i32"),
        (
            (I64,),
            (1 << 20000,),
            OverflowError,
            "slot 1 of f.call() is an int of 20001 bits, beyond the 64 unsigned bits of i64",
        ),
        (
            (I64, F32),
            (0, 1 << 32),
            OverflowError,
            "slot 2 of f.call() is 4294967296, beyond the 32 unsigned bits of f32",
        ),
        (
            (V128,),
            (0, 1 << 64),
            OverflowError,
            "slot 2 of f.call() is 18446744073709551616, beyond the 64 unsigned bits of v128",
        ),
        ((FUNCREF,), (0,), TypeError, "f.call() cannot pass a funcref: raw slots hold numbers only; call f() instead"),
    ],
)
def test_wrong_slots_are_refused(
    params: tuple[ValueType, ...], slots: tuple[object, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        from_slots("f", FunctionType(params), slots)


def test_references_have_no_slots() -> None:
    with pytest.raises(TypeError, match="cannot pass a externref"):
        from_slots("f", FunctionType((), (EXTERNREF,)), ())
    with pytest.raises(TypeError, match="a funcref has no raw slot"):
        to_slots((FUNCREF,), (None,))


def test_shown_never_fails_and_is_short() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(Odd()) == "<Odd object> (Odd)"
    assert shown(None) == "None"
    assert len(shown("x" * 1000)) < 80


def test_the_nearest_name_is_suggested() -> None:
    assert did_you_mean("fd_wriet", ["fd_read", "fd_write"]) == "; did you mean 'fd_write'?"
    assert did_you_mean("x", ["completely different"]) == ""


def test_memory_messages() -> None:
    error = memory_access_error("read", 65530, 10, 65536)
    assert str(error) == "cannot read 10 bytes at offset 65530: the memory ends at 65536"
    assert bytes_of(memoryview(b"abcd")[1:3]) == bytes_of(bytearray(b"bc")) == b"bc"
    with pytest.raises(BufferError, match="not C-contiguous"):
        bytes_of(memoryview(b"abcd")[::2])
    with pytest.raises(TypeError, match=r"^a bytes-like object is required, not 'str'$"):
        bytes_of("abc")


def test_an_index_is_an_int_within_the_table() -> None:
    class Two:
        def __index__(self) -> int:
            return 2

    assert checked_index(Two(), 3) == 2
    with pytest.raises(TypeError, match=r"^a table is indexed by int, not 1\.5 \(float\)$"):
        checked_index(1.5, 3)
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match=f"^index {wrong} is beyond the table of 3 elements$"):
            checked_index(wrong, 3)


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda huge: to_wasm(huge, I64, "x"), OverflowError),
        (lambda huge: from_slots("f", FunctionType((I64,)), (huge,)), OverflowError),
        (lambda huge: checked_index(huge, 3), IndexError),
        (lambda huge: checked_delta(huge, "pages"), MemoryAccessError),
        (lambda huge: checked_delta(huge, "elements"), IndexError),
        (lambda huge: checked_size(-huge, "offset"), ValueError),
    ],
)
def test_ints_too_long_to_be_written_raise_what_others_do(attempt: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="an int of 16610 bits"):
        attempt(10**5000)
    assert "an int of 16610 bits" in str(memory_access_error("read", 10**5000, 10**5000, 65536))


def test_growth_is_a_count() -> None:
    assert checked_delta(0, "pages") == 0
    with pytest.raises(TypeError, match=r"^pages must be an int, not float$"):
        checked_delta(1.5, "pages")
    with pytest.raises(ValueError, match=r"^elements must not be negative: -1$"):
        checked_delta(-1, "elements")
    for unit, error in (("pages", MemoryAccessError), ("elements", IndexError)):
        with pytest.raises(error, match=f"^cannot grow by {1 << 64} {unit}: a limit forbids it$"):
            checked_delta(1 << 64, unit)
