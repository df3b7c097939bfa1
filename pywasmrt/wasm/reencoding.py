"""The same module in another encoding: every number may be written longer than it has to be.

A LEB128 number may have as many bytes as its type needs at most: five for 32 bits, ten for 64. Linkers use that to
leave room for a number that they learn later, and an engine must read each form. (Core specification
3.0, section 5.2.2.)
"""

from __future__ import annotations

from collections.abc import Callable

from .codes import CODE, CUSTOM, DATA, ELEMENT, EXPORT, FUNCTION, GLOBAL, IMPORT, MEMORY, START, TABLE, TAG, TYPE
from .instructions import skip_instruction, skip_value_type
from .opcodes import PLAIN, PREFIXED
from .primitives import read_uleb, skip_leb, uleb
from .reading import HEADER, malformed, sections

__all__ = ["MENTIONS_FUNCTION", "Reencoding", "reencoded"]

MENTIONS_FUNCTION = frozenset((0x10, 0x12, 0xD2))
"""The opcodes that the index of a function follows: call, return_call, ref.func."""

_DATA_COUNT = 12
_END = 0x0B


def reencoded(data: bytes, choose: Callable[[int], int]) -> bytes:
    """The same validated module with its numbers written anew.

    `choose` gets how many bytes a number may be longer than its shortest form, and returns how many of them it takes:
    0 gives the shortest form, its argument the longest. It is asked for each number, in an order that depends on the
    module alone. Custom sections keep their content. Raises `UnsupportedFeatureError` for an instruction that is not
    known, `ModuleCompileError` where `data` is malformed.
    """
    try:
        return Reencoding(data, choose).result()
    except (IndexError, UnicodeDecodeError) as error:
        raise malformed(data, error) from None


class Reencoding:
    """A place in the module, and the new bytes for everything before it."""

    def __init__(
        self, data: bytes, choose: Callable[[int], int], renumber: Callable[[int], int] = lambda index: index
    ) -> None:
        """`renumber` gets the index of each function that is mentioned, and returns the one to write."""
        self.data = data
        self.choose = choose
        self.renumber = renumber
        self.at = 0
        self.out = bytearray()

    def result(self) -> bytes:
        parts = [HEADER]
        for _, id, begin, end in sections(self.data):
            parts.append(bytes([id]) + self.sized(self.content(id, begin, end)))
        return b"".join(parts)

    def content(self, id: int, begin: int, end: int) -> bytes | bytearray:
        """What a section holds, written anew."""
        self.at, self.out = begin, bytearray()
        if id in _SECTIONS:
            _SECTIONS[id](self)
        self.copy(end)
        return self.out

    # Numbers

    def number(self, value: int, bits: int = 32) -> bytes:
        """An unsigned number in as many bytes as was chosen."""
        short = uleb(value)
        extra = self.choose(max(0, -(-bits // 7) - len(short)))
        return short if extra == 0 else short[:-1] + bytes([short[-1] | 0x80]) + b"\x80" * (extra - 1) + b"\x00"

    def unsigned(self, bits: int = 32) -> int:
        value, self.at = read_uleb(self.data, self.at)
        self.out += self.number(value, bits)
        return value

    def function_index(self) -> None:
        value, self.at = read_uleb(self.data, self.at)
        self.out += self.number(self.renumber(value))

    def signed(self, bits: int) -> None:
        start, self.at = self.at, skip_leb(self.data, self.at)
        digits = [byte & 0x7F for byte in self.data[start : self.at]]
        fill = 0x7F if digits[-1] & 0x40 else 0x00
        while len(digits) > 1 and digits[-1] == fill and (digits[-2] ^ fill) & 0x40 == 0:
            digits.pop()
        digits += [fill] * self.choose(-(-bits // 7) - len(digits))
        self.out += bytes([digit | 0x80 for digit in digits[:-1]] + digits[-1:])

    def sized(self, content: bytes | bytearray) -> bytes:
        return self.number(len(content)) + bytes(content)

    # Parts that are not numbers

    def copy(self, end: int) -> None:
        if end > len(self.data):
            raise IndexError
        self.out += self.data[self.at : end]
        self.at = end

    def byte(self) -> int:
        value = self.data[self.at]
        self.copy(self.at + 1)
        return value

    def raw(self) -> None:
        """A vector of bytes: a name, or data."""
        size = self.unsigned()
        self.copy(self.at + size)

    def value_type(self) -> None:
        self.copy(skip_value_type(self.data, self.at))

    def each(self, *parts: Callable[[Reencoding], object]) -> None:
        """A vector, whose items consist of `parts`."""
        for _ in range(self.unsigned()):
            for part in parts:
                part(self)

    # Types

    def composite_type(self) -> None:
        form = self.byte()
        if form == 0x4E:  # a recursion group
            self.each(Reencoding.composite_type)
        elif form in (0x50, 0x4F):  # open or final, with its supertypes
            self.each(Reencoding.unsigned)
            self.composite_type()
        elif form == 0x60:
            self.each(Reencoding.value_type)
            self.each(Reencoding.value_type)
        elif form == 0x5F:
            self.each(Reencoding.field_type)
        else:
            self.field_type()

    def field_type(self) -> None:
        if self.data[self.at] in (0x78, 0x77):  # i8, i16
            self.byte()
        else:
            self.value_type()
        self.byte()  # mutability

    def limits(self) -> None:
        flags = self.byte()
        bits = 64 if flags & 4 else 32
        self.unsigned(bits)
        if flags & 1:
            self.unsigned(bits)
        if flags & 8:
            self.unsigned()  # the exponent of the page's size

    def table_type(self) -> None:
        self.value_type()
        self.limits()

    def global_type(self) -> None:
        self.value_type()
        self.byte()

    def tag_type(self) -> None:
        self.byte()
        self.unsigned()

    # Sections

    def import_(self) -> None:
        self.raw()
        self.raw()
        _EXTERN_TYPES[self.byte()](self)

    def table(self) -> None:
        initialized = self.data[self.at] == 0x40
        if initialized:
            self.copy(self.at + 2)
        self.table_type()
        if initialized:
            self.expression()

    def global_(self) -> None:
        self.global_type()
        self.expression()

    def export(self) -> None:
        self.raw()
        if self.byte() == 0:
            self.function_index()
        else:
            self.unsigned()

    def element(self) -> None:
        kind = self.unsigned()
        if kind & 1 == 0:
            if kind & 2:
                self.unsigned()
            self.expression()
        if kind & 3:
            if kind & 4:
                self.value_type()
            else:
                self.byte()
        self.each(Reencoding.expression if kind & 4 else Reencoding.function_index)

    def segment(self) -> None:
        kind = self.unsigned()
        if kind == 2:
            self.unsigned()
        if kind != 1:
            self.expression()
        self.raw()

    def function(self) -> None:
        size, self.at = read_uleb(self.data, self.at)
        end = self.at + size
        before, self.out = self.out, bytearray()
        self.each(Reencoding.unsigned, Reencoding.value_type)
        while self.at < end:
            self.instruction()
        self.out = before + self.sized(self.out)

    # Instructions

    def expression(self) -> None:
        """A constant expression; it has no blocks, so that the first `end` is its own."""
        while self.data[self.at] != _END:
            self.instruction()
        self.byte()

    def instruction(self) -> None:
        after = skip_instruction(self.data, self.at)
        opcode = self.byte()
        if opcode in MENTIONS_FUNCTION:
            self.function_index()
            return
        kinds = PREFIXED[opcode][self.unsigned()] if opcode in PREFIXED else PLAIN[opcode]
        for kind in kinds:
            _IMMEDIATES[kind](self)
        assert self.at == after

    def block(self) -> None:
        if 0x40 <= self.data[self.at] < 0x80:  # empty, or a value type: neither is a number
            self.value_type()
        else:
            self.signed(33)

    def labels(self) -> None:
        self.each(Reencoding.unsigned)
        self.unsigned()

    def catches(self) -> None:
        for _ in range(self.unsigned()):
            if self.byte() < 2:
                self.unsigned()
            self.unsigned()

    def access(self) -> None:
        if self.unsigned() & 0x40:
            self.unsigned()  # the memory
        self.unsigned()  # of a 64-bit memory it may be longer than five bytes, and then it stays as it is

    def wide(self, size: int) -> None:
        self.copy(self.at + size)


_EXTERN_TYPES: tuple[Callable[[Reencoding], object], ...] = (
    Reencoding.unsigned,
    Reencoding.table_type,
    Reencoding.limits,
    Reencoding.global_type,
    Reencoding.tag_type,
)

_IMMEDIATES: dict[str, Callable[[Reencoding], object]] = {
    "index": Reencoding.unsigned,
    "type": Reencoding.unsigned,
    "i32": lambda here: here.signed(32),
    "i64": lambda here: here.signed(64),
    "block": Reencoding.block,
    "types": lambda here: here.each(Reencoding.value_type),
    "heap": Reencoding.block,
    "labels": Reencoding.labels,
    "memarg": Reencoding.access,
    "catches": Reencoding.catches,
    "lane": Reencoding.byte,
    "flags": Reencoding.byte,
    "f32": lambda here: here.wide(4),
    "f64": lambda here: here.wide(8),
    "v128": lambda here: here.wide(16),
}

_SECTIONS: dict[int, Callable[[Reencoding], object]] = {
    TYPE: lambda here: here.each(Reencoding.composite_type),
    IMPORT: lambda here: here.each(Reencoding.import_),
    FUNCTION: lambda here: here.each(Reencoding.unsigned),
    TABLE: lambda here: here.each(Reencoding.table),
    MEMORY: lambda here: here.each(Reencoding.limits),
    GLOBAL: lambda here: here.each(Reencoding.global_),
    EXPORT: lambda here: here.each(Reencoding.export),
    START: Reencoding.function_index,
    ELEMENT: lambda here: here.each(Reencoding.element),
    CODE: lambda here: here.each(Reencoding.function),
    DATA: lambda here: here.each(Reencoding.segment),
    _DATA_COUNT: Reencoding.unsigned,
    TAG: lambda here: here.each(Reencoding.tag_type),
    CUSTOM: lambda here: None,
}
