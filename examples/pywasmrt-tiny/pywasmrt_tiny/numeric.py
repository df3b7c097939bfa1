"""The instructions that only compute. Integers are unsigned here; floats are Python's, f32 rounded after each step."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from pywasmrt import Trap, TrapCode, ValueType

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64


class Operation(NamedTuple):
    """What is popped, what is pushed, and the function between."""

    params: tuple[ValueType, ...]
    result: ValueType
    function: Callable[..., Any]


def trap(code: TrapCode, message: str) -> Trap:
    return Trap(message, code)


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def to_f32(value: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def int_operations(bits: int) -> dict[str, Callable[..., Any]]:
    mask = (1 << bits) - 1

    def s(value: int) -> int:
        return signed(value, bits)

    def divided(x: int, y: int) -> tuple[int, int]:
        if y == 0:
            raise trap(TrapCode.INTEGER_DIVISION_BY_ZERO, "integer divide by zero")
        quotient = abs(x) // abs(y)
        if (x < 0) != (y < 0):
            quotient = -quotient
        return quotient, x - y * quotient

    def div_s(x: int, y: int) -> int:
        quotient, _ = divided(s(x), s(y))
        if quotient >> (bits - 1) == 1:
            raise trap(TrapCode.INTEGER_OVERFLOW, "integer overflow")
        return quotient & mask

    return {
        "clz": lambda x: bits - x.bit_length(),
        "ctz": lambda x: (x & -x).bit_length() - 1 if x else bits,
        "popcnt": lambda x: bin(x).count("1"),
        "add": lambda x, y: (x + y) & mask,
        "sub": lambda x, y: (x - y) & mask,
        "mul": lambda x, y: x * y & mask,
        "div_s": div_s,
        "div_u": lambda x, y: divided(x, y)[0],
        "rem_s": lambda x, y: divided(s(x), s(y))[1] & mask,
        "rem_u": lambda x, y: divided(x, y)[1],
        "and": lambda x, y: x & y,
        "or": lambda x, y: x | y,
        "xor": lambda x, y: x ^ y,
        "shl": lambda x, y: x << y % bits & mask,
        "shr_s": lambda x, y: s(x) >> y % bits & mask,
        "shr_u": lambda x, y: x >> y % bits,
        "rotl": lambda x, y: (x << y % bits | x >> (bits - y % bits)) & mask,
        "rotr": lambda x, y: (x >> y % bits | x << (bits - y % bits)) & mask,
    }


def int_comparisons(bits: int) -> dict[str, Callable[..., Any]]:
    def s(value: int) -> int:
        return signed(value, bits)

    return {
        "eqz": lambda x: int(x == 0),
        "eq": lambda x, y: int(x == y),
        "ne": lambda x, y: int(x != y),
        "lt_s": lambda x, y: int(s(x) < s(y)),
        "lt_u": lambda x, y: int(x < y),
        "gt_s": lambda x, y: int(s(x) > s(y)),
        "gt_u": lambda x, y: int(x > y),
        "le_s": lambda x, y: int(s(x) <= s(y)),
        "le_u": lambda x, y: int(x <= y),
        "ge_s": lambda x, y: int(s(x) >= s(y)),
        "ge_u": lambda x, y: int(x >= y),
    }


def rounded(how: Callable[[float], int]) -> Callable[[float], float]:
    def operation(x: float) -> float:
        if not math.isfinite(x) or x == 0:
            return x
        return math.copysign(float(how(x)), x)  # which keeps the sign of a zero

    return operation


def float_div(x: float, y: float) -> float:
    if y != 0 or x != x:
        return x / y if y != 0 else x
    return math.nan if x == 0 else math.copysign(math.inf, x) * math.copysign(1, y)


def float_min(x: float, y: float) -> float:
    if x != x or y != y:
        return math.nan
    return (x if math.copysign(1, x) < 0 else y) if x == y else min(x, y)


def float_max(x: float, y: float) -> float:
    if x != x or y != y:
        return math.nan
    return (x if math.copysign(1, x) > 0 else y) if x == y else max(x, y)


FLOAT_OPERATIONS: dict[str, Callable[..., Any]] = {
    "abs": math.fabs,
    "neg": lambda x: -x,
    "ceil": rounded(math.ceil),
    "floor": rounded(math.floor),
    "trunc": rounded(math.trunc),
    "nearest": rounded(round),
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else x if x != x else math.nan,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": float_div,
    "min": float_min,
    "max": float_max,
    "copysign": math.copysign,
}
FLOAT_COMPARISONS: dict[str, Callable[..., Any]] = {
    "eq": lambda x, y: int(x == y),
    "ne": lambda x, y: int(x != y),
    "lt": lambda x, y: int(x < y),
    "gt": lambda x, y: int(x > y),
    "le": lambda x, y: int(x <= y),
    "ge": lambda x, y: int(x >= y),
}


def truncation(bits: int, sign: str, saturating: bool) -> Callable[[float], int]:
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if sign == "s" else (0, (1 << bits) - 1)
    mask = (1 << bits) - 1

    def operation(x: float) -> int:
        if x != x:
            if saturating:
                return 0
            raise trap(TrapCode.BAD_CONVERSION_TO_INTEGER, "invalid conversion to integer")
        whole = (low if x < 0 else high) if math.isinf(x) else math.trunc(x)
        if math.isinf(x) or not low <= whole <= high:
            if not saturating:
                raise trap(TrapCode.INTEGER_OVERFLOW, "integer overflow")
            whole = low if x < 0 else high
        return whole & mask

    return operation


def conversion(bits: int, sign: str, to: ValueType) -> Callable[[int], float]:
    def operation(x: int) -> float:
        value = signed(x, bits) if sign == "s" else x
        if to is F64:
            return float(value)
        if abs(value) >> 53:  # round once: one bit stands for all that are cut off
            value = (value >> 11 | (value & 0x7FF != 0)) << 11
        return to_f32(float(value))

    return operation


def extension(of: int, to: int) -> Callable[[int], int]:
    return lambda x: signed(x & ((1 << of) - 1), of) & ((1 << to) - 1)


def reinterpretation(source: str, target: str) -> Callable[[Any], Any]:
    return lambda x: struct.unpack(target, struct.pack(source, x))[0]


def _operations() -> dict[int, Operation]:
    """The operations by opcode; those with the prefix 0xFC by 0xFC00 plus their number."""
    table: dict[int, Operation] = {}

    def put(first: int, params: ValueType, result: ValueType, functions: dict[str, Callable[..., Any]]) -> None:
        for n, (name, function) in enumerate(functions.items()):
            unary = name in {"eqz", "clz", "ctz", "popcnt", *list(FLOAT_OPERATIONS)[:7]}
            if result is F32:
                function = rounding(function)
            table[first + n] = Operation((params,) * (1 if unary else 2), result, function)

    put(0x45, I32, I32, int_comparisons(32))
    put(0x50, I64, I32, int_comparisons(64))
    put(0x5B, F32, I32, FLOAT_COMPARISONS)
    put(0x61, F64, I32, FLOAT_COMPARISONS)
    put(0x67, I32, I32, int_operations(32))
    put(0x79, I64, I64, int_operations(64))
    put(0x8B, F32, F32, FLOAT_OPERATIONS)
    put(0x99, F64, F64, FLOAT_OPERATIONS)

    widths = {I32: 32, I64: 64}
    for first, to in ((0xA8, I32), (0xAE, I64)):
        for n, (of, sign) in enumerate([(F32, "s"), (F32, "u"), (F64, "s"), (F64, "u")]):
            table[first + n] = Operation((of,), to, truncation(widths[to], sign, False))
            saturating = 0xFC00 + n + (4 if to is I64 else 0)
            table[saturating] = Operation((of,), to, truncation(widths[to], sign, True))
    for first, float_type in ((0xB2, F32), (0xB7, F64)):
        for n, (source, sign) in enumerate([(I32, "s"), (I32, "u"), (I64, "s"), (I64, "u")]):
            table[first + n] = Operation((source,), float_type, conversion(widths[source], sign, float_type))
    table.update(
        {
            0xA7: Operation((I64,), I32, lambda x: x & 0xFFFF_FFFF),
            0xAC: Operation((I32,), I64, extension(32, 64)),
            0xAD: Operation((I32,), I64, lambda x: x),
            0xB6: Operation((F64,), F32, to_f32),
            0xBB: Operation((F32,), F64, lambda x: x),
            0xBC: Operation((F32,), I32, reinterpretation("<f", "<I")),
            0xBD: Operation((F64,), I64, reinterpretation("<d", "<Q")),
            0xBE: Operation((I32,), F32, reinterpretation("<I", "<f")),
            0xBF: Operation((I64,), F64, reinterpretation("<Q", "<d")),
            0xC0: Operation((I32,), I32, extension(8, 32)),
            0xC1: Operation((I32,), I32, extension(16, 32)),
            0xC2: Operation((I64,), I64, extension(8, 64)),
            0xC3: Operation((I64,), I64, extension(16, 64)),
            0xC4: Operation((I64,), I64, extension(32, 64)),
        }
    )
    return table


def rounding(function: Callable[..., float]) -> Callable[..., float]:
    return lambda *values: to_f32(function(*values))


OPERATIONS = _operations()

# Of memory accesses: the type of the value, the bytes, and the struct format that reads or writes them.
LOADS = {
    0x28: (I32, 4, "<I"),
    0x29: (I64, 8, "<Q"),
    0x2A: (F32, 4, "<f"),
    0x2B: (F64, 8, "<d"),
    0x2C: (I32, 1, "<b"),
    0x2D: (I32, 1, "<B"),
    0x2E: (I32, 2, "<h"),
    0x2F: (I32, 2, "<H"),
    0x30: (I64, 1, "<b"),
    0x31: (I64, 1, "<B"),
    0x32: (I64, 2, "<h"),
    0x33: (I64, 2, "<H"),
    0x34: (I64, 4, "<i"),
    0x35: (I64, 4, "<I"),
}
STORES = {
    0x36: (I32, 4, "<I"),
    0x37: (I64, 8, "<Q"),
    0x38: (F32, 4, "<f"),
    0x39: (F64, 8, "<d"),
    0x3A: (I32, 1, "<B"),
    0x3B: (I32, 2, "<H"),
    0x3C: (I64, 1, "<B"),
    0x3D: (I64, 2, "<H"),
    0x3E: (I64, 4, "<I"),
}
