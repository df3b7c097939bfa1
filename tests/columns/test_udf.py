"""Udf: a function of a guest as a value that travels, over columns of every kind."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt import Limits, RowError, Runtime
from pywasmrt.columns import Udf, opened

from .guests import TEXT

numpy = pytest.importorskip("numpy")


@pytest.fixture
def name(runtime: Runtime) -> str:
    return runtime.info.name


def test_numpy_in_and_out(name: str) -> None:
    add = Udf(TEXT, "add", runtime=name)
    assert add(numpy.array([1, 2]), 10).tolist() == [11, 12]
    assert add(1, 2).tolist() == [3]
    first, second = Udf(TEXT, "both", runtime=name)(numpy.array([4]))
    assert (first.tolist(), second.tolist()) == ([4], [4.0])
    assert str(add.type) == "(i32, i32) -> (i32)"
    assert repr(add) == f"<Udf add ({name})>"


def test_a_null_scalar_masks_every_row(name: str) -> None:
    result = Udf(TEXT, "add", runtime=name)(numpy.array([1, 2]), None)
    assert result.mask.tolist() == [True, True]


def test_a_module_is_opened_once_and_each_thread_has_an_instance(name: str) -> None:
    udf = Udf(TEXT + f" ;; {name} opened once", "count", runtime=name)
    copies = [pickle.loads(pickle.dumps(udf)) for _ in range(3)]
    assert [int(each(1)[0]) for each in copies] == [1, 2, 3]  # of one instance
    assert all(each == udf and hash(each) == hash(udf) for each in copies)
    found = []
    threads = [threading.Thread(target=lambda: found.append(int(udf(1)[0]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1, 1]


def test_a_module_is_compiled_once_by_threads_that_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    link = Udf._link
    monkeypatch.setattr(Udf, "_link", lambda self: made.append(1) or link(self))
    udf = Udf(TEXT + " ;; once", "add")
    barrier = threading.Barrier(4)

    def call() -> None:
        barrier.wait()
        udf(1, 2)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_what_is_opened_is_bounded() -> None:
    for n in range(opened.MODULES + 3):
        assert Udf(TEXT + f" ;; {n}", "add")(n, 1).tolist() == [n + 1]
    assert len(opened._opened.linked) == opened.MODULES
    assert len(opened._instances()) == opened.INSTANCES


def test_signatures() -> None:
    """`inspect.signature` tells the columns of a function, and of the class what makes one."""
    assert list(inspect.signature(Udf(TEXT, "add")).parameters) == ["column1", "column2"]
    assert list(inspect.signature(Udf).parameters)[:3] == ["source", "name", "runtime"]


def test_sources(tmp_path: Path, runtime: Runtime) -> None:
    path = tmp_path / "guest.wat"
    path.write_text(TEXT)
    module = runtime.compile(TEXT)
    udf = Udf(module, "add")
    assert udf(1, 2).tolist() == [3]
    assert copy.copy(udf) == udf
    assert Udf(path, "add")(1, 2).tolist() == [3]
    assert Udf(path, "add") == Udf(TEXT, "add")
    path.write_bytes(b";; \xff")
    with pytest.raises(pywasmrt.ModuleCompileError, match="is not text in UTF-8"):
        Udf(path, "add")
    with pytest.raises(TypeError, match="a module is bytes"):
        Udf(5, "add")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name of the function"):
        Udf(TEXT, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'raise' or 'null'"):
        Udf(TEXT, "add", on_error="mask")
    with pytest.raises(pywasmrt.ModuleCompileError):
        Udf(b"\0asm", "add")(1, 2)
    with pytest.raises(pywasmrt.FunctionNotExportedError, match="did you mean"):
        Udf(TEXT, "ad")(1, 2)
    with pytest.raises(FileNotFoundError):
        Udf(tmp_path / "none.wasm", "add")


def test_equality_does_not_depend_on_an_order() -> None:
    options = {"consume_fuel": True, "max_wasm_stack": 1 << 20}
    one: dict[str, Any] = {"type": "wasmtime", "options": options, "features": ["simd"]}
    other = {"features": ["simd"], "options": dict(reversed(options.items())), "type": "wasmtime"}
    assert Udf(TEXT, "add", runtime=one) == Udf(TEXT, "add", runtime=other)
    assert hash(Udf(TEXT, "add", runtime=one)) == hash(Udf(TEXT, "add", runtime=other))
    assert Udf(TEXT, "add", runtime=one) != Udf(TEXT, "add", runtime={**one, "options": {"consume_fuel": True}})
    configs = [pywasmrt.RuntimeConfig("wasmtime", options=each["options"]) for each in (one, other)]
    assert Udf(TEXT, "add", runtime=configs[0]) == Udf(TEXT, "add", runtime=configs[1])


def process_and_sum(udf: Udf, column: Any) -> tuple[int, int]:
    return os.getpid(), int(udf(column, 1).sum())


def test_other_processes() -> None:
    udf = Udf(TEXT, "add")
    udf(1, 2)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(process_and_sum, [udf] * 4, [numpy.arange(100)] * 4))
    assert {total for _, total in results} == {5050}
    assert os.getpid() not in {pid for pid, _ in results}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork beside threads
def test_the_child_of_a_fork() -> None:
    udf = Udf(TEXT, "add")
    udf(1, 2)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if udf(3, 4).tolist() == [7] else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_an_instance_that_was_stopped_is_not_used_again(name: str, runtime: Runtime, needs: Any) -> None:
    needs("deadline")
    limits = Limits(timeout=2)
    count = Udf(TEXT, "count", runtime=name, limits=limits)
    assert count(numpy.arange(3)).tolist() == [1, 2, 3]
    with pytest.raises(pywasmrt.DeadlineExceeded):
        Udf(TEXT, "spin", runtime=name, limits=limits)(1)
    assert count(1).tolist() == [1]


def test_columns_that_do_not_fit(name: str) -> None:
    add = Udf(TEXT, "add", runtime=name)
    with pytest.raises(ValueError, match="one length"):
        add(numpy.arange(2), numpy.arange(3))
    with pytest.raises(TypeError, match="takes 2 arguments"):
        add(numpy.arange(2))
    with pytest.raises(TypeError, match="at least one column"):
        add()


# Arrow


@pytest.fixture
def pa() -> Any:
    return pytest.importorskip("pyarrow")


def test_arrow_arrays_with_nulls(pa: Any, name: str) -> None:
    add = Udf(TEXT, "add", runtime=name)
    result = add(pa.array([1, None, 3, 4], pa.int32()), pa.array([1, 1, None, 1], pa.int8()))
    assert result.equals(pa.array([2, None, None, 5], pa.int32()))
    assert add(pa.array([None, None]), 1).to_pylist() == [None, None]
    assert add(pa.array([], pa.int32()), 1).to_pylist() == []
    assert add(pa.array([True, None, False]), pa.scalar(5)).to_pylist() == [6, None, 5]
    assert add(pa.array([1]), pa.scalar(None, pa.int32())).to_pylist() == [None]
    assert add(pa.array([9, 1, None, 2])[1:], 1).to_pylist() == [2, None, 3]  # a slice has an offset


def test_the_guest_never_sees_nulls(pa: Any, name: str) -> None:
    count = Udf(TEXT + f" ;; nulls {name}", "count", runtime=name)
    assert count(pa.array([5, None, 5])).to_pylist() == [1, None, 2]


def test_chunked_arrow_data(pa: Any, name: str) -> None:
    chunked = pa.chunked_array([[1, 2], [], [None, 4]])
    result = Udf(TEXT, "half", runtime=name)(chunked)
    assert isinstance(result, pa.ChunkedArray)
    assert result.to_pylist() == [0.5, 1.0, None, 2.0]


def test_rows_that_trap(pa: Any, name: str) -> None:
    a, b = pa.array([None, 6, 6, 6]), pa.array([1, 3, 0, 2])
    with pytest.raises(RowError, match="row 2 of") as caught:
        Udf(TEXT, "div", runtime=name)(a, b)
    assert caught.value.row == 2
    assert isinstance(caught.value.__cause__, pywasmrt.Trap)
    assert Udf(TEXT, "div", runtime=name, on_error="null")(a, b).to_pylist() == [None, 2, None, 3]


class Exporter:
    """What offers an array by Arrow's interface, and is of no library; it gives away the same array each time."""

    def __init__(self, capsules: Any) -> None:
        self._capsules = capsules

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self._capsules


def test_the_interface_alone_is_enough(pa: Any, name: str) -> None:
    add = Udf(TEXT, "add", runtime=name)
    once = Exporter(pa.array([1, None]).__arrow_c_array__())
    assert add(once, 1).to_pylist() == [2, None]
    with pytest.raises(ValueError, match="released"):
        add(once, 1)


def test_arrow_columns_that_do_not_fit(pa: Any, name: str) -> None:
    add = Udf(TEXT, "add", runtime=name)
    for array in (pa.array([{"a": 1}]), pa.table({"a": [1]}), pa.array([1], pa.timestamp("s"))):
        with pytest.raises(TypeError, match=r"argument 1 of add\(\) is an Arrow column of"):
            add(array, 1)
    with pytest.raises(OverflowError, match="row 1"):
        add(pa.array([1, 2**40]), 1)
    with pytest.raises(pywasmrt.MemoryExportNotFoundError, match="no memory to put bytes into"):
        add(pa.array(["a"]))


# The libraries that people have their columns in


def test_pandas(name: str) -> None:
    pandas = pytest.importorskip("pandas")
    add = Udf(TEXT, "add", runtime=name)
    series = pandas.Series([1, 2, 3], index=[7, 8, 9])
    result = add(series, series)
    assert result.to_dict() == {7: 2, 8: 4, 9: 6}
    pytest.importorskip("pyarrow")
    nulls = add(pandas.Series([1, None, 3], dtype="Int32"), 1)
    assert nulls.dtype == "Int32"
    assert [None if value is pandas.NA else int(value) for value in nulls] == [2, None, 4]
    frame = pandas.DataFrame({"a": [1, 2], "b": [3, 4]})
    assert frame.assign(c=lambda f: add(f["a"], f["b"]))["c"].tolist() == [4, 6]


def test_polars(name: str) -> None:
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    add = Udf(TEXT, "add", runtime=name)
    result = add(polars.Series([1, None, 3]), 1)
    assert isinstance(result, polars.Series)
    assert result.to_list() == [2, None, 4]
    frame = polars.DataFrame({"a": [1, 2], "b": [3, 4]})
    together = polars.map_batches(["a", "b"], lambda columns: add(*columns), return_dtype=polars.Int32)
    assert frame.select(together.alias("c"))["c"].to_list() == [4, 6]


def test_pyarrow_compute(pa: Any, name: str) -> None:
    compute = pytest.importorskip("pyarrow.compute")
    add = Udf(TEXT, "add", runtime=name)
    types = {"a": pa.int32(), "b": pa.int32()}
    function = f"wasm_add_{name}"
    documentation = {"summary": "add", "description": "add"}
    compute.register_scalar_function(lambda context, a, b: add(a, b), function, documentation, types, pa.int32())
    column = pa.array([1, None, 3], pa.int32())
    assert compute.call_function(function, [column, column]).to_pylist() == [2, None, 6]


def test_duckdb(name: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    add = Udf(TEXT, "add", runtime=name)
    with duckdb.connect() as connection:
        connection.create_function("wasm_add", add, ["INTEGER", "INTEGER"], "INTEGER", type="arrow")
        total = connection.sql("select sum(wasm_add(i::INTEGER, 1::INTEGER)) from range(10000) t(i)").fetchall()[0]
        assert total == (sum(range(1, 10001)),)
        rows = connection.sql("select wasm_add(a, 1::INTEGER) from (values (1), (null), (3)) t(a)").fetchall()
        assert rows == [(2,), (None,), (4,)]
