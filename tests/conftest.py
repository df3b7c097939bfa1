"""The fixtures and settings that every test shares.

`runtime` runs a test on every runtime that is available here, or on those that PYWASMRT_TEST_RUNTIMES names (separated
by commas; one of them missing is an error). A test that needs more than every runtime has calls `needs`, which skips by
feature, never by name. HYPOTHESIS_PROFILE is "default" (quick, the same every time), "ci" or "thorough".
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

import pywasmrt

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # the property tests skip themselves
    pass
else:
    COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
    settings.register_profile("default", max_examples=30, derandomize=True, database=None, **COMMON)
    settings.register_profile("ci", max_examples=200, derandomize=True, database=None, print_blob=True, **COMMON)
    settings.register_profile("thorough", max_examples=5000, print_blob=True, **COMMON)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def runtime_names() -> list[str]:
    """The runtimes to test."""
    infos = {info.name: info for info in pywasmrt.list_runtimes()}
    asked = os.environ.get("PYWASMRT_TEST_RUNTIMES", "")
    if not asked:
        return [name for name, info in infos.items() if info.available]
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in infos or not infos[name].available:
            reason = infos[name].reason if name in infos else "there is no such runtime"
            raise pytest.UsageError(f"PYWASMRT_TEST_RUNTIMES asks for {name!r}: {reason}")
    return names


NAMES = runtime_names()


@pytest.fixture(params=NAMES, scope="session")
def runtime(request: pytest.FixtureRequest) -> Iterator[pywasmrt.Runtime]:
    """A runtime that all tests share: do not close it."""
    with pywasmrt.new_runtime(request.param) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def runtimes() -> Iterator[list[pywasmrt.Runtime]]:
    """All the runtimes, for comparing them."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(pywasmrt.new_runtime(name)) for name in NAMES]


@pytest.fixture
def fresh_runtime(runtime: pywasmrt.Runtime) -> Iterator[pywasmrt.Runtime]:
    """A runtime of the test's own, which it may close."""
    with pywasmrt.new_runtime(runtime.info.name) as fresh:
        yield fresh


@pytest.fixture
def needs(runtime: pywasmrt.Runtime) -> Callable[..., None]:
    """Skip the test unless the runtime has all the features named: `needs("simd", "threads")`."""

    def check(*features: str) -> None:
        missing = sorted(set(features) - runtime.info.features)
        if missing:
            pytest.skip(f"{runtime.info.name} lacks {', '.join(missing)}")

    return check
