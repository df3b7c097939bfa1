"""Compares the cost of calls with other libraries and with the floor, in one process. `make bench` runs it.

The floor of `add` is a METH_FASTCALL function that does nothing but add, plus a C loop over the engine's own call of
the guest's `add`. The floor of a callback is a C loop calling the same Python function by vectorcall. Ratios within one
run mean something; nanoseconds from two machines, or from one machine twice, do not compare.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import floor as floors
from contestants import CONTESTANTS, JOBS, NAMES, add_module, callback_module, increment
from measuring import Loop, Timer, best_of_rounds, import_seconds, write_json

import pywasmrt

NATIVE, _, FALLBACK, DIRECT, _, WAZERO, WAZERO_FREE = NAMES
FLOOR = "floor"


@dataclass(frozen=True)
class Target:
    """A ratio to reach: `value` is at most, or at least, `limit`."""

    name: str
    value: float
    limit: float
    at_most: bool

    @property
    def reached(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def floor_entrants() -> dict[Any, Loop | Timer]:
    """The contestants for the floors; none, with a message, where the native parts or a compiler are missing."""
    try:
        floor = floors.load()
        loop = floors.EngineLoop(floor, add_module())
    except (ImportError, OSError, subprocess.CalledProcessError) as error:
        print(f"the floor cannot be measured here: {error}", file=sys.stderr)
        return {}
    return {
        ("parts", "noop"): Loop("noop(1, 2)", {"noop": floor.noop}),
        ("parts", "engine"): Timer(loop.run),
        ("parts", "table"): Timer(loop.run_through_table),
        ("callback", FLOOR): Timer(lambda n: float(floor.callback_loop(increment, n))),
    }


def wazero_entrants() -> dict[Any, Loop | Timer]:
    """The costs of calls through wazero from C, in either direction; none where the runtime is missing."""
    if not any(info.name == "wazero" and info.available for info in pywasmrt.list_runtimes()):
        return {}
    floor = floors.load()
    runtime = pywasmrt.new_runtime("wazero")
    calls = floors.EngineLoop(floor, add_module(), runtime)
    calls_back = floors.EngineLoop(floor, callback_module(), runtime, imported=True)
    return {("wazero", "add"): Timer(calls.run_through_table), ("wazero", "callback"): Timer(calls_back.call_back)}


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Nanoseconds by job and contestant. The parts of the floor of `add` are under 'parts'."""
    entrants = floor_entrants()
    if entrants:
        entrants |= wazero_entrants()
    for name, make in CONTESTANTS.items():
        for job, each in (make() or {}).items():
            entrants[job, name] = each
    figures: dict[str, dict[str, float]] = {"parts": {}, "wazero": {}, **{job: {} for job in JOBS}}
    for (job, name), nanoseconds in best_of_rounds(entrants, rounds).items():
        figures[job][name] = nanoseconds
    parts = figures["parts"]
    if parts:
        figures["add"][FLOOR] = parts["noop"] + parts["engine"]
    return figures


def targets(figures: dict[str, dict[str, float]], imports: dict[str, float]) -> list[Target]:
    """The targets of this library, for the runtimes that are available."""
    found = []

    def ratio(name: str, job: str, above: str, below: str, limit: float, at_most: bool) -> None:
        figure = figures[job]
        if above in figure and below in figure:
            found.append(Target(name, figure[above] / figure[below], limit, at_most))

    ratio("add: times the floor", "add", NATIVE, FLOOR, 1.5, True)
    ratio("add: times faster than wasmtime-py", "add", DIRECT, NATIVE, 300, False)
    ratio("callback: times a C loop by vectorcall", "callback", NATIVE, FLOOR, 2, True)
    ratio("callback: times faster than wasmtime-py", "callback", DIRECT, NATIVE, 100, False)
    ratio("memory.read: times faster than wasmtime-py", "read", DIRECT, NATIVE, 25, False)
    ratio("memory.write: times faster than wasmtime-py", "write", DIRECT, NATIVE, 33, False)
    for name, own, limit in ((WAZERO, "wazero", 8), (WAZERO_FREE, "wazero, uninterruptible", 50)):
        ratio(f"{own}, add: times faster than wasmtime-py", "add", DIRECT, name, limit, False)
        ratio(f"{own}, callback: times faster than wasmtime-py", "callback", DIRECT, name, 15, False)
    if WAZERO in figures["add"] and figures["wazero"]:
        for job, name, own in (
            ("add", WAZERO, "wazero"),
            ("add", WAZERO_FREE, "wazero, uninterruptible"),
            ("callback", WAZERO, "wazero"),
        ):
            times = figures[job][name] / figures["wazero"][job]
            found.append(Target(f"{own}, {job}: times C's own through the library", times, 1.5, True))
        least = figures["wazero"]["callback"] + figures["callback"][FLOOR]
        times = figures["callback"][WAZERO] / least
        found.append(Target("wazero, callback: times C's own plus the Python function", times, 1.15, True))
    for job in ("add", "callback", "read", "write"):
        ratio(f"fallback, {job}: times wasmtime-py used directly", job, FALLBACK, DIRECT, 1.05, True)
    more = (imports["pywasmrt"] - imports["bare"]) * 1e3
    found.append(Target("import: ms more than a bare interpreter", more, 30, True))
    return found


def print_table(figures: dict[str, dict[str, float]]) -> None:
    columns = [name for name in (FLOOR, *NAMES) if any(name in figures[job] for job in JOBS)]
    print(f"{'nanoseconds':28}" + "".join(f"{name:>24}" for name in columns))
    for job, title in JOBS.items():
        row = figures[job]
        base = row.get(FLOOR, row.get(NATIVE))
        cells = []
        for name in columns:
            value = row.get(name)
            cells.append("-" if value is None else f"{value:,.1f} ({value / base:,.2f})" if base else f"{value:,.1f}")
        print(f"{title:28}" + "".join(f"{cell:>24}" for cell in cells))
    print("in brackets: times the floor, or times pywasmrt's wasmtime where a job has no floor")
    parts = figures["parts"]
    if parts:
        noop, engine, table = (f"{parts[part]:.1f}" for part in ("noop", "engine", "table"))
        print(
            f"the floor of add: {noop} for a METH_FASTCALL no-op, {engine} for the engine's call ({table} by the table)"
        )
    if figures["wazero"]:
        add, callback = figures["wazero"]["add"], figures["wazero"]["callback"]
        python = figures["callback"][FLOOR]
        print(
            f"wazero from C: {add:.1f} for add, {callback:.1f} for a call back to C; the Python function alone takes"
            f" {python:.1f}, so a call back to it takes at least {1 + python / callback:.2f} times a call back to C"
        )


def print_targets(found: list[Target]) -> None:
    for each in found:
        sign = "<=" if each.at_most else ">="
        print(f"{'ok  ' if each.reached else 'MISS'} {each.name:52} {each.value:9,.2f}  {sign} {each.limit:g}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    parser.add_argument("--rounds", type=int, help="rounds to take the best of")
    options = parser.parse_args()
    figures = measure(options.rounds or (40 if options.quick else 300))
    statements = {"bare": "pass", "pywasmrt": "import pywasmrt", "wasmtime-py": "import wasmtime"}
    root = str(Path(pywasmrt.__file__).resolve().parent.parent)
    imports = import_seconds(statements, 3 if options.quick else 15, root)
    found = targets(figures, imports)

    versions = {name: metadata.version(name) for name in ("wasmtime", "cffi")}
    print(f"Python {platform.python_version()}, pywasmrt {pywasmrt.__version__}, wasmtime {versions['wasmtime']}")
    print_table(figures)
    print("a fresh interpreter: " + ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in imports.items()))
    print()
    print_targets(found)
    report = {
        "python": platform.python_version(),
        "pywasmrt": pywasmrt.__version__,
        "versions": versions,
        "nanoseconds": figures,
        "import_seconds": imports,
        "targets": [{**asdict(each), "reached": each.reached} for each in found],
    }
    write_json(report, options.json)
    return 1 if options.check and not all(each.reached for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
