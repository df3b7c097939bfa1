"""The runtime `wasmtime-py` for the registry: describes it without loading the package, and makes it."""

from __future__ import annotations

from typing import Any

from ...types import RuntimeConfig, RuntimeInfo
from ..base.features import WASMTIME_DEFAULT, WASMTIME_FIXED, WASMTIME_PROPOSALS, allowed_proposals
from .facts import CAUTION, NAME, features

__all__ = ["create", "describe"]


def describe() -> RuntimeInfo:
    """Describe this runtime, without loading the engine."""
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    try:
        found = version("wasmtime") if find_spec("wasmtime") is not None else None
    except (PackageNotFoundError, ImportError, ValueError):
        found = None
    if found is None:
        return RuntimeInfo(NAME, False, reason="the package 'wasmtime' is not installed; pip install wasmtime")
    return RuntimeInfo(NAME, True, found, features(WASMTIME_DEFAULT, True, False), caution=CAUTION)


def create(config: RuntimeConfig) -> Any:
    """Make a runtime. Raises `InvalidConfigurationError`, or `ImportError` where the package cannot be loaded."""
    proposals = allowed_proposals(config.features, WASMTIME_PROPOSALS, WASMTIME_DEFAULT, WASMTIME_FIXED, NAME)
    from .runtime import WasmtimeRuntime  # loads the package

    return WasmtimeRuntime(proposals, config)
