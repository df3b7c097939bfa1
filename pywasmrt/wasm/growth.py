"""Growth that traps where it is refused, instead of giving the guest -1: the same on every engine.

No engine here has a switch for that in its C API. So the module is rewritten before it is compiled: each `memory.grow`
and `table.grow` becomes a call of a function that grows, and executes `unreachable` where that gave -1. These functions
and their types are appended, so that no index changes; they are named after what happened, for the frames of the trap.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import ModuleCompileError
from .codes import CODE, CUSTOM, FUNCTION, TYPE
from .instructions import skip_instruction, skip_value_type
from .primitives import name, read_uleb, section, skip_leb, uleb, vector
from .reading import HEADER, Spaces, malformed, read_spaces, sections

__all__ = ["trap_on_grow_failure"]

_APPENDED_TO = frozenset((TYPE, FUNCTION, CODE))
_I32, _I64 = b"\x7f", b"\x7e"

_MEMORY_GROW, _MISCELLANEOUS, _TABLE_GROW = 0x40, 0xFC, 15
_CALL = b"\x10"

Growing = tuple[int, int]
"""One of the two instructions, and the index of the memory or table that it is about."""


def trap_on_grow_failure(data: bytes) -> bytes:
    """A validated module, changed to trap with `unreachable` where a growth is refused. One that has no growth in it
    comes back as it is.

    Code moves: of the custom sections only the names are kept, as others tell of places in it. Raises
    `UnsupportedFeatureError` for an instruction that is not known, `ModuleCompileError` where `data` is malformed.
    """
    try:
        return _rewritten(data)
    except (IndexError, UnicodeDecodeError) as error:
        raise malformed(data, error) from None


def _rewritten(data: bytes) -> bytes:
    found = sections(data)
    code = next(((begin, end) for _, id, begin, end in found if id == CODE), None)
    if code is None:
        return data
    spaces = read_spaces(data)
    helpers: dict[Growing, int] = {}

    def helper(growing: Growing) -> int:
        return helpers.setdefault(growing, spaces.functions + len(helpers))

    bodies = _bodies(data, *code, len(spaces.memories), helper)
    if not helpers:
        return data
    appended = {
        TYPE: [_type(spaces, growing) for growing in helpers],
        FUNCTION: [uleb(spaces.types + n) for n in range(len(helpers))],
        CODE: [_sized(_body(spaces, growing)) for growing in helpers],
    }
    parts = [HEADER]
    for start, id, begin, end in found:
        if id in _APPENDED_TO:
            count, items = read_uleb(data, begin)
            content = bodies if id == CODE else data[items:end]
            more = appended.pop(id, None)
            if more is None:
                raise ModuleCompileError(f"malformed module: section {id} occurs twice")
            parts.append(section(id, uleb(count + len(more)) + content + b"".join(more)))
        elif id != CUSTOM or data[begin:end].startswith(name("name")):
            parts.append(data[start:end])
    if appended:
        raise ModuleCompileError(f"malformed module: section {min(appended)} is missing")
    # Another section of names, as the first need not be well-formed: engines take it for more of the same.
    names = vector([uleb(index) + name(_name(growing)) for growing, index in helpers.items()])
    parts.append(section(CUSTOM, name("name") + section(1, names)))
    return b"".join(parts)


def _bodies(data: bytes, at: int, end: int, memories: int, helper: Callable[[Growing], int]) -> bytes:
    """The bodies of the code section's functions, without their count."""
    # Most functions do not grow anything, and many of them cannot be suspected of it. Numbers may be written too long.
    suspect = re.compile(rb"\x40[%s\x80-\xff]|\xfc[\x0f\x8f]" % re.escape(bytes(range(min(memories, 0x80)))))
    parts = []
    count, at = read_uleb(data, at)
    for _ in range(count):
        start = at
        size, at = read_uleb(data, at)
        begin, at = at, at + size
        if at > end:
            raise ModuleCompileError(f"malformed module: the function at byte {start} reaches beyond its section")
        if suspect.search(data, begin, at) is None:
            parts.append(data[start:at])
        else:
            parts.append(_sized(_with_calls(data, begin, at, helper)))
    if at != end:
        raise ModuleCompileError("malformed module: section 10 does not end where it says")
    return b"".join(parts)


def _with_calls(data: bytes, begin: int, end: int, helper: Callable[[Growing], int]) -> bytes:
    """The body of a function with calls of helpers in the place of its growth."""
    groups, at = read_uleb(data, begin)
    for _ in range(groups):
        at = skip_value_type(data, skip_leb(data, at))
    parts = []
    kept = begin
    while at < end:
        after = skip_instruction(data, at)
        growing = _growing(data, at)
        if growing is not None:
            parts += [data[kept:at], _CALL, uleb(helper(growing))]
            kept = after
        at = after
    if at != end:
        raise ModuleCompileError(f"malformed module: the function at byte {begin} does not end where it says")
    parts.append(data[kept:end])
    return b"".join(parts)


def _growing(data: bytes, at: int) -> Growing | None:
    """What the instruction at `at` grows, if it does."""
    if data[at] == _MEMORY_GROW:
        return _MEMORY_GROW, read_uleb(data, at + 1)[0]
    if data[at] == _MISCELLANEOUS:
        code, at = read_uleb(data, at + 1)
        if code == _TABLE_GROW:
            return _TABLE_GROW, read_uleb(data, at)[0]
    return None


def _sized(body: bytes) -> bytes:
    return uleb(len(body)) + body


def _wide(spaces: Spaces, growing: Growing) -> bool:
    """Whether sizes have 64 bits. Raises `IndexError` where there is no such memory or table."""
    instruction, index = growing
    return spaces.memories[index] if instruction == _MEMORY_GROW else spaces.tables[index][1]


def _type(spaces: Spaces, growing: Growing) -> bytes:
    """The type of the helper: that of the instruction."""
    instruction, index = growing
    size = _I64 if _wide(spaces, growing) else _I32
    operands = [size] if instruction == _MEMORY_GROW else [spaces.tables[index][0], size]
    return b"\x60" + vector(operands) + vector([size])


def _body(spaces: Spaces, growing: Growing) -> bytes:
    """No locals; grow by the operands, keep the result in the last of them; if it is -1, unreachable; the result."""
    instruction, index = growing
    if instruction == _MEMORY_GROW:
        last = b"\x00"
        grow = b"\x20\x00\x40" + uleb(index)
    else:
        last = b"\x01"
        grow = b"\x20\x00\x20\x01\xfc\x0f" + uleb(index)
    refused = b"\x42\x7f\x51" if _wide(spaces, growing) else b"\x41\x7f\x46"  # const -1, eq
    return b"\x00" + grow + b"\x22" + last + refused + b"\x04\x40\x00\x0b" + b"\x20" + last + b"\x0b"


def _name(growing: Growing) -> str:
    return f"{'memory' if growing[0] == _MEMORY_GROW else 'table'}.grow refused"
