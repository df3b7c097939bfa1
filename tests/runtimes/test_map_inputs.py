"""Odd columns, and errors from elsewhere: `map` answers them in the same way on every runtime."""

from __future__ import annotations

import ctypes
import sys
from array import array
from contextlib import suppress
from typing import Any

import pytest

import pywasmrt
from pywasmrt import HostModule, Limits, RowError, Runtime

from .test_map import CALLS_BACK, TEXT

numpy = pytest.importorskip("numpy")


@pytest.fixture
def guest(runtime: Runtime) -> Any:
    return runtime.instantiate(runtime.compile(TEXT)).exports


I4 = numpy.zeros(3, dtype="i4")
MASKED = numpy.ma.array([1, 2, 3], mask=[False, True, False], dtype="i4")


class Odd:
    def __index__(self) -> int:
        return "odd"  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (MASKED, "a masked array"),
        (numpy.ma.masked, "a masked array"),
        (numpy.datetime64("2020-01-01"), "a number or a buffer, not"),  # it shows its bytes as a buffer
        (numpy.datetime64("NaT", "s"), "a number or a buffer, not"),
        (numpy.timedelta64(3, "s"), "a number or a buffer, not"),
        (numpy.bytes_(b"1"), "a number or a buffer, not"),
        (numpy.array(None), "i32 takes an int, not"),
        (numpy.array("a"), "i32 takes an int, not"),
        (Odd(), "i32 takes an int, not"),
        (numpy.zeros(3, "M8[s]"), r"an array of datetime64\[s\] is none"),
        (numpy.zeros(3, "O"), "no native number"),
        (numpy.zeros(3, [("a", "i4")]), "no native number"),
        (numpy.zeros(3, "V0"), "no native number"),
        (numpy.longdouble(1.5), "takes an int"),
        (array("w" if sys.version_info >= (3, 13) else "u", "abc"), "no native number"),
        (memoryview(b"abc").cast("c"), "no native number"),
        ((ctypes.c_int32.__ctype_be__ * 3)(), "no native number"),
        (((ctypes.c_int32 * 2) * 2)(), "one dimension"),
        (None, "not None$"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_is_no_column(guest: Any, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=rf"(?s)argument 2 of add\.map\(\).*{message}"):
        guest.add.map(I4, value)


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        ("add", MASKED, "a masked array"),
        ("add", [I4], "out= as one column, not"),
        ("add", (I4,), "out= as one column, not"),
        ("add", "text", "must be a buffer"),
        ("add", numpy.array(0, "i4"), "must be a buffer of one dimension"),
        ("add", numpy.zeros((3, 1), "i4"), "one dimension"),
        ("swap", (I4, I4, I4), "tuple of 2"),
        ("swap", (None, I4), "must be a buffer"),
        ("swap", (I4, numpy.zeros(3)), "must be float64"),
    ],
)
def test_what_is_no_out(guest: Any, name: str, out: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        guest[name].map(I4, 1, out=out)


@pytest.mark.parametrize("value", [numpy.zeros(2), numpy.zeros((0, 3)), numpy.void(b"1234"), None, ["raise"]])
def test_an_on_error_that_is_no_text(guest: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="on_error is 'raise' or 'mask'"):
        guest.add.map(I4, 1, on_error=value)


def test_a_masked_array_without_a_mask_has_one_all_the_same(guest: Any) -> None:
    with pytest.raises(TypeError, match="masked array"):
        guest.add.map(numpy.ma.array([1, 2, 3]), 1)
    assert guest.add.map(MASKED.filled(7), 1).tolist() == [2, 8, 4]


def test_columns_of_ctypes(guest: Any) -> None:
    """Their formats have a mark of the byte order."""
    column, out, floats = (ctypes.c_int32 * 3)(1, 2, 3), (ctypes.c_int32 * 3)(), (ctypes.c_double * 3)()
    assert guest.add.map(column, 1, out=out) is out
    assert list(out) == [2, 3, 4]
    guest.scale.map(column, 0.5, out=floats)
    assert list(floats) == [0.5, 1.0, 1.5]
    assert guest.add.map((ctypes.c_bool * 2)(True, False), 1).tolist() == [2, 1]
    unsigned = (ctypes.c_uint32 * 1)()
    guest.add.map((ctypes.c_int32 * 1)(-1), 0, out=unsigned)
    assert list(unsigned) == [2**32 - 1]


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("shape", ["packed", "strided", "unaligned", "repeated"])
def test_the_bounds_of_every_integer(guest: Any, dtype: str, shape: str) -> None:
    info = numpy.iinfo(dtype)
    for value in sorted({info.min, info.max, max(info.min, -(2**31)), min(info.max, 2**32 - 1)}):
        column = numpy.full(5, value, dtype=dtype)
        if shape == "strided":
            column = column[::-2]
        elif shape == "unaligned":
            record = numpy.zeros(5, dtype=numpy.dtype([("pad", "u1"), ("value", dtype)]))
            record["value"] = value
            column = record["value"]
        elif shape == "repeated":
            column = numpy.broadcast_to(column[:1], (5,))
        signed = (int(value) + 2**63) % 2**64 - 2**63
        assert guest.same64.map(column).tolist() == [signed] * len(column)
        if -(2**31) <= value < 2**32:
            assert guest.add.map(column, 0).tolist() == [(int(value) + 2**31) % 2**32 - 2**31] * len(column)
        else:
            with pytest.raises(OverflowError, match=rf"row 0 of argument 1 of add\.map\(\): {value} is out of range"):
                guest.add.map(column, 0)


def test_partial_overlaps(guest: Any) -> None:
    base = numpy.arange(20, dtype="i4")
    half = numpy.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2], "itemsize": 8})
    record = numpy.zeros(5, dtype=half)
    refused = [
        (base, base[::-1]),
        (base[::2], base[:10]),
        (base.view("i8"), base[:10]),
        (base.view("u1")[:20], base),
        (numpy.broadcast_to(base[19:], (20,)), base),
        (record["a"], record["b"]),
        (base[:9], numpy.lib.stride_tricks.as_strided(base[10:], (9,), (2,))),
    ]
    for column, out in refused:
        with pytest.raises(ValueError, match="overlaps"):
            guest.add.map(column, 1, out=out)
    assert base.tolist() == list(range(20))
    guest.add.map(base[::-2], 1, out=base[-2::-2])  # they alternate
    assert base.tolist() == [n if n % 2 else n + 2 for n in range(20)]
    stuck = numpy.lib.stride_tricks.as_strided(base, (1,), (0,))
    assert guest.add.map(base[:1], 1, out=stuck).tolist() == [3]
    mixed = numpy.zeros(3, dtype=[("a", "f8"), ("b", "i4")])
    guest.swap.map(mixed["b"], 2.5, out=(mixed["a"], mixed["b"]))
    assert mixed["a"].tolist() == [2.5] * 3


def test_a_column_that_a_host_function_changes_is_read_before_or_after(runtime: Runtime) -> None:
    """An engine may take several rows at once, so either is right."""
    env = HostModule("env")
    column = numpy.arange(5, dtype="i8")

    @env.function
    def f(x: int) -> int:
        column[3] = changed
        return x

    each = runtime.instantiate(runtime.compile(CALLS_BACK), env).exports.each
    changed = 50
    assert each.map(column).tolist() in ([1, 2, 3, 4, 5], [1, 2, 3, 51, 5])
    changed = 2**50
    column[3] = 3
    with suppress(OverflowError):
        assert each.map(column).tolist() == [1, 2, 3, 4, 5]


def test_a_host_function_may_catch_a_row_that_traps(runtime: Runtime) -> None:
    env = HostModule("env")
    text = CALLS_BACK.replace("(func (export", '(func (export "trap") (param i32) unreachable) (func (export', 1)

    @env.function
    def f(x: int) -> int:
        with pytest.raises(RowError):
            exports.trap.map(numpy.arange(3))
        return x

    exports = runtime.instantiate(runtime.compile(text), env).exports
    assert exports.each.map(numpy.arange(3)).tolist() == [1, 2, 3]


def test_the_timeout_of_limits_is_the_batchs(runtime: Runtime, needs: Any) -> None:
    needs("deadline")
    instance = runtime.instantiate(runtime.compile(TEXT), limits=Limits(timeout=0.05))
    column = numpy.broadcast_to(numpy.int8(1), (2**28,))
    with pytest.raises(pywasmrt.DeadlineExceeded):
        instance.exports.nothing.map(column)  # each row is done at once
    assert instance.exports.add.map(I4, 1).tolist() == [1, 1, 1]


def test_a_closed_function_refuses_no_rows_either(runtime: Runtime) -> None:
    instance = runtime.instantiate(runtime.compile(TEXT))
    add = instance.exports.add
    instance.close()
    with pytest.raises(pywasmrt.ClosedError):
        add.map(I4[:0], 1)
