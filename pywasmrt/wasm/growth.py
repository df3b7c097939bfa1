"""Makes refused growth trap instead of giving the guest -1, in the same way on every engine.

No engine here has a switch for that in its C API. So each `memory.grow` and `table.grow` becomes a call of a function
that grows, and executes `unreachable` where that gave -1; it is named after what happened.
"""

from __future__ import annotations

import re

from .primitives import read_uleb, uleb, vector
from .reading import Spaces
from .rewriting import Replaced, Rule, rewritten

__all__ = ["GROWTH_TRAPS", "trap_on_grow_failure"]

_I32, _I64 = b"\x7f", b"\x7e"
_MEMORY_GROW, _MISCELLANEOUS, _TABLE_GROW = 0x40, 0xFC, 15


class _GrowthTraps(Rule):
    """Instructions are identified by their opcode and the index of their memory or table."""

    def suspects(self, spaces: Spaces) -> bytes:
        # Numbers may be written longer than needed.
        memories = re.escape(bytes(range(min(len(spaces.memories), 0x80))))
        return rb"\x40[%s\x80-\xff]|\xfc[\x0f\x8f]" % memories

    def find(self, data: bytes, at: int, after: int) -> Replaced | None:
        if data[at] == _MEMORY_GROW:
            return _MEMORY_GROW, uleb(read_uleb(data, at + 1)[0])
        if data[at] == _MISCELLANEOUS:
            code, at = read_uleb(data, at + 1)
            if code == _TABLE_GROW:
                return _TABLE_GROW, uleb(read_uleb(data, at)[0])
        return None

    def type(self, spaces: Spaces, replaced: Replaced) -> bytes:
        instruction, immediate = replaced
        size = _I64 if _wide(spaces, replaced) else _I32
        index = read_uleb(immediate, 0)[0]
        operands = [size] if instruction == _MEMORY_GROW else [spaces.tables[index][0], size]
        return b"\x60" + vector(operands) + vector([size])

    def body(self, spaces: Spaces, replaced: Replaced) -> bytes:
        # No locals; grow by the operands, keep the result in the last of them; if it is -1, unreachable; the result.
        instruction, index = replaced
        if instruction == _MEMORY_GROW:
            last = b"\x00"
            grow = b"\x20\x00\x40" + index
        else:
            last = b"\x01"
            grow = b"\x20\x00\x20\x01\xfc\x0f" + index
        refused = b"\x42\x7f\x51" if _wide(spaces, replaced) else b"\x41\x7f\x46"  # const -1, eq
        return b"\x00" + grow + b"\x22" + last + refused + b"\x04\x40\x00\x0b" + b"\x20" + last + b"\x0b"

    def name(self, replaced: Replaced) -> str:
        return f"{'memory' if replaced[0] == _MEMORY_GROW else 'table'}.grow refused"


def _wide(spaces: Spaces, replaced: Replaced) -> bool:
    """Whether sizes have 64 bits. Raises `IndexError` where there is no such memory or table."""
    instruction, immediate = replaced
    index = read_uleb(immediate, 0)[0]
    return spaces.memories[index] if instruction == _MEMORY_GROW else spaces.tables[index][1]


GROWTH_TRAPS = _GrowthTraps()


def trap_on_grow_failure(data: bytes) -> bytes:
    """A validated module, changed to trap with `unreachable` where a growth is refused; see `rewritten`."""
    return rewritten(data, [GROWTH_TRAPS])
