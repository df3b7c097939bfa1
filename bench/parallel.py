"""What two cores give: batches on two threads, a plugin with two instances, and Dask with two processes.

Run by `make bench-columns`. Each is compared with the same work on one thread or process, the rounds in turn. Beside
them stands what two threads reach that hash in C, since a machine that does other things has no two whole cores.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import sys
import threading
import time
from collections.abc import Callable
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


def busy(part: Any) -> Any:
    from pywasmrt.columns import Udf

    return Udf(SUM, "sum")(part)


def dask() -> float:
    """A bag of partitions, each some 60 ms of computing, on clusters of one and of two processes."""
    import dask.bag
    from dask.distributed import Client, LocalCluster

    bag = dask.bag.from_sequence([numpy.full(20_000, 4_000, dtype="i4")] * 16, npartitions=16).map(busy)
    best: dict[int, float] = {}
    clusters = {
        workers: LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        )
        for workers in (1, 2)
    }
    clients = {workers: Client(cluster) for workers, cluster in clusters.items()}
    try:
        for _ in range(6):
            for workers, client in clients.items():
                start = time.perf_counter()
                bag.compute(scheduler=client)
                best[workers] = min(best.get(workers, float("inf")), time.perf_counter() - start)
    finally:
        for client in clients.values():
            client.close()
        for cluster in clusters.values():
            cluster.close()
    return best[1] / best[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    shown = {
        "two threads that hash in C": lambda: hashing(rounds),
        "two threads that map": lambda: batches(rounds),
        "a plugin of two instances": lambda: plugin(rounds),
        "Dask, two processes": dask,
    }
    for name, measure in shown.items():
        try:
            print(f"{name:36} {measure():10.2f} times one")
        except ImportError as error:
            print(f"{name:36} left out: {error}")


if __name__ == "__main__":
    main()
