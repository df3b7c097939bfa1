"""Instances with memories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pywasmrt
from pywasmrt import MemoryType, Runtime
from pywasmrt.testing import guests

pytest.importorskip("hypothesis")


PAGE = pywasmrt.PAGE_SIZE
Needs = Callable[..., None]


def instantiate(runtime: Runtime, *types: MemoryType, **kwargs: Any) -> Any:
    return runtime.instantiate(runtime.compile(guests.memories(*types).encode()), **kwargs)
