"""Fixtures for tests of plugins."""

from __future__ import annotations

import pytest

import pywasmrt


@pytest.fixture
def name(runtime: pywasmrt.Runtime) -> str:
    return runtime.info.name
