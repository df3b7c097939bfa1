"""A Udf on a Dask cluster of processes: the module is opened once in each worker, and a worker may die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pywasmrt.columns import Udf, opened

from .guests import TEXT

distributed = pytest.importorskip("dask.distributed")
numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.xdist_group("dask")  # one cluster for all


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "host": "127.0.0.1"}
    with (
        distributed.LocalCluster(dashboard_address="127.0.0.1:0", **settings) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def task(udf: Udf, start: int) -> tuple[int, int, int]:
    total = int(udf(numpy.arange(start, start + 100), 1).sum())
    return total, os.getpid(), len(opened._opened.linked)


def die_once(udf: Udf, start: int, mark: Path) -> int:
    """Ends its process the first time, in the middle of the work."""
    total = int(udf(numpy.arange(start, start + 100), 1).sum())
    if start == 300:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return total
        os.kill(os.getpid(), signal.SIGKILL)
    return total


def test_each_worker_opens_the_module_once(client: Any) -> None:
    udf = Udf(TEXT, "add")
    done = client.gather([client.submit(task, udf, start, pure=False) for start in range(0, 1600, 100)])
    assert sum(total for total, _, _ in done) == sum(range(1, 1601))
    assert {modules for _, _, modules in done} == {1}
    assert os.getpid() not in {pid for _, pid, _ in done}


def test_a_data_frame_by_partitions(client: Any) -> None:
    pandas = pytest.importorskip("pandas")
    frames = pytest.importorskip("dask.dataframe")
    add = Udf(TEXT, "add")
    frame = frames.from_pandas(pandas.DataFrame({"a": range(100), "b": range(100)}), npartitions=4)
    result = frame.map_partitions(lambda part: add(part["a"], part["b"]), meta=("c", "int32"))
    assert result.compute(scheduler=client).tolist() == [2 * n for n in range(100)]


def test_a_bag(client: Any) -> None:
    bags = pytest.importorskip("dask.bag")
    half = Udf(TEXT, "half")
    bag = bags.from_sequence(range(100), npartitions=4).map_partitions(lambda part: half(numpy.array(list(part))))
    assert sum(bag.compute(scheduler=client)) == sum(range(100)) / 2


def test_a_worker_that_dies_changes_no_result(client: Any, tmp_path: Path) -> None:
    udf = Udf(TEXT, "add")
    mark = tmp_path / "died"
    tasks = [client.submit(die_once, udf, start, mark, pure=False) for start in range(0, 800, 100)]
    assert sum(client.gather(tasks)) == sum(range(1, 801))
    assert mark.exists()
