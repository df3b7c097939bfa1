"""A runtime with components."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import pywasmrt


@pytest.fixture
def components(runtime: pywasmrt.Runtime, needs: Callable[..., None]) -> pywasmrt.Runtime:
    """Each runtime that runs components; the test is skipped for the others."""
    needs("component-model", "wat")
    return runtime
