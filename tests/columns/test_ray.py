"""A Udf on a local Ray: the module is opened once in each worker, and a worker may die. Runs where Ray is installed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pywasmrt.columns import Udf, opened

from .guests import TEXT

numpy = pytest.importorskip("numpy")
pa = pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
pytestmark = [
    pytest.mark.slow,  # Ray takes some seconds to start, and many processes
    pytest.mark.xdist_group("ray"),
    pytest.mark.filterwarnings("ignore"),  # Ray's of its own use of itself
]

SECONDS = 120
"""Until a data set has to be done. Ray takes half a minute to start another worker on a busy machine."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    root = str(Path(__file__).resolve().parents[2])
    ray.init(
        num_cpus=2,
        _node_ip_address="127.0.0.1",
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([root, os.path.join(root, "tests")])}},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def test_batches_of_arrow_data(cluster: None) -> None:
    udf = Udf(TEXT, "add")
    data = ray.data.range(1000, override_num_blocks=8).map_batches(
        lambda batch: pa.table({"sum": udf(batch["id"], 1)}), batch_format="pyarrow"
    )
    assert sorted(row["sum"] for row in data.take_all()) == list(range(1, 1001))


def test_a_worker_that_dies_within_a_data_set_changes_no_result(cluster: None, tmp_path: Path) -> None:
    """Ray runs `map_batches` with a function as tasks, and the tasks of a dead worker again on another."""
    mark = tmp_path / "died"
    udf = Udf(TEXT, "add")

    def add(batch: Any) -> Any:
        """The first worker that computes the rows from 500 on dies after it."""
        rows = batch["id"].to_numpy()
        result = udf(batch["id"], 1)
        if rows[0] == 500:
            try:
                mark.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return pa.table({"sum": result, "modules": [len(opened._opened.linked)] * len(rows)})

    data = ray.data.range(1000, override_num_blocks=8).map_batches(add, batch_format="pyarrow")
    rows: list[dict[str, int]] = []
    taking = threading.Thread(target=lambda: rows.extend(data.take_all()), daemon=True)
    taking.start()
    taking.join(SECONDS)
    assert not taking.is_alive(), f"the data set is not done within {SECONDS} seconds"
    assert sorted(row["sum"] for row in rows) == list(range(1, 1001))
    assert {row["modules"] for row in rows} == {1}
    assert mark.exists()


def test_a_worker_that_dies_changes_no_result(cluster: None, tmp_path: Path) -> None:
    mark = tmp_path / "died"
    udf = Udf(TEXT, "add")

    @ray.remote(max_retries=3)
    def task(start: int) -> tuple[int, int]:
        """The sum of some rows, and how many modules the worker has opened. The first that computes this part dies."""
        total = int(udf(numpy.arange(start, start + 100), 1).sum())
        if start == 300:
            try:
                mark.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return total, len(opened._opened.linked)

    done = ray.get([task.remote(start) for start in range(0, 800, 100)])
    assert sum(total for total, _ in done) == sum(range(1, 801))
    assert {modules for _, modules in done} == {1}
    assert mark.exists()
