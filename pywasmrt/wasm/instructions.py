"""Passing over instructions in the binary form."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UnsupportedFeatureError
from .opcodes import PLAIN, PREFIXED, Kinds
from .primitives import read_uleb, skip_leb

__all__ = ["skip_instruction", "skip_value_type"]


def skip_instruction(data: bytes, at: int) -> int:
    """Where the instruction at `at` ends: in a validated module, or else maybe beyond the end of `data`. Raises
    `UnsupportedFeatureError` where the instruction is not known.
    """
    opcode = data[at]
    after = at + 1
    kinds: Kinds | None = PLAIN.get(opcode)
    if kinds is None:
        name = f"0x{opcode:02x}"
        if opcode in PREFIXED:
            code, after = read_uleb(data, after)
            kinds = PREFIXED[opcode].get(code)
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


def _skip_labels(data: bytes, at: int) -> int:
    count, at = read_uleb(data, at)
    for _ in range(count + 1):  # and the default
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


_WIDTHS = {"lane": 1, "flags": 1, "f32": 4, "f64": 8, "v128": 16}
_SKIP: dict[str, Callable[[bytes, int], int]] = {
    "index": skip_leb,
    "type": skip_leb,
    "i32": skip_leb,
    "i64": skip_leb,
    "block": skip_value_type,
    "types": _skip_value_types,
    "heap": _skip_heap_type,
    "labels": _skip_labels,
    "memarg": _skip_access,
    "catches": _skip_catches,
}
