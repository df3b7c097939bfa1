"""The Python classes that values of WIT have where Python has none of its own: `Some`, `Ok` and `Err`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Err", "Ok", "Some"]

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Some(Generic[T_co]):
    """A present value of an option whose payload may itself be None, such as `option<option<T>>`."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """The `ok` case of a `result` that is not the result of a function."""

    value: T_co = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Err(Generic[T_co]):
    """The `err` case of a `result` that is not the result of a function."""

    value: T_co = None  # type: ignore[assignment]
