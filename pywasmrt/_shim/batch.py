"""`map` of a function: which columns it takes, the columns of its results, and the errors for what does not fit.

The loop is C for native runtimes (csrc/fast/batch.c). For the others it is Python (batch_rows.py).
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ..errors import RowError, Trap, UnsupportedFeatureError
from ..types import FunctionType, ValueType
from ..values import arity_error, shown, to_wasm
from ..wasm.floats import f32_bits, f32_from_bits

if TYPE_CHECKING:
    from ._fastcall import Function

__all__ = [
    "KINDS",
    "PLAIN",
    "Column",
    "Named",
    "map_columns",
    "map_native",
    "new_column",
    "numpy_or_none",
    "raise_row_error",
    "read_column",
    "value_of",
]

_SIGNED = {1: 0, 2: 2, 4: 4, 8: 6}
_REAL = {4: 9, 8: 10}
KINDS = {code: _SIGNED[struct.calcsize(code)] for code in "bhilqn"}
"""Maps format characters to the numbers of `Kind` in batch.c."""
KINDS |= {code: _SIGNED[struct.calcsize(code)] + 1 for code in "BHILQN"}
KINDS |= {"?": 8, "f": 9, "d": 10}

_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"
PLAIN = {ValueType.I32: "i", ValueType.I64: "q", ValueType.F32: "f", ValueType.F64: "d"}
_NAMES = {ValueType.I32: "int32", ValueType.I64: "int64", ValueType.F32: "float32", ValueType.F64: "float64"}
_WHOLE = (ValueType.I32, ValueType.I64)


@dataclass(frozen=True)
class Column:
    """The values of a param: a one-dimensional view, or a view of one value that stands for every row."""

    view: memoryview[Any]
    kind: int
    constant: bool = False

    def __getitem__(self, row: int) -> Any:
        return self.view[0 if self.constant else row]


class Named(Protocol):
    """What this module uses of a function."""

    @property
    def type(self) -> FunctionType: ...


@cache
def numpy_or_none() -> Any:
    """NumPy, or None where it is not installed."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def _is_masked(value: object) -> bool:
    """Whether it is a masked array of NumPy. Where nobody has imported numpy.ma, nobody has made one."""
    ma = sys.modules.get("numpy.ma")
    return ma is not None and isinstance(value, ma.MaskedArray)


def _view(value: object, where: str, wanted: str = "a number or a buffer") -> memoryview | None:
    """The buffer of a column; None where the value is a scalar."""
    if isinstance(value, (int, float)):
        return None
    if _is_masked(value):
        raise TypeError(f"{where} is a masked array, and a buffer has no mask: pass its filled(), or use a Udf")
    try:
        scalar = not getattr(value, "ndim", 0)
    except ValueError:  # of a view that was released
        scalar = False
    try:
        view = memoryview(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError) as error:
        if scalar and (hasattr(value, "__index__") or hasattr(value, "__float__")):
            return None
        hint = "" if value is None else "; a pandas or Polars series becomes one by to_numpy()"
        if type(value).__module__ == "numpy":
            hint = f"; an array of {getattr(value, 'dtype', 'objects')} is none"
        raise TypeError(
            f"{where} must be {wanted} (a NumPy array, array.array or memoryview), not {shown(value)}{hint}"
        ) from error
    if view.ndim == 0:
        return None
    if view.ndim != 1:
        raise TypeError(f"{where} must have one dimension, not {view.ndim}")
    if scalar and hasattr(value, "dtype"):  # a date of NumPy, which shows its bytes
        raise TypeError(f"{where} must be {wanted}, not {shown(value)}")
    return view


def _kind(view: memoryview, type: ValueType, where: str) -> int:
    order, code = ("", view.format) if len(view.format) == 1 else (view.format[0], view.format[1:])
    kind = KINDS.get(code)
    if (
        kind is None
        or view.itemsize != (1, 1, 2, 2, 4, 4, 8, 8, 1, 4, 8)[kind]
        or order not in ("", "@", "=", _NATIVE_ORDER)
    ):
        raise TypeError(
            f"{where} has the format {view.format!r}, which is no native number; convert it to {_NAMES[type]}"
        )
    if type in _WHOLE and kind >= 9:
        raise TypeError(f"{where} is a column of floats, and the function takes {type}; convert it to {_NAMES[type]}")
    return kind


def _plain(value: Any) -> Any:
    """A scalar as a Python number. NumPy's scalars are buffers without a dimension."""
    if isinstance(value, (int, float)):
        return value
    try:
        view = memoryview(value)
        return f32_from_bits(int.from_bytes(view, sys.byteorder)) if view.format == "f" else view.tolist()
    except (TypeError, ValueError, BufferError, NotImplementedError):
        return value  # converting the value will say what is wrong with it


def read_column(value: object, type: ValueType, where: str) -> Column:
    view = _view(value, where)
    if view is not None:
        return Column(view, _kind(view, type, where))
    number = to_wasm(_plain(value), type, where)
    code = PLAIN[type]
    if type is ValueType.F32:  # by its bits: the array would make a signaling NaN quiet
        return Column(memoryview(array("I", [f32_bits(number)])).cast("B").cast("f"), KINDS[code], True)
    return Column(memoryview(array(code, [number])), KINDS[code], True)


def _rows(columns: Sequence[Column], outs: Sequence[memoryview], name: str) -> int:
    """The length that all columns have in common."""
    lengths = {f"argument {n}": len(each.view) for n, each in enumerate(columns, 1) if not each.constant}
    lengths |= {f"out {n}": len(view) for n, view in enumerate(outs, 1)}
    if not lengths:
        raise TypeError(f"{name}.map() takes at least one column, or out=, to know how many rows there are")
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{where} has {length}" for where, length in lengths.items())
        raise ValueError(f"{name}.map() takes columns of one length, but {listed}")
    return next(iter(lengths.values()))


def _given(name: str, results: tuple[ValueType, ...], out: object) -> list[memoryview]:
    """Check `out`, and return views of it."""
    outs = [out] if len(results) == 1 else list(out) if isinstance(out, (tuple, list)) else None
    if outs is None or len(outs) != len(results) or (len(results) == 1 and isinstance(out, (tuple, list))):
        wanted = (
            ("no out=", "out= as one column")[len(results)]
            if len(results) < 2
            else (f"out= as a tuple of {len(results)} columns")
        )
        raise TypeError(f"{name}.map() takes {wanted}, not {shown(out)}")
    views = []
    for n, (each, type) in enumerate(zip(outs, results, strict=True), 1):
        where = f"out {n} of {name}.map()"
        view = _view(each, where, "a buffer")
        if view is None:
            raise TypeError(f"{where} must be a buffer of one dimension, not {shown(each)}")
        kind, plain = _kind(view, type, where), KINDS[PLAIN[type]]
        if kind != plain and not (type in _WHOLE and kind == plain + 1):
            raise TypeError(
                f"{where} has the format {view.format!r}, and the function gives {type}: it must be {_NAMES[type]}"
            )
        if view.readonly:
            raise ValueError(f"{where} is read-only")
        views.append(view)
    return views


def new_column(type: ValueType, rows: int) -> Any:
    numpy = numpy_or_none()
    if numpy is not None:
        return numpy.empty(rows, dtype=_NAMES[type])
    return array(PLAIN[type], bytes(rows * array(PLAIN[type]).itemsize))


def raise_row_error(name: str, row: int, trap: Trap) -> NoReturn:
    raise RowError(f"row {row} of {name}.map(): {trap.message}", row) from trap


_Loop = Callable[[list[Column], list[memoryview], int, "memoryview | None"], None]


def map_columns(
    function: Named, name: str, columns: tuple[object, ...], out: object, on_error: str, loop: _Loop
) -> Any:
    """Prepare the columns, run the loop over them, and give what `map` returns."""
    type = function.type
    if not isinstance(on_error, str) or on_error not in ("raise", "mask"):
        raise ValueError(f"on_error is 'raise' or 'mask', not {shown(on_error)}")
    for each in type.params + type.results:
        if each not in PLAIN:
            raise UnsupportedFeatureError(
                f"{name}{type} has {each} in its signature, and map() takes columns of numbers"
            )
    if len(columns) != len(type.params):
        raise arity_error(name, type, len(columns))
    prepared = [
        read_column(value, wanted, f"argument {n} of {name}.map()")
        for n, (value, wanted) in enumerate(zip(columns, type.params, strict=True), 1)
    ]
    views = [] if out is None else _given(name, type.results, out)
    rows = _rows(prepared, views, name)
    if out is None:
        made = [new_column(result, rows) for result in type.results]
        views = [memoryview(each) for each in made]
        out = None if not made else made[0] if len(made) == 1 else tuple(made)
    if on_error == "raise":
        loop(prepared, views, rows, None)
        return out
    numpy = numpy_or_none()
    failed = bytearray(rows) if numpy is None else numpy.zeros(rows, dtype=bool)
    loop(prepared, views, rows, memoryview(failed))
    return out, failed


def map_native(function: Function, *columns: object, out: object = None, on_error: str = "raise") -> Any:
    """`map` of a function whose loop is C."""
    name, type = function.__name__, function.type

    def loop(columns: list[Column], outs: list[memoryview], rows: int, mask: memoryview | None) -> None:
        progress: list[int | None] = [None]
        ins = tuple([(each.view, each.kind, each.constant) for each in columns])
        try:
            unfit = function._map(
                ins, tuple([(view, KINDS[view.format[-1]], False) for view in outs]), rows, mask, progress
            )
        except Trap as trap:
            if progress[0] is None:
                raise
            raise_row_error(name, progress[0], trap)
        if unfit is not None:
            row, n = unfit
            to_wasm(value_of(columns[n], row), type.params[n], f"row {row} of argument {n + 1} of {name}.map()")
            raise ValueError(f"row {row} of argument {n + 1} of {name}.map() changed while it was read")

    return map_columns(function, name, columns, out, on_error, loop)


map_native.__qualname__ = "map"  # the name that a wrong keyword is told of


def value_of(column: Column, row: int) -> Any:
    """A row's value. Unlike `memoryview`, this reads formats with a mark of the byte order."""
    view = column.view[row : row + 1]
    return struct.unpack(view.format, view.tobytes())[0]
