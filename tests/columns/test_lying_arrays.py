"""Arrow arrays that lie about themselves: an error each, and nothing is read outside of their buffers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from pywasmrt import Runtime
from pywasmrt.columns import Udf

numpy = pytest.importorskip("numpy")
pa = pytest.importorskip("pyarrow")

TEXT = """(module (memory (export "memory") 1)
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "same") (param i64) (result i64) (local.get 0))
  (func (export "size") (param i32 i32) (result i32) (local.get 1)))"""


def view(*words: int) -> Any:
    """A view of a string: its size, its first four bytes, a buffer's number, and where it begins there."""
    return pa.py_buffer(numpy.array(words, "i4").tobytes())


def offsets(*values: int) -> Any:
    return pa.py_buffer(numpy.array(values, "i4").tobytes())


class Changed:
    """An array as Arrow's C interface offers it, with one number of its struct changed: 0 is the length, 1 null_count,
    2 the offset, 3 n_buffers.
    """

    def __init__(self, array: Any, field: int, value: int) -> None:
        self._array, self._field, self._value = array, field, value

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        schema, array = self._array.__arrow_c_array__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        (ctypes.c_int64 * 4).from_address(pointer(array, b"arrow_array"))[self._field] = self._value
        return schema, array


NUMBERS: list[Callable[[], Any]] = [
    lambda: Changed(pa.array([1, None]), 0, -1),
    lambda: Changed(pa.array([1, None]), 1, 3),
    lambda: Changed(pa.array([1, 2]), 1, 2),  # without a buffer that says which
    lambda: Changed(pa.array([1, None]), 2, -1),
    lambda: Changed(pa.array([1, None]), 3, 1),
    lambda: pa.DictionaryArray.from_arrays(pa.array([0, 5**9]), pa.array([1, 2]), safe=False),
    lambda: pa.DictionaryArray.from_arrays(pa.array([0, -5]), pa.array([1, 2]), safe=False),
]
TEXTS: list[Callable[[], Any]] = [
    lambda: Changed(pa.array(["a", None]), 0, -1),
    lambda: Changed(pa.array(["a", "b"]), 1, 2),
    lambda: Changed(pa.array(["a", None]), 3, 2),
    lambda: pa.Array.from_buffers(pa.string_view(), 1, [None, view(100, 0, 0, 10**6), pa.py_buffer(b"a")]),
    lambda: pa.Array.from_buffers(pa.string_view(), 1, [None, view(100, 0, 7, 0), pa.py_buffer(b"a")]),
    lambda: pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x06"), offsets(0, 3, 1, 4), pa.py_buffer(b"abcd")]),
    lambda: pa.chunked_array(
        [pa.Array.from_buffers(pa.string(), 3, [None, offsets(0, 3, 1, 4), pa.py_buffer(b"abcd")]), pa.array(["x"])]
    ),
    lambda: pa.DictionaryArray.from_arrays(pa.array([0, 5**9]), pa.array(["1", "2"]), safe=False),
]


@pytest.mark.parametrize("made", range(len(NUMBERS)))
def test_numbers(made: int) -> None:
    with pytest.raises((ValueError, TypeError), match="Arrow column"):
        Udf(TEXT, "same")(NUMBERS[made]())


@pytest.mark.parametrize("made", range(len(TEXTS)))
def test_texts(made: int, runtime: Runtime) -> None:
    with pytest.raises((ValueError, TypeError), match="Arrow column"):
        Udf(TEXT, "size", runtime=runtime.info.name)(TEXTS[made]())
    if made == len(TEXTS) - 1:  # categories, which only a Udf takes
        return
    guest = runtime.instantiate(runtime.compile(TEXT))
    with pytest.raises((ValueError, TypeError)):
        guest.map_bytes("size", TEXTS[made]())
