"""An f32 as a Python float, which is an f64, and back, to the bit.

`struct`, `array` and NumPy leave the conversion to the processor, which makes every signaling NaN a quiet one.
`csrc/fast/values.h` does the same for the calls.
"""

from __future__ import annotations

import struct
from math import copysign, inf

__all__ = ["f32_bits", "f32_from_bits"]


def f32_bits(value: float) -> int:
    """The bits of `value` as an f32, rounded as f32.demote_f64 rounds: what is too large becomes infinite.

    A NaN keeps its sign, its payload and whether it signals, as far as an f32 has bits for them.
    """
    if value == value:
        try:
            return int.from_bytes(struct.pack("<f", value), "little")
        except OverflowError:
            return int.from_bytes(struct.pack("<f", copysign(inf, value)), "little")
    bits = int.from_bytes(struct.pack("<d", value), "little")
    payload = bits >> 29 & 0x7F_FFFF or 0x40_0000  # without a payload it would be an infinity
    return bits >> 32 & 0x8000_0000 | 0x7F80_0000 | payload


def f32_from_bits(bits: int) -> float:
    """The float that an f32 with these bits is; a NaN as in `f32_bits`."""
    if bits & 0x7FFF_FFFF <= 0x7F80_0000:
        value: float = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
        return value
    wide = (bits & 0x8000_0000) << 32 | 0x7FF0_0000_0000_0000 | (bits & 0x7F_FFFF) << 29
    return float(struct.unpack("<d", wide.to_bytes(8, "little"))[0])
