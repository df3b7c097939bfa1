"""Reading what a module imports and exports from its binary form, without an engine.

For modules that an engine has validated: what is read is read strictly, but function bodies and instructions are not
looked at. One pass, since an interpreter starts in microseconds and must not wait for this. (Core specification 3.0,
chapter 5.)
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import ModuleCompileError
from ..types import ExportType, ExternKind, FunctionType, GlobalType, ImportType, MemoryType, TableType, ValueType
from .codes import EXPORT, FUNCTION, GLOBAL, IMPORT, KINDS, MEMORY, TABLE, TAG, TYPE, TYPE_CODES
from .instructions import skip_instruction
from .primitives import read_uleb, skip_leb

__all__ = [
    "HEADER",
    "Interface",
    "Spaces",
    "check_limits",
    "interface_only",
    "malformed",
    "read_interface",
    "read_spaces",
    "sections",
]

HEADER = b"\0asm\1\0\0\0"
_INTERFACE = frozenset((TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, TAG))

_REF = ValueType.REF
_VALUE_TYPES = {
    **{code: type for type, code in TYPE_CODES.items()},
    # nullexnref, nullref, nullexternref, nullfuncref
    **dict.fromkeys((0x74, 0x71, 0x72, 0x73), _REF),
}

# What constant expressions are made of: const, global.get, ref.null, ref.func, and add, sub and mul of i32 and i64;
# v128.const; struct.new, .new_default, array.new, .new_default, .new_fixed, any.convert_extern, extern.convert_any,
# ref.i31.
_CONSTANT = frozenset((0x41, 0x42, 0x43, 0x44, 0x23, 0xD0, 0xD2, 0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E))
_CONSTANT_PREFIXED = {0xFD: (12,), 0xFB: (0, 1, 6, 7, 8, 26, 27, 28)}

# Signatures repeat within and between modules; the bytes of one find the record that was made before. Bounded, since
# modules may come from anywhere.
_seen: dict[bytes, FunctionType] = {}
_SEEN_MAX = 4096


class Interface(NamedTuple):
    """What a module asks for and offers, each in the module's order, every function type that it declares, and whether
    it has a shared memory, on which a guest may wait. `shared_bytes` is what the largest that it defines may grow to.
    `arrays`: whether it declares types of arrays (the GC proposal).
    """

    imports: tuple[ImportType, ...]
    exports: tuple[ExportType, ...]
    function_types: tuple[FunctionType, ...] = ()
    shares: bool = False
    shared_bytes: int = 0
    arrays: bool = False


def read_interface(data: bytes) -> Interface:
    """Read the imports and exports of a validated module. Raises `ModuleCompileError` where `data` is malformed."""
    try:
        return _Reader(data).interface()
    except (IndexError, UnicodeDecodeError) as error:
        raise malformed(data, error) from None


class Spaces(NamedTuple):
    """What a module's index spaces hold, imports included: how many types and functions, for each table the bytes of
    its element type and whether it is 64-bit, and for each memory whether it is 64-bit.
    """

    types: int
    functions: int
    tables: list[tuple[bytes, bool]]
    memories: list[bool]


def read_spaces(data: bytes) -> Spaces:
    """Read the index spaces of a validated module. Raises `ModuleCompileError` where `data` is malformed."""
    try:
        return _Reader(data).spaces()
    except (IndexError, UnicodeDecodeError) as error:
        raise malformed(data, error) from None


def check_limits(data: bytes) -> None:
    """Raise `ModuleCompileError` if a validated module writes a memory's limits in more bytes than 32 bits take.

    Without 64-bit memories that is malformed (core specification 2.0, section 5.3.8), which Wasmtime's validator,
    unlike its compiler, lets pass.
    """
    try:
        _Reader(data).check_limits()
    except (IndexError, UnicodeDecodeError) as error:
        raise malformed(data, error) from None


def malformed(data: bytes, error: Exception) -> ModuleCompileError:
    """What to raise where reading `data` ended in an `IndexError` or a `UnicodeDecodeError`."""
    if isinstance(error, IndexError):
        return ModuleCompileError(f"malformed module: it ends too early, after {len(data)} bytes")
    return ModuleCompileError(f"malformed module: a name is not UTF-8: {error}")


def interface_only(data: bytes) -> bytes:
    """Return `data` without the sections that `read_interface` does not need, for keeping beside compiled code."""
    parts = [HEADER]
    try:
        for start, id, _, end in sections(data):
            if id in _INTERFACE:
                parts.append(data[start:end])
    except IndexError:
        raise ModuleCompileError(f"malformed module: it ends too early, after {len(data)} bytes") from None
    return b"".join(parts)


def sections(data: bytes) -> list[tuple[int, int, int, int]]:
    """Every section as (start, id, start of its content, end)."""
    if data[:8] != HEADER:
        raise ModuleCompileError(f"not a WebAssembly module of version 1: it begins with {data[:8]!r}")
    found = []
    at, total = 8, len(data)
    while at < total:
        start = at
        id = data[at]
        size = data[at + 1]
        at += 2
        if size >= 0x80:
            size, at = read_uleb(data, at - 1)
        end = at + size
        if end > total:
            raise ModuleCompileError(f"malformed module: the section at byte {start} reaches beyond the end")
        found.append((start, id, at, end))
        at = end
    return found


class _Reader:
    """One reading of one module. Index spaces are filled with the imports first, then on demand for exports."""

    __slots__ = ("arrays", "at", "data", "elements", "narrow", "types", "where")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.narrow = False  # whether limits have 32 bits only
        self.where: dict[int, tuple[int, int]] = {}
        self.types: list[FunctionType | None] = []  # None: not a function type
        self.arrays = False
        self.elements: list[bytes] = []  # the element type of each table type that was read, as it is written
        self.at = 0

    def interface(self) -> Interface:
        where = self.where
        imports = self._begin()
        exports = self._read_exports(imports) if EXPORT in where else ()
        function_types = tuple([type for type in self.types if type is not None])
        shared = self._shared(imports)
        imported = [item.type for item in imports if isinstance(item.type, MemoryType) and item.type.shared]
        defined = shared[len(imported) :]
        largest = max([(memory.maximum or 0) * memory.page_size for memory in defined], default=0)
        return Interface(imports, exports, function_types, bool(shared), largest, self.arrays)

    def spaces(self) -> Spaces:
        imports = self._begin()
        spaces = []
        for kind in range(3):
            space = [item.type for item in imports if item.kind is KINDS[kind]]
            self._define(kind, space, 1 << 32)
            spaces.append(space)
        functions, tables, memories = spaces
        return Spaces(
            len(self.types),
            len(functions),
            [
                (element, isinstance(table, TableType) and table.is_64)
                for element, table in zip(self.elements, tables, strict=True)
            ],
            [isinstance(memory, MemoryType) and memory.is_64 for memory in memories],
        )

    def _begin(self) -> tuple[ImportType, ...]:
        """Find the sections and read the types; returns the imports."""
        where = self.where
        for _, id, begin, end in sections(self.data):
            if id in _INTERFACE:
                if id in where:
                    raise ModuleCompileError(f"malformed module: section {id} occurs twice")
                where[id] = (begin, end)
        if TYPE in where:
            self._read_types()
        return self._read_imports() if IMPORT in where else ()

    def _shared(self, imports: tuple[ImportType, ...]) -> list[MemoryType]:
        memories = [item.type for item in imports if item.kind is ExternKind.MEMORY]
        self._define(2, memories, 1 << 32)
        return [memory for memory in memories if isinstance(memory, MemoryType) and memory.shared]

    def _number(self) -> int:
        byte = self.data[self.at]
        if byte < 0x80:
            self.at += 1
            return byte
        value, self.at = read_uleb(self.data, self.at)
        return value

    def _finished(self, id: int) -> None:
        if self.at != self.where[id][1]:
            raise ModuleCompileError(f"malformed module: section {id} does not end where it says")

    # Types

    def _read_types(self) -> None:
        self.at = self.where[TYPE][0]
        data = self.data
        for _ in range(self._number()):
            if data[self.at] == 0x60:
                self._function_type()
            elif data[self.at] == 0x4E:  # a recursion group
                self.at += 1
                for _ in range(self._number()):
                    self._sub_type()
            else:
                self._sub_type()
        self._finished(TYPE)

    def _sub_type(self) -> None:
        data = self.data
        if data[self.at] in (0x50, 0x4F):  # open or final, with its supertypes
            self.at += 1
            for _ in range(self._number()):
                self.at = skip_leb(data, self.at)
        form = data[self.at]
        if form == 0x60:
            self._function_type()
            return
        self.at += 1
        if form == 0x5F:
            for _ in range(self._number()):
                self._field_type()
        elif form == 0x5E:
            self.arrays = True
            self._field_type()
        else:
            raise ModuleCompileError(f"malformed module: unknown type form 0x{form:02x} at byte {self.at - 1}")
        self.types.append(None)

    def _field_type(self) -> None:
        if self.data[self.at] in (0x78, 0x77):  # i8, i16
            self.at += 1
        else:
            self._value_type()
        self.at += 1  # mutability

    def _function_type(self) -> None:
        """Read one function type, at its 0x60: in one step if all its value types are single bytes, as most are."""
        data = self.data
        start = self.at
        count = data[start + 1]
        middle = start + 2 + count
        end = middle + 1 + data[middle] if count < 0x80 and middle < len(data) else 0
        key = data[start:end]
        known = _seen.get(key)
        if known is not None:
            self.types.append(known)
            self.at = end
            return
        self.at = start + 1
        params = tuple([self._value_type() for _ in range(self._number())])
        results = tuple([self._value_type() for _ in range(self._number())])
        type = FunctionType(params, results)
        if self.at == end and len(_seen) < _SEEN_MAX:
            _seen[key] = type
        self.types.append(type)

    def _value_type(self) -> ValueType:
        at = self.at
        byte = self.data[at]
        self.at = at + 1
        type = _VALUE_TYPES.get(byte)
        if type is not None:
            return type
        if byte == 0x63 or byte == 0x64:  # (ref null heaptype), (ref heaptype)
            heap = self.data[at + 1]
            self.at = skip_leb(self.data, at + 1)
            return _VALUE_TYPES.get(heap, _REF) if byte == 0x63 and 0x69 <= heap <= 0x70 else _REF
        raise ModuleCompileError(f"malformed module: unknown value type 0x{byte:02x} at byte {at}")

    def _type_at(self, index: int) -> FunctionType:
        type = self.types[index] if index < len(self.types) else None
        if type is None:
            raise ModuleCompileError(f"malformed module: type {index} is not a function type")
        return type

    def _limits(self, flags: int) -> tuple[int, int | None]:
        start = self.at
        minimum = self._number()
        between = self.at
        maximum = self._number() if flags & 1 else None
        if self.narrow and (between - start > 5 or self.at - between > 5):
            raise ModuleCompileError(f"malformed module: integer representation too long at byte {start}")
        return minimum, maximum

    def check_limits(self) -> None:
        self.narrow = True
        self.interface()
        if MEMORY in self.where:
            self.at = self.where[MEMORY][0]
            for _ in range(self._number()):
                self._memory_type()

    def _memory_type(self) -> MemoryType:
        flags = self.data[self.at]
        self.at += 1
        if flags > 15:
            raise ModuleCompileError(f"malformed module: unknown memory flags 0x{flags:02x} at byte {self.at - 1}")
        minimum, maximum = self._limits(flags)
        if flags < 2:
            return MemoryType(minimum, maximum)
        page_size = 65536
        if flags & 8:
            exponent = self._number()
            if exponent > 64:
                raise ModuleCompileError(f"malformed module: page size 2**{exponent} at byte {self.at}")
            page_size = 1 << exponent
        return MemoryType(minimum, maximum, bool(flags & 4), bool(flags & 2), page_size)

    def _table_type(self) -> TableType:
        start = self.at
        element = self._value_type()
        self.elements.append(self.data[start : self.at])
        flags = self.data[self.at]
        self.at += 1
        if flags > 7:
            raise ModuleCompileError(f"malformed module: unknown table flags 0x{flags:02x} at byte {self.at - 1}")
        minimum, maximum = self._limits(flags)
        return TableType(element, minimum, maximum, bool(flags & 4))

    def _global_type(self) -> GlobalType:
        content = self._value_type()
        mutable = self.data[self.at]
        self.at += 1
        if mutable > 1:
            raise ModuleCompileError(f"malformed module: unknown mutability at byte {self.at - 1}")
        return GlobalType(content, mutable == 1)

    def _tag_type(self) -> FunctionType:
        self.at += 1  # the attribute: exception
        return self._type_at(self._number())

    # Imports and exports

    def _name(self) -> str:
        size = self._number()
        at = self.at
        self.at = end = at + size
        if end > len(self.data):
            raise IndexError
        return str(self.data[at:end], "utf-8")

    def _read_imports(self) -> tuple[ImportType, ...]:
        self.at = self.where[IMPORT][0]
        imports = []
        for _ in range(self._number()):
            module = self._name()
            name = self._name()
            kind = self.data[self.at]
            self.at += 1
            type: FunctionType | MemoryType | TableType | GlobalType
            if kind == 0:
                type = self._type_at(self._number())
            elif kind == 1:
                type = self._table_type()
            elif kind == 2:
                type = self._memory_type()
            elif kind == 3:
                type = self._global_type()
            elif kind == 4:
                type = self._tag_type()
            else:
                raise ModuleCompileError(f"malformed module: unknown import kind {kind} at byte {self.at - 1}")
            imports.append(ImportType(module, name, KINDS[kind], type))
        self._finished(IMPORT)
        return tuple(imports)

    def _read_exports(self, imports: tuple[ImportType, ...]) -> tuple[ExportType, ...]:
        self.at = self.where[EXPORT][0]
        wanted = []
        for _ in range(self._number()):
            name = self._name()
            kind = self.data[self.at]
            self.at += 1
            if kind > 4:
                raise ModuleCompileError(f"malformed module: unknown export kind {kind} at byte {self.at - 1}")
            wanted.append((name, kind, self._number()))
        self._finished(EXPORT)
        spaces: list[list[FunctionType | MemoryType | TableType | GlobalType] | None] = [None] * 5
        exports = []
        for name, kind, index in wanted:
            space = spaces[kind]
            if space is None:
                space = [item.type for item in imports if item.kind is KINDS[kind]]
                self._define(kind, space, max([item[2] for item in wanted if item[1] == kind]))
                spaces[kind] = space
            if index >= len(space):
                raise ModuleCompileError(
                    f"malformed module: export {name!r} names {KINDS[kind]} {index}, which is not there"
                )
            exports.append(ExportType(name, KINDS[kind], space[index]))
        return tuple(exports)

    def _define(self, kind: int, space: list[FunctionType | MemoryType | TableType | GlobalType], last: int) -> None:
        """Append to the imports in `space` what the module defines of `kind`, up to the index `last`."""
        id = (FUNCTION, TABLE, MEMORY, GLOBAL, TAG)[kind]
        if id not in self.where:
            return
        self.at, end = self.where[id]
        count = min(self._number(), last + 1 - len(space))
        for _ in range(count):
            if self.at >= end:
                raise IndexError
            if kind == 0:
                space.append(self._type_at(self._number()))
            elif kind == 1:
                if self.data[self.at] == 0x40:  # 0x40 0x00: a table with an initial value
                    self.at += 2
                    space.append(self._table_type())
                    self._skip_expression()
                else:
                    space.append(self._table_type())
            elif kind == 2:
                space.append(self._memory_type())
            elif kind == 3:
                space.append(self._global_type())
                self._skip_expression()
            else:
                space.append(self._tag_type())

    def _skip_expression(self) -> None:
        """Skip a constant expression, to behind its `end`."""
        data = self.data
        while True:
            at = self.at
            opcode = data[at]
            if opcode == 0x0B:
                self.at = at + 1
                return
            if opcode not in _CONSTANT and read_uleb(data, at + 1)[0] not in _CONSTANT_PREFIXED.get(opcode, ()):
                raise ModuleCompileError(f"malformed module: no constant expression at byte {at}")
            self.at = skip_instruction(data, at)
