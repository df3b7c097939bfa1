"""Timing: short rounds of every contestant in turn, and the best round of each.

Machines are noisy, and the noise only ever adds. So each contestant is timed many times for a short while, all of them
in turn, beginning with another one each round, and the shortest time counts. A slow spell of the machine hits every
contestant, and many short rounds find the quiet moments; two contestants timed one after the other would not see the
same ones.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Loop", "Timer", "best_of_rounds", "import_seconds", "write_json"]

_TEMPLATE = """
def loop(_repetitions, {names}):
    _start = _clock()
    for _ in _repetitions:
        {statement}
    return _clock() - _start
"""


class Loop:
    """A statement, run over and over in a function that has `names` for its locals; a run does `per_run` things."""

    def __init__(self, statement: str, names: Mapping[str, Any], per_run: int = 1) -> None:
        self.per_run = per_run
        self._values = tuple(names.values())
        space: dict[str, Any] = {"_clock": time.perf_counter}
        source = _TEMPLATE.format(names=", ".join(names) or "*_none", statement=statement)
        exec(compile(source, f"<{statement}>", "exec"), space)
        self._loop = space["loop"]

    def seconds(self, runs: int) -> float:
        """How long `runs` runs take, the loop's own time included."""
        taken: float = self._loop(_times(runs), *self._values)
        return taken


class Timer:
    """A contestant that times itself, as a C loop does: `run(n)` gives nanoseconds for each of n."""

    per_run = 1

    def __init__(self, run: Callable[[int], float]) -> None:
        self._run = run

    def seconds(self, runs: int) -> float:
        return self._run(runs) * runs / 1e9


def _times(runs: int) -> Sequence[None]:
    return [None] * runs


_EMPTY = Loop("pass", {})


def _calibrate(contestant: Loop | Timer, seconds: float) -> int:
    """How many runs take about `seconds`, once everything is warm."""
    runs = 1
    while True:
        taken = min(contestant.seconds(runs) for _ in range(5))
        if taken >= seconds / 4:
            return max(1, round(runs * seconds / taken))
        runs *= 2


Contestants = Mapping[Any, "Loop | Timer"]


def best_of_rounds(contestants: Contestants, rounds: int, seconds: float = 0.002) -> dict[Any, float]:
    """Nanoseconds for each contestant, without the loop around it: the best of `rounds` rounds of about `seconds`."""
    everybody: dict[Any, Loop | Timer] = {None: _EMPTY, **contestants}
    runs = {name: _calibrate(each, seconds) for name, each in everybody.items()}
    best = dict.fromkeys(everybody, float("inf"))
    order = list(everybody)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for round in range(rounds):
            first = round % len(order)
            for name in order[first:] + order[:first]:
                best[name] = min(best[name], everybody[name].seconds(runs[name]) / runs[name])
            if round % 8 == 7:
                gc.collect()
    finally:
        if collecting:
            gc.enable()
    empty = best.pop(None)
    nanoseconds = {}
    for name, taken in best.items():
        each = everybody[name]
        nanoseconds[name] = (taken - (empty if isinstance(each, Loop) else 0)) * 1e9 / each.per_run
    return nanoseconds


def import_seconds(statements: Mapping[str, str], rounds: int, path: str) -> dict[str, float]:
    """How long a fresh interpreter takes for each statement, by the median. `path` is put before its search path."""
    taken: dict[str, list[float]] = {name: [] for name in statements}
    for round in range(rounds + 1):
        for name, statement in statements.items():
            code = f"import sys; sys.path.insert(0, {path!r}); {statement}"
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            if round > 0:  # the first round warms the caches of the disk
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in taken.items()}


def write_json(figures: Mapping[str, Any], file: Path | None) -> None:
    """Write what was measured into the file that `--json` named, and make its folder; nothing where it named none."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
