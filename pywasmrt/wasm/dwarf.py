"""Source lines and names of functions in a module's debug information: the two tables of DWARF that profiles and
coverage need.

The line tables of every version from 2 to 5 are read, and of the rest the names of functions. Addresses count from the
content of the code section. (DWARF 5, sections 6.2 and 7; "DWARF for WebAssembly" of the tool conventions.)

Debug information is made of custom sections, which nobody has checked: a unit that is broken gives what could be read
of it, and reading stops at bounds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["Line", "LineTable", "read_function_names", "read_lines"]

_MOST_ROWS = 20_000_000
_MOST_ENTRIES = 20_000_000
_MOST_FILES = 1_000_000
_LONGEST = 4096  # bytes of a path or a name


class Line(NamedTuple):
    """A place in the source."""

    file: str
    line: int


class LineTable:
    """The source line of each address."""

    def __init__(self, rows: list[tuple[int, int, int]], files: list[str]) -> None:
        """`rows` are (address, index in `files`, line), in any order; the line 0 begins code without one."""
        rows.sort()
        self._addresses = [row[0] for row in rows]
        self._rows = rows
        self._files = files

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Iterator[tuple[int, str, int]]:
        """Each row that names a line: the address, the file and the line."""
        for address, file, line in self._rows:
            if line:
                yield address, self._files[file], line

    def at(self, address: int) -> Line | None:
        """The line of the instruction at `address`, or None."""
        n = bisect_right(self._addresses, address) - 1
        if n < 0 or self._rows[n][2] == 0:
            return None
        return Line(self._files[self._rows[n][1]], self._rows[n][2])

    def first(self, begin: int, end: int) -> Line | None:
        """The line of the first instruction from `begin` to `end` that has one."""
        line = self.at(begin)
        if line is not None:
            return line
        for n in range(bisect_right(self._addresses, begin), len(self._rows)):
            address, file, number = self._rows[n]
            if address >= end:
                break
            if number:
                return Line(self._files[file], number)
        return None


class _Broken(Exception):
    """A unit cannot be read further."""


class _Reader:
    """A place in a section."""

    __slots__ = ("at", "data", "end", "is_64")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end
        self.is_64 = False

    def unit(self) -> _Reader:
        """The next unit, which this is then behind."""
        size = self.fixed(4)
        is_64 = size == 0xFFFFFFFF
        if is_64:
            size = self.fixed(8)
        elif size >= 0xFFFFFFF0:
            raise _Broken
        found = _Reader(self.data, self.at, min(self.at + size, self.end))
        found.is_64 = is_64
        self.at += size
        return found

    def fixed(self, size: int) -> int:
        at, self.at = self.at, self.at + size
        if self.at > self.end:
            raise _Broken
        return int.from_bytes(self.data[at : self.at], "little")

    def offset(self) -> int:
        return self.fixed(8 if self.is_64 else 4)

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.fixed(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 70:
                raise _Broken

    def sleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.fixed(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value - (1 << shift) if byte & 0x40 else value
            if shift > 70:
                raise _Broken

    def string(self) -> str:
        end = self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise _Broken
        text = self.data[self.at : min(end, self.at + _LONGEST)]
        self.at = end + 1
        return text.decode("utf-8", "replace")

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > self.end:
            raise _Broken


Sections = Mapping[str, bytes]

# Forms with a fixed size; those of an address or an offset are in _value.
_FIXED = {
    **dict.fromkeys((0x0B, 0x0C, 0x11, 0x25, 0x29), 1),  # data1, flag, ref1, strx1, addrx1
    **dict.fromkeys((0x05, 0x12, 0x26, 0x2A), 2),  # data2, ref2, strx2, addrx2
    **dict.fromkeys((0x27, 0x2B), 3),  # strx3, addrx3
    **dict.fromkeys((0x06, 0x13, 0x1C, 0x28, 0x2C), 4),  # data4, ref4, ref_sup4, strx4, addrx4
    **dict.fromkeys((0x07, 0x14, 0x20, 0x24), 8),  # data8, ref8, ref_sig8, ref_sup8
    0x1E: 16,  # data16
}
_OFFSETS = frozenset((0x0E, 0x10, 0x17, 0x1D, 0x1F))  # strp, ref_addr, sec_offset, strp_sup, line_strp
_ULEBS = frozenset((0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23))  # udata, ref_udata, strx, addrx, loclistx, rnglistx
_BLOCKS = {0x0A: 1, 0x03: 2, 0x04: 4}
_STRP, _LINE_STRP, _STRING, _UNIT_REFS = 0x0E, 0x1F, 0x08, frozenset((0x11, 0x12, 0x13, 0x14, 0x15))
_STRX = frozenset((0x1A, 0x25, 0x26, 0x27, 0x28))
_ADDRX = frozenset((0x1B, 0x29, 0x2A, 0x2B, 0x2C))


def _value(reader: _Reader, form: int, address_size: int, version: int) -> int | str | None:
    """The value of a form: a number, or a string that stands there; None for what is of no use here."""
    size = _FIXED.get(form)
    if size is not None:
        return reader.fixed(size)
    if form == 0x01:  # addr
        return reader.fixed(address_size)
    if form == 0x10 and version == 2:  # ref_addr was an address
        return reader.fixed(address_size)
    if form in _OFFSETS:
        return reader.offset()
    if form in _ULEBS:
        return reader.uleb()
    if form == _STRING:
        return reader.string()
    if form == 0x0D:  # sdata
        return reader.sleb()
    if form == 0x19:  # flag_present
        return 1
    if form in _BLOCKS:
        reader.skip(reader.fixed(_BLOCKS[form]))
        return None
    if form in (0x09, 0x18):  # block, exprloc
        reader.skip(reader.uleb())
        return None
    if form == 0x16:  # indirect
        return _value(reader, reader.uleb(), address_size, version)
    raise _Broken


def _text(value: int | str | None, form: int, sections: Sections) -> str | None:
    """The string that a form names."""
    if isinstance(value, str) or value is None:
        return value
    table = {_STRP: ".debug_str", _LINE_STRP: ".debug_line_str"}.get(form)
    if table is None or value >= len(sections.get(table, b"")):
        return None
    return _Reader(sections[table], value).string()


# Lines


def read_lines(sections: Sections, code_size: int) -> LineTable:
    """The line table of a module with these custom sections, whose code section has `code_size` bytes."""
    rows: list[tuple[int, int, int]] = []
    files: dict[str, int] = {}
    reader = _Reader(sections.get(".debug_line", b""))
    while reader.at < reader.end and len(rows) < _MOST_ROWS:
        try:
            unit = reader.unit()
        except _Broken:
            break
        try:
            _read_line_unit(unit, sections, code_size, rows, files)
        except _Broken:
            continue
    return LineTable(rows, list(files))


def _read_line_unit(
    unit: _Reader, sections: Sections, code_size: int, rows: list[tuple[int, int, int]], files: dict[str, int]
) -> None:
    version = unit.fixed(2)
    if not 2 <= version <= 5:
        raise _Broken
    if version == 5:
        unit.skip(2)  # sizes of addresses and segments
    size = unit.offset()
    begin = unit.at + size
    least = unit.fixed(1)
    if version >= 4:
        unit.skip(1)  # operations in an instruction
    unit.skip(1)  # is_stmt at the beginning
    base = unit.fixed(1)
    base = base - 256 if base > 127 else base
    span = unit.fixed(1)
    first_special = unit.fixed(1)
    if span == 0 or first_special == 0:
        raise _Broken
    lengths = [0, *(unit.fixed(1) for _ in range(first_special - 1))]
    names = _names_of_5(unit, sections) if version == 5 else _names_before_5(unit)
    unit.at = begin
    if begin > unit.end:
        raise _Broken
    indexes = [files.setdefault(name, len(files)) for name in names]
    _run(unit, rows, indexes, code_size, (least, base, span, first_special), lengths)


def _joined(folder: str, name: str) -> str:
    return name if name.startswith("/") or not folder else f"{folder.rstrip('/')}/{name}"


def _names_before_5(unit: _Reader) -> list[str]:
    """The paths of a unit's files, by number."""
    folders = [""]
    while folder := unit.string():
        folders.append(folder)
    names = [""]  # numbers begin at 1
    while name := unit.string():
        at = unit.uleb()
        unit.uleb()  # time
        unit.uleb()  # size
        names.append(_joined(folders[at] if at < len(folders) else "", name))
        if len(names) > _MOST_FILES:
            raise _Broken
    return names


def _names_of_5(unit: _Reader, sections: Sections) -> list[str]:
    folders = [path for path, _ in _entries(unit, sections)]
    folders = folders[:1] + [_joined(folders[0], path) for path in folders[1:]]
    return [_joined(folders[at] if at < len(folders) else "", path) for path, at in _entries(unit, sections)]


def _entries(unit: _Reader, sections: Sections) -> list[tuple[str, int]]:
    """A table of paths, each with the number of its folder."""
    formats = [(unit.uleb(), unit.uleb()) for _ in range(unit.fixed(1))]
    count = unit.uleb()
    if count > _MOST_FILES or (count and not formats):
        raise _Broken
    found = []
    for _ in range(count):
        path, folder = "", 0
        before = unit.at
        for kind, form in formats:
            value = _value(unit, form, 4, 5)
            if kind == 1:  # path
                path = _text(value, form, sections) or ""
            elif kind == 2 and isinstance(value, int):  # directory index
                folder = value
        if unit.at == before:
            raise _Broken
        found.append((path, folder))
    return found


def _run(
    unit: _Reader,
    rows: list[tuple[int, int, int]],
    indexes: list[int],
    code_size: int,
    shape: tuple[int, int, int, int],
    lengths: list[int],
) -> None:
    """Run a unit's line program. A sequence whose code the linker has dropped has an address that is none."""
    least, base, span, first_special = shape
    skipped = (255 - first_special) // span * least
    address, file, line = 0, 1, 1
    sequence: list[tuple[int, int, int]] = []
    data, end = unit.data, unit.end

    def add(number: int) -> None:
        sequence.append((address, indexes[file] if file < len(indexes) else 0, number))

    while unit.at < end:
        opcode = data[unit.at]
        unit.at += 1
        if opcode >= first_special:
            opcode -= first_special
            address += opcode // span * least
            line += base + opcode % span
            add(line)
        elif opcode == 1:  # copy
            add(line)
        elif opcode == 2:  # advance_pc
            address += unit.uleb() * least
        elif opcode == 3:  # advance_line
            line += unit.sleb()
        elif opcode == 4:  # set_file
            file = unit.uleb()
        elif opcode == 8:  # const_add_pc
            address += skipped
        elif opcode == 9:  # fixed_advance_pc
            address += unit.fixed(2)
        elif opcode == 0:
            size = unit.uleb()
            after = unit.at + size
            kind = unit.fixed(1) if size else -1
            if kind == 1:  # end_sequence
                add(0)
                if indexes and 0 < sequence[0][0] < code_size:
                    rows.extend(row for row in sequence if 0 < row[0] <= code_size and 0 <= row[2] < 1 << 31)
                address, file, line = 0, 1, 1
                sequence = []
            elif kind == 2:  # set_address
                address = unit.fixed(min(size - 1, 8))
            unit.at = after
        else:
            for _ in range(lengths[opcode]):
                unit.uleb()
        if len(sequence) + len(rows) > _MOST_ROWS:
            raise _Broken


# Names

_SUBPROGRAM = 0x2E
_NAME, _LOW_PC, _SPECIFICATION, _ORIGIN, _LINKAGE_NAME = 0x03, 0x11, 0x47, 0x31, 0x6E
_STR_OFFSETS_BASE, _ADDR_BASE = 0x72, 0x73
_USED = frozenset((_NAME, _LOW_PC, _SPECIFICATION, _ORIGIN, _LINKAGE_NAME, _STR_OFFSETS_BASE, _ADDR_BASE))

_Abbreviation = tuple[int, list[tuple[int, int, bool]]]


def read_function_names(sections: Sections) -> dict[int, str]:
    """The names of functions by the address of their code."""
    info = sections.get(".debug_info", b"")
    names: dict[int, str] = {}
    named: dict[int, str] = {}  # by the offset of the entry
    waiting: list[tuple[int, int]] = []  # an address, and the entry that has the name
    reader = _Reader(info)
    while reader.at < reader.end:
        start = reader.at
        try:
            unit = reader.unit()
        except _Broken:
            break
        try:
            for offset, name, low, refers in _entries_of(unit, start, sections):
                if name is not None:
                    named[offset] = name
                if low is not None and name is not None:
                    names.setdefault(low, name)
                elif low is not None and refers is not None:
                    waiting.append((low, refers))
                elif name is None and refers is not None and refers in named:
                    named[offset] = named[refers]
        except _Broken:
            continue
    for low, refers in waiting:
        if refers in named:
            names.setdefault(low, named[refers])
    return names


def _abbreviations(data: bytes, at: int) -> dict[int, _Abbreviation]:
    reader = _Reader(data, at)
    found: dict[int, _Abbreviation] = {}
    while code := reader.uleb():
        tag = reader.uleb()
        reader.skip(1)  # whether it has children
        parts = []
        while True:
            attribute, form = reader.uleb(), reader.uleb()
            if attribute == form == 0:
                break
            if form == 0x21:  # implicit_const
                reader.sleb()
            parts.append((attribute, form, form == 0x21))
        found[code] = tag, parts
    return found


def _entries_of(
    unit: _Reader, start: int, sections: Sections
) -> Iterator[tuple[int, str | None, int | None, int | None]]:
    """Each function entry of a unit: its offset, name, address, and the entry that it refers to."""
    version = unit.fixed(2)
    if not 2 <= version <= 5:
        raise _Broken
    if version == 5:
        kind, address_size, at = unit.fixed(1), unit.fixed(1), unit.offset()
        if kind in (4, 5):  # of a skeleton or split unit
            unit.skip(8)
        elif kind in (2, 6):  # of types
            unit.skip(8 + (8 if unit.is_64 else 4))
    else:
        at, address_size = unit.offset(), unit.fixed(1)
    known = _abbreviations(sections.get(".debug_abbrev", b""), at)
    bases = {_STR_OFFSETS_BASE: 0, _ADDR_BASE: 0}
    entries = 0
    while unit.at < unit.end:
        offset = unit.at
        code = unit.uleb()
        if code == 0:
            continue
        entries += 1
        if code not in known or entries > _MOST_ENTRIES:
            raise _Broken
        tag, parts = known[code]
        found: dict[int, tuple[int | str | None, int]] = {}
        for attribute, form, implicit in parts:
            value = None if implicit else _value(unit, form, address_size, version)
            if attribute in _USED:
                found[attribute] = value, form
                if attribute in bases and isinstance(value, int):
                    bases[attribute] = value
        if tag == _SUBPROGRAM:
            tables = _Tables(sections, unit.is_64, address_size, bases[_STR_OFFSETS_BASE], bases[_ADDR_BASE])
            yield offset, *_function(found, start, tables)


class _Tables(NamedTuple):
    """What the indexes of a unit point into."""

    sections: Sections
    is_64: bool
    address_size: int
    strings: int
    addresses: int

    def string(self, index: int) -> str | None:
        width = 8 if self.is_64 else 4
        offsets = _Reader(self.sections.get(".debug_str_offsets", b""), self.strings + index * width)
        return _text(offsets.fixed(width), _STRP, self.sections)

    def address(self, index: int) -> int:
        place = self.addresses + index * self.address_size
        return _Reader(self.sections.get(".debug_addr", b""), place).fixed(self.address_size)


def _function(
    found: dict[int, tuple[int | str | None, int]], start: int, tables: _Tables
) -> tuple[str | None, int | None, int | None]:
    name = None
    for attribute in (_NAME, _LINKAGE_NAME):
        if name is None and attribute in found:
            value, form = found[attribute]
            by_index = form in _STRX and isinstance(value, int)
            name = tables.string(value) if by_index else _text(value, form, tables.sections)  # type: ignore[arg-type]
    low, form = found.get(_LOW_PC, (None, 0))
    if form in _ADDRX and isinstance(low, int):
        low = tables.address(low)
    refers = None
    for attribute in (_SPECIFICATION, _ORIGIN):
        value, form = found.get(attribute, (None, 0))
        if isinstance(value, int):
            refers = start + value if form in _UNIT_REFS else value
    return name or None, low if isinstance(low, int) else None, refers
