"""Runs tests on failing engines: `python tests/faults [--passes 2] [--seconds 1800] [-k WORDS] [tests ...]`, in a build
with PYWASMRT_FAULTS=1.

A first pass lets nothing fail, and counts which operations of the engine table each test calls. In each further one
every test that calls any has one fail: at its first call, its second or its fifth, the operation that has failed in
the fewest tests so far, and never the same twice. What no failure of an engine may lead to, and which operation had no
run, is told (see `failing`) and is an error, as is a pass that does not end. What tests do in processes of their own
goes on as usual.

Prints for each operation in how many tests it failed.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))

FIRST_CALLS = (1, 2, 5)
GRACE = 60.0  # for a run that is told to stop

Told = dict[str, dict[str, Any]]
Choice = tuple[str, int]


class Planner:
    """Chooses what fails in which test, so that all operations fail in as many tests as they can."""

    def __init__(self, counted: Told) -> None:
        self.counted = counted
        self.chosen: dict[str, set[Choice]] = collections.defaultdict(set)
        self.tests: collections.Counter[str] = collections.Counter()

    def next_pass(self) -> dict[str, Choice]:
        """For each test that has something left: the operation, and which of its calls is to fail."""
        plan = {}
        for test, told in sorted(self.counted.items()):
            left = [
                (operation, first)
                for operation, calls in told["calls"].items()
                for first in FIRST_CALLS
                if first <= calls and (operation, first) not in self.chosen[test]
            ]
            if left:
                plan[test] = choice = min(left, key=lambda each: (self.tests[each[0]], each[1], each[0]))
                self.chosen[test].add(choice)
                self.tests[choice[0]] += 1
        return plan


def run(arguments: list[str], plan: dict[str, Choice] | None, seconds: float) -> Told | None:
    """One pass; what it told, or None where it did not get to that."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "told.json")
        path = os.pathsep.join([str(Path(__file__).resolve().parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "PYWASMRT_FAULT_TOLD": str(told)}
        if plan is not None:
            Path(folder, "plan.json").write_text(json.dumps(plan), encoding="utf-8")
            environment["PYWASMRT_FAULT_PLAN"] = str(Path(folder, "plan.json"))
        options = ["-q", "--tb=no", "-p", "failing", "-p", "no:cacheprovider", "-m", "not slow"]
        if plan is not None:
            options.append("--no-summary")  # where operations fail, most tests do
        with subprocess.Popen([sys.executable, "-m", "pytest", *options, *arguments], env=environment) as running:
            try:
                running.wait(seconds)
            except subprocess.TimeoutExpired:
                print(f"it did not end within {seconds:.0f} seconds", flush=True)
                running.send_signal(signal.SIGINT)
                try:
                    running.wait(GRACE)
                except subprocess.TimeoutExpired:
                    running.kill()
        return json.loads(told.read_text(encoding="utf-8")) if told.exists() else None


def main() -> int:
    from helpers.faulty import lib, operations

    parser = argparse.ArgumentParser(prog="tests/faults", description="run tests on failing engines")
    parser.add_argument("--passes", type=int, default=2, help="how often each test runs with an operation failing")
    parser.add_argument("--seconds", type=float, default=1800, help="for all of it")
    parser.add_argument("--processes", default="0", help="as pytest-xdist's -n; a test can end the process without -n")
    parser.add_argument("-k", dest="keyword", help="as pytest's: only tests whose names fit, such as `-k wazero`")
    parser.add_argument("tests", nargs="*", default=[str(TESTS)])
    asked = parser.parse_args()
    ends = time.monotonic() + asked.seconds
    arguments = [*asked.tests, f"--ignore={TESTS / 'runtimes' / 'test_faults.py'}"]
    if asked.keyword:
        arguments += ["-k", asked.keyword]
    if asked.processes != "0":
        arguments += ["-n", asked.processes]

    wrong: list[str] = []

    def tell(*found: str) -> None:
        """Print what is wrong as soon as it is known, since the passes after it take long."""
        wrong.extend(found)
        print("\n".join(found), end="\n" if found else "", flush=True)

    counted = run(arguments, None, ends - time.monotonic()) or {}
    if not counted:
        tell("the tests told nothing")
    tell(*(f"{test}, nothing failing: {what}" for test, each in counted.items() for what in each["wrong"]))
    planner = Planner(counted)
    failed: collections.Counter[str] = collections.Counter()
    for _ in range(asked.passes):
        plan = planner.next_pass()
        if not plan:
            break
        told = run(arguments, plan, ends - time.monotonic())
        if told is None:
            tell("a pass ended its process")
            continue
        if len(told) < len(plan):
            tell(f"there is no word of {len(plan) - len(told)} tests of {len(plan)}")
        for test, each in told.items():
            operation, first = plan[test]
            failed[operation] += bool(each["failed"])
            tell(*(f"{test}, {operation} failing at call {first}: {what}" for what in each["wrong"]))

    for operation in operations(lib):
        print(f"{operation:16} failed in {failed[operation]:5} tests")
    tell(*(f"{operation} has failed in no test" for operation in operations(lib) if not failed[operation]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
