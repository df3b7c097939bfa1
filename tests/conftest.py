"""The fixtures and settings that every test shares.

`runtime` runs a test on every runtime that is available here, or on those that are chosen: it is `wasm_runtime` of the
plugin that the package has for everybody. A test that needs more than every runtime has calls `needs`, which skips by
feature, never by name. HYPOTHESIS_PROFILE is "default" (quick, the same every time), "ci" or "thorough".
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Generator, Iterator

import pytest

import pywasmrt
from pywasmrt.testing.agreement import opened

# Loaded by itself where the package is installed, under the same name.
pytest_plugins = ("pywasmrt.testing.pytest_plugin",)

# Ctrl-C is among what is tested, and a shell has what it starts in the background ignore it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture(scope="module", autouse=True)
def _short_collections() -> None:
    """Leave out of later collections what is there before a file's tests: it is much, and many tests collect."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def runtime(wasm_runtime: pywasmrt.Runtime) -> pywasmrt.Runtime:
    """A runtime that all tests share: do not close it."""
    return wasm_runtime


@pytest.fixture(scope="session")
def runtimes(pytestconfig: pytest.Config) -> Iterator[list[pywasmrt.Runtime]]:
    """All the runtimes, for comparing them."""
    from pywasmrt.testing.pytest_plugin import chosen_runtimes  # here, after pytest has loaded it

    with opened(chosen_runtimes(pytestconfig)) as found:
        yield found


@pytest.fixture
def fresh_runtime(runtime: pywasmrt.Runtime) -> Iterator[pywasmrt.Runtime]:
    """A runtime of the test's own, which it may close."""
    with pywasmrt.new_runtime(runtime.info.name) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def needs(runtime: pywasmrt.Runtime) -> Callable[..., None]:
    """Skip the test unless the runtime has all the features named: `needs("simd", "threads")`."""

    def check(*features: str) -> None:
        missing = sorted(set(features) - runtime.info.features)
        if missing:
            pytest.skip(f"{runtime.info.name} lacks {', '.join(missing)}")

    return check


# Files that take long by repeating much. Their repetitions on wazero are for `make nightly`: what they look for lies in
# the layers that all engines share, and wazero has tests of its own for the rest.
NIGHTLY_ON_WAZERO = {
    "test_leaks",
    "test_hammers",
    "test_asynchronous_hammer",
    "test_stack_limits",
    "test_damaged_modules",
    "test_official",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the repetitions on wazero that take long, before `-m` chooses."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if item.path.stem in NIGHTLY_ON_WAZERO and callspec and callspec.params.get("wasm_runtime") == "wazero":
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test whose guest needs a feature that its runtime does not declare. One that it declares and then refuses
    is a failure.
    """
    try:
        return (yield)
    except pywasmrt.UnsupportedFeatureError as error:
        runtime = getattr(item, "funcargs", {}).get("runtime")
        if runtime is None or error.feature is None or error.feature in runtime.info.features:
            raise
        pytest.skip(f"{runtime.info.name} lacks {error.feature}")
