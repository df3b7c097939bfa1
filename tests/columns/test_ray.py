"""A Udf on a local Ray: the module is opened once in each worker, and a worker may die. Runs where Ray is installed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pywasmrt.columns import Udf, opened

from .guests import TEXT

pa = pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]  # it takes some seconds to start, and many processes


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    root = str(Path(__file__).resolve().parents[2])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([root, os.path.join(root, "tests")])}},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


class Add:
    """One for each worker, as Ray's actors are."""

    def __init__(self, udf: Udf, mark: Path | None = None) -> None:
        self.udf = udf
        self.mark = mark

    def __call__(self, batch: Any) -> Any:
        if self.mark is not None and 300 in batch["id"].to_pylist():
            try:
                self.mark.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        sums = self.udf(batch["id"], 1)
        pids = pa.array([os.getpid()] * len(batch))
        modules = pa.array([len(opened._opened.linked)] * len(batch))
        return pa.table({"sum": sums, "pid": pids, "modules": modules})


def test_batches_of_arrow_data(cluster: None) -> None:
    udf = Udf(TEXT, "add")
    data = ray.data.range(1000, override_num_blocks=8).map_batches(
        lambda batch: pa.table({"sum": udf(batch["id"], 1)}), batch_format="pyarrow"
    )
    assert sorted(row["sum"] for row in data.take_all()) == list(range(1, 1001))


def test_each_worker_opens_the_module_once(cluster: None) -> None:
    data = ray.data.range(1000, override_num_blocks=8)
    made = data.map_batches(
        Add, fn_constructor_args=(Udf(TEXT, "add"),), batch_format="pyarrow", batch_size=50, concurrency=2
    )
    rows = made.take_all()
    assert sum(row["sum"] for row in rows) == sum(range(1, 1001))
    assert {row["modules"] for row in rows} == {1}
    assert os.getpid() not in {row["pid"] for row in rows}


def test_a_worker_that_dies_changes_no_result(cluster: None, tmp_path: Path) -> None:
    mark = tmp_path / "died"
    udf = Udf(TEXT, "add")
    work = Add(udf, mark)

    @ray.remote(max_retries=3)
    def task(start: int) -> int:
        batch = pa.table({"id": list(range(start, start + 100))})
        return int(sum(work(batch)["sum"].to_pylist()))

    assert sum(ray.get([task.remote(start) for start in range(0, 800, 100)])) == sum(range(1, 801))
    assert mark.exists()


def test_a_worker_of_a_data_set_that_dies(cluster: None, tmp_path: Path) -> None:
    mark = tmp_path / "died"
    work = Add(Udf(TEXT, "add"), mark)
    data = ray.data.range(800, override_num_blocks=8).map_batches(lambda batch: work(batch), batch_format="pyarrow")
    assert sum(row["sum"] for row in data.take_all()) == sum(range(1, 801))
    assert mark.exists()
