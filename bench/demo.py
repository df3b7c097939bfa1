"""Shows the runtimes that are here, what each can do, and what a call costs. `make demo` ends with it.

The costs are a first look, measured for a second or two; `make bench` compares properly.
"""

from __future__ import annotations

from typing import Any

from contestants import JOBS, pywasmrt_jobs, wasmtime_py_jobs
from measuring import Loop, best_of_rounds

import pywasmrt
from pywasmrt import RuntimeInfo

ROUNDS = 40


def print_runtimes(infos: list[RuntimeInfo]) -> None:
    print("runtimes")
    for info in infos:
        print(f"  {info.name:14} " + (f"version {info.version}" if info.available else f"not available: {info.reason}"))


def print_features(infos: list[RuntimeInfo]) -> None:
    names = sorted(frozenset().union(*(info.features for info in infos)))
    print("\n" + f"{'features':26}" + "".join(f"{info.name:>14}" for info in infos))
    common = [name for name in names if all(name in info.features for info in infos)]
    for name in names:
        if name not in common:
            print(f"  {name:24}" + "".join(f"{'yes' if name in info.features else '-':>14}" for info in infos))
    print(f"  all of them: {', '.join(common)}" if common else "  nothing in common")


def shown_time(nanoseconds: float) -> str:
    for unit, size in (("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.1f} {unit}"
    return f"{nanoseconds:.0f} ns"


def print_costs(infos: list[RuntimeInfo]) -> None:
    direct = "direct"
    names = [info.name for info in infos]
    entrants: dict[Any, Loop] = {}
    for name, jobs in [*((name, pywasmrt_jobs(name)) for name in names), (direct, wasmtime_py_jobs())]:
        entrants.update({(job, name): loop for job, loop in (jobs or {}).items()})
    taken = best_of_rounds(entrants, ROUNDS)
    columns = [*names, direct]
    print("\n" + f"{'cost':30}" + "".join(f"{name:>14}" for name in columns))
    for job, title in JOBS.items():
        cells = [shown_time(taken[job, name]) if (job, name) in taken else "-" for name in columns]
        print(f"  {title:28}" + "".join(f"{cell:>14}" for cell in cells))
    print(f"  {direct}: the package wasmtime used without pywasmrt")


def main() -> None:
    infos = pywasmrt.list_runtimes()
    print_runtimes(infos)
    here = [info for info in infos if info.available]
    if here:
        print_features(here)
        print_costs(here)


if __name__ == "__main__":
    main()
