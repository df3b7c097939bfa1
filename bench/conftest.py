"""The contestants for the suites here: each benchmark runs for every contestant that has its job.

    pytest bench/ --benchmark-only --benchmark-group-by=group

pytest-benchmark adds its own overhead to each round; `compare.py` subtracts it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from contestants import CONTESTANTS
from measuring import Loop


@cache
def jobs_of(name: str) -> dict[str, Loop] | None:
    return CONTESTANTS[name]()


def pytest_sessionfinish() -> None:
    jobs_of.cache_clear()  # wasmtime's objects cannot be freed any more when the interpreter ends


@pytest.fixture(params=list(CONTESTANTS))
def jobs(request: pytest.FixtureRequest) -> dict[str, Loop]:
    """The jobs of one contestant."""
    found = jobs_of(request.param)
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    return found


@pytest.fixture
def run(benchmark: Any, jobs: dict[str, Loop]) -> Any:
    """Benchmarks a job by name, with the given number of runs a round."""

    def run(job: str, repetitions: int) -> None:
        if job not in jobs:
            pytest.skip("this contestant has no such call")
        loop = jobs[job]
        benchmark.group = f"{job}, {repetitions * loop.per_run} times"
        benchmark(loop.seconds, repetitions)

    return run


@pytest.fixture(scope="session")
def floor() -> Any:
    """The C extension that measures the floor."""
    import floor

    try:
        return floor.load()
    except Exception as error:
        pytest.skip(f"the floor cannot be built: {error}")
