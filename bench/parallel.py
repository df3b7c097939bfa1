"""What two cores give: batches on two threads, a plugin with two instances, and Dask with two processes.

Run by `make bench-columns`. Each is compared with the same work on one thread or process, the rounds in turn. Beside
them stands what two threads reach that hash in C, and what two bare processes reach, since a machine that does other
things has no two whole cores.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

import pywasmrt

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests" / "helpers")]

SUM = """(module (func (export "sum") (param i32) (result i32) (local i32)
  (loop (local.set 1 (i32.add (local.get 1) (local.get 0)))
    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
  (local.get 1)))"""


def on_threads(jobs: list[Callable[[], object]]) -> float:
    """Seconds that the jobs take, each on a thread of its own, from the moment at which all of these run."""
    ready = threading.Barrier(len(jobs) + 1)

    def run(job: Callable[[], object]) -> None:
        ready.wait()
        job()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def gain(first: Callable[[], object], second: Callable[[], object], rounds: int) -> float:
    """The work that two threads do in the time of one, as a multiple of one thread's, by the best round of each."""
    one = two = float("inf")
    for _ in range(rounds):
        one = min(one, on_threads([first]))
        two = min(two, on_threads([first, second]))
    return 2 * one / two


def hashing(rounds: int) -> float:
    data = bytes(4_000_000)

    def job() -> bytes:
        return hashlib.sha256(data).digest()

    return gain(job, job, rounds)


def batches(rounds: int) -> float:
    with pywasmrt.new_runtime("wasmtime") as runtime:
        module = runtime.compile(SUM)
        sums = [runtime.instantiate(module).exports.sum for _ in range(2)]
        column = numpy.full(3_000, 2_000, dtype="i4")
        return gain(lambda: sums[0].map(column), lambda: sums[1].map(column), rounds)


def _otel() -> ModuleType:
    """bench/otel.py, whose name is that of a package of the tests as well."""
    spec = importlib.util.spec_from_file_location("bench_otel", ROOT / "bench" / "otel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plugin(rounds: int) -> float:
    """Batches of 1000 spans through the attributes guest."""
    from pywasmrt.otel import WasmProcessor

    otel = _otel()
    made: dict[str, Any] = otel.config(otel.c_guest("attributesprocessor"), plugin_config=otel.INSERT)
    made["runtime_config"] = {"type": "wasmtime", "instances": 2}
    data = otel.payload(1000)
    with WasmProcessor(made) as processor:

        def job() -> None:
            for _ in range(6):
                processor.process_traces(data)

        return gain(job, job, rounds)


PARTITIONS = 16
"""Each is some 300 ms of computing, since the scheduler shares the cores. Of few, one worker may get too many."""


def busy(number: int) -> int:
    """The sum of a partition's results. The partition is made here, so that no column travels."""
    from pywasmrt.columns import Udf

    return int(Udf(SUM, "sum")(numpy.full(80_000, 4_000 + number, dtype="i4")).sum(dtype="i8"))


def _best(rounds: int, job: Callable[[], object]) -> float:
    """Seconds of the best round, after one to start up."""
    job()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        job()
        best = min(best, time.perf_counter() - start)
    return best


def _two_to_one(best_of: Callable[[int], float]) -> float:
    """How often as fast two workers are as one. There is one kind at a time, since idle workers cost time as well."""
    best = {1: float("inf"), 2: float("inf")}
    for workers in (1, 2, 1, 2):
        best[workers] = min(best[workers], best_of(workers))
    return best[1] / best[2]


def processes(rounds: int) -> float:
    """What Dask's workers are measured against: the same partitions on bare processes."""
    spawn = multiprocessing.get_context("spawn")

    def best_of(workers: int) -> float:
        with ProcessPoolExecutor(workers, spawn) as pool:
            return _best(rounds, lambda: sum(pool.map(busy, range(PARTITIONS))))

    return _two_to_one(best_of)


def dask(rounds: int) -> float:
    """A bag of the partitions, on clusters of one and of two processes."""
    import dask.bag
    from dask.distributed import Client, LocalCluster

    bag = dask.bag.from_sequence(range(PARTITIONS), npartitions=PARTITIONS).map(busy)

    def best_of(workers: int) -> float:
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            ) as cluster,
            Client(cluster) as client,
        ):
            return _best(rounds, lambda: bag.compute(scheduler=client))

    return _two_to_one(best_of)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--cluster-rounds", type=int, default=4, help="of processes, some four seconds each")
    parser.add_argument("--only", metavar="TEXT", default="", help="measure what has this in its name")
    options = parser.parse_args()
    rounds, cluster_rounds = options.rounds, options.cluster_rounds
    shown = {
        "two threads that hash in C": lambda: hashing(rounds),
        "two threads that map": lambda: batches(rounds),
        "a plugin of two instances": lambda: plugin(rounds),
        "two bare processes": lambda: processes(cluster_rounds),
        "Dask, two processes": lambda: dask(cluster_rounds),
    }
    for name, measure in shown.items():
        if options.only not in name:
            continue
        try:
            print(f"{name:36} {measure():10.2f} times one")
        except ImportError as error:
            print(f"{name:36} left out: {error}")


if __name__ == "__main__":
    main()
