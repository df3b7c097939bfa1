"""The code of a function as text, an instruction a line, for people to read.

It is close to the text format. Instructions that the table of names does not list are shown by their opcodes, and
indices stay numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .instructions import skip_instruction, skip_value_type
from .opcodes import INSTRUCTIONS, PLAIN, PREFIXED
from .primitives import read_uleb, skip_leb, uleb
from .symbols import Body

__all__ = ["Shown", "disassembled"]

_NAMES = {opcode: name for name, (opcode, _) in INSTRUCTIONS.items() if name != "select_typed"}
_NAMES.update(
    {
        b"\x06": "try",
        b"\x07": "catch",
        b"\x08": "throw",
        b"\x09": "rethrow",
        b"\x0a": "throw_ref",
        b"\x13": "return_call_indirect",
        b"\x14": "call_ref",
        b"\x15": "return_call_ref",
        b"\x18": "delegate",
        b"\x19": "catch_all",
        b"\x1c": "select",
        b"\x1f": "try_table",
        b"\xd3": "ref.eq",
        b"\xd4": "ref.as_non_null",
        b"\xd5": "br_on_null",
        b"\xd6": "br_on_non_null",
        b"\xfc\x08": "memory.init",
        b"\xfc\x09": "data.drop",
        b"\xfc\x0c": "table.init",
        b"\xfc\x0d": "elem.drop",
        b"\xfc\x0e": "table.copy",
    }
)
_TYPES = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
}
_OPENING, _CLOSING = frozenset((0x02, 0x03, 0x04, 0x06, 0x1F)), frozenset((0x05, 0x07, 0x0B, 0x18, 0x19))
_LONGEST = 200


class Shown(NamedTuple):
    """An instruction: where it stands in the module's bytes, how deep in blocks, and its text."""

    at: int
    depth: int
    text: str


def disassembled(data: bytes, body: Body) -> Iterator[Shown]:
    """The instructions of a function of a validated module."""
    groups, at = read_uleb(data, body.begin)
    for _ in range(groups):
        at = skip_value_type(data, skip_leb(data, at))
    depth = 1
    while at < body.end:
        after = skip_instruction(data, at)
        opcode = data[at]
        if opcode in _CLOSING:
            depth -= 1
        yield Shown(at, depth, _text(data, at))
        if opcode in _OPENING or opcode in (0x05, 0x07, 0x19):
            depth += 1
        at = after


def _text(data: bytes, at: int) -> str:
    opcode = data[at : at + 1]
    at += 1
    kinds = PLAIN.get(opcode[0])
    if kinds is None:
        code, at = read_uleb(data, at)
        kinds = PREFIXED[opcode[0]][code]
        opcode += uleb(code)
    words = [_NAMES.get(opcode, "0x" + opcode.hex())]
    for kind in kinds:
        word, at = _immediate(kind, data, at)
        words.append(word)
    text = " ".join(filter(None, words))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _immediate(kind: str, data: bytes, at: int) -> tuple[str, int]:
    if kind in ("index", "type"):
        value, at = read_uleb(data, at)
        return str(value), at
    if kind in ("i32", "i64"):
        return _signed(data, at)
    if kind in ("f32", "f64"):
        width = 4 if kind == "f32" else 8
        value = struct.unpack("<f" if width == 4 else "<d", data[at : at + width])[0]
        return repr(value), at + width
    if kind == "v128":
        return "0x" + data[at : at + 16][::-1].hex(), at + 16
    if kind in ("lane", "flags"):
        return str(data[at]), at + 1
    if kind == "block":
        return _block_type(data, at)
    if kind == "labels":
        count, at = read_uleb(data, at)
        labels = []
        for _ in range(count + 1):
            label, at = read_uleb(data, at)
            labels.append(str(label))
        return " ".join(labels), at
    if kind == "memarg":
        return _access(data, at)
    return _skipped(kind, data, at)


def _signed(data: bytes, at: int) -> tuple[str, int]:
    end = skip_leb(data, at)
    value = sum((byte & 0x7F) << 7 * n for n, byte in enumerate(data[at:end]))
    if data[end - 1] & 0x40:
        value -= 1 << 7 * (end - at)
    return str(value), end


def _block_type(data: bytes, at: int) -> tuple[str, int]:
    if data[at] == 0x40:
        return "", at + 1
    if data[at] in _TYPES:
        return f"(result {_TYPES[data[at]]})", at + 1
    end = skip_value_type(data, at)
    if data[at] in (0x63, 0x64) or 0x40 <= data[at] < 0x80:
        return "(result ref)", end
    return f"(type {_signed(data, at)[0]})", end


def _access(data: bytes, at: int) -> tuple[str, int]:
    alignment, at = read_uleb(data, at)
    memory = ""
    if alignment & 0x40:
        number, at = read_uleb(data, at)
        memory = f"{number} " if number else ""
    offset, at = read_uleb(data, at)
    return f"{memory}offset={offset}" if offset else memory.rstrip(), at


def _skipped(kind: str, data: bytes, at: int) -> tuple[str, int]:
    """Types and clauses, which are left out."""
    if kind == "heap":
        return "", skip_value_type(data, at)
    count, at = read_uleb(data, at)
    for _ in range(count):
        if kind == "types":
            at = skip_value_type(data, at)
            continue
        clause, at = data[at], skip_leb(data, at + 1)
        if clause < 2:
            at = skip_leb(data, at)
    return f"(;{count} {kind};)", at
