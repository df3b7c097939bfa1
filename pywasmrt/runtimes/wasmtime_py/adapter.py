"""The runtime `wasmtime-py` for the registry: describes it without loading the package, and makes it."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from ...types import RuntimeConfig, RuntimeInfo
from ...values import ended, late
from ..base.features import WASMTIME_DEFAULT, WASMTIME_FIXED, WASMTIME_PROPOSALS, allowed_proposals
from .facts import CAUTION, NAME, features, wasmtime_version

__all__ = ["create", "describe"]


def describe() -> RuntimeInfo:
    """Describe this runtime, without loading the engine."""
    try:
        found = _installed()
    except (ImportError, ValueError):  # among them: there is no such distribution
        return RuntimeInfo(NAME, False, reason="the package 'wasmtime' is not installed; pip install wasmtime")
    return RuntimeInfo(NAME, True, found, features(WASMTIME_DEFAULT, True, False), caution=CAUTION)


def create(config: RuntimeConfig) -> Any:
    """Make a runtime. Raises `InvalidConfigurationError`, or `ImportError` where the package cannot be loaded."""
    proposals = allowed_proposals(config.features, WASMTIME_PROPOSALS, WASMTIME_DEFAULT, WASMTIME_FIXED, NAME)
    return late(f"{__package__}.runtime").WasmtimeRuntime(proposals, config)  # loads the package


@cache
def _installed() -> str:
    """The version of the package; kept, as nothing can be found while the interpreter ends."""
    if sys.meta_path is None:
        raise ended("the package 'wasmtime'")
    if late("importlib.util").find_spec("wasmtime") is None:
        raise ModuleNotFoundError("wasmtime")
    return wasmtime_version()
