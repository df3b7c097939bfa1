"""When two values are the same WebAssembly value."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ..types import ValueType
from ..wasm.floats import f32_bits, f32_from_bits

__all__ = ["as_guest_sees", "same_value", "same_values"]

_WIDTHS = {ValueType.I32: 32, ValueType.I64: 64}


def as_guest_sees(type: ValueType, value: Any) -> Any:
    """`value`, as it comes back from a guest that was given it: integers signed, floats rounded to their width.

    An f32 NaN keeps the bits that it has in both widths; runtimes without the feature "f32-nan-bits" may change them.
    """
    if type in _WIDTHS:
        bits = _WIDTHS[type]
        value = int(value) & (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value
    if type is ValueType.F32:
        return f32_from_bits(f32_bits(float(value)))
    if type is ValueType.F64:
        return float(value)
    if type is ValueType.V128:
        return bytes(value)
    return value


def same_value(type: ValueType, first: Any, second: Any) -> bool:
    """Whether two Python values of the kind that calls return are the same value of `type`.

    Integers (int, not bool) and v128 (bytes) compare by equality; f64 by its bits, NaN payloads and the
    sign of zero included; f32 likewise, but all NaNs are one; externref by identity; funcref by both being null, or
    both functions of one type.
    """
    if type is ValueType.F64:
        return isinstance(first, float) and isinstance(second, float) and _bits(first) == _bits(second)
    if type is ValueType.F32:
        if not isinstance(first, float) or not isinstance(second, float):
            return False
        return (first != first and second != second) or _bits(first) == _bits(second)
    if type is ValueType.EXTERNREF:
        return first is second
    if type is ValueType.FUNCREF:
        if first is None or second is None:
            return first is second
        return bool(first.type == second.type)
    wanted = bytes if type is ValueType.V128 else int
    return first.__class__ is second.__class__ is wanted and bool(first == second)


def same_values(types: Sequence[ValueType], first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether two sequences hold the same values of `types`, one by one."""
    if not len(types) == len(first) == len(second):
        return False
    return all(map(same_value, types, first, second))


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)
