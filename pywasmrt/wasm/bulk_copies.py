"""Large copies and fills of memories and tables in pieces, so that they can be stopped.

An engine runs one `memory.fill` of gigabytes to its end, and looks at no deadline, interrupt or signal before. So each
of these instructions becomes a call of a function that does it at once where it is small, and else piece by piece in a
loop, whose every round is a place where the engine looks. To the guest nothing changes: bounds are checked before
anything is written, and what overlaps is copied from the right end. Only a guest that is stopped in between leaves a
part done.
"""

from __future__ import annotations

import re
from typing import ClassVar

from .primitives import read_uleb, sleb, uleb, vector
from .reading import Spaces
from .rewriting import Replaced, Rule

__all__ = ["PIECES", "SMALL_PIECES", "Pieces", "has_copies"]

_I32, _I64 = b"\x7f", b"\x7e"
_MISCELLANEOUS, _MEMORY_COPY, _MEMORY_FILL, _TABLE_COPY, _TABLE_FILL = 0xFC, 10, 11, 14, 17
_NAMES = {
    _MEMORY_COPY: "memory.copy",
    _MEMORY_FILL: "memory.fill",
    _TABLE_COPY: "table.copy",
    _TABLE_FILL: "table.fill",
}
_SUSPECTS = rb"\xfc[\x0a\x0b\x0e\x11\x8a\x8b\x8e\x91]"  # numbers may be written longer than needed

has_copies = re.compile(_SUSPECTS).search
"""Whether a module may have such an instruction in it; quick."""


class Pieces(Rule):
    """Pieces of so many bytes of a memory, and so many elements of a table. What has no more than `at_once` of them is
    not taken apart.
    """

    in_place: ClassVar[bool] = True

    def __init__(self, size: int, elements: int, at_once: int = 1) -> None:
        self.size = size
        self.elements = elements
        self.at_once = at_once

    def suspects(self, spaces: Spaces) -> bytes:
        return _SUSPECTS

    def find(self, data: bytes, at: int, after: int) -> Replaced | None:
        if data[at] != _MISCELLANEOUS:
            return None
        code, at = read_uleb(data, at + 1)
        if code not in _NAMES:
            return None
        indices = b""
        while at < after:
            index, at = read_uleb(data, at)
            indices += uleb(index)
        return code, indices

    def type(self, spaces: Spaces, replaced: Replaced) -> bytes:
        return b"\x60" + vector(_Operands(spaces, replaced, self).types) + vector([])

    def body(self, spaces: Spaces, replaced: Replaced) -> bytes:
        operands = _Operands(spaces, replaced, self)
        return operands.copy() if operands.is_copy else operands.fill()

    def name(self, replaced: Replaced) -> str:
        return _NAMES[replaced[0]]


PIECES = Pieces(16 << 20, 1 << 20)
"""For an engine that looks in every round of a loop."""

SMALL_PIECES = Pieces(4 << 10, 512, at_once=256)
"""For an engine that looks in every few thousandth round."""


class _Operands:
    """The code of one such function. Its parameters: 0 to where, 1 from where or the value, 2 how many."""

    def __init__(self, spaces: Spaces, replaced: Replaced, pieces: Pieces) -> None:
        code, indices = replaced
        self.is_copy = code in (_MEMORY_COPY, _TABLE_COPY)
        self._in_memory = code in (_MEMORY_COPY, _MEMORY_FILL)
        self._size = pieces.size if self._in_memory else pieces.elements
        self._at_once = self._size * pieces.at_once
        self._instruction = bytes([_MISCELLANEOUS, code]) + indices
        self._to, at = read_uleb(indices, 0)
        self._from = read_uleb(indices, at)[0] if self.is_copy else self._to
        self._element = spaces.tables[self._to][0] if not self._in_memory else _I32
        self._wide_to, self._wide_from = (
            spaces.memories[each] if self._in_memory else spaces.tables[each][1] for each in (self._to, self._from)
        )
        self._wide = self._wide_to and self._wide_from
        """Whether how many has 64 bits: only between two that are that large."""

    @property
    def types(self) -> list[bytes]:
        second = self._size_type(self._wide_from) if self.is_copy else self._element
        return [self._size_type(self._wide_to), second, self._size_type(self._wide)]

    def fill(self) -> bytes:
        piece = self._piece
        return self._small_at_once() + b"".join(
            [
                self._checked(0, self._wide_to, self._to),
                b"\x03\x40",  # loop
                b"\x20\x00\x20\x01" + piece + self._instruction,
                self._moved(0, self._wide_to),
                self._less(),
                self._again_while_large(),
                b"\x20\x00\x20\x01\x20\x02" + self._instruction + b"\x0b",  # the rest
            ]
        )

    def copy(self) -> bytes:
        piece = self._piece
        checks = self._checked(0, self._wide_to, self._to) + self._checked(1, self._wide_from, self._from)
        rest = b"\x20\x00\x20\x01\x20\x02" + self._instruction
        forwards = b"".join(
            [
                b"\x03\x40",  # loop
                b"\x20\x00\x20\x01" + piece + self._instruction,
                self._moved(0, self._wide_to),
                self._moved(1, self._wide_from),
                self._less(),
                self._again_while_large(),
                rest,
            ]
        )
        if self._to != self._from:
            return self._small_at_once() + checks + forwards + b"\x0b"
        end = b"\x20%c\x20\x02" + (b"\x7c" if self._wide else b"\x6a")  # plus how many are left
        backwards = b"".join(
            [
                b"\x03\x40",  # loop
                self._less(),
                end % 0 + end % 1 + piece + self._instruction,
                self._again_while_large(),
                rest,
            ]
        )
        upwards = b"\x20\x00\x20\x01" + (b"\x58" if self._wide else b"\x4d")  # to <= from
        return self._small_at_once() + checks + upwards + b"\x04\x40" + forwards + b"\x05" + backwards + b"\x0b\x0b"

    @staticmethod
    def _size_type(wide: bool) -> bytes:
        return _I64 if wide else _I32

    @property
    def _piece(self) -> bytes:
        """A constant: how many go in one piece."""
        return self._constant(self._size, self._wide)

    @staticmethod
    def _constant(number: int, wide: bool) -> bytes:
        return (b"\x42" if wide else b"\x41") + sleb(number)

    def _more_than(self, number: int) -> bytes:
        """Whether more than so many are left."""
        return b"\x20\x02" + self._constant(number, self._wide) + (b"\x56" if self._wide else b"\x4b")

    def _small_at_once(self) -> bytes:
        """No locals; what is small is done as it was, and the function returns."""
        at_once = b"\x20\x00\x20\x01\x20\x02" + self._instruction
        return b"\x00" + self._more_than(self._at_once) + b"\x45\x04\x40" + at_once + b"\x0f\x0b"

    def _checked(self, start: int, wide: bool, index: int) -> bytes:
        """Reads the last of the range at the parameter `start`, which traps where that is out of bounds. Where the
        place of the last overflows, the instruction as it was traps instead.
        """
        count = b"\x20\x02" + (b"\xad" if wide and not self._wide else b"")  # i64.extend_i32_u
        first = b"\x20" + bytes([start])
        add, minus_one, below = (b"\x7c", b"\x42\x7f", b"\x54") if wide else (b"\x6a", b"\x41\x7f", b"\x49")
        last = first + count + add + minus_one + add
        overflow = last + first + below + b"\x04\x40\x20\x00\x20\x01\x20\x02" + self._instruction + b"\x0b"
        access = b"\x2d\x00\x00" if index == 0 else b"\x2d\x40" + uleb(index) + b"\x00"  # i32.load8_u
        read = access if self._in_memory else b"\x25" + uleb(index)  # table.get
        return overflow + last + read + b"\x1a"

    def _moved(self, parameter: int, wide: bool) -> bytes:
        """The parameter, a piece further."""
        place = bytes([parameter])
        return b"\x20" + place + self._constant(self._size, wide) + (b"\x7c" if wide else b"\x6a") + b"\x21" + place

    def _less(self) -> bytes:
        """A piece less is left."""
        return b"\x20\x02" + self._piece + (b"\x7d" if self._wide else b"\x6b") + b"\x21\x02"

    def _again_while_large(self) -> bytes:
        return self._more_than(self._size) + b"\x0d\x00\x0b"  # br_if the loop, and its end
