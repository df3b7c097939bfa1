"""Columns of whatever kind as NumPy or Arrow arrays with a mask of nulls, and results as columns of that kind again.

Arrow's C data interface is read and made by pyarrow: an array that comes from elsewhere is owned and released by it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..runtimes.base.text_columns import arrow_of, checked, is_arrow_text, plain_type
from ..values import late, shown

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
        single = value.as_py()
        if not isinstance(single, (int, float, str, bytes)):
            raise TypeError(f"{where} is an Arrow scalar of {value.type}; a guest takes numbers or text, so cast it")
        return Plain(single, None, True)
    if isinstance(value, _loaded("pandas", "Series")):
        if value.dtype.kind in "biuf" and type(value.dtype).__module__.startswith("numpy"):  # NaN is a number there
            return Plain(value.to_numpy())
        return _of_arrow(_converted(value, where), where)
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        return _of_arrow(_converted(value, where), where)
    if isinstance(value, _loaded("numpy.ma", "MaskedArray")):
        return _of_masked(value)
    return _of_python(value, where)


def _of_python(value: Any, where: str) -> Plain:
    """Scalars, lists of text, and buffers."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise OverflowError(f"{where}: {shown(value)} is out of range for every type of integers")
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (int, float)):
        raise TypeError(f"{where} is a {type(value).__name__} of numbers; make an array of it: numpy.array(...)")
    single = isinstance(value, (int, float, str, bytes, bytearray)) or getattr(value, "ndim", 1) == 0
    if not single and not hasattr(value, "__len__"):
        raise TypeError(
            f"{where} is {shown(value)}, which is no column; a series, an array, an Arrow column and a list of text are"
        )
    return Plain(value, None, single)


def _of_masked(value: Any) -> Plain:
    """A masked array of NumPy: what is masked is null."""
    numpy = late("numpy")

    empty = {"S": b"", "U": "", "O": "", "T": ""}.get(value.dtype.kind, 0)
    mask = numpy.ma.getmaskarray(value)
    if value.ndim == 0:
        return Plain(empty, False, True) if mask else Plain(value.data, None, True)
    return Plain(value.filled(empty), ~mask if mask.any() else None)


def _converted(value: Any, where: str, whole: bool = False) -> Any:
    """A pyarrow array of a series of pandas or of an object with Arrow's C data interface; `whole` as in `checked`."""
    pyarrow = late("pyarrow")

    try:
        if isinstance(value, _loaded("pandas", "Series")):
            return pyarrow.array(value, from_pandas=True)
        array = arrow_of(value)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
        kind = getattr(value, "dtype", type(value).__name__)
        wrong = ValueError if isinstance(error, pyarrow.ArrowInvalid) else TypeError
        raise wrong(f"{where} is a column of {kind}, which cannot become an Arrow column: {error}") from error
    return checked(array, where, whole)


def _of_arrow(array: Any, where: str) -> Plain:
    pyarrow = late("pyarrow")

    types = pyarrow.types
    if types.is_dictionary(array.type):  # categories
        array = _decoded(array)
    elif types.is_run_end_encoded(array.type):
        array = pyarrow.compute.run_end_decode(array)
    if types.is_float16(array.type):
        array = array.cast(pyarrow.float32())
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


def _decoded(array: Any) -> Any:
    """The values of an array of categories. pyarrow does not cast those with views of strings, which Polars has."""
    pyarrow = late("pyarrow")

    kind = plain_type(array.type.value_type) or array.type.value_type
    if not isinstance(array, pyarrow.ChunkedArray):
        return array.dictionary.cast(kind).take(array.indices)
    return pyarrow.chunked_array([_decoded(chunk) for chunk in array.chunks], type=kind)


def _numpy_of(array: Any) -> Any:
    return array.to_numpy() if type(array).__name__ == "ChunkedArray" else array.to_numpy(zero_copy_only=False)


def arrow_column(value: Any, rows: int | None, where: str) -> Any:
    """A pyarrow array of any column; of a scalar, as many rows as are asked for."""
    pyarrow = late("pyarrow")

    if (
        isinstance(value, _loaded("pandas", "Series"))
        or hasattr(value, "__arrow_c_stream__")
        or hasattr(value, "__arrow_c_array__")
    ):
        return _converted(value, where, whole=True)
    scalar = isinstance(value, (str, bytes)) or getattr(value, "ndim", 1) == 0 or not hasattr(value, "__len__")
    try:
        if isinstance(value, _loaded("pyarrow", "Scalar")):
            return pyarrow.repeat(value, 1 if rows is None else rows)
        if scalar:
            return pyarrow.repeat(pyarrow.scalar(value), 1 if rows is None else rows)
        return pyarrow.array(value)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{where} is {shown(value)}, which cannot become an Arrow column: {error}") from error


# Rows of a column


def at_rows(each: Plain, chosen: Any) -> Any:
    """The values of the rows that are chosen, an array of booleans."""
    if each.scalar:
        return each.values
    if _is_arrow(each.values):
        pyarrow = late("pyarrow")

        return each.values.filter(pyarrow.array(chosen))
    numpy = late("numpy")

    return numpy.asarray(each.values)[chosen]


def filled(each: Plain) -> Any:
    """The values, with something in the place of nulls."""
    if each.valid is None or each.valid is False or not _is_arrow(each.values):
        return each.values
    pyarrow = late("pyarrow")

    empty = "" if str(each.values.type) in ("string", "large_string", "string_view") else b""
    return each.values.fill_null(pyarrow.scalar(empty, each.values.type))


def scattered(values: Any, valid: Any, failed: Any) -> tuple[Any, Any]:
    """The results of the rows that were there among all rows, and a mask of those that are null, or None."""
    if valid is None:
        return values, failed
    numpy = late("numpy")

    nulls = ~valid
    if failed is not None:
        nulls[valid] = failed
    if _is_arrow(values):
        pyarrow = late("pyarrow")

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
    pyarrow = late("pyarrow")

    if not _is_arrow(values):
        return pyarrow.array(values, mask=nulls)
    whole = values.combine_chunks() if isinstance(values, pyarrow.ChunkedArray) else values
    if nulls is None or whole.null_count:
        return whole
    return pyarrow.compute.if_else(pyarrow.array(~nulls), whole, pyarrow.scalar(None, whole.type))


def _chunked(values: Any, nulls: Any) -> Any:
    pyarrow = late("pyarrow")

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
        numpy = late("numpy")

        values = numpy.array(values, dtype=object)
    if nulls is None:
        return values
    numpy = late("numpy")

    masked_array: Any = numpy.ma.masked_array  # whose types NumPy for Python 3.10 does not declare
    return masked_array(values, nulls)
