"""Columns of whatever kind as NumPy or Arrow arrays with a mask of nulls, and results as columns of that kind again.

Arrow's C data interface is read and made by pyarrow: an array that comes from elsewhere is owned and released by it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..runtimes.base.text_columns import arrow_of, is_arrow_text, plain_type

__all__ = ["Plain", "arrow_column", "at_rows", "filled", "is_text", "plain", "rebuilt", "scattered"]


@dataclass(frozen=True)
class Plain:
    """A column as `map` or `map_bytes` takes it, or a scalar.

    `valid` is None where nothing is null, False for a scalar that is null, and else a NumPy array of booleans.
    """

    values: Any
    valid: Any = None
    scalar: bool = False


def _loaded(module: str, name: str) -> Any:
    """A class of a library, if the library is loaded: one that is not loaded cannot have made the value."""
    return getattr(sys.modules.get(module), name, None) or ()


def _is_arrow(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "pyarrow" and hasattr(value, "null_count")


def is_text(each: Plain) -> bool:
    """Whether it is a column of bytes or text, or one row of it."""
    if _is_arrow(each.values):
        return is_arrow_text(each.values.type)
    if isinstance(each.values, (str, bytes, bytearray, list, tuple)):
        return True
    return getattr(getattr(each.values, "dtype", None), "kind", "") in ("O", "S", "U", "T")


def plain(value: Any, where: str) -> Plain:
    """A column, or a scalar, of any kind."""
    if value is None:
        return Plain(0, False, True)
    if isinstance(value, _loaded("pyarrow", "Scalar")):
        if not value.is_valid:
            return Plain("" if is_arrow_text(value.type) else 0, False, True)
        return Plain(value.as_py(), None, True)
    if isinstance(value, _loaded("pandas", "Series")):
        if value.dtype.kind in "biuf" and not hasattr(value.dtype, "na_value"):  # NumPy's own; NaN is a number there
            return Plain(value.to_numpy())
        return _of_arrow(_of_pandas(value), where)
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        return _of_arrow(arrow_of(value), where)
    single = isinstance(value, (int, float, str, bytes, bytearray))
    return Plain(value, None, single or getattr(value, "ndim", 1) == 0)


def _of_pandas(series: Any) -> Any:
    import pyarrow

    return pyarrow.array(series, from_pandas=True)


def _of_arrow(array: Any, where: str) -> Plain:
    import pyarrow

    types = pyarrow.types
    if types.is_null(array.type):
        array = array.cast(pyarrow.int32())
    text = is_arrow_text(array.type)
    if not (text or types.is_integer(array.type) or types.is_floating(array.type) or types.is_boolean(array.type)):
        raise TypeError(
            f"{where} is an Arrow column of {array.type}; a guest takes numbers or text, so cast it to some"
        )
    if text and plain_type(array.type) != array.type:  # a view, which pyarrow cannot filter
        array = array.cast(plain_type(array.type))
    if not array.null_count:
        return Plain(array if text else _numpy_of(array))
    valid = _numpy_of(array.is_valid())
    if text:
        return Plain(array, valid)
    return Plain(
        _numpy_of(array.fill_null(False if types.is_boolean(array.type) else pyarrow.scalar(0, array.type))), valid
    )


def _numpy_of(array: Any) -> Any:
    return array.to_numpy() if type(array).__name__ == "ChunkedArray" else array.to_numpy(zero_copy_only=False)


def arrow_column(value: Any, rows: int | None) -> Any:
    """A pyarrow array of any column; of a scalar, as many rows as are asked for."""
    import pyarrow

    if isinstance(value, _loaded("pandas", "Series")):
        return _of_pandas(value)
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        return arrow_of(value)
    if isinstance(value, _loaded("pyarrow", "Scalar")):
        return pyarrow.repeat(value, 1 if rows is None else rows)
    if value is None or isinstance(value, (int, float, str, bytes)) or getattr(value, "ndim", 1) == 0:
        return pyarrow.repeat(pyarrow.scalar(value), 1 if rows is None else rows)
    return pyarrow.array(value)


# Rows of a column


def at_rows(each: Plain, chosen: Any) -> Any:
    """The values of the rows that are chosen, an array of booleans."""
    if each.scalar:
        return each.values
    if _is_arrow(each.values):
        import pyarrow

        return each.values.filter(pyarrow.array(chosen))
    import numpy

    return numpy.asarray(each.values)[chosen]


def filled(each: Plain) -> Any:
    """The values, with something in the place of nulls."""
    if each.valid is None or each.valid is False or not _is_arrow(each.values):
        return each.values
    import pyarrow

    empty = "" if str(each.values.type) in ("string", "large_string", "string_view") else b""
    return each.values.fill_null(pyarrow.scalar(empty, each.values.type))


def scattered(values: Any, valid: Any, failed: Any) -> tuple[Any, Any]:
    """The results of the rows that were there among all rows, and a mask of those that are null, or None."""
    if valid is None:
        return values, failed
    import numpy

    nulls = ~valid
    if failed is not None:
        nulls[valid] = failed
    if _is_arrow(values):
        import pyarrow

        places = numpy.maximum(numpy.cumsum(valid) - 1, 0)
        return values.take(pyarrow.array(places, mask=nulls)), nulls
    kind = values.dtype if hasattr(values, "dtype") else object
    full = numpy.zeros(len(valid), dtype=kind)
    full[valid] = values
    return full, nulls


# Results


def rebuilt(columns: tuple[Any, ...]) -> Callable[[Any, Any], Any]:
    """A function that makes a result from values and a mask of nulls (or None): a column like the first not NumPy's."""
    for column in columns:
        if isinstance(column, _loaded("pandas", "Series")):
            return lambda values, nulls: _pandas(column, values, nulls)
        if isinstance(column, _loaded("polars", "Series")):
            return lambda values, nulls: sys.modules["polars"].from_arrow(_arrow(values, nulls))
        if hasattr(column, "__arrow_c_stream__"):
            return _chunked
        if hasattr(column, "__arrow_c_array__"):
            return _arrow
    if any(isinstance(column, _loaded("pyarrow", "Scalar")) for column in columns):
        return _arrow
    return _numpy


def _arrow(values: Any, nulls: Any) -> Any:
    import pyarrow

    if not _is_arrow(values):
        return pyarrow.array(values, mask=nulls)
    whole = values.combine_chunks() if isinstance(values, pyarrow.ChunkedArray) else values
    if nulls is None or whole.null_count:
        return whole
    return pyarrow.compute.if_else(pyarrow.array(~nulls), whole, pyarrow.scalar(None, whole.type))


def _chunked(values: Any, nulls: Any) -> Any:
    import pyarrow

    return pyarrow.chunked_array([_arrow(values, nulls)])


def _pandas(like: Any, values: Any, nulls: Any) -> Any:
    pandas = sys.modules["pandas"]
    if not hasattr(values, "dtype"):
        made = _arrow(values, nulls).to_pandas()
        made.index = like.index
        return made
    if nulls is None:
        return pandas.Series(values, index=like.index)
    name = str(values.dtype)  # int32 -> Int32, which has nulls
    masked = pandas.Series(values, index=like.index).astype(name.capitalize())
    masked[nulls] = pandas.NA
    return masked


def _numpy(values: Any, nulls: Any) -> Any:
    if _is_arrow(values):
        values = values.to_numpy(zero_copy_only=False)
    elif not hasattr(values, "dtype"):
        import numpy

        values = numpy.array(values, dtype=object)
    if nulls is None:
        return values
    import numpy

    masked_array: Any = numpy.ma.masked_array  # whose types NumPy for Python 3.10 does not declare
    return masked_array(values, nulls)
