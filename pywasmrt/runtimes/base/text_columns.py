"""Columns of bytes and text: read from lists and from Arrow arrays, and made from a guest's results.

In between they have the form of Arrow's binary arrays: all bytes in one buffer, and offsets that say where each row
begins. Arrow arrays come and go without a copy, by pyarrow.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NoReturn

from ...errors import RowError
from ...values import late, shown

__all__ = [
    "Texts",
    "arrow_of",
    "arrow_texts",
    "checked",
    "is_arrow_text",
    "make_list",
    "plain_type",
    "read_texts",
    "without_nulls",
]


@dataclass(frozen=True)
class Texts:
    """A column of bytes: row n is `data[offsets[n]:offsets[n + 1]]`; `wide` offsets are int64, others int32.

    `constant` stands for every row. `text` says that the user takes the bytes for UTF-8, and `build` makes a column of
    the same kind.
    """

    data: Any
    offsets: memoryview
    text: bool
    build: Callable[[bytes, array[int], bool, str], Any]
    constant: bool = False

    @property
    def rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def wide(self) -> bool:
        return self.offsets.itemsize == 8

    def row(self, n: int) -> bytes:
        """The bytes of a row. Raises `ValueError` where the offsets are not those of the data."""
        n = 0 if self.constant else n
        begin, end = self.offsets[n], self.offsets[n + 1]
        if not 0 <= begin <= end <= len(self.data):
            raise ValueError(f"the offsets {begin} and {end} are not in {len(self.data)} bytes of data")
        return bytes(self.data[begin:end])


def read_texts(value: Any, where: str) -> Texts | None:
    """A column of bytes or text, or None if it is a column of numbers. Raises `TypeError` if it is neither."""
    if isinstance(value, (str, bytes, bytearray)):
        text = isinstance(value, str)
        data = value.encode() if isinstance(value, str) else bytes(value)
        return Texts(data, memoryview(array("q", [0, len(data)])), text, make_list, constant=True)
    if isinstance(value, (list, tuple)):
        return _of_list(value, where)
    if getattr(getattr(value, "dtype", None), "kind", "") in ("O", "S", "U", "T") and hasattr(value, "tolist"):
        return _of_list(value.tolist(), where)  # NumPy's
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        found = arrow_of(value)
        if is_arrow_text(found.type):
            return arrow_texts(found, where)
    return None


def _of_list(rows: Sequence[Any], where: str) -> Texts:
    text = bool(rows) and isinstance(rows[0], str)
    try:
        whole = "".join(rows) if text else b"".join(rows)
    except TypeError:
        raise _odd_row(rows, text, where) from None
    encoded = rows
    if isinstance(whole, str):
        try:
            whole = whole.encode()
            if len(whole) != sum(map(len, rows)):  # not only ASCII
                encoded = [row.encode() for row in rows]
        except UnicodeEncodeError as error:
            n = next(n for n, row in enumerate(rows) if _has_surrogates(row))
            raise ValueError(f"row {n} of {where} cannot be written as UTF-8: {error}") from error
    ends = array("q", accumulate(map(len, encoded), initial=0))
    if ends[-1] != len(whole):  # a row is a buffer whose `len` counts items, not bytes
        raise _odd_row(rows, text, where)
    return Texts(whole, memoryview(ends), text, make_list)


def _has_surrogates(row: str) -> bool:
    return row.encode(errors="ignore") != row.encode(errors="surrogatepass")


def _odd_row(rows: Sequence[Any], text: bool, where: str) -> TypeError:
    """The error of the first row whose type is not that of the others."""
    kind: Any = str if text else (bytes, bytearray)
    for n, row in enumerate(rows):
        if not isinstance(row, kind):
            wanted = "a str" if text else "bytes"
            hint = "; an Arrow array has nulls, and Udf knows them" if row is None else ""
            return TypeError(f"row {n} of {where} must be {wanted} like the rows before, not {shown(row)}{hint}")
    return TypeError(f"{where} must be a list of str or of bytes")


def make_list(data: bytes, ends: array[int], text: bool, name: str) -> list[Any]:
    """The rows as a list of `bytes`, or of `str`. Raises `RowError` for the first that is not UTF-8."""
    if text and data.isascii():
        whole = data.decode()
        return [whole[begin:end] for begin, end in pairwise(ends)]
    rows: list[Any] = [data[begin:end] for begin, end in pairwise(ends)]
    if not text:
        return rows
    try:
        return [row.decode() for row in rows]
    except UnicodeDecodeError:
        _raise_no_text(rows, name)


def _raise_no_text(rows: Sequence[bytes], name: str) -> NoReturn:
    """Raise the error of the first row that is not UTF-8."""
    for n, row in enumerate(rows):
        try:
            row.decode()
        except UnicodeDecodeError as error:
            raise RowError(
                f"row {n} of {name}: the guest gave what is not UTF-8: {error}; ask for returns='bytes'", n
            ) from error
    raise AssertionError("every row is UTF-8")


# Arrow


def arrow_of(value: Any) -> Any:
    """A pyarrow array, chunked or not, of an object with Arrow's C data interface."""
    try:
        pyarrow = late("pyarrow")
    except ImportError as error:
        raise TypeError(
            f"{shown(value)} is read by pyarrow, which is not installed: pip install 'pywasmrt[arrow]'"
        ) from error
    if isinstance(value, (pyarrow.Array, pyarrow.ChunkedArray)):
        return value
    return pyarrow.chunked_array(value) if hasattr(value, "__arrow_c_stream__") else pyarrow.array(value)


def checked(array: Any, where: str, whole: bool = False) -> Any:
    """The array, if it is what it says of itself. Raises `ValueError` otherwise.

    Its lengths are always compared with its buffers. What pyarrow itself will read row by row (texts that it joins,
    filters or casts, categories, runs), or all if `whole` is true, is looked at row by row.
    """
    pyarrow = late("pyarrow")

    types = pyarrow.types
    kind = array.type
    rows = (
        whole
        or not (types.is_primitive(kind) or is_arrow_text(kind))
        or (is_arrow_text(kind) and (plain_type(kind) != kind or array.null_count or hasattr(array, "chunks")))
    )
    try:
        if any(chunk.offset < 0 for chunk in (array.chunks if hasattr(array, "chunks") else [array])):
            raise pyarrow.ArrowInvalid("its offset is negative")  # pyarrow does not look
        array.validate(full=bool(rows))
    except (pyarrow.ArrowInvalid, pyarrow.ArrowIndexError) as error:
        raise ValueError(f"{where} is an Arrow column that is damaged: {error}") from error
    return array


def without_nulls(array: Any, where: str) -> Any:
    """The array, if it has no nulls. Raises `ValueError` otherwise."""
    if array.null_count:
        raise ValueError(f"{where} has {array.null_count} nulls; fill them (fill_null), or use a Udf")
    return array


def is_arrow_text(type: Any) -> bool:
    """Whether an Arrow type is one of bytes or text."""
    return plain_type(type) is not None


def plain_type(type: Any) -> Any:
    """The type with offsets for the same data, whose buffers pyarrow shows; None for types other than bytes or text."""
    pyarrow = late("pyarrow")

    names = {"string": type, "binary": type, "large_string": type, "large_binary": type}
    names |= {"string_view": pyarrow.large_string(), "binary_view": pyarrow.large_binary()}
    return names.get(str(type))


def arrow_texts(column: Any, where: str) -> Texts:
    """The buffers of an Arrow array; copied only if it is chunked."""
    pyarrow = late("pyarrow")

    without_nulls(checked(column, where), where)
    type = plain_type(column.type)
    chunked = isinstance(column, pyarrow.ChunkedArray)
    if chunked:
        if column.num_chunks > 1 and not str(type).startswith("large"):
            column = column.cast(pyarrow.large_string() if type == pyarrow.string() else pyarrow.large_binary())
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if plain_type(column.type) != column.type:
        column = column.cast(type)
    wide = str(column.type).startswith("large")
    _, offsets, data = column.buffers()
    size = 8 if wide else 4
    begin = column.offset * size
    end = begin + (len(column) + 1) * size
    if offsets is None or offsets.size < end:
        if len(column):
            raise ValueError(f"{where} has {len(column)} rows, but offsets for fewer")
        offsets, begin, end = bytes(size), 0, size
    view = memoryview(offsets)[begin:end].cast("B")
    text = str(column.type).endswith("string")
    return Texts(
        memoryview(data) if data is not None else b"",
        view.cast("q") if wide else view.cast("i"),
        text,
        _arrow_builder(type, chunked),
    )


def _arrow_builder(like: Any, chunked: bool) -> Callable[[bytes, array[int], bool, str], Any]:
    numpy = late("numpy")
    pyarrow = late("pyarrow")

    def build(data: bytes, ends: array[int], text: bool, name: str) -> Any:
        large, small = ("large_string", "string") if text else ("large_binary", "binary")
        wide = str(like).startswith("large")
        rows = len(ends) - 1
        offsets = pyarrow.py_buffer(ends)
        if not wide:  # they fit into int32, as `max_bytes` is smaller
            offsets = pyarrow.py_buffer(numpy.frombuffer(ends, dtype="i8").astype("i4"))
        buffers = [None, offsets, pyarrow.py_buffer(data)]
        made = pyarrow.Array.from_buffers(getattr(pyarrow, large if wide else small)(), rows, buffers)
        if text and not data.isascii():
            try:
                made.validate(full=True)
            except pyarrow.ArrowInvalid:  # some row is not UTF-8
                _raise_no_text([data[begin:end] for begin, end in pairwise(ends)], name)
        return pyarrow.chunked_array([made]) if chunked else made

    return build
