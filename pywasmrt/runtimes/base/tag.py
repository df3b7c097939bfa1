"""What the tags of every adapter share."""

from __future__ import annotations

from typing import Any

from ...types import FunctionType
from ...values import to_wasm

__all__ = ["BaseTag"]


class BaseTag:
    """A tag of the exception-handling proposal. An adapter adds the equality of two objects for one tag."""

    __slots__ = ()

    type: FunctionType

    def payload(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """The values of an exception, converted to its types. Raises `TypeError` or `OverflowError`."""
        types = self.type.params
        if len(types) != len(values):
            wanted = ", ".join(map(str, types))
            raise TypeError(f"an exception with the tag ({wanted}) takes {len(types)} values, {len(values)} given")
        numbered = enumerate(zip(values, types, strict=True), 1)
        return tuple([to_wasm(value, type, f"value {n} of the exception") for n, (value, type) in numbered])
