"""Where runtimes may differ, and where that is written: data that `differential` reads.

What is not compared at all, since it is the engine's own: the texts of errors and traps, and a trap's frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..types import TrapCode, ValueType

__all__ = ["KNOWN_DIFFERENCES", "Difference"]


@dataclass(frozen=True)
class Difference:
    """Things that count as one and the same.

    `types` and `bits`: values of these types whose bits, as an unsigned integer, lie in the ranges (first and last)
    are one value. `traps`: these codes are one. With `runtimes`, only where one of those takes part. `source` says who
    permits it.
    """

    name: str
    source: str
    types: frozenset[ValueType] = frozenset()
    bits: tuple[tuple[int, int], ...] = ()
    traps: frozenset[TrapCode] = frozenset()
    runtimes: frozenset[str] | None = None

    def applies(self, runtimes: Iterable[str]) -> bool:
        """Whether it counts when these runtimes are compared."""
        return self.runtimes is None or not self.runtimes.isdisjoint(runtimes)


_NAN = "core specification 2.0, section 4.3.3: the sign and the payload of a NaN that an operation makes are not given"

KNOWN_DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "f32-nan-bits",
        _NAN,
        frozenset({ValueType.F32}),
        ((0x7F80_0001, 0x7FFF_FFFF), (0xFF80_0001, 0xFFFF_FFFF)),
    ),
    Difference(
        "f64-nan-bits",
        _NAN,
        frozenset({ValueType.F64}),
        ((0x7FF0_0000_0000_0001, 0x7FFF_FFFF_FFFF_FFFF), (0xFFF0_0000_0000_0001, 0xFFFF_FFFF_FFFF_FFFF)),
    ),
)
"""The differences between runtimes that are no faults."""
