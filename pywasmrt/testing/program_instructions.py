"""The instructions that generated programs choose from: name, type of the operand, feature needed; the simplest first.

Instructions whose result bits may visibly differ between engines are left out: vectors of floats, relaxed vectors.
"""

from __future__ import annotations

from ..types import ValueType

__all__ = [
    "BINARY",
    "COMPARE",
    "CONVERT",
    "EDGES",
    "LOADS",
    "MIXED",
    "STORES",
    "TRAPPING_CONVERSIONS",
    "UNARY",
    "Word",
]

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_V128 = ValueType.V128

Word = tuple[str, ValueType, "str | None"]
"""The name of an instruction, the type of its operand, and the feature that it needs."""


def _words(prefix: ValueType, names: str, operand: ValueType, feature: str | None = None) -> list[Word]:
    return [(f"{prefix}.{name}", operand, feature) for name in names.split()]


_INTEGER = "add sub mul and or xor shl shr_s shr_u rotl rotr div_s div_u rem_s rem_u"
_FLOAT = "add sub mul div min max copysign"

BINARY: dict[ValueType, list[Word]] = {
    _I32: _words(_I32, _INTEGER, _I32),
    _I64: _words(_I64, _INTEGER, _I64),
    _F32: _words(_F32, _FLOAT, _F32),
    _F64: _words(_F64, _FLOAT, _F64),
    _V128: [
        (name, _V128, "simd")
        for name in "v128.and v128.or v128.xor i8x16.add i16x8.mul i32x4.sub i64x2.add i8x16.eq i32x4.eq".split()
    ],
}
"""Of two operands of the type."""

_SIGN = "sign-extension"
UNARY: dict[ValueType, list[Word]] = {
    _I32: [*_words(_I32, "eqz clz ctz popcnt", _I32), *_words(_I32, "extend8_s extend16_s", _I32, _SIGN)],
    _I64: [*_words(_I64, "clz ctz popcnt", _I64), *_words(_I64, "extend8_s extend16_s extend32_s", _I64, _SIGN)],
    _F32: _words(_F32, "abs neg ceil floor trunc nearest sqrt", _F32),
    _F64: _words(_F64, "abs neg ceil floor trunc nearest sqrt", _F64),
    _V128: [("v128.not", _V128, "simd")],
}
"""Of one operand of the type."""


def _truncations(to: ValueType, word: str, feature: str | None) -> list[Word]:
    return [(f"{to}.{word}_{of}_{sign}", of, feature) for of in (_F32, _F64) for sign in "su"]


_SATURATING = "saturating-float-to-int"
CONVERT: dict[ValueType, list[Word]] = {
    _I32: [
        ("i32.wrap_i64", _I64, None),
        ("i64.eqz", _I64, None),
        ("i32.reinterpret_f32", _F32, None),
        *_truncations(_I32, "trunc_sat", _SATURATING),
        ("v128.any_true", _V128, "simd"),
        ("i32x4.all_true", _V128, "simd"),
        ("i8x16.bitmask", _V128, "simd"),
        ("i32x4.extract_lane", _V128, "simd"),
    ],
    _I64: [
        ("i64.extend_i32_s", _I32, None),
        ("i64.extend_i32_u", _I32, None),
        ("i64.reinterpret_f64", _F64, None),
        *_truncations(_I64, "trunc_sat", _SATURATING),
        ("i64x2.extract_lane", _V128, "simd"),
    ],
    _F32: [
        *[(f"f32.convert_{of}_{sign}", of, None) for of in (_I32, _I64) for sign in "su"],
        ("f32.demote_f64", _F64, None),
        ("f32.reinterpret_i32", _I32, None),
    ],
    _F64: [
        *[(f"f64.convert_{of}_{sign}", of, None) for of in (_I32, _I64) for sign in "su"],
        ("f64.promote_f32", _F32, None),
        ("f64.reinterpret_i64", _I64, None),
    ],
    _V128: [
        ("i8x16.splat", _I32, "simd"),
        ("i16x8.splat", _I32, "simd"),
        ("i32x4.splat", _I32, "simd"),
        ("i64x2.splat", _I64, "simd"),
    ],
}
"""To the type, from another."""

TRAPPING_CONVERSIONS = {_I32: _truncations(_I32, "trunc", None), _I64: _truncations(_I64, "trunc", None)}
"""Those that trap where the float has no integer of the type."""

_COMPARE_INTEGER = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"
COMPARE: dict[ValueType, list[Word]] = {
    _I32: _words(_I32, _COMPARE_INTEGER, _I32),
    _I64: _words(_I64, _COMPARE_INTEGER, _I64),
    _F32: _words(_F32, "eq ne lt gt le ge", _F32),
    _F64: _words(_F64, "eq ne lt gt le ge", _F64),
}
"""Of two operands of the type, to i32."""

LOADS: dict[ValueType, list[Word]] = {
    _I32: _words(_I32, "load load8_s load8_u load16_s load16_u", _I32),
    _I64: _words(_I64, "load load8_s load8_u load16_s load16_u load32_s load32_u", _I32),
    _F32: _words(_F32, "load", _I32),
    _F64: _words(_F64, "load", _I32),
    _V128: _words(_V128, "load", _I32, "simd"),
}
STORES: dict[ValueType, list[Word]] = {
    _I32: _words(_I32, "store store8 store16", _I32),
    _I64: _words(_I64, "store store8 store16 store32", _I64),
    _F32: _words(_F32, "store", _F32),
    _F64: _words(_F64, "store", _F64),
    _V128: _words(_V128, "store", _V128, "simd"),
}

_INTEGER_EDGES = (0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 127, 128, 255, 256, 65535, 65536, 0x7FFF_FFFF, 0x8000_0000)

EDGES: dict[ValueType, tuple[int, ...]] = {
    _I32: (*_INTEGER_EDGES, 0xFFFF_FFFF),
    _I64: (
        *_INTEGER_EDGES,
        0xFFFF_FFFF,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        (1 << 64) - 1,
        0xFFFF_FFFF_0000_0000,
        0x0123_4567_89AB_CDEF,
    ),
    _F32: (
        0x0000_0000,
        0x3F80_0000,
        0xBF80_0000,
        0x4020_0000,
        0x8000_0000,
        0x4F00_0000,
        0x7F7F_FFFF,
        0x0000_0001,
        0x7F80_0000,
        0xFF80_0000,
        0x7FC0_0000,
    ),
    _F64: (
        0x0000_0000_0000_0000,
        0x3FF0_0000_0000_0000,
        0xBFF0_0000_0000_0000,
        0x4004_0000_0000_0000,
        0x8000_0000_0000_0000,
        0x41E0_0000_0000_0000,
        0x43E0_0000_0000_0000,
        0x7FEF_FFFF_FFFF_FFFF,
        0x0000_0000_0000_0001,
        0x7FF0_0000_0000_0000,
        0xFFF0_0000_0000_0000,
        0x7FF8_0000_0000_0000,
    ),
}
"""Numbers at the edges, as bits. Of floats: zeros, ones, powers at integer limits, the largest and the smallest,
infinities, a NaN."""

MIXED: dict[ValueType, tuple[int, ...]] = {
    _I32: (0x8000_0000, 0xFFFF_FFFF, 0x89AB_CDEF),
    _I64: (1 << 32, 1 << 63, 0xFFFF_FFFF_0000_0000, 0x0123_4567_89AB_CDEF),
}
"""Numbers that set the bits that small values lack: the sign, the upper half."""
