"""An example of a runtime: a small interpreter in plain Python, written against `pywasmrt.protocols`."""

from __future__ import annotations

from pywasmrt import RuntimeConfig, RuntimeInfo

from .objects import FEATURES, NAME, VERSION, TinyRuntime

__all__ = ["create"]


def create(config: RuntimeConfig) -> TinyRuntime:
    """Make a runtime. It has no options, and no feature can be turned off."""
    from pywasmrt import InvalidConfigurationError

    if config.options:
        raise InvalidConfigurationError(f"{NAME} has no options, but was given {', '.join(sorted(config.options))}")
    unknown = (config.features or frozenset()) - FEATURES
    if unknown:
        raise InvalidConfigurationError(f"{NAME} has no feature {', '.join(sorted(unknown))}")
    return TinyRuntime()


def describe() -> RuntimeInfo:
    """What `list_runtimes` tells."""
    return RuntimeInfo(NAME, True, VERSION, FEATURES)


create.describe = describe  # type: ignore[attr-defined]
