"""Columns of whatever kind as NumPy arrays with a mask of nulls, and results as columns of that kind again.

Arrow's C data interface is read and made by pyarrow: an array that comes from elsewhere is owned and released by it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..values import shown

__all__ = ["Plain", "is_arrow", "plain", "rebuilt"]


@dataclass(frozen=True)
class Plain:
    """A column as `map` takes it, or a scalar.

    `valid` is None where nothing is null, False for a scalar that is null, and else a NumPy array of booleans.
    """

    values: Any
    valid: Any = None
    scalar: bool = False


def _pyarrow(value: object) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise TypeError(
            f"{shown(value)} is read by pyarrow, which is not installed: pip install 'pywasmrt[arrow]'"
        ) from error
    return pyarrow


def _loaded(module: str, name: str) -> Any:
    """A class of a library, if the library is loaded: one that is not loaded cannot have made the value."""
    return getattr(sys.modules.get(module), name, None) or ()


def is_arrow(value: object) -> bool:
    """Whether the value offers Arrow's C data interface."""
    return hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__")


def plain(value: Any, where: str) -> Plain:
    """A column, or a scalar, of any kind."""
    if value is None:
        return Plain(0, False, True)
    if isinstance(value, _loaded("pyarrow", "Scalar")):
        return Plain(value.as_py(), None, True) if value.is_valid else Plain(0, False, True)
    if isinstance(value, _loaded("pandas", "Series")):
        if value.dtype.kind in "biuf" and not hasattr(value.dtype, "na_value"):  # NumPy's own; NaN is a number there
            return Plain(value.to_numpy())
        return _of_arrow(_pyarrow(value).array(value, from_pandas=True), where)
    if hasattr(value, "__arrow_c_stream__"):
        return _of_arrow(_pyarrow(value).chunked_array(value), where)
    if hasattr(value, "__arrow_c_array__"):
        return _of_arrow(_pyarrow(value).array(value), where)
    return Plain(value, None, isinstance(value, (int, float)) or getattr(value, "ndim", 1) == 0)


def _of_arrow(array: Any, where: str) -> Plain:
    pyarrow = _pyarrow(array)
    types = pyarrow.types
    if types.is_null(array.type):
        array = array.cast(pyarrow.int32())
    if not (types.is_integer(array.type) or types.is_floating(array.type) or types.is_boolean(array.type)):
        raise TypeError(f"{where} is an Arrow column of {array.type}; a guest takes numbers, so cast it to some")
    chunked = isinstance(array, pyarrow.ChunkedArray)
    valid = None
    if array.null_count:
        valid = _numpy_of(array.is_valid(), chunked)
        array = array.fill_null(False if types.is_boolean(array.type) else pyarrow.scalar(0, array.type))
    return Plain(_numpy_of(array, chunked), valid)


def _numpy_of(array: Any, chunked: bool) -> Any:
    return array.to_numpy() if chunked else array.to_numpy(zero_copy_only=False)


def rebuilt(columns: tuple[Any, ...]) -> Callable[[Any, Any], Any]:
    """A function that makes a result from values and a mask of nulls (or None): a column like the first not NumPy's."""
    for column in columns:
        if isinstance(column, _loaded("pandas", "Series")):
            return lambda values, nulls: _pandas(column, values, nulls)
        if isinstance(column, _loaded("polars", "Series")):
            return lambda values, nulls: sys.modules["polars"].from_arrow(_arrow(values, nulls))
        if hasattr(column, "__arrow_c_stream__"):
            return lambda values, nulls: _pyarrow(column).chunked_array([_arrow(values, nulls)])
        if hasattr(column, "__arrow_c_array__"):
            return _arrow
    if any(isinstance(column, _loaded("pyarrow", "Scalar")) for column in columns):
        return _arrow
    return _numpy


def _arrow(values: Any, nulls: Any) -> Any:
    return _pyarrow(values).array(values, mask=nulls)


def _pandas(like: Any, values: Any, nulls: Any) -> Any:
    pandas = sys.modules["pandas"]
    if nulls is None:
        return pandas.Series(values, index=like.index)
    name = str(values.dtype)  # int32 -> Int32, which has nulls
    masked = pandas.Series(values, index=like.index).astype(name.capitalize())
    masked[nulls] = pandas.NA
    return masked


def _numpy(values: Any, nulls: Any) -> Any:
    if nulls is None:
        return values
    import numpy

    return numpy.ma.masked_array(values, nulls)
