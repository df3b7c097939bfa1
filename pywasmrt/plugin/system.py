"""What a guest may use of the system: its limits and its WASI."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..types import Limits

if TYPE_CHECKING:
    from ..protocols import CompiledModule
    from ..types import RuntimeInfo
    from .abi import Role
    from .config import PluginConfig

__all__ = ["instance_limits", "wasi_config"]

_log = logging.getLogger("pywasmrt.plugin")


def instance_limits(config: PluginConfig, info: RuntimeInfo, role: Role | None) -> Limits:
    """The limits of the guest's store."""
    return Limits(memory_bytes=config.memory_bytes)


def wasi_config(config: PluginConfig, module: CompiledModule, role: Role | None) -> Any:
    """The guest's WASI, or None for a module that imports none."""
    return None
