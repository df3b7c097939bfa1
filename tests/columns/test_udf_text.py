"""Udf over columns of bytes and text, and functions that are told of nulls."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from inspect import Parameter
from multiprocessing import get_context
from typing import Any

import pytest
from helpers.text_guests import TEXT

from pywasmrt import RowError, Runtime
from pywasmrt.columns import Udf

numpy = pytest.importorskip("numpy")
pa = pytest.importorskip("pyarrow")
pytestmark = pytest.mark.wasm_features("multi-value")

# Each column is followed by whether it is there.
SEES = """(module (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 64))
  (func (export "malloc") (param i32) (result i32)
    (global.get $next) (global.set $next (i32.add (global.get $next) (local.get 0))))
  (func (export "or_else") (param i64 i32 i64 i32) (result i64 i32)
    (if (result i64) (local.get 1) (then (local.get 0)) (else (local.get 2)))
    (i32.or (local.get 1) (local.get 3)))
  (func (export "count") (param i32 i32 i32 i32) (result i32) (i32.add (local.get 1) (local.get 3)))
  (func (export "is_there") (param i32 i32 i32) (result i32) (local.get 2))
  ;; The text itself, and null for one that is empty or not there.
  (func (export "filled") (param i32 i32 i32) (result i64)
    (if (result i64) (i32.and (local.get 2) (i32.ne (local.get 1) (i32.const 0)))
      (then (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1))))
      (else (i64.const 0)))))"""


@pytest.fixture
def name(runtime: Runtime) -> str:
    return runtime.info.name


def udf(function: str, name: str, **options: Any) -> Udf:
    return Udf(TEXT, function, runtime=name, **options)


def test_arrow_text_with_nulls(name: str) -> None:
    upper = udf("upper", name)
    result = upper(pa.array(["a", None, "", "bc"]))
    assert result.equals(pa.array(["A", None, "", "BC"]))
    assert upper(pa.array([None, None], pa.string())).to_pylist() == [None, None]
    assert upper(pa.array([], pa.string())).to_pylist() == []
    assert upper(pa.array([b"a", None])).equals(pa.array([b"A", None]))
    assert upper(pa.chunked_array([["a"], [None, "b"]])).to_pylist() == ["A", None, "B"]
    assert upper(pa.array(["x", "a", None, "b"])[1:]).to_pylist() == ["A", None, "B"]
    assert upper("ab").tolist() == ["AB"]
    assert upper(pa.scalar("ab")).to_pylist() == ["AB"]


def test_text_and_numbers_together(name: str) -> None:
    rest = udf("rest", name)
    assert rest(pa.array(["abc", "de", None]), pa.array([1, None, 0])).to_pylist() == ["bc", None, None]
    assert udf("join", name)(pa.array(["a", None]), "-").to_pylist() == ["a-", None]
    assert udf("join", name)(pa.array(["a"]), None).to_pylist() == [None]
    assert udf("size", name)(pa.array(["abc", None])).equals(pa.array([3, None], pa.int32()))
    assert udf("rest", name, returns="bytes")(pa.array(["abc"]), 2).to_pylist() == [b"c"]


def test_text_of_numpy(name: str) -> None:
    result = udf("upper", name)(numpy.array(["a", "bc"]))
    assert (result.dtype, result.tolist()) == (object, ["A", "BC"])
    assert udf("upper", name)(numpy.array(["a"], dtype=object)).tolist() == ["A"]


def test_rows_of_text_that_trap(name: str) -> None:
    column = pa.array([None, "a", "abc", "b"])
    with pytest.raises(RowError, match="row 2 of fails") as caught:
        udf("fails", name)(column)
    assert caught.value.row == 2
    assert udf("fails", name, on_error="null")(column).to_pylist() == [None, "a", None, "b"]


def test_pandas_and_polars(name: str) -> None:
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(["a", None, "b"], index=[3, 4, 5])
    result = udf("upper", name)(series)
    assert result.index.tolist() == [3, 4, 5]
    assert [None if pandas.isna(each) else each for each in result] == ["A", None, "B"]
    polars = pytest.importorskip("polars")
    assert udf("upper", name)(polars.Series(["a", None, "ä"])).to_list() == ["A", None, "ä"]
    assert udf("size", name)(polars.Series(["a", None])).to_list() == [1, None]


def test_functions_that_see_nulls(name: str) -> None:
    or_else = Udf(SEES, "or_else", runtime=name, nulls="seen")
    assert or_else(pa.array([1, None, None]), pa.array([5, 6, None])).to_pylist() == [1, 6, None]
    assert or_else(pa.array([None, 2]), 7).to_pylist() == [7, 2]
    assert or_else(pa.array([1, None]), None).to_pylist() == [1, None]
    count = Udf(SEES, "count", runtime=name, nulls="seen")
    assert count(pa.array([1, None]), pa.array([None, None], pa.int32())).to_pylist() == [1, 0]
    is_there = Udf(SEES, "is_there", runtime=name, nulls="seen")
    assert is_there(pa.array(["a", None, ""])).to_pylist() == [1, 0, 1]
    filled = Udf(SEES, "filled", runtime=name, nulls="seen")
    assert filled(pa.array(["a", None, ""])).to_pylist() == ["a", None, None]
    assert filled(pa.chunked_array([[b"a"], [None]])).to_pylist() == [b"a", None]


def test_options_travel(name: str) -> None:
    one = udf("upper_first", name, form="out-first", returns="bytes")
    other = pickle.loads(pickle.dumps(one))
    assert other == one
    assert other != udf("upper_first", name, form="out-first")
    assert other(pa.array(["a"])).to_pylist() == [b"A"]
    with pytest.raises(ValueError, match="nulls is 'skipped' or 'seen'"):
        udf("upper", name, nulls="asked")


def test_duckdb(name: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    upper = udf("upper", name)
    assert [each.kind for each in upper.__signature__.parameters.values()] == [Parameter.VAR_POSITIONAL]
    with duckdb.connect() as connection:
        connection.create_function("shout", upper, ["VARCHAR"], "VARCHAR", type="arrow")
        rows = connection.sql("select shout(x) from (values ('a'), ('bc')) t(x)").fetchall()
    assert rows == [("A",), ("BC",)]


def in_process(shout: Udf, column: Any) -> list[str]:
    return shout(column).to_pylist()


def test_another_process() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(in_process, Udf(TEXT, "upper"), pa.array(["a", None])).result() == ["A", None]
