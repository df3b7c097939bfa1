"""Finds the proposals that a module uses, of those that every validator here takes for granted.

Wasmtime validates for the other engines and cannot turn these off. So where an engine lacks one of them, the validator
accepts the module, and only the module itself tells which proposal the engine missed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from ..errors import UnsupportedFeatureError
from .codes import CODE, DATA, ELEMENT, GLOBAL
from .instructions import skip_instruction, skip_value_type
from .primitives import read_uleb, skip_leb
from .reading import sections

__all__ = ["GRANTED", "used_proposals"]

GRANTED = frozenset({"sign-extension", "saturating-float-to-int", "bulk-memory", "reference-types", "extended-const"})
"""The proposals that `used_proposals` looks for."""

_END = 0x0B
_ARITHMETIC = frozenset((0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E))  # add, sub and mul of i32 and i64
_REFERENCES = frozenset((0x1C, 0x25, 0x26, 0xD0, 0xD1, 0xD2))  # typed select, table.get and table.set, ref.*
_REFERENCE_TYPES = frozenset((0x70, 0x6F))  # funcref, externref
_COPY_AND_FILL = (10, 11)  # of memories


def used_proposals(data: bytes, *, copies: bool = True) -> Iterator[str]:
    """The proposals of `GRANTED` that a valid module uses in its code and its constant expressions, in the order in
    which it is read, each as often as it is used. Unless `copies`, memory.copy and memory.fill do not count: some
    engines have these two of bulk-memory alone. Ends early at an instruction that is not known.
    """
    try:
        for _, id, begin, _ in sections(data):
            if id in _READERS:
                yield from _READERS[id](data, begin, copies)
    except (IndexError, UnsupportedFeatureError):
        return


def _globals(data: bytes, at: int, copies: bool) -> Iterator[str]:
    count, at = read_uleb(data, at)
    for _ in range(count):
        at = yield from _constant(data, skip_value_type(data, at) + 1)


def _elements(data: bytes, at: int, copies: bool) -> Iterator[str]:
    count, at = read_uleb(data, at)
    for _ in range(count):
        kind, at = read_uleb(data, at)
        if kind & 1 == 0:
            if kind & 2:
                at = skip_leb(data, at)  # the table
            at = yield from _constant(data, at)
        if kind & 3:
            at = skip_value_type(data, at)  # or the kind of the elements, which is a byte too
        size, at = read_uleb(data, at)
        for _ in range(size):
            at = (yield from _constant(data, at)) if kind & 4 else skip_leb(data, at)


def _segments(data: bytes, at: int, copies: bool) -> Iterator[str]:
    count, at = read_uleb(data, at)
    for _ in range(count):
        kind, at = read_uleb(data, at)
        if kind == 2:
            at = skip_leb(data, at)  # the memory
        if kind != 1:
            at = yield from _constant(data, at)
        size, at = read_uleb(data, at)
        at += size


def _constant(data: bytes, at: int) -> Generator[str, None, int]:
    """A constant expression. Returns where it ends."""
    while data[at] != _END:
        if data[at] in _ARITHMETIC:
            yield "extended-const"
        at = skip_instruction(data, at)
    return at + 1


def _functions(data: bytes, at: int, copies: bool) -> Iterator[str]:
    count, at = read_uleb(data, at)
    for _ in range(count):
        size, at = read_uleb(data, at)
        end = at + size
        groups, at = read_uleb(data, at)
        for _ in range(groups):
            at = skip_leb(data, at)
            if data[at] in _REFERENCE_TYPES:
                yield "reference-types"
            at = skip_value_type(data, at)
        while at < end:
            used = _used_by(data, at, copies)
            if used is not None:
                yield used
            at = skip_instruction(data, at)


def _used_by(data: bytes, at: int, copies: bool) -> str | None:
    """The proposal that the instruction at `at` comes from."""
    opcode = data[at]
    if opcode in _REFERENCES or (0x02 <= opcode <= 0x04 and data[at + 1] in _REFERENCE_TYPES):
        return "reference-types"
    if 0xC0 <= opcode <= 0xC4:
        return "sign-extension"
    if opcode != 0xFC:
        return None
    code, _ = read_uleb(data, at + 1)
    if code < 8:
        return "saturating-float-to-int"
    if code in _COPY_AND_FILL:
        return "bulk-memory" if copies else None
    return "bulk-memory" if code < 15 else "reference-types" if code < 18 else None


_READERS: dict[int, Callable[[bytes, int, bool], Iterator[str]]] = {
    GLOBAL: _globals,
    ELEMENT: _elements,
    CODE: _functions,
    DATA: _segments,
}
