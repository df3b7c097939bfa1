"""The Python classes that values of WIT have where Python has none of its own: `Some`, `Ok` and `Err`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["Err", "Ok", "Some"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Some(Generic[T]):
    """A value of an option whose payload may be None itself: of `option<option<T>>`, beside None."""

    value: T


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """The good outcome of a `result` that is not the result of a function."""

    value: T = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Err(Generic[T]):
    """The bad outcome of a `result` that is not the result of a function."""

    value: T = None  # type: ignore[assignment]


Value = Any
