"""Plugins: guests of the otelwasm ABI, run from Python on any runtime.

`WasmPlugin` loads a guest and calls it; `PluginConfig` says which and how. Most programs use the components of
`pywasmrt.otel`, which stand on this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..values import late

if TYPE_CHECKING:
    from .abi import Dialect, Role, Telemetry
    from .config import PluginConfig, RuntimeMode, RuntimeType
    from .errors import GuestProtocolError, GuestStatusError, PluginError
    from .plugin import WasmPlugin
    from .stack import Stack

__all__ = [
    "Dialect",
    "GuestProtocolError",
    "GuestStatusError",
    "PluginConfig",
    "PluginError",
    "Role",
    "RuntimeMode",
    "RuntimeType",
    "Stack",
    "Telemetry",
    "WasmPlugin",
]

_HOME = {
    "Dialect": "abi",
    "GuestProtocolError": "errors",
    "GuestStatusError": "errors",
    "PluginConfig": "config",
    "PluginError": "errors",
    "Role": "abi",
    "RuntimeMode": "config",
    "RuntimeType": "config",
    "Stack": "stack",
    "Telemetry": "abi",
    "WasmPlugin": "plugin",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(late(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
