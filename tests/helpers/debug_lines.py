"""A module with debug information, made by hand, line table and all."""

from __future__ import annotations

import struct

__all__ = ["LINE", "SOURCE", "module_with_lines"]

SOURCE = b"guest.c"
LINE = 42


def _leb(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + _leb(len(content)) + content


def _custom(name: bytes, content: bytes) -> bytes:
    return _section(0, _leb(len(name)) + name + content)


def _unit(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def _debug_line(size: int) -> bytes:
    """A line table (DWARF 4, section 6.2) that puts every byte of the code section on one line of one file."""
    tables = bytes([1, 1, 1, 0xFB, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1]) + b"\0" + SOURCE + b"\0\0\0\0" + b"\0"
    set_address = b"\0\x05\x02" + struct.pack("<I", 0)
    program = set_address + b"\x03" + _leb(LINE - 1) + b"\x01" + b"\x02" + _leb(size) + b"\0\x01\x01"
    return _unit(struct.pack("<HI", 4, len(tables)) + tables + program)


def _debug_info(size: int) -> bytes:
    """One compilation unit (section 7.5): where its lines are, its name, and the code it covers."""
    entry = b"\x01" + struct.pack("<I", 0) + SOURCE + b"\0" + struct.pack("<II", 0, size)
    return _unit(struct.pack("<HIB", 4, 0, 4) + entry)


DEBUG_ABBREV = bytes([1, 0x11, 0, 0x10, 0x17, 0x03, 0x08, 0x11, 0x01, 0x12, 0x06, 0, 0, 0])


def module_with_lines(*, calls: bool = False) -> bytes:
    """A module whose function `boom` traps on line 42 of guest.c, or calls its import env.f there."""
    # One body: no locals, unreachable or call 0, end.
    code = b"\x01\x04\x00\x10\x00\x0b" if calls else b"\x01\x03\x00\x00\x0b"
    return b"".join(
        [
            b"\0asm\x01\0\0\0",
            _section(1, b"\x01\x60\0\0"),
            *([_section(2, b"\x01\x03env\x01f\0\0")] if calls else []),
            _section(3, b"\x01\0"),
            _section(7, b"\x01\x04boom\0" + bytes([calls])),
            _section(10, code),
            _custom(b".debug_abbrev", DEBUG_ABBREV),
            _custom(b".debug_info", _debug_info(len(code))),
            _custom(b".debug_line", _debug_line(len(code))),
        ]
    )
