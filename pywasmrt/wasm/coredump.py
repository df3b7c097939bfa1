"""Coredumps of WebAssembly, written and read: what a guest's memories, globals and stack held when it trapped.

A coredump is a module: memories and globals with their contents, in the usual sections, and custom sections that say
whose they are and where the guest was. (Coredump.md of the tool conventions.) What is read may come from anywhere:
broken input raises `ModuleCompileError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import ModuleCompileError
from ..types import PAGE_SIZE, MemoryType, ValueType, expect
from .codes import CODE, CUSTOM, DATA, EXPORT, GLOBAL, MEMORY, TAG, TYPE_CODES
from .primitives import name, read_uleb, section, sleb, uleb, vector
from .reading import HEADER, malformed, read_interface, sections

__all__ = [
    "CoreFrame",
    "CoreInstance",
    "CoreMemory",
    "Coredump",
    "exported_names",
    "exporting_all",
    "is_coredump",
    "pieces",
    "read_coredump",
]

_CORE, _MODULES, _INSTANCES, _STACK = "core", "coremodules", "coreinstances", "corestack"
_BLOCK = 4096
_CHUNK = 1 << 20
_MOST_ENTRIES = 1_000_000
_NUMBERS = {ValueType.I32: 0x41, ValueType.I64: 0x42, ValueType.F32: 0x43, ValueType.F64: 0x44}
_BY_CODE = {code: type for type, code in TYPE_CODES.items()}
_EXPORTED = "coredump:{}:{}"


@dataclass(frozen=True)
class CoreFrame:
    """One frame: the number of its instance and of its function, and the offset in the function's body. A local or an
    operand is None where the engine does not tell it.
    """

    instance: int
    function: int
    offset: int
    locals: tuple[int | float | None, ...] = ()
    stack: tuple[int | float | None, ...] = ()


@dataclass(frozen=True)
class CoreInstance:
    """One instance: the numbers of its module, its memories and its globals."""

    module: int
    memories: tuple[int, ...] = ()
    globals: tuple[int, ...] = ()


@dataclass(frozen=True)
class CoreMemory:
    """One memory: its type, where `minimum` is its size when the guest trapped, and what it held. What no part says
    was zero.
    """

    type: MemoryType
    parts: tuple[tuple[int, bytes], ...] = ()

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.type.minimum * self.type.page_size

    def read(self, offset: int, size: int) -> bytes:
        """Copy bytes out. Raises `IndexError` if any lies beyond the memory."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise IndexError(f"{size} bytes at offset {offset} reach beyond the memory of {self.size} bytes")
        found = bytearray(size)
        for at, data in self.parts:
            begin, end = max(at, offset), min(at + len(data), offset + size)
            if begin < end:
                found[begin - offset : end - offset] = data[begin - at : end - at]
        return bytes(found)


@dataclass(frozen=True)
class Coredump:
    """What a guest held when it trapped. `globals` are (type, mutable, value), `threads` (name, frames, innermost
    first).
    """

    name: str
    modules: tuple[str, ...] = ()
    instances: tuple[CoreInstance, ...] = ()
    memories: tuple[CoreMemory, ...] = ()
    globals: tuple[tuple[ValueType, bool, Any], ...] = ()
    threads: tuple[tuple[str, tuple[CoreFrame, ...]], ...] = ()


# Writing


Read = Callable[[int, int], bytes]
"""Reads bytes of a memory: offset and size."""


def pieces(dump: Coredump, reads: Iterable[Read]) -> Iterator[bytes]:
    """The coredump in its binary form, piece by piece. `reads` read the memories, of which the parts in `dump` are not
    used: only blocks that are not all zeros are written.
    """
    yield HEADER
    yield _custom(_CORE, b"\0" + name(dump.name))
    yield _custom(_MODULES, vector([b"\0" + name(each) for each in dump.modules]))
    yield _custom(_INSTANCES, vector([_instance(each) for each in dump.instances]))
    if dump.memories:
        yield section(MEMORY, vector([_memory_type(each.type) for each in dump.memories]))
    if dump.globals:
        yield section(GLOBAL, vector([_global(*each) for each in dump.globals]))
    yield from _data(dump, list(reads))
    for thread, frames in dump.threads:
        yield _custom(_STACK, b"\0" + name(thread) + vector([_frame(each) for each in frames]))


def _custom(title: str, content: bytes) -> bytes:
    return section(CUSTOM, name(title) + content)


def _numbers(numbers: Iterable[int]) -> bytes:
    return vector([uleb(each) for each in numbers])


def _instance(instance: CoreInstance) -> bytes:
    return b"\0" + uleb(instance.module) + _numbers(instance.memories) + _numbers(instance.globals)


def _frame(frame: CoreFrame) -> bytes:
    values = [vector([_value(each) for each in values]) for values in (frame.locals, frame.stack)]
    return b"\0" + uleb(frame.instance) + uleb(frame.function) + uleb(frame.offset) + b"".join(values)


def _value(value: int | float | None) -> bytes:
    if value is None:
        return b"\x01"
    return b"\x7c" + struct.pack("<d", value) if isinstance(value, float) else b"\x7e" + sleb(value)


def _memory_type(type: MemoryType) -> bytes:
    custom = type.page_size != PAGE_SIZE
    flags = (type.maximum is not None) | type.shared << 1 | type.is_64 << 2 | custom << 3
    limits = uleb(type.minimum) + (b"" if type.maximum is None else uleb(type.maximum))
    return bytes([flags]) + limits + (uleb(type.page_size.bit_length() - 1) if custom else b"")


def _global(type: ValueType, mutable: bool, value: Any) -> bytes:
    return bytes([TYPE_CODES[type], mutable]) + _constant(type, value) + b"\x0b"


def _constant(type: ValueType, value: Any) -> bytes:
    if type is ValueType.V128:
        return b"\xfd\x0c" + bytes(value)
    if type not in _NUMBERS:
        return bytes([0xD0, TYPE_CODES[type]])  # a reference means nothing outside of its store
    code = bytes([_NUMBERS[type]])
    if type in (ValueType.I32, ValueType.I64):
        return code + sleb(value)
    return code + struct.pack("<f" if type is ValueType.F32 else "<d", value)


def _data(dump: Coredump, reads: list[Read]) -> Iterator[bytes]:
    """The data section. Its length comes first, so memories are read twice: a shared one may change in between, which
    changes what is written and not how much.
    """
    runs = [(n, begin, size) for n, memory in enumerate(dump.memories) for begin, size in _used(memory.size, reads[n])]
    if not runs:
        return
    heads = []
    for n, begin, size in runs:
        wide = dump.memories[n].type.is_64
        signed = begin if wide or begin < 1 << 31 else begin - (1 << 32)
        place = b"\x00" if n == 0 else b"\x02" + uleb(n)
        heads.append(place + (b"\x42" if wide else b"\x41") + sleb(signed) + b"\x0b" + uleb(size))
    count = uleb(len(runs))
    yield bytes([DATA]) + uleb(len(count) + sum(map(len, heads)) + sum(size for _, _, size in runs)) + count
    for head, (n, begin, size) in zip(heads, runs, strict=True):
        yield head
        for at in range(begin, begin + size, _CHUNK):
            yield reads[n](at, min(_CHUNK, begin + size - at))


def _used(size: int, read: Read) -> Iterator[tuple[int, int]]:
    """The runs of blocks that are not all zeros, as (begin, size)."""
    begin = None
    for at in range(0, size, _CHUNK):
        data = read(at, min(_CHUNK, size - at))
        empty = not data.strip(b"\0")
        for block in range(0, len(data), _BLOCK):
            used = not empty and bool(data[block : block + _BLOCK].strip(b"\0"))
            if used and begin is None:
                begin = at + block
            elif not used and begin is not None:
                yield begin, at + block - begin
                begin = None
    if begin is not None:
        yield begin, size - begin


# Reading


def is_coredump(data: bytes) -> bool:
    """Whether a module is a coredump, by the section that tells of a stack."""
    try:
        return any(title == _STACK for title, _, _ in _customs(data))
    except (IndexError, UnicodeDecodeError, ModuleCompileError):
        return False


def read_coredump(data: bytes) -> Coredump:
    """Read a coredump. Raises `ModuleCompileError` where `data` is none, or is malformed."""
    expect("read_coredump", "bytes", (bytes, bytearray, memoryview), data=data)
    if not isinstance(data, bytes):
        try:
            data = bytes(data)
        except ValueError:
            raise ValueError(f"data of read_coredump is {data!r}, which holds no bytes any more") from None
    try:
        return _Reader(data).coredump()
    except (IndexError, UnicodeDecodeError, struct.error) as error:
        raise malformed(data, error if not isinstance(error, struct.error) else IndexError()) from None


def _customs(data: bytes) -> Iterator[tuple[str, int, int]]:
    for _, id, begin, end in sections(data):
        if id == CUSTOM:
            size, at = read_uleb(data, begin)
            if at + size > end:
                raise IndexError
            yield str(data[at : at + size], "utf-8"), at + size, end


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.end = len(data)

    def coredump(self) -> Coredump:
        customs = list(_customs(self.data))
        if not any(title == _STACK for title, _, _ in customs):
            raise ModuleCompileError("this is no coredump: it has no section 'corestack'")
        places = {id: (begin, end) for _, id, begin, end in sections(self.data) if id != CUSTOM}
        titled = {title: (begin, end) for title, begin, end in customs}
        title = self._in(titled.get(_CORE), self._process) or ""
        types = self._in(places.get(MEMORY), lambda: self._vector(self._memory)) or ()
        parts: list[list[tuple[int, bytes]]] = [[] for _ in types]
        self._in(places.get(DATA), lambda: self._vector(lambda: self._part(parts)))
        return Coredump(
            title,
            self._in(titled.get(_MODULES), lambda: self._vector(self._module)) or (),
            self._in(titled.get(_INSTANCES), lambda: self._vector(self._instance)) or (),
            tuple([CoreMemory(type, tuple(each)) for type, each in zip(types, parts, strict=True)]),
            self._in(places.get(GLOBAL), lambda: self._vector(self._global)) or (),
            tuple([self._in((begin, end), self._thread) for title, begin, end in customs if title == _STACK]),
        )

    def _in(self, place: tuple[int, int] | None, read: Callable[[], Any]) -> Any:
        if place is None:
            return None
        self.at, self.end = place
        return read()

    def _number(self) -> int:
        value, self.at = read_uleb(self.data, self.at)
        if self.at > self.end:
            raise IndexError
        return value

    def _signed(self, bits: int) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                value &= (1 << bits) - 1
                if byte & 0x40 and shift < bits:
                    value |= (1 << bits) - (1 << shift)
                return value - (1 << bits) if value >> (bits - 1) else value
            if shift > 70:
                raise ModuleCompileError(f"malformed coredump: a number at byte {self.at} is too long")

    def _bytes(self, size: int) -> bytes:
        found = self.data[self.at : self.at + size]
        self.at += size
        if self.at > self.end:
            raise IndexError
        return found

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _text(self) -> str:
        return str(self._bytes(self._number()), "utf-8")

    def _vector(self, read: Callable[[], Any]) -> tuple[Any, ...]:
        count = self._number()
        if count > min(_MOST_ENTRIES, self.end - self.at):
            raise ModuleCompileError(f"malformed coredump: {count} entries do not fit at byte {self.at}")
        return tuple([read() for _ in range(count)])

    def _tagged(self) -> None:
        tag = self._byte()
        if tag != 0:
            raise ModuleCompileError(f"malformed coredump: unknown form {tag} at byte {self.at - 1}")

    def _process(self) -> str:
        self._tagged()
        return self._text()

    _module = _process

    def _instance(self) -> CoreInstance:
        self._tagged()
        return CoreInstance(self._number(), self._vector(self._number), self._vector(self._number))

    def _thread(self) -> tuple[str, tuple[CoreFrame, ...]]:
        self._tagged()
        return self._text(), self._vector(self._frame)

    def _frame(self) -> CoreFrame:
        self._tagged()
        numbers = self._number(), self._number(), self._number()
        return CoreFrame(*numbers, self._vector(self._local), self._vector(self._local))

    def _local(self) -> int | float | None:
        kind = self._byte()
        if kind == 0x01:
            return None
        if kind in (0x7F, 0x7E):
            return self._signed(32 if kind == 0x7F else 64)
        if kind in (0x7D, 0x7C):
            number: float = struct.unpack(*(("<f", self._bytes(4)) if kind == 0x7D else ("<d", self._bytes(8))))[0]
            return number
        raise ModuleCompileError(f"malformed coredump: unknown kind of value 0x{kind:02x} at byte {self.at - 1}")

    def _memory(self) -> MemoryType:
        flags = self._byte()
        minimum = self._number()
        maximum = self._number() if flags & 1 else None
        exponent = self._number() if flags & 8 else 16
        if flags > 15 or exponent > 64:
            raise ModuleCompileError(f"malformed coredump: unknown memory type at byte {self.at}")
        return MemoryType(minimum, maximum, bool(flags & 4), bool(flags & 2), 1 << exponent)

    def _global(self) -> tuple[ValueType, bool, Any]:
        code, mutable = self._byte(), self._byte()
        type = _BY_CODE.get(code)
        if type is None:
            raise ModuleCompileError(f"malformed coredump: unknown value type 0x{code:02x} at byte {self.at - 2}")
        return type, bool(mutable), self._expression()

    def _expression(self) -> Any:
        code = self._byte()
        value: Any
        if code in (0x41, 0x42):
            value = self._signed(32 if code == 0x41 else 64)
        elif code in (0x43, 0x44):
            value = struct.unpack(*(("<f", self._bytes(4)) if code == 0x43 else ("<d", self._bytes(8))))[0]
        elif code == 0xFD and self._number() == 12:
            value = self._bytes(16)
        elif code == 0xD0:
            self._byte()
            value = None
        else:
            raise ModuleCompileError(f"malformed coredump: no constant at byte {self.at - 1}")
        if self._byte() != 0x0B:
            raise ModuleCompileError(f"malformed coredump: no end of a constant at byte {self.at - 1}")
        return value

    def _part(self, parts: list[list[tuple[int, bytes]]]) -> None:
        flags = self._number()
        memory = self._number() if flags == 2 else 0
        if flags not in (0, 2) or memory >= len(parts):
            raise ModuleCompileError(f"malformed coredump: unknown data at byte {self.at}")
        offset = self._expression()
        if not isinstance(offset, int):
            raise ModuleCompileError(f"malformed coredump: no offset at byte {self.at}")
        parts[memory].append((offset if offset >= 0 else offset + (1 << 32), self._bytes(self._number())))


# Making all of a module visible


def exporting_all(data: bytes) -> bytes:
    """A module that exports all its memories and globals too, so that a coredump can have them. Code keeps its place in
    each function, and functions their numbers. Raises `ModuleCompileError` where `data` is malformed.
    """
    try:
        return _exporting_all(data)
    except IndexError as error:
        raise malformed(data, error) from None


def _exporting_all(data: bytes) -> bytes:
    places = {id: (begin, end) for _, id, begin, end in sections(data) if id != CUSTOM}
    imports = read_interface(data).imports
    added = []
    for kind, id, code in (("memory", MEMORY, 2), ("global", GLOBAL, 3)):
        defined = read_uleb(data, places[id][0])[0] if id in places else 0
        count = defined + sum(1 for each in imports if each.kind.value == kind)
        added += [name(_EXPORTED.format(kind, n)) + bytes([code]) + uleb(n) for n in range(count)]
    if not added:
        return data
    parts, done = [HEADER], False
    for start, id, begin, end in sections(data):
        if id == EXPORT:
            count, at = read_uleb(data, begin)
            parts.append(section(EXPORT, uleb(count + len(added)) + data[at:end] + b"".join(added)))
            done = True
            continue
        if not done and id not in (CUSTOM, EXPORT) and _order(id) > _order(EXPORT):
            parts.append(section(EXPORT, vector(added)))
            done = True
        parts.append(data[start:end])
    if not done:
        parts.append(section(EXPORT, vector(added)))
    return b"".join(parts)


def _order(id: int) -> int:
    """Where a section stands: tags (13) behind the memories, the count of data segments (12) before the code."""
    return {TAG: 2 * MEMORY + 1, 12: 2 * CODE - 1}.get(id, 2 * id)


def exported_names(kind: str) -> Iterator[str]:
    """The names under which `exporting_all` exports, in their order."""
    n = 0
    while True:
        yield _EXPORTED.format(kind, n)
        n += 1
