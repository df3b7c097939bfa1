"""Values of a script: as neutral bits, and matched against what a script expects.

A value is a pair of its type's name and its bits: an unsigned integer for numbers and v128; for references None (null),
the number of a host reference, or `SOME` where only its not being null is known.
"""

from __future__ import annotations

from typing import Any

from .convert import Command
from .literals import FLOAT_SHAPES

__all__ = ["SOME", "Value", "argument", "has_nan", "matches", "shown"]

SOME = "not null"
Value = tuple[str, "int | str | None"]

_WIDTHS = {"i32": 32, "i64": 64, "f32": 32, "f64": 64, "i8": 8, "i16": 16}
_ANY_REFERENCES = {"anyref", "eqref", "i31ref", "structref", "arrayref"}


def argument(constant: Command) -> Value:
    """The value of a constant."""
    kind: str = constant["type"]
    value: Any = constant.get("value")
    if kind == "v128":
        width = _WIDTHS[constant["lane"]]
        return kind, sum(lane << n * width for n, lane in enumerate(value))
    if value == "null":
        return kind, None
    return kind, SOME if value is None else value


def has_nan(value: Value) -> bool:
    """Whether the value is an f32 NaN."""
    kind, bits = value
    return kind == "f32" and isinstance(bits, int) and bits & 0x7FFF_FFFF > 0x7F80_0000


def matches(pattern: Command, value: Value) -> bool:
    """Whether a result is what a script expects."""
    kind, bits = value
    wanted: str = pattern["type"]
    expected: object = pattern.get("value")
    if wanted == "either":
        return any(matches(each, value) for each in pattern["values"])
    if wanted == "float":
        return kind in ("f32", "f64") and _matches_float(_WIDTHS[kind], expected, bits)
    if wanted == "v128":
        return kind == "v128" and _matches_lanes(pattern, bits)
    if wanted in ("f32", "f64"):
        return kind == wanted and _matches_float(_WIDTHS[kind], expected, bits)
    if wanted in ("i32", "i64"):
        return value == (wanted, expected)
    if kind in _WIDTHS or kind == "v128":
        return False
    if expected == "null":
        return bits is None
    if bits is None:
        return False
    if expected is not None:
        return bits == expected
    if wanted in _ANY_REFERENCES:
        return kind in _ANY_REFERENCES
    return kind == wanted


def _matches_float(width: int, expected: object, bits: object) -> bool:
    if not isinstance(bits, int):
        return False
    exponent, fraction = FLOAT_SHAPES[width]
    infinity, quiet = ((1 << exponent) - 1) << fraction, 1 << (fraction - 1)
    if expected == "nan:canonical":
        return bits & ~(1 << (width - 1)) == infinity | quiet
    if expected == "nan:arithmetic":
        return bits & (infinity | quiet) == infinity | quiet
    return expected == bits


def _matches_lanes(pattern: Command, bits: object) -> bool:
    if not isinstance(bits, int):
        return False
    width = _WIDTHS[pattern["lane"]]
    lanes = [bits >> n * width & ((1 << width) - 1) for n in range(128 // width)]
    if pattern["lane"].startswith("f"):
        return all(_matches_float(width, wanted, lane) for wanted, lane in zip(pattern["value"], lanes, strict=True))
    return bool(pattern["value"] == lanes)


def shown(value: Value) -> str:
    """A value, for a message."""
    kind, bits = value
    return f"{kind}:{bits:#x}" if isinstance(bits, int) else f"{kind}:{bits}"
