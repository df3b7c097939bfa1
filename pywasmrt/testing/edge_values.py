"""Values at the edges of each type, for strategies and for code that needs only a few."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

from ..types import FunctionType, ValueType
from ..wasm.floats import f32_from_bits

__all__ = ["F32_EDGES", "F64_EDGES", "INTEGERS", "V128_EDGES", "float_from_bits", "sample", "sample_arguments"]

# Bits of floats at the edges: zero, the smallest and largest subnormal, the smallest normal, one, the largest finite
# number, infinity, the default NaN, a quiet NaN with a payload, and signalling NaNs with the lowest and highest
# payload.
F32_EDGES = (
    0x0000_0000,
    0x0000_0001,
    0x007F_FFFF,
    0x0080_0000,
    0x3F80_0000,
    0x7F7F_FFFF,
    0x7F80_0000,
    0x7FC0_0000,
    0x7FC1_2345,
    0x7F80_0001,
    0x7FBF_FFFF,
)
F64_EDGES = (
    0x0000_0000_0000_0000,
    0x0000_0000_0000_0001,
    0x000F_FFFF_FFFF_FFFF,
    0x0010_0000_0000_0000,
    0x3FF0_0000_0000_0000,
    0x7FEF_FFFF_FFFF_FFFF,
    0x7FF0_0000_0000_0000,
    0x7FF8_0000_0000_0000,
    0x7FF8_0000_DEAD_BEEF,
    0x7FF0_0000_0000_0001,
    0x7FF7_FFFF_FFFF_FFFF,
)
V128_EDGES = (bytes(16), b"\xff" * 16, bytes(range(16)), b"\x00" * 15 + b"\x80")


def _integers(bits: int) -> tuple[int, ...]:
    middle = 1 << (bits - 1)
    return (0, 1, -1, middle - 1, middle, -middle, -middle + 1, 2 * middle - 1, 2 * middle - 2)


INTEGERS = {ValueType.I32: _integers(32), ValueType.I64: _integers(64)}
"""Integers at the edges, signed and unsigned."""


def float_from_bits(bits: int, width: int) -> float:
    """The float with these bits, of 32 or 64."""
    if width == 32:
        return f32_from_bits(bits)
    value: float = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    return value


def sample(type: ValueType, random: Random) -> Any:
    """A value of `type`, at the edge half of the time. A reference is null or, for externref, a string."""
    if type in INTEGERS:
        bits = 32 if type is ValueType.I32 else 64
        return random.choice(INTEGERS[type]) if random.random() < 0.5 else random.randrange(1 << bits)
    if type in (ValueType.F32, ValueType.F64):
        width, edges = (32, F32_EDGES) if type is ValueType.F32 else (64, F64_EDGES)
        if random.random() < 0.5:
            return float_from_bits(random.choice(edges) | random.getrandbits(1) << (width - 1), width)
        return float(random.randrange(-1000, 1000))
    if type is ValueType.V128:
        return random.choice(V128_EDGES) if random.random() < 0.5 else random.randbytes(16)
    return "an externref" if type is ValueType.EXTERNREF and random.random() < 0.5 else None


def sample_arguments(type: FunctionType, seed: object) -> tuple[Any, ...]:
    """Arguments for a function of that type, the same ones for the same `seed`."""
    random = Random(f"{seed}")
    return tuple(sample(param, random) for param in type.params)
