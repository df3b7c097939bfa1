"""`map` for runtimes without a loop in C: each row is a call from Python, with the checks of csrc/fast/batch.c."""

from __future__ import annotations

import ctypes  # which every runtime without a loop in C has loaded
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import repeat
from typing import Any, NamedTuple, Protocol

from ..errors import Trap
from ..values import to_wasm
from .batch import PLAIN, Column, Named, map_columns, raise_row_error, value_of

__all__ = ["RowFunction", "map_calls", "row_values"]


class RowFunction(Named, Protocol):
    """What the loop uses of a function."""

    def raised_by_host(self, error: BaseException) -> bool:
        """Whether `error`, which the latest call to fail has raised, is a host function's own. The guest did not trap
        then, even if it is a Trap.
        """

    def batch(self) -> AbstractContextManager[None]:
        """Makes the calls within it one use of the store, with one deadline. Raises `BusyError` or `ClosedError`."""


class _Place(NamedTuple):
    """Where the values of a column lie."""

    at: int
    step: int
    size: int

    def extent(self, rows: int) -> tuple[int, int]:
        last = self.at + (rows - 1) * self.step
        return min(self.at, last), max(self.at, last) + self.size


def _place(view: memoryview) -> _Place:
    """The address holds for as long as the view does."""

    class Buffer(ctypes.Structure):  # Py_buffer, of the stable ABI
        _fields_ = (
            ("buf", ctypes.c_void_p),
            ("obj", ctypes.c_void_p),
            ("len", ctypes.c_ssize_t),
            ("itemsize", ctypes.c_ssize_t),
            ("readonly", ctypes.c_int),
            ("ndim", ctypes.c_int),
            *[(name, ctypes.c_void_p) for name in ("format", "shape", "strides", "suboffsets", "internal")],
        )

    held = Buffer()
    strided_and_read_only = 0x18
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(held), strided_and_read_only)
    try:
        strides = view.strides
        assert strides is not None
        return _Place(held.buf or 0, strides[0], view.itemsize)
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(held))


def _disturbs(out: _Place, other: _Place, rows: int, is_input: bool) -> bool:
    """Whether writing `out` could change a row of `other` that is still to come: `disturbs` of batch.c."""
    low, high = out.extent(rows)
    other_low, other_high = other.extent(rows)
    if rows == 0 or high <= other_low or other_high <= low:
        return False
    if out.step != other.step:
        return True
    if is_input and out.at == other.at and out.size == other.size:
        return False
    step = abs(out.step)
    apart = (out.at - other.at) % step if step else 0
    return apart < other.size or step - apart < out.size


def _check_overlap(ins: Sequence[_Place], outs: Sequence[_Place], rows: int) -> None:
    for n, out in enumerate(outs):
        if (
            (rows > 1 and abs(out.step) < out.size)
            or any(_disturbs(out, each, rows, True) for each in ins)
            or any(_disturbs(out, each, rows, False) for each in outs[:n])
        ):
            raise ValueError(
                "out overlaps itself or another column; it may be one of the columns themselves, but not a shifted "
                "view of one"
            )


def row_values(column: Column, rows: int) -> Iterable[Any]:
    """The value of each row, read when it is asked for."""
    if column.constant:
        return repeat(value_of(column, 0), rows)
    return (value_of(column, row) for row in range(rows))


def map_calls(
    function: RowFunction, name: str, call: Callable[..., Any], columns: tuple[object, ...], out: object, on_error: str
) -> Any:
    """`map` of any function, by calling it row after row."""
    type = function.type

    def loop(columns: list[Column], outs: list[memoryview], rows: int, mask: memoryview | None) -> None:
        places = [_place(view) for view in outs]
        if out is not None:
            _check_overlap([_place(each.view) for each in columns if not each.constant], places, rows)
        writers = [struct.Struct(f"={PLAIN[result]}").pack for result in type.results]
        with function.batch():
            for row, values in enumerate(_rows(columns, rows)):
                args = [
                    to_wasm(value, wanted, f"row {row} of argument {n} of {name}.map()")
                    for n, (value, wanted) in enumerate(zip(values, type.params, strict=True), 1)
                ]
                try:
                    result = call(*args)
                except Trap as trap:
                    if function.raised_by_host(trap):
                        raise
                    if mask is None:
                        raise_row_error(name, row, trap)
                    mask[row] = 1
                    result = (0,) * len(outs) if len(outs) != 1 else 0
                several = (result,) if len(outs) == 1 else result or ()
                for place, value, pack in zip(places, several, writers, strict=True):
                    _write(place, row, pack(value))

    return map_columns(function, name, columns, out, on_error, loop)


def _rows(columns: Sequence[Column], rows: int) -> Iterator[tuple[Any, ...]]:
    return zip(*[row_values(each, rows) for each in columns], strict=True) if columns else repeat((), rows)


def _write(place: _Place, row: int, data: bytes) -> None:
    """A memoryview cannot write formats with a mark of the byte order, such as those of ctypes."""
    ctypes.memmove(place.at + row * place.step, data, place.size)
