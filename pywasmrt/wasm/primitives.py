"""The smallest pieces of the binary format, read and written: numbers, names, vectors, sections.

Reading takes the bytes and a place in them, and returns the place behind what was read. Reading beyond the end raises
`IndexError`, a number that is too long `ModuleCompileError`. (Core specification 3.0, section 5.2.)
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ModuleCompileError

__all__ = ["name", "read_uleb", "section", "skip_leb", "sleb", "uleb", "vector"]


def read_uleb(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned LEB128 number at `at`, and where it ends."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value = byte & 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ModuleCompileError(f"malformed module: a number at byte {at} is too long")


def skip_leb(data: bytes, at: int) -> int:
    """Where the LEB128 number at `at`, of either sign, ends."""
    end = at + 10
    while data[at] >= 0x80:
        at += 1
        if at == end:
            raise ModuleCompileError(f"malformed module: a number at byte {at} is too long")
    return at + 1


def uleb(number: int) -> bytes:
    """An unsigned integer in LEB128, in its shortest form."""
    out = bytearray()
    while True:
        low = number & 0x7F
        number >>= 7
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def sleb(number: int) -> bytes:
    """A signed integer in LEB128, in its shortest form."""
    out = bytearray()
    while True:
        low = number & 0x7F
        number >>= 7
        done = number == (-1 if low & 0x40 else 0)
        out.append(low | (0 if done else 0x80))
        if done:
            return bytes(out)


def section(number: int, content: bytes) -> bytes:
    """A section: its number, its length, its content."""
    return bytes([number]) + uleb(len(content)) + content


def vector(items: Sequence[bytes]) -> bytes:
    """A vector: its length and its items."""
    return uleb(len(items)) + b"".join(items)


def name(text: str) -> bytes:
    """A name: its length in bytes and its bytes."""
    data = text.encode()
    return uleb(len(data)) + data
