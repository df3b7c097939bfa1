"""Passing over instructions in the binary form: what follows each opcode.

Core specification 3.0, section 5.4, and the proposals beyond it that an engine here takes: threads, wide arithmetic,
and exceptions in their legacy form. `testing.opcodes` is the other direction: names, for writing.
"""

from __future__ import annotations

from ..errors import UnsupportedFeatureError
from .primitives import read_uleb, skip_leb

__all__ = ["skip_instruction", "skip_value_type"]

# What follows an opcode, as one letter each:
#
#     n    a number: an index, a label, an integer constant
#     t    a value type or the type of a block;  T  a vector of value types
#     h    a heap type
#     v    a vector of numbers
#     m    the alignment and the offset of a memory access, and the memory if the alignment says so
#     c    the clauses of `try_table`
#     1 4 8 x    as many bytes, x for 16


def _ranges(*parts: tuple[int, int, str]) -> dict[int, str]:
    """The opcodes from the first to the last of each part."""
    return {code: kinds for first, last, kinds in parts for code in range(first, last + 1)}


_PLAIN = _ranges(
    (0x00, 0x01, ""),  # unreachable, nop
    (0x02, 0x04, "t"),  # block, loop, if
    (0x05, 0x05, ""),  # else
    (0x06, 0x06, "t"),  # try
    (0x07, 0x09, "n"),  # catch, throw, rethrow
    (0x0A, 0x0B, ""),  # throw_ref, end
    (0x0C, 0x0D, "n"),  # br, br_if
    (0x0E, 0x0E, "vn"),  # br_table
    (0x0F, 0x0F, ""),  # return
    (0x10, 0x10, "n"),  # call
    (0x11, 0x11, "nn"),  # call_indirect
    (0x12, 0x12, "n"),  # return_call
    (0x13, 0x13, "nn"),  # return_call_indirect
    (0x14, 0x15, "n"),  # call_ref, return_call_ref
    (0x18, 0x18, "n"),  # delegate
    (0x19, 0x1B, ""),  # catch_all, drop, select
    (0x1C, 0x1C, "T"),  # select with types
    (0x1F, 0x1F, "tc"),  # try_table
    (0x20, 0x26, "n"),  # locals, globals, table.get, table.set
    (0x28, 0x3E, "m"),  # loads and stores
    (0x3F, 0x42, "n"),  # memory.size, memory.grow, i32.const, i64.const
    (0x43, 0x43, "4"),  # f32.const
    (0x44, 0x44, "8"),  # f64.const
    (0x45, 0xC4, ""),  # numbers
    (0xD0, 0xD0, "h"),  # ref.null
    (0xD1, 0xD1, ""),  # ref.is_null
    (0xD2, 0xD2, "n"),  # ref.func
    (0xD3, 0xD4, ""),  # ref.eq, ref.as_non_null
    (0xD5, 0xD6, "n"),  # br_on_null, br_on_non_null
)

_GC = _ranges(
    (0, 1, "n"),  # struct.new, struct.new_default
    (2, 5, "nn"),  # struct.get and its kin, struct.set
    (6, 7, "n"),  # array.new, array.new_default
    (8, 10, "nn"),  # array.new_fixed, array.new_data, array.new_elem
    (11, 14, "n"),  # array.get and its kin, array.set
    (15, 15, ""),  # array.len
    (16, 16, "n"),  # array.fill
    (17, 19, "nn"),  # array.copy, array.init_data, array.init_elem
    (20, 23, "h"),  # ref.test, ref.cast
    (24, 25, "1nhh"),  # br_on_cast, br_on_cast_fail
    (26, 30, ""),  # any.convert_extern, extern.convert_any, ref.i31, i31.get_s, i31.get_u
)

_MISCELLANEOUS = _ranges(
    (0, 7, ""),  # trunc_sat
    (8, 8, "nn"),  # memory.init
    (9, 9, "n"),  # data.drop
    (10, 10, "nn"),  # memory.copy
    (11, 11, "n"),  # memory.fill
    (12, 12, "nn"),  # table.init
    (13, 13, "n"),  # elem.drop
    (14, 14, "nn"),  # table.copy
    (15, 17, "n"),  # table.grow, table.size, table.fill
    (19, 22, ""),  # wide arithmetic
)

_VECTOR = _ranges(
    (0x00, 0x0B, "m"),  # loads, v128.store
    (0x0C, 0x0D, "x"),  # v128.const, i8x16.shuffle
    (0x0E, 0x14, ""),  # i8x16.swizzle, splats
    (0x15, 0x22, "1"),  # extract_lane, replace_lane
    (0x23, 0x53, ""),
    (0x54, 0x5B, "m1"),  # load_lane, store_lane
    (0x5C, 0x5D, "m"),  # load_zero
    (0x5E, 0xFF, ""),
    (0x100, 0x113, ""),  # relaxed
)
for _gap in b"\x9a\xa2\xa5\xa6\xaf\xb0\xb2\xb3\xb4\xbb\xc2\xc5\xc6\xcf\xd0\xd2\xd3\xd4\xe2\xee":
    del _VECTOR[_gap]

_ATOMIC = _ranges(
    (0x00, 0x02, "m"),  # notify, waits
    (0x03, 0x03, "1"),  # atomic.fence
    (0x10, 0x4E, "m"),
)

_PREFIXED = {0xFB: _GC, 0xFC: _MISCELLANEOUS, 0xFD: _VECTOR, 0xFE: _ATOMIC}


def skip_instruction(data: bytes, at: int) -> int:
    """Where the instruction at `at` ends: in a validated module, or else maybe beyond the end of `data`. Raises
    `UnsupportedFeatureError` where the instruction is not known.
    """
    opcode = data[at]
    after = at + 1
    kinds = _PLAIN.get(opcode)
    if kinds is None:
        name = f"0x{opcode:02x}"
        if opcode in _PREFIXED:
            code, after = read_uleb(data, after)
            kinds = _PREFIXED[opcode].get(code)
            name += f" 0x{code:02x}"
        if kinds is None:
            raise UnsupportedFeatureError(f"the instruction {name} at byte {at} is not known")
    for kind in kinds:
        width = _WIDTHS.get(kind)
        after = _SKIP[kind](data, after) if width is None else after + width
    return after


def skip_value_type(data: bytes, at: int) -> int:
    """Where the value type, or the type of a block, at `at` ends."""
    return _skip_heap_type(data, at + 1 if data[at] in (0x63, 0x64) else at)  # (ref null heaptype), (ref heaptype)


def _skip_heap_type(data: bytes, at: int) -> int:
    if data[at] in (0x62, 0x65):  # exact, shared: of proposals that no engine here takes
        raise UnsupportedFeatureError(f"the type 0x{data[at]:02x} at byte {at} is not known")
    return skip_leb(data, at)


def _skip_value_types(data: bytes, at: int) -> int:
    count, at = read_uleb(data, at)
    for _ in range(count):
        at = skip_value_type(data, at)
    return at


def _skip_numbers(data: bytes, at: int) -> int:
    count, at = read_uleb(data, at)
    for _ in range(count):
        at = skip_leb(data, at)
    return at


def _skip_access(data: bytes, at: int) -> int:
    alignment, at = read_uleb(data, at)
    if alignment & 0x40:
        at = skip_leb(data, at)  # the memory
    return skip_leb(data, at)


def _skip_catches(data: bytes, at: int) -> int:
    count, at = read_uleb(data, at)
    for _ in range(count):
        kind = data[at]
        at = skip_leb(data, at + 1)  # a tag, or without one the label
        if kind < 2:
            at = skip_leb(data, at)
    return at


_WIDTHS = {"1": 1, "4": 4, "8": 8, "x": 16}
_SKIP = {
    "n": skip_leb,
    "t": skip_value_type,
    "T": _skip_value_types,
    "h": _skip_heap_type,
    "v": _skip_numbers,
    "m": _skip_access,
    "c": _skip_catches,
}
