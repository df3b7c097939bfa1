"""Where runtimes may differ, and where that is written: data that `differential` reads.

The texts of errors and traps and the frames of a trap are the engine's own and are not compared at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..types import TrapCode, ValueType, expect

__all__ = ["KNOWN_DIFFERENCES", "Difference"]


@dataclass(frozen=True)
class Difference:
    """Values or traps that count as equal.

    `types` and `bits`: values of these types whose bits, as an unsigned integer, lie in the ranges (first and last)
    are one value. `traps`: these codes are one. With `runtimes`, it applies only if one of those takes part. `source`
    says who permits it.
    """

    name: str
    source: str
    types: frozenset[ValueType] = frozenset()
    bits: tuple[tuple[int, int], ...] = ()
    traps: frozenset[TrapCode] = frozenset()
    runtimes: frozenset[str] | None = None

    def __post_init__(self) -> None:
        expect("Difference", "a str", str, name=self.name, source=self.source)
        expect("Difference", "a set", (frozenset, set), types=self.types, traps=self.traps)
        expect("Difference", "a tuple of ranges", tuple, bits=self.bits)
        expect("Difference", "a set of names, or None", (frozenset, set, type(None)), runtimes=self.runtimes)

    def applies(self, runtimes: Iterable[str]) -> bool:
        """Whether it applies when these runtimes are compared."""
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
    Difference(
        "trap-null-element",
        "the documentation of wazero's error ErrRuntimeInvalidTableAccess, which is one for both",
        traps=frozenset({TrapCode.INDIRECT_CALL_TO_NULL, TrapCode.TABLE_OUT_OF_BOUNDS}),
        runtimes=frozenset({"wazero"}),
    ),
)
"""The permitted differences between runtimes."""
