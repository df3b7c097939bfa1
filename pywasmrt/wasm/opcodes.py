"""The instructions that the encoder knows: name, opcode, and what follows the opcode.

Numbers are those of the core specification 2.0, section 5.4. The immediates of an instruction are a tuple of kinds:

    index    an unsigned number (a label, local, function, table, global, memory or segment)
    type     a function type: a `FunctionType`
    block    the type of a block: a `FunctionType`
    labels   the targets of `br_table`, the last of them the default
    types    the operand types of a typed `select`
    heap     the reference type of `ref.null`
    memarg   the alignment (its exponent) and the offset of a memory access, and optionally the memory
    i32 i64  a signed integer
    f32 f64  the bits of a float, as an unsigned integer
    v128     16 bytes
"""

from __future__ import annotations

__all__ = ["INSTRUCTIONS", "Opcode"]

Opcode = tuple[bytes, tuple[str, ...]]

_COMPARE_INT = "eqz eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"
_COMPARE_FLOAT = "eq ne lt gt le ge"
_INT = "clz ctz popcnt add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr"
_FLOAT = "abs neg ceil floor trunc nearest sqrt add sub mul div min max copysign"
_CONVERT = """
i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u
i64.extend_i32_s i64.extend_i32_u i64.trunc_f32_s i64.trunc_f32_u i64.trunc_f64_s i64.trunc_f64_u
f32.convert_i32_s f32.convert_i32_u f32.convert_i64_s f32.convert_i64_u f32.demote_f64
f64.convert_i32_s f64.convert_i32_u f64.convert_i64_s f64.convert_i64_u f64.promote_f32
i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64
i32.extend8_s i32.extend16_s i64.extend8_s i64.extend16_s i64.extend32_s
"""
_ACCESS = """
i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u
i64.load8_s i64.load8_u i64.load16_s i64.load16_u i64.load32_s i64.load32_u
i32.store i64.store f32.store f64.store i32.store8 i32.store16 i64.store8 i64.store16 i64.store32
"""

# Of the vector instructions, those whose results are the same bits everywhere.
_VECTOR = {
    "i8x16.splat": b"\x0f",
    "i16x8.splat": b"\x10",
    "i32x4.splat": b"\x11",
    "i64x2.splat": b"\x12",
    "i8x16.eq": b"\x23",
    "i32x4.eq": b"\x37",
    "v128.not": b"\x4d",
    "v128.and": b"\x4e",
    "v128.or": b"\x50",
    "v128.xor": b"\x51",
    "v128.bitselect": b"\x52",
    "v128.any_true": b"\x53",
    "i8x16.bitmask": b"\x64",
    "i8x16.add": b"\x6e",
    "i16x8.mul": b"\x95\x01",
    "i32x4.all_true": b"\xa3\x01",
    "i32x4.sub": b"\xb1\x01",
    "i64x2.add": b"\xce\x01",
}
_LANES = {"i32x4.extract_lane": b"\x1b", "i64x2.extract_lane": b"\x1d"}


def _prefixed(prefix: str, names: str) -> list[str]:
    return [f"{prefix}.{name}" for name in names.split()]


def _instructions() -> dict[str, Opcode]:
    numeric = [
        *_prefixed("i32", _COMPARE_INT),
        *_prefixed("i64", _COMPARE_INT),
        *_prefixed("f32", _COMPARE_FLOAT),
        *_prefixed("f64", _COMPARE_FLOAT),
        *_prefixed("i32", _INT),
        *_prefixed("i64", _INT),
        *_prefixed("f32", _FLOAT),
        *_prefixed("f64", _FLOAT),
        *_CONVERT.split(),
    ]
    table: dict[str, Opcode] = {name: (bytes([0x45 + n]), ()) for n, name in enumerate(numeric)}
    table.update({name: (bytes([0x28 + n]), ("memarg",)) for n, name in enumerate(_ACCESS.split())})
    table.update(
        {
            "unreachable": (b"\x00", ()),
            "nop": (b"\x01", ()),
            "block": (b"\x02", ("block",)),
            "loop": (b"\x03", ("block",)),
            "if": (b"\x04", ("block",)),
            "else": (b"\x05", ()),
            "end": (b"\x0b", ()),
            "br": (b"\x0c", ("index",)),
            "br_if": (b"\x0d", ("index",)),
            "br_table": (b"\x0e", ("labels",)),
            "return": (b"\x0f", ()),
            "call": (b"\x10", ("index",)),
            "call_indirect": (b"\x11", ("type", "index")),
            "return_call": (b"\x12", ("index",)),
            "drop": (b"\x1a", ()),
            "select": (b"\x1b", ()),
            "select_typed": (b"\x1c", ("types",)),
            "local.get": (b"\x20", ("index",)),
            "local.set": (b"\x21", ("index",)),
            "local.tee": (b"\x22", ("index",)),
            "global.get": (b"\x23", ("index",)),
            "global.set": (b"\x24", ("index",)),
            "table.get": (b"\x25", ("index",)),
            "table.set": (b"\x26", ("index",)),
            "memory.size": (b"\x3f", ("index",)),
            "memory.grow": (b"\x40", ("index",)),
            "i32.const": (b"\x41", ("i32",)),
            "i64.const": (b"\x42", ("i64",)),
            "f32.const": (b"\x43", ("f32",)),
            "f64.const": (b"\x44", ("f64",)),
            "ref.null": (b"\xd0", ("heap",)),
            "ref.is_null": (b"\xd1", ()),
            "ref.func": (b"\xd2", ("index",)),
            "memory.copy": (b"\xfc\x0a", ("index", "index")),
            "memory.fill": (b"\xfc\x0b", ("index",)),
            "table.grow": (b"\xfc\x0f", ("index",)),
            "table.size": (b"\xfc\x10", ("index",)),
            "table.fill": (b"\xfc\x11", ("index",)),
            "v128.load": (b"\xfd\x00", ("memarg",)),
            "v128.store": (b"\xfd\x0b", ("memarg",)),
            "v128.const": (b"\xfd\x0c", ("v128",)),
        }
    )
    table.update({name: (b"\xfd" + code, ()) for name, code in _VECTOR.items()})
    table.update({name: (b"\xfd" + code, ("index",)) for name, code in _LANES.items()})
    saturating = [f"{to}.trunc_sat_{of}_{s}" for to in ("i32", "i64") for of in ("f32", "f64") for s in "su"]
    table.update({name: (bytes([0xFC, n]), ()) for n, name in enumerate(saturating)})
    return table


INSTRUCTIONS: dict[str, Opcode] = _instructions()
"""Every instruction by name: its opcode and the kinds of its immediates."""
