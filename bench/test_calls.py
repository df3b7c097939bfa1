"""Calls in both directions, beside their floor. Run by `pytest bench/ --benchmark-only`."""

from __future__ import annotations

from typing import Any

import pytest
from contestants import add_module, increment
from measuring import Loop

CALLS = 1000


@pytest.mark.parametrize("job", ["add", "raw", "callback"])
def test_call(run: Any, job: str) -> None:
    run(job, 1 if job == "callback" else CALLS)


def test_floor_noop(benchmark: Any, floor: Any) -> None:
    benchmark.group = f"add, {CALLS} times"
    benchmark(Loop("noop(1, 2)", {"noop": floor.noop}).seconds, CALLS)


def test_floor_engine(benchmark: Any, floor: Any) -> None:
    pytest.importorskip("pywasmrt._shim._wrt")
    from floor import EngineLoop

    benchmark.group = f"add, {CALLS} times"
    benchmark(EngineLoop(floor, add_module()).run, CALLS)


def test_floor_callback(benchmark: Any, floor: Any) -> None:
    benchmark.group = f"callback, {CALLS} times"
    benchmark(floor.callback_loop, increment, CALLS)
