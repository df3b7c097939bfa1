"""Fixtures for tests of the runtimes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pywasmrt import Runtime


@pytest.fixture
def native(runtime: Runtime) -> Runtime:
    """Wasmtime in C, known by what it alone can do; for what is Python's own matter elsewhere."""
    if "trap-lines" not in runtime.info.features:
        pytest.skip(f"{runtime.info.name} is not Wasmtime in C")
    return runtime


@pytest.fixture
def needs_text(needs: Callable[..., None]) -> None:
    """For files whose guests are all in the text format."""
    needs("wat")
