"""Odd columns of a Udf: masked arrays, categories, kinds that no guest takes, and which row an error names."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest

import pywasmrt
from pywasmrt import RowError, Runtime
from pywasmrt.columns import Udf

numpy = pytest.importorskip("numpy")
pa = pytest.importorskip("pyarrow")

TEXT = """(module (memory (export "memory") 1)
  (data (i32.const 500) "\\ff")
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "same") (param i64) (result i64) (local.get 0))
  (func (export "narrow") (param i32) (result i32) (local.get 0))
  (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
  (func (export "size") (param i32 i32) (result i32) (local.get 1))
  (func (export "echo") (param i32 i32) (result i64)
    (if (result i64) (i32.eq (local.get 1) (i32.const 3))
      (then (i64.const 0x1f4_00000001))  ;; the byte at 500, which is not UTF-8
      (else (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1))))))
  (func (export "there") (param i64 i32) (result i64) (i64.add (local.get 0) (i64.extend_i32_u (local.get 1)))))"""


@pytest.fixture
def name(runtime: Runtime) -> str:
    return runtime.info.name


def udf(function: str, name: str, **options: Any) -> Udf:
    return Udf(TEXT, function, runtime=name, **options)


def test_what_is_masked_is_null(name: str) -> None:
    masked = numpy.ma.array([2**40, 4, 6], mask=[True, False, True])
    result = udf("narrow", name)(masked)
    assert result.tolist() == [None, 4, None]
    assert udf("narrow", name)(result).tolist() == [None, 4, None]  # results of nulls are masked arrays
    assert udf("same", name)(numpy.ma.array([1, 2])).tolist() == [1, 2]
    assert udf("there", name, nulls="seen")(masked).tolist() == [0, 5, 0]
    text = numpy.ma.array(["a", "bb"], mask=[False, True])
    assert udf("size", name)(text).tolist() == [1, None]
    assert udf("half", name)(numpy.ma.masked).tolist() == [None]


def test_categories_and_runs(name: str) -> None:
    assert udf("same", name)(pa.array([1, 2, None, 1]).dictionary_encode()).to_pylist() == [1, 2, None, 1]
    assert udf("echo", name)(pa.array(["a", None, "bb"]).dictionary_encode()).to_pylist() == ["a", None, "bb"]
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], [1, None])
    assert udf("same", name)(runs).to_pylist() == [1, 1, None]
    assert udf("half", name)(pa.array([1, None], pa.float16())).to_pylist() == [0.5, None]


def test_categories_of_data_frames(name: str) -> None:
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(["a", None, "bb"], dtype="category")
    assert udf("size", name)(series).astype("Int64").tolist() == [1, pandas.NA, 2]
    polars = pytest.importorskip("polars")
    column = polars.Series(["a", None, "bb"], dtype=polars.Categorical)
    assert udf("echo", name)(column).to_list() == ["a", None, "bb"]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (datetime.date(2020, 1, 1), TypeError, "which is no column"),
        (decimal.Decimal("1.5"), TypeError, "which is no column"),
        (object(), TypeError, "which is no column"),
        ((n for n in [1]), TypeError, "which is no column"),
        ([1, 2], TypeError, "a list of numbers; make an array of it"),
        ((1.5,), TypeError, "a tuple of numbers; make an array of it"),
        (2**70, OverflowError, "out of range"),
        (pa.scalar(datetime.date(2020, 1, 1)), TypeError, "an Arrow scalar of date32"),
        (pa.array([datetime.date(2020, 1, 1)]), TypeError, "an Arrow column of date32"),
        (pa.array([[1]]), TypeError, "an Arrow column of list"),
        (pa.table({"a": [1]}), TypeError, "an Arrow column of struct"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, (str, type)) else "",
)
def test_what_is_no_column(name: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"argument 1 of same\(\).*{message}"):
        udf("same", name)(value)


def test_series_that_arrow_does_not_take(name: str) -> None:
    pandas = pytest.importorskip("pandas")
    odd = [
        pandas.Series([1, "a"], dtype=object),
        pandas.Series([1j]),
        pandas.Series(pandas.arrays.SparseArray([0, 1])),
    ]
    polars = pytest.importorskip("polars")
    for series in [*odd, polars.Series([1], dtype=polars.Int128)]:
        with pytest.raises(
            (TypeError, ValueError), match=r"argument 1 of same\(\) is a column of .*, which cannot become"
        ):
            udf("same", name)(series)


def test_overflow_names_the_row_among_nulls(name: str) -> None:
    with pytest.raises(OverflowError, match="row 3 of argument 1"):
        udf("narrow", name)(pa.array([None, 1, None, 2**40]))
    with pytest.raises(OverflowError, match="row 1 of argument 1"):
        udf("narrow", name)(pa.array([1, 2**40]))


def test_results_that_are_no_text_fail_their_rows(name: str, runtime: Runtime) -> None:
    column = pa.array(["ä", None, "abc", "ö"])
    with pytest.raises(RowError, match=r"row 2 of echo\(\): the guest gave what is not UTF-8"):
        udf("echo", name)(column)
    assert udf("echo", name, on_error="null")(column).to_pylist() == ["ä", None, None, "ö"]
    guest = runtime.instantiate(runtime.compile(TEXT))
    rows, failed = guest.map_bytes("echo", ["ä", "abc", "ö"], on_error="mask")
    assert rows == ["ä", "", "ö"]
    assert failed.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"nulls": numpy.zeros(2)}, ValueError, "nulls is"),
        ({"on_error": numpy.zeros(2)}, ValueError, "on_error is"),
        ({"on_error": "mask"}, ValueError, "'raise' or 'null'"),
        ({"form": "pointer_high"}, ValueError, "form is one of"),
        ({"returns": "string"}, ValueError, "returns is"),
        ({"form": "pair", "returns": "numbers"}, ValueError, "different things"),
        ({"wasi": 5}, TypeError, "wasi of Udf"),
        ({"limits": 5}, TypeError, "limits of Udf"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Udf(TEXT, "same", **options)


def test_what_cannot_be_pickled_is_said_at_once() -> None:
    unpickled = Udf(TEXT, "same", runtime={"type": "wasmtime", "options": {"x": lambda: 1}})
    with pytest.raises(TypeError, match="a Udf travels"):
        unpickled(numpy.arange(3))


def test_a_module_whose_runtime_is_closed_spoils_no_other(runtime: Runtime) -> None:
    text = TEXT.replace("i32.const 1024", "i32.const 1032")  # that no other test has opened
    with pywasmrt.new_runtime(runtime.info.name) as other:
        closed = Udf(other.compile(text), "same")
        assert closed(numpy.arange(2)).tolist() == [0, 1]
    module = runtime.compile(text)
    assert Udf(module, "same")(numpy.arange(2)).tolist() == [0, 1]
    module.close()
    with pytest.raises(pywasmrt.ClosedError):
        Udf(module, "same")(numpy.arange(2))


def test_duckdb_with_text_beside_a_number() -> None:
    """DuckDB counts parameters, which a Udf of text cannot tell."""
    duckdb = pytest.importorskip("duckdb")
    size = '(func (export "size") (param i32 i32)'
    score = Udf(TEXT.replace(size, size[:-1] + " i32)"), "size")
    with duckdb.connect() as connection:
        types = ["VARCHAR", "INTEGER"]
        with pytest.raises(duckdb.InvalidInputException, match="2 types provided"):
            connection.create_function("odd", score, types, "INTEGER", type="arrow")
        connection.create_function("score", lambda a, b: score(a, b), types, "INTEGER", type="arrow")
        rows = connection.sql("select score(x, 1) from (values ('abc'), (null), ('')) t(x)").fetchall()
    assert rows == [(3,), (None,), (0,)]
