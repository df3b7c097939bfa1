"""The binary form of a component, decoded into the definitions that make up its interface, in order.

For components that an engine has validated. Parts outside the interface (core modules, core instances, custom
sections) are skipped. `interface.py` gives the definitions their meaning. (Component model: design/mvp/Binary.md.)
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from ..errors import ModuleCompileError
from ..wasm.primitives import read_uleb, skip_leb
from ..wasm.primitives import section as binary_section

__all__ = [
    "FUNC",
    "HEADER",
    "INSTANCE",
    "MOST_NESTED",
    "Definition",
    "decode",
    "interface_only",
    "is_component",
]

HEADER = b"\0asm\x0d\0\1\0"
"""How a binary component begins."""

# Sorts of definitions, by their number in the binary format; an interface does not tell core sorts apart.
CORE, FUNC, VALUE, TYPE, COMPONENT, INSTANCE = range(6)

_PRIMITIVES = {
    0x7F: "bool",
    0x7E: "s8",
    0x7D: "u8",
    0x7C: "s16",
    0x7B: "u16",
    0x7A: "s32",
    0x79: "u32",
    0x78: "s64",
    0x77: "u64",
    0x76: "f32",
    0x75: "f64",
    0x74: "char",
    0x73: "string",
    0x64: "error-context",
}

# The immediates of the canonical built-ins, which define core functions: i an index, o options, r results, b a flag.
_BUILT_INS = {
    **dict.fromkeys((0x02, 0x03, 0x04, 0x0E, 0x13, 0x14, 0x15, 0x1A, 0x1B, 0x40), "i"),
    **dict.fromkeys((0x05, 0x0D, 0x1E, 0x1F, 0x22, 0x23, 0x24, 0x25, 0x26, 0x28, 0x42), ""),
    **dict.fromkeys((0x06, 0x0C, 0x29, 0x2A, 0x2B, 0x2C, 0x2D), "b"),
    **dict.fromkeys((0x0F, 0x10, 0x16, 0x17), "io"),
    **dict.fromkeys((0x11, 0x12, 0x18, 0x19), "ib"),
    **dict.fromkeys((0x0A, 0x0B, 0x27, 0x41), "ii"),
    **dict.fromkeys((0x1C, 0x1D), "o"),
    **dict.fromkeys((0x20, 0x21), "bi"),
    0x01: "bio",
    0x09: "ro",
}
MOST_NESTED = 100  # components in components; far beyond what tools make


class Definition(NamedTuple):
    """One definition. `kind` says what it does and what the other fields hold; see `_Decoder`."""

    kind: str
    sort: int = CORE
    name: str = ""
    value: Any = None
    extra: Any = None


def is_component(data: bytes) -> bool:
    """Whether `data` begins as a component, of any version, does."""
    return len(data) >= 8 and data[:4] == b"\0asm" and data[6:8] == b"\1\0"


def decode(data: bytes) -> list[Definition]:
    """The definitions of a validated component. Raises `ModuleCompileError` where `data` is malformed."""
    try:
        return _Decoder(data).component(0, len(data), 0)
    except (IndexError, UnicodeDecodeError) as error:
        raise ModuleCompileError(f"malformed component: {error}") from None


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    # Pieces

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value, self.at = read_uleb(self.data, self.at)
        return value

    def text(self) -> str:
        size = self.number()
        if self.at + size > len(self.data):
            raise IndexError("a name goes beyond the end")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def extern_name(self) -> str:
        form = self.byte()
        name = self.text()
        if form == 2:
            for _ in range(self.number()):
                self.byte()
                self.text()
        elif form > 2:
            raise self.unknown("name", form)
        return name

    def sort(self) -> int:
        sort = self.byte()
        if sort == CORE:
            self.byte()
        elif sort > INSTANCE:
            raise self.unknown("sort", sort)
        return sort

    def unknown(self, what: str, code: int) -> ModuleCompileError:
        return ModuleCompileError(f"malformed component: unknown {what} 0x{code:02x} before byte {self.at}")

    # Sections

    def component(self, start: int, end: int, depth: int) -> list[Definition]:
        if self.data[start : start + 8] != HEADER:
            raise ModuleCompileError(
                f"not a component of this version: it begins with {self.data[start : start + 8]!r}"
            )
        if depth > MOST_NESTED:
            raise ModuleCompileError(f"malformed component: components are nested deeper than {MOST_NESTED}")
        readers = {
            3: self.core_type_section,
            5: self.instance,
            6: self.alias,
            7: self.type,
            8: self.canonical,
            10: self.import_,
            11: self.export,
        }
        found: list[Definition] = []
        at = start + 8
        while at < end:
            self.at = at + 1
            section = self.data[at]
            size = self.number()
            content = self.at
            at = content + size
            if at > end:
                raise IndexError("a section goes beyond the end")
            if section == 4:
                found.append(Definition("component", COMPONENT, value=self.component(content, at, depth + 1)))
            elif section == 3:
                continue  # core types are not part of the interface
            elif section in readers:
                read = readers[section]
                for _ in range(self.number()):
                    definition = read()
                    if definition is not None:
                        found.append(definition)
                if self.at != at:
                    raise ModuleCompileError(f"malformed component: section {section} does not end at byte {at}")
            elif section == 9 or section > 12:
                raise self.unknown("section", section)
        return found

    def core_type_section(self) -> None:
        raise AssertionError("core types are skipped with their section")

    def instance(self) -> Definition:
        """("instantiate": value is the component's index, extra the arguments by name) or ("bundle": value is exports
        by name), of (sort, index).
        """
        form = self.byte()
        if form == 0:
            component = self.number()
            arguments = {}
            for _ in range(self.number()):
                name = self.text()
                arguments[name] = (self.sort(), self.number())
            return Definition("instantiate", INSTANCE, value=component, extra=arguments)
        if form != 1:
            raise self.unknown("instance", form)
        exports = {}
        for _ in range(self.number()):
            name = self.extern_name()
            exports[name] = (self.sort(), self.number())
        return Definition("bundle", INSTANCE, value=exports)

    def alias(self) -> Definition | None:
        """("alias export": value is the instance's index) or ("alias outer": value is (count, index))."""
        sort = self.sort()
        form = self.byte()
        if form == 0:
            instance = self.number()
            return Definition("alias export", sort, self.text(), instance)
        if form == 1:
            self.number()
            self.text()
            return None
        if form != 2:
            raise self.unknown("alias", form)
        count = self.number()
        found = Definition("alias outer", sort, value=(count, self.number()))
        return None if sort == CORE else found

    def canonical(self) -> Definition | None:
        """("lift": value is the index of the function's type); the others define core functions."""
        form = self.byte()
        if form == 0:
            self.byte()
            self.number()
            self.options()
            return Definition("lift", FUNC, value=self.number())
        immediates = _BUILT_INS.get(form)
        if immediates is None:
            raise self.unknown("canonical definition", form)
        for each in immediates:
            if each == "i":
                self.number()
            elif each == "b":
                self.byte()
            elif each == "o":
                self.options()
            else:
                self.result_list()
        return None

    def options(self) -> None:
        for _ in range(self.number()):
            if self.byte() in (3, 4, 5, 7, 8):
                self.number()

    def import_(self) -> Definition:
        """("import": value is what `extern_type` gives)."""
        name = self.extern_name()
        sort, value = self.extern_type()
        return Definition("import", sort, name, value)

    def export(self) -> Definition:
        """("export": value is the index, extra the type that it is given or None)."""
        name = self.extern_name()
        sort = self.sort()
        index = self.number()
        given = self.extern_type() if self.byte() else None
        return Definition("export", sort, name, index, given)

    def extern_type(self) -> tuple[int, Any]:
        """(sort, index of the type); for a type (TYPE, index) or (TYPE, None) for a fresh resource."""
        sort = self.sort()
        if sort == TYPE:
            return sort, self.number() if self.byte() == 0 else None
        if sort == VALUE:
            raise ModuleCompileError("components that import or export values are beyond this library")
        return sort, self.number()

    # Types

    def type(self) -> Definition:
        """("type": value is what `defined_type` gives)."""
        return Definition("type", TYPE, value=self.defined_type())

    def defined_type(self) -> tuple[Any, ...]:
        """A tuple that begins with the form of type."""
        form = self.data[self.at]
        if form in _PRIMITIVES:
            return ("value", self.value_type())
        self.at += 1
        reader = self.FORMS.get(form)
        if reader is None:
            raise self.unknown("type", form)
        found: tuple[Any, ...] = reader(self)
        return found

    def value_type(self) -> int | str:
        """The index of a type, or the name of a primitive one."""
        code = self.data[self.at]
        if code in _PRIMITIVES:
            self.at += 1
            return _PRIMITIVES[code]
        end = skip_leb(self.data, self.at)
        index, _ = read_uleb(self.data, self.at)  # a signed number that is not negative reads the same
        self.at = end
        return index

    def optional_type(self) -> int | str | None:
        return self.value_type() if self.byte() else None

    def labelled(self) -> list[tuple[str, int | str]]:
        return [(self.text(), self.value_type()) for _ in range(self.number())]

    def cases(self) -> list[tuple[str, int | str | None]]:
        found = []
        for _ in range(self.number()):
            found.append((self.text(), self.optional_type()))
            if self.byte():
                self.number()
        return found

    def labels(self) -> tuple[str, ...]:
        return tuple(self.text() for _ in range(self.number()))

    def resource(self) -> tuple[Any, ...]:
        self.byte()
        if self.byte():
            self.number()
        return ("resource",)

    def result_list(self) -> int | str | None:
        if self.byte() == 0:
            return self.value_type()
        self.byte()
        return None

    def function(self, is_async: bool) -> tuple[Any, ...]:
        return ("func", self.labelled(), self.result_list(), is_async)

    def declarations(self, form: str) -> tuple[Any, ...]:
        found: list[Definition] = []
        for _ in range(self.number()):
            code = self.byte()
            if code == 0:
                self.core_type()
            elif code == 1:
                found.append(self.type())
            elif code == 2:
                alias = self.alias()
                if alias is not None:
                    found.append(alias)
            elif code == 3:
                found.append(self.import_())
            elif code == 4:
                name = self.extern_name()
                sort, value = self.extern_type()
                found.append(Definition("declare", sort, name, value))
            else:
                raise self.unknown("declaration", code)
        return (form, found)

    def core_type(self) -> None:
        """Skip a core type inside of a component's or an instance's type."""
        form = self.byte()
        if form == 0x60:
            for _ in range(2):
                for _ in range(self.number()):
                    self.core_value_type()
        elif form == 0x50:
            for _ in range(self.number()):
                declaration = self.byte()
                if declaration == 0:
                    self.text()
                    self.text()
                    self.core_extern()
                elif declaration == 1:
                    self.core_type()
                elif declaration == 2:
                    self.at += 2
                    self.number()
                    self.number()
                else:
                    self.text()
                    self.core_extern()
        else:
            raise self.unknown("core type", form)

    def core_value_type(self) -> None:
        if self.byte() in (0x63, 0x64):
            self.at = skip_leb(self.data, self.at)

    def core_extern(self) -> None:
        kind = self.byte()
        if kind == 0:
            self.number()
        elif kind == 1:
            self.core_value_type()
            self.core_limits()
        elif kind == 2:
            self.core_limits()
        elif kind == 3:
            self.core_value_type()
            self.byte()
        else:
            self.byte()
            self.number()

    def core_limits(self) -> None:
        flags = self.byte()
        for _ in range(1 + (flags & 1) + (flags >> 3 & 1)):
            self.number()

    FORMS: ClassVar[dict[int, Any]] = {
        0x72: lambda self: ("record", self.labelled()),
        0x71: lambda self: ("variant", self.cases()),
        0x70: lambda self: ("list", self.value_type()),
        0x6F: lambda self: ("tuple", [self.value_type() for _ in range(self.number())]),
        0x6E: lambda self: ("flags", self.labels()),
        0x6D: lambda self: ("enum", self.labels()),
        0x6B: lambda self: ("option", self.value_type()),
        0x6A: lambda self: ("result", self.optional_type(), self.optional_type()),
        0x69: lambda self: ("own", self.number()),
        0x68: lambda self: ("borrow", self.number()),
        0x67: lambda self: ("fixed", self.value_type(), self.number()),
        0x66: lambda self: ("stream", self.optional_type()),
        0x65: lambda self: ("future", self.optional_type()),
        0x63: lambda self: ("map", self.value_type(), self.value_type()),
        0x40: lambda self: self.function(False),
        0x43: lambda self: self.function(True),
        0x41: lambda self: self.declarations("component"),
        0x42: lambda self: self.declarations("instance"),
        0x3F: lambda self: self.resource(),
    }


def interface_only(data: bytes) -> bytes:
    """A component without its core modules, core instances and custom sections, to be kept beside compiled code."""
    try:
        return _stripped(data, 0, len(data), 0)
    except IndexError as error:
        raise ModuleCompileError(f"malformed component: {error}") from None


def _stripped(data: bytes, start: int, end: int, depth: int) -> bytes:
    if depth > MOST_NESTED:
        raise ModuleCompileError(f"malformed component: components are nested deeper than {MOST_NESTED}")
    parts = [data[start : start + 8]]
    at = start + 8
    while at < end:
        section = data[at]
        size, content = read_uleb(data, at + 1)
        if content + size > end:
            raise IndexError("a section goes beyond the end")
        if section == 4:
            parts.append(binary_section(4, _stripped(data, content, content + size, depth + 1)))
        elif section not in (0, 1, 2):
            parts.append(data[at : content + size])
        at = content + size
    return b"".join(parts)
