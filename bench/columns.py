"""Compares batches with what they replace and with their floor. Run by `make bench-columns`; needs NumPy.

Everything is timed in turn in one process, many short rounds of each, and the best round counts (bench/measuring.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import contestants
import floor
import numpy

import pywasmrt

ROWS = 100_000
ROUNDS = 40


def best(jobs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The shortest time of each job in nanoseconds a row, the jobs in turn."""
    found = dict.fromkeys(jobs, float("inf"))
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            found[name] = min(found[name], job())
    return found


def timed(job: Callable[[], object], rows: int) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        job()
        return (time.perf_counter() - start) / rows * 1e9

    return run


def calls(add: Any, rows: int) -> Callable[[], None]:
    def run() -> None:
        for n in range(rows):
            add(n, n)

    return run


def row_by_row() -> None:
    column = numpy.arange(ROWS, dtype="i4")
    out = numpy.zeros(ROWS, dtype="i4")
    jobs: dict[str, Callable[[], float]] = {}
    loop = floor.EngineLoop(floor.load(), contestants.add_module())
    jobs["C loop over the engine"] = lambda: loop.run(ROWS)
    for info in pywasmrt.list_runtimes():
        if not info.available:
            continue
        runtime = pywasmrt.new_runtime(info.name)
        add = runtime.instantiate(runtime.compile(contestants.add_module())).exports.add
        few = 1000 if info.name == "wasmtime-py" else ROWS
        jobs[f"{info.name}, a call a row"] = timed(calls(add, few), few)
        if info.name != "wasmtime-py":
            jobs[f"{info.name}, map"] = timed(lambda add=add: add.map(column, column, out=out), ROWS)  # type: ignore[misc]
    found = best(jobs)
    for name, ns in found.items():
        print(f"{name:36} {ns:10.1f} ns a row")
    print()
    judge("wasmtime, map: times the C loop", found["wasmtime, map"] / found["C loop over the engine"], 1.3)
    for name in [each.removesuffix(", map") for each in found if each.endswith(", map")]:
        judge(f"{name}, map: times a Python loop", found[f"{name}, map"] / found[f"{name}, a call a row"], 0.5)
    if "wasmtime-py, a call a row" in found:
        faster = found["wasmtime-py, a call a row"] / found["wasmtime, map"]
        judge("wasmtime, map: times faster than wasmtime-py row by row", faster, 500, at_most=False)
    print()


def judge(name: str, value: float, limit: float, at_most: bool = True) -> None:
    """Print a ratio beside what it should be at most, or at least."""
    reached = value <= limit if at_most else value >= limit
    print(f"{'ok  ' if reached else 'MISS'} {name:56} {value:9,.2f}  {'<=' if at_most else '>='} {limit:g}")


def in_duckdb() -> None:
    """One function in a query: a guest by Udf, Python, and DuckDB's own."""
    try:
        import duckdb

        from pywasmrt.columns import Udf
    except ImportError as error:
        print(f"DuckDB is left out: {error}")
        return
    text = """(module (func (export "gcd") (param i64 i64) (result i64) (local i64)
      (block (loop (br_if 1 (i64.eqz (local.get 1)))
        (local.set 2 (i64.rem_s (local.get 0) (local.get 1)))
        (local.set 0 (local.get 1)) (local.set 1 (local.get 2)) (br 0)))
      (local.get 0)))"""

    def gcd_python(a: int, b: int) -> int:
        while b:
            a, b = b, a % b
        return a

    with duckdb.connect() as connection:
        connection.execute("set threads = 1")
        connection.create_function("gcd_guest", Udf(text, "gcd"), ["BIGINT", "BIGINT"], "BIGINT", type="arrow")
        connection.create_function("gcd_python", gcd_python, ["BIGINT", "BIGINT"], "BIGINT")

        def query(name: str) -> Callable[[], float]:
            statement = f"select sum({name}(i, 360360)) from range({ROWS}) t(i)"
            return timed(lambda: connection.execute(statement).fetchall(), ROWS)

        names = ("gcd_guest", "gcd_python", "gcd")
        found = {name: min(query(name)() for _ in range(5)) for name in names}
        for name, ns in found.items():
            print(f"{'DuckDB, ' + name:36} {ns:10.1f} ns a row")


if __name__ == "__main__":
    row_by_row()
    in_duckdb()
