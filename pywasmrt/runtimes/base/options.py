"""The engine's own settings in `RuntimeConfig.options`: their names and the values that each may have."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from ...errors import InvalidConfigurationError
from ...values import shown

__all__ = ["ASYNC_THREADS", "Option", "checked_options", "flag", "number_of_bytes", "one_of"]


class Option(NamedTuple):
    """What an option may be: its exact type (a bool does not count as an int), its values, and the text for errors."""

    type: type
    allowed: Container[Any]
    wanted: str


def one_of(*names: str) -> Option:
    """An option that is one of these names."""
    *first, last = map(repr, names)
    return Option(str, names, f"{', '.join(first)} or {last}")


def flag() -> Option:
    """An option that is on or off."""
    return Option(bool, (False, True), "a bool")


def number_of_bytes(least: int, most: int, text: str | None = None) -> Option:
    """An option that is a size; `text` is the largest in a readable form."""
    return Option(int, range(least, most + 1), f"an int of bytes from {least} to {text or most}")


ASYNC_THREADS = Option(int, range(1, 4097), "an int of threads from 1 to 4096")
"""For engines that cannot suspend a guest: how many guests of asynchronous stores run or wait at once, one a thread."""


def checked_options(engine: str, known: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given`. Raises `InvalidConfigurationError` for an option that `engine` lacks, or a wrong value."""
    for name, value in given.items():
        option = known.get(name)
        if option is None:
            raise InvalidConfigurationError(f"{engine} has no option {name!r}; it has {', '.join(sorted(known))}")
        if value.__class__ is not option.type or value not in option.allowed:
            raise InvalidConfigurationError(f"the option {name!r} of {engine} is {option.wanted}, not {shown(value)}")
    return dict(given)
