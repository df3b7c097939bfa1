"""Number literals of the text format, as bits."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["FLOAT_SHAPES", "float_bits", "int_bits"]

FLOAT_SHAPES = {32: (8, 23), 64: (11, 52)}
"""The bits of a float's exponent and of its fraction, by its width."""

_HEX = re.compile(r"0x([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?\d+))?")
_DECIMAL = re.compile(r"(\d*)\.?(\d*)(?:e([+-]?\d+))?")


def int_bits(literal: str, width: int) -> int:
    """The bits of an integer literal, as an unsigned number."""
    digits = literal.replace("_", "").lower()
    unsigned = digits.lstrip("+-")
    value = int(unsigned, 16 if unsigned.startswith("0x") else 10)
    return (-value if digits.startswith("-") else value) & ((1 << width) - 1)


def float_bits(literal: str, width: int) -> int | str:
    """The bits of a float literal; the patterns `nan:canonical` and `nan:arithmetic` stay as they are."""
    exponent, fraction = FLOAT_SHAPES[width]
    infinity = ((1 << exponent) - 1) << fraction
    digits = literal.replace("_", "").lower()
    sign = 1 << (width - 1) if digits.startswith("-") else 0
    digits = digits.lstrip("+-")
    if digits in ("nan:canonical", "nan:arithmetic"):
        return digits
    if digits == "inf":
        return sign | infinity
    if digits == "nan":
        return sign | infinity | 1 << (fraction - 1)
    if digits.startswith("nan:0x"):
        return sign | infinity | int(digits[6:], 16)
    return sign | _rounded(_exact(digits), width)


def _exact(digits: str) -> Fraction:
    is_hex = digits.startswith("0x")
    match = (_HEX if is_hex else _DECIMAL).fullmatch(digits)
    if match is None:
        raise ValueError(f"not a float: {digits}")
    whole, part, scale = match.groups()
    base = 16 if is_hex else 10
    number = Fraction(int((whole + part) or "0", base), base ** len(part))
    return number * Fraction(2 if is_hex else 10) ** int(scale or 0)


def _rounded(number: Fraction, width: int) -> int:
    """The bits of the float nearest to a number of zero or more; ties go to the even one."""
    exponent_bits, fraction_bits = FLOAT_SHAPES[width]
    bias = (1 << (exponent_bits - 1)) - 1
    if number == 0:
        return 0
    exponent = number.numerator.bit_length() - number.denominator.bit_length()
    if Fraction(2) ** exponent > number:
        exponent -= 1
    exponent = max(exponent, 1 - bias)
    significand = round(number / Fraction(2) ** (exponent - fraction_bits))
    if significand >= 2 << fraction_bits:
        significand >>= 1
        exponent += 1
    if significand < 1 << fraction_bits:  # subnormal
        return significand
    if exponent > bias:
        return ((1 << exponent_bits) - 1) << fraction_bits
    return (exponent + bias) << fraction_bits | significand - (1 << fraction_bits)
