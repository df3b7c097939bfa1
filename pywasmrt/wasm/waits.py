"""Waits on a shared memory that can be stopped.

A guest in `memory.atomic.wait32` or `wait64` lies in the engine, which looks at no deadline and no interrupt until it
is woken. So each becomes a call of a function that waits in slices, in a loop, whose every round is a place where the
engine looks. To the guest a wait that began ends in the same ways: it is woken (0), or its time is up (2); that the
value was another one from the beginning (1) can only be the first slice's answer. Between two slices, which is for some
hundred nanoseconds of every twenty milliseconds, it is not there to be woken: who changes the value before they notify,
as every lock does, is seen all the same by the next slice.
"""

from __future__ import annotations

import re
from typing import ClassVar

from .primitives import read_uleb, sleb, vector
from .reading import Spaces
from .rewriting import Replaced, Rule

__all__ = ["SLICE", "STOPPABLE_WAITS", "has_waits"]

SLICE = 20_000_000
"""Nanoseconds."""

_I32, _I64 = b"\x7f", b"\x7e"
_ATOMIC, _WAIT32, _WAIT64 = 0xFE, 1, 2
_SUSPECTS = rb"\xfe[\x01\x02\x81\x82]"

has_waits = re.compile(_SUSPECTS).search
"""Whether a module may have a wait in it; quick."""


class _StoppableWaits(Rule):
    in_place: ClassVar[bool] = True

    def suspects(self, spaces: Spaces) -> bytes:
        return _SUSPECTS

    def find(self, data: bytes, at: int, after: int) -> Replaced | None:
        if data[at] != _ATOMIC:
            return None
        code, at = read_uleb(data, at + 1)
        return (code, data[at:after]) if code in (_WAIT32, _WAIT64) else None

    def type(self, spaces: Spaces, replaced: Replaced) -> bytes:
        code, access = replaced
        alignment, at = read_uleb(access, 0)
        memory = read_uleb(access, at)[0] if alignment & 0x40 else 0
        address = _I64 if spaces.memories[memory] else _I32
        return b"\x60" + vector([address, _I32 if code == _WAIT32 else _I64, _I64]) + vector([_I32])

    def body(self, spaces: Spaces, replaced: Replaced) -> bytes:
        """Parameters: 0 address, 1 expected, 2 timeout. Locals: 3 slice, 4 result, 5 whether it is a later one."""
        code, access = replaced
        slice_, two = b"\x42" + sleb(SLICE), b"\x41\x02"
        return b"".join(
            [
                b"\x02\x01\x7e\x02\x7f",  # an i64, two i32
                b"\x03\x40",  # loop
                # slice = the smaller of the timeout, which is without end where it is negative, and SLICE
                b"\x20\x02" + slice_ + b"\x20\x02" + slice_ + b"\x54\x1b\x21\x03",
                b"\x20\x00\x20\x01\x20\x03" + bytes([_ATOMIC, code]) + access,  # wait
                b"\x22\x04" + two + b"\x47\x04\x40",  # if it did not end by time:
                b"\x20\x04\x20\x05\x45\x6c\x0f\x0b",  # its result; a later slice was woken in any case
                b"\x20\x02\x42\x00\x59\x04\x40",  # where the time is limited:
                b"\x20\x02\x20\x03\x7d\x22\x02\x50\x04\x40" + two + b"\x0f\x0b\x0b",  # take off the slice; 2 at the end
                b"\x41\x01\x21\x05\x0c\x00\x0b",  # again
                b"\x00\x0b",
            ]
        )

    def name(self, replaced: Replaced) -> str:
        return f"memory.atomic.wait{32 if replaced[0] == _WAIT32 else 64}"


STOPPABLE_WAITS = _StoppableWaits()
