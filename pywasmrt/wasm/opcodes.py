"""Every instruction, listed once: its opcode, its immediates and, if the encoder can write it, its name.

Core specification 3.0, section 5.4, and the proposals beyond it that an engine here takes: threads, wide arithmetic,
and exceptions in their legacy form. The kinds of what follows an opcode:

    index    an unsigned number (a label, local, function, table, global, memory or segment)
    type     the index of a function type; written from a `FunctionType`
    block    the type of a block; written from a `FunctionType`
    labels   the targets of `br_table`, the last of them the default
    types    the operand types of a typed `select`
    heap     a heap type; written from the reference type of `ref.null`
    catches  the clauses of `try_table`
    memarg   the alignment (its exponent) and the offset of a memory access, and optionally the memory
    lane     the number of a lane, one byte
    flags    one byte
    i32 i64  a signed integer
    f32 f64  the bits of a float, as an unsigned integer
    v128     16 bytes
"""

from __future__ import annotations

from .primitives import read_uleb

__all__ = ["INSTRUCTIONS", "PLAIN", "PREFIXED", "Kinds", "Opcode"]

Kinds = tuple[str, ...]
"""The kinds of what follows an opcode, in their order."""

Opcode = tuple[bytes, Kinds]


def _ranges(*parts: tuple[int, int, str]) -> dict[int, Kinds]:
    """The opcodes from the first to the last of each part, with the kinds of what follows."""
    return {code: tuple(kinds.split()) for first, last, kinds in parts for code in range(first, last + 1)}


PLAIN: dict[int, Kinds] = _ranges(
    (0x00, 0x01, ""),  # unreachable, nop
    (0x02, 0x04, "block"),  # block, loop, if
    (0x05, 0x05, ""),  # else
    (0x06, 0x06, "block"),  # try
    (0x07, 0x09, "index"),  # catch, throw, rethrow
    (0x0A, 0x0B, ""),  # throw_ref, end
    (0x0C, 0x0D, "index"),  # br, br_if
    (0x0E, 0x0E, "labels"),  # br_table
    (0x0F, 0x0F, ""),  # return
    (0x10, 0x10, "index"),  # call
    (0x11, 0x11, "type index"),  # call_indirect
    (0x12, 0x12, "index"),  # return_call
    (0x13, 0x13, "type index"),  # return_call_indirect
    (0x14, 0x15, "index"),  # call_ref, return_call_ref
    (0x18, 0x18, "index"),  # delegate
    (0x19, 0x1B, ""),  # catch_all, drop, select
    (0x1C, 0x1C, "types"),  # select with types
    (0x1F, 0x1F, "block catches"),  # try_table
    (0x20, 0x26, "index"),  # locals, globals, table.get, table.set
    (0x28, 0x3E, "memarg"),  # loads and stores
    (0x3F, 0x40, "index"),  # memory.size, memory.grow
    (0x41, 0x41, "i32"),  # i32.const
    (0x42, 0x42, "i64"),  # i64.const
    (0x43, 0x43, "f32"),  # f32.const
    (0x44, 0x44, "f64"),  # f64.const
    (0x45, 0xC4, ""),  # numbers
    (0xD0, 0xD0, "heap"),  # ref.null
    (0xD1, 0xD1, ""),  # ref.is_null
    (0xD2, 0xD2, "index"),  # ref.func
    (0xD3, 0xD4, ""),  # ref.eq, ref.as_non_null
    (0xD5, 0xD6, "index"),  # br_on_null, br_on_non_null
)
"""The opcodes of one byte."""

_GC = _ranges(
    (0, 1, "index"),  # struct.new, struct.new_default
    (2, 5, "index index"),  # struct.get and its kin, struct.set
    (6, 7, "index"),  # array.new, array.new_default
    (8, 10, "index index"),  # array.new_fixed, array.new_data, array.new_elem
    (11, 14, "index"),  # array.get and its kin, array.set
    (15, 15, ""),  # array.len
    (16, 16, "index"),  # array.fill
    (17, 19, "index index"),  # array.copy, array.init_data, array.init_elem
    (20, 23, "heap"),  # ref.test, ref.cast
    (24, 25, "flags index heap heap"),  # br_on_cast, br_on_cast_fail
    (26, 30, ""),  # any.convert_extern, extern.convert_any, ref.i31, i31.get_s, i31.get_u
)

_MISCELLANEOUS = _ranges(
    (0, 7, ""),  # trunc_sat
    (8, 8, "index index"),  # memory.init
    (9, 9, "index"),  # data.drop
    (10, 10, "index index"),  # memory.copy
    (11, 11, "index"),  # memory.fill
    (12, 12, "index index"),  # table.init
    (13, 13, "index"),  # elem.drop
    (14, 14, "index index"),  # table.copy
    (15, 17, "index"),  # table.grow, table.size, table.fill
    (19, 22, ""),  # wide arithmetic
)

_VECTOR = _ranges(
    (0x00, 0x0B, "memarg"),  # loads, v128.store
    (0x0C, 0x0D, "v128"),  # v128.const, i8x16.shuffle
    (0x0E, 0x14, ""),  # i8x16.swizzle, splats
    (0x15, 0x22, "lane"),  # extract_lane, replace_lane
    (0x23, 0x53, ""),
    (0x54, 0x5B, "memarg lane"),  # load_lane, store_lane
    (0x5C, 0x5D, "memarg"),  # load_zero
    (0x5E, 0xFF, ""),
    (0x100, 0x113, ""),  # relaxed
)
for _gap in b"\x9a\xa2\xa5\xa6\xaf\xb0\xb2\xb3\xb4\xbb\xc2\xc5\xc6\xcf\xd0\xd2\xd3\xd4\xe2\xee":
    del _VECTOR[_gap]

_ATOMIC = _ranges(
    (0x00, 0x02, "memarg"),  # notify, waits
    (0x03, 0x03, "flags"),  # atomic.fence
    (0x10, 0x4E, "memarg"),
)

PREFIXED: dict[int, dict[int, Kinds]] = {0xFB: _GC, 0xFC: _MISCELLANEOUS, 0xFD: _VECTOR, 0xFE: _ATOMIC}
"""The opcodes that follow a prefix."""

# Names, for writing. Of the vector instructions there are those whose results are the same bits everywhere.

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

_VECTOR_NAMES = {
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


def _names() -> dict[str, bytes]:
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
    table = {name: bytes([0x45 + n]) for n, name in enumerate(numeric)}
    table.update({name: bytes([0x28 + n]) for n, name in enumerate(_ACCESS.split())})
    table.update(
        {
            "unreachable": b"\x00",
            "nop": b"\x01",
            "block": b"\x02",
            "loop": b"\x03",
            "if": b"\x04",
            "else": b"\x05",
            "end": b"\x0b",
            "br": b"\x0c",
            "br_if": b"\x0d",
            "br_table": b"\x0e",
            "return": b"\x0f",
            "call": b"\x10",
            "call_indirect": b"\x11",
            "return_call": b"\x12",
            "drop": b"\x1a",
            "select": b"\x1b",
            "select_typed": b"\x1c",
            "local.get": b"\x20",
            "local.set": b"\x21",
            "local.tee": b"\x22",
            "global.get": b"\x23",
            "global.set": b"\x24",
            "table.get": b"\x25",
            "table.set": b"\x26",
            "memory.size": b"\x3f",
            "memory.grow": b"\x40",
            "i32.const": b"\x41",
            "i64.const": b"\x42",
            "f32.const": b"\x43",
            "f64.const": b"\x44",
            "ref.null": b"\xd0",
            "ref.is_null": b"\xd1",
            "ref.func": b"\xd2",
            "memory.copy": b"\xfc\x0a",
            "memory.fill": b"\xfc\x0b",
            "table.grow": b"\xfc\x0f",
            "table.size": b"\xfc\x10",
            "table.fill": b"\xfc\x11",
            "v128.load": b"\xfd\x00",
            "v128.store": b"\xfd\x0b",
            "v128.const": b"\xfd\x0c",
        }
    )
    table.update({name: b"\xfd" + code for name, code in {**_VECTOR_NAMES, **_LANES}.items()})
    saturating = [f"{to}.trunc_sat_{of}_{s}" for to in ("i32", "i64") for of in ("f32", "f64") for s in "su"]
    table.update({name: bytes([0xFC, n]) for n, name in enumerate(saturating)})
    return table


def _kinds(opcode: bytes) -> Kinds:
    return PREFIXED[opcode[0]][read_uleb(opcode, 1)[0]] if opcode[0] in PREFIXED else PLAIN[opcode[0]]


INSTRUCTIONS: dict[str, Opcode] = {name: (opcode, _kinds(opcode)) for name, opcode in _names().items()}
"""The instructions that can be written, by name: the opcode and the kinds of what follows it."""
