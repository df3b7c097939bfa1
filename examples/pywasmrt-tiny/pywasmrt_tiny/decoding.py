"""The binary format, checked while it is read (core specification 1.0, chapters 3 and 5).

What comes out is code whose branches know where they go, how many values they take along and how high the stack is
there, so that running it needs no block structure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pywasmrt import (
    ExportType,
    ExternKind,
    FunctionType,
    GlobalType,
    ImportType,
    MemoryType,
    ModuleCompileError,
    TableType,
    ValueType,
)

from .numeric import LOADS, OPERATIONS, STORES

I32, I64, F32, F64, FUNCREF = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64, ValueType.FUNCREF
_TYPES = {0x7F: I32, 0x7E: I64, 0x7D: F32, 0x7C: F64}
_KINDS = (ExternKind.FUNCTION, ExternKind.TABLE, ExternKind.MEMORY, ExternKind.GLOBAL)
_ORDER = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11]

Instruction = list[Any]  # a list, since a branch's target is filled in when its block ends


def fail(message: str) -> NoReturn:
    raise ModuleCompileError(message)


@dataclass
class Code:
    """One function: its type, its locals' zeros, and its instructions."""

    type: FunctionType
    zeros: list[Any]
    body: list[Instruction]


@dataclass
class Parsed:
    """One module."""

    types: list[FunctionType] = field(default_factory=list)
    imports: list[ImportType] = field(default_factory=list)
    functions: list[FunctionType] = field(default_factory=list)  # with the imported ones first, as all of these
    tables: list[TableType] = field(default_factory=list)
    memories: list[MemoryType] = field(default_factory=list)
    globals: list[GlobalType] = field(default_factory=list)
    initial: list[tuple[str, Any]] = field(default_factory=list)
    exports: list[tuple[str, ExternKind, int]] = field(default_factory=list)
    start: int | None = None
    elements: list[tuple[tuple[str, Any], list[int]]] = field(default_factory=list)
    codes: list[Code] = field(default_factory=list)
    data: list[tuple[tuple[str, Any], bytes]] = field(default_factory=list)

    def space(self, kind: ExternKind) -> list[Any]:
        return [self.functions, self.tables, self.memories, self.globals][_KINDS.index(kind)]

    def export_types(self) -> tuple[ExportType, ...]:
        return tuple(ExportType(name, kind, self.space(kind)[index]) for name, kind, index in self.exports)


class Reader:
    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def byte(self) -> int:
        if self.at >= self.end:
            fail(f"unexpected end at byte {self.at}")
        self.at += 1
        return self.data[self.at - 1]

    def bytes(self, size: int) -> bytes:
        if self.at + size > self.end:
            fail(f"unexpected end at byte {self.at}: {size} more bytes are announced")
        self.at += size
        return self.data[self.at - size : self.at]

    def u32(self) -> int:
        return self.leb(32) & 0xFFFF_FFFF

    def leb(self, bits: int, is_signed: bool = False) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                fail(f"integer representation too long at byte {self.at}")
        if is_signed and byte & 0x40:
            value -= 1 << shift
        if not (-(1 << (bits - 1)) <= value < 1 << (bits - 1) if is_signed else value < 1 << bits):
            fail(f"integer too large at byte {self.at}")
        return value

    def name(self) -> str:
        try:
            return self.bytes(self.u32()).decode()
        except UnicodeDecodeError:
            fail(f"malformed UTF-8 at byte {self.at}")

    def value_type(self) -> ValueType:
        byte = self.byte()
        return _TYPES.get(byte) or fail(f"unknown value type 0x{byte:02x} at byte {self.at - 1}")

    def limits(self, most: int) -> tuple[int, int | None]:
        flag = self.byte()
        if flag > 1:
            fail(f"unknown limits 0x{flag:02x} at byte {self.at - 1}")
        minimum = self.u32()
        maximum = self.u32() if flag else None
        if minimum > most or (maximum is not None and not minimum <= maximum <= most):
            fail(f"limits {minimum} to {maximum} are not within {most}")
        return minimum, maximum


def parse(data: bytes) -> Parsed:
    """Read and check a module. Raises `ModuleCompileError`."""
    if data[:8] != b"\0asm\1\0\0\0":
        fail(f"not a WebAssembly module of version 1: it begins with {data[:8]!r}")
    module, reader = Parsed(), Reader(data, 8, len(data))
    declared: list[FunctionType] = []
    bodies: list[tuple[int, int]] = []
    last = -1
    while reader.at < reader.end:
        id, size = reader.byte(), reader.u32()
        begin = reader.at
        reader.bytes(size)
        if id == 0:
            Reader(data, begin, reader.at).name()
            continue
        if id not in _ORDER or _ORDER.index(id) <= last:
            fail(f"unknown or misplaced section {id}")
        last = _ORDER.index(id)
        section = Reader(data, begin, reader.at)
        if id == 8:
            module.start = section.u32()
        else:
            for _ in range(section.u32()):
                _entry(module, id, section, declared, bodies)
        if section.at != section.end:
            fail(f"section {id} does not end where it says")
    if len(bodies) != len(declared):
        fail("function and code section have inconsistent lengths")
    _check(module)
    for type, (begin, end) in zip(declared, bodies, strict=True):
        module.codes.append(_Validator(module, type, Reader(data, begin, end)).code())
    return module


def _entry(
    module: Parsed, id: int, reader: Reader, declared: list[FunctionType], bodies: list[tuple[int, int]]
) -> None:
    if id == 1:
        if reader.byte() != 0x60:
            fail(f"unknown form of type at byte {reader.at - 1}")
        params = tuple(reader.value_type() for _ in range(reader.u32()))
        module.types.append(FunctionType(params, tuple(reader.value_type() for _ in range(reader.u32()))))
    elif id == 2:
        names, kind = (reader.name(), reader.name()), reader.byte()
        if kind > 3:
            fail(f"unknown import kind {kind}")
        type = [lambda: _type(module, reader), lambda: _table(reader), lambda: _memory(reader), lambda: _global(reader)]
        module.imports.append(ImportType(*names, _KINDS[kind], type[kind]()))
        module.space(_KINDS[kind]).append(module.imports[-1].type)
    elif id == 3:
        declared.append(_type(module, reader))
        module.functions.append(declared[-1])
    elif id == 4:
        module.tables.append(_table(reader))
    elif id == 5:
        module.memories.append(_memory(reader))
    elif id == 6:
        type_ = _global(reader)
        module.initial.append(_constant(module, reader, type_.content))
        module.globals.append(type_)
    elif id == 7:
        name, kind = reader.name(), reader.byte()
        if kind > 3:
            fail(f"unknown export kind {kind}")
        module.exports.append((name, _KINDS[kind], reader.u32()))
    elif id == 9:
        if reader.u32() != 0:
            fail("only active element segments of table 0 can be read")
        offset = _constant(module, reader, I32)
        module.elements.append((offset, [reader.u32() for _ in range(reader.u32())]))
    elif id == 10:
        size = reader.u32()
        bodies.append((reader.at, reader.at + size))
        reader.bytes(size)
    elif id == 11:
        if reader.u32() != 0:
            fail("only active data segments of memory 0 can be read")
        offset = _constant(module, reader, I32)
        module.data.append((offset, reader.bytes(reader.u32())))
    else:
        reader.u32()


def _type(module: Parsed, reader: Reader) -> FunctionType:
    return _at(module.types, reader.u32(), "type")


def _at(space: list[Any], index: int, what: str) -> Any:
    return space[index] if index < len(space) else fail(f"unknown {what} {index}")


def _table(reader: Reader) -> TableType:
    if reader.byte() != 0x70:
        fail("only tables of funcref can be read")
    return TableType(FUNCREF, *reader.limits((1 << 32) - 1))


def _memory(reader: Reader) -> MemoryType:
    return MemoryType(*reader.limits(1 << 16))


def _global(reader: Reader) -> GlobalType:
    type, mutable = reader.value_type(), reader.byte()
    return GlobalType(type, bool(mutable)) if mutable < 2 else fail("malformed mutability")


def _constant(module: Parsed, reader: Reader, wanted: ValueType) -> tuple[str, Any]:
    """A constant expression: ("value", it) or ("global", index)."""
    opcode = reader.byte()
    if opcode == 0x23:
        index = reader.u32()
        imported = [each.type for each in module.imports if each.kind is ExternKind.GLOBAL]
        found = _at(imported, index, "global")
        type, result = found.content, ("global", index)
        if found.mutable:
            fail("constant expression required: the global is mutable")
    else:
        type, value = _literal(opcode, reader)
        result = ("value", value)
    if type is not wanted or reader.byte() != 0x0B:
        fail(f"a constant expression of {wanted} is required at byte {reader.at}")
    return result


def _literal(opcode: int, reader: Reader) -> tuple[ValueType, Any]:
    if opcode == 0x41:
        return I32, reader.leb(32, True) & 0xFFFF_FFFF
    if opcode == 0x42:
        return I64, reader.leb(64, True) & 0xFFFF_FFFF_FFFF_FFFF
    if opcode == 0x43:
        return F32, struct.unpack("<f", reader.bytes(4))[0]
    if opcode == 0x44:
        return F64, struct.unpack("<d", reader.bytes(8))[0]
    fail(f"unknown instruction 0x{opcode:02x} at byte {reader.at - 1}")


def _check(module: Parsed) -> None:
    if len(module.memories) > 1 or len(module.tables) > 1:
        fail("multiple memories or tables")
    names = [name for name, _, _ in module.exports]
    if len(set(names)) != len(names):
        fail("duplicate export name")
    for _, kind, index in module.exports:
        _at(module.space(kind), index, str(kind))
    if module.start is not None and _at(module.functions, module.start, "function") != FunctionType():
        fail("the start function takes or returns values")
    if module.elements:
        _at(module.tables, 0, "table")
    for _, functions in module.elements:
        for index in functions:
            _at(module.functions, index, "function")
    if module.data:
        _at(module.memories, 0, "memory")


@dataclass
class _Block:
    type: FunctionType
    height: int  # of the stack below its parameters
    start: int | None  # where a branch to it goes, if it is a loop
    waiting: list[Instruction] = field(default_factory=list)  # branches to its end
    otherwise: Instruction | None = None  # the `if` whose condition fails
    unreachable: bool = False

    @property
    def label(self) -> tuple[ValueType, ...]:
        return self.type.results if self.start is None else self.type.params


class _Validator:
    """The specification's algorithm (appendix A.3), which also emits the code. None on the stack is any type."""

    def __init__(self, module: Parsed, type: FunctionType, reader: Reader) -> None:
        self.module, self.type, self.reader = module, type, reader
        self.stack: list[ValueType | None] = []
        self.blocks: list[_Block] = []
        self.body: list[Instruction] = []
        self.locals = list(type.params)

    def code(self) -> Code:
        reader = self.reader
        for _ in range(reader.u32()):
            count, type = reader.u32(), reader.value_type()
            if len(self.locals) + count > 50_000:
                fail("too many locals")
            self.locals += [type] * count
        self.blocks.append(_Block(self.type, 0, None))
        while self.blocks:
            self.instruction(reader.byte())
        if reader.at != reader.end:
            fail(f"the function does not end where it says, at byte {reader.end}")
        self.body.append(["return", len(self.type.results)])
        zeros = [0.0 if each in (F32, F64) else 0 for each in self.locals[len(self.type.params) :]]
        return Code(self.type, zeros, self.body)

    def emit(self, *instruction: Any) -> Instruction:
        self.body.append(list(instruction))
        return self.body[-1]

    def pop(self, wanted: ValueType | None = None) -> ValueType | None:
        block = self.blocks[-1]
        if len(self.stack) == block.height:
            return wanted if block.unreachable else fail(f"type mismatch: {wanted} expected, nothing there")
        found = self.stack.pop()
        if wanted is not None and found is not None and found is not wanted:
            fail(f"type mismatch: {wanted} expected, {found} found")
        return found or wanted

    def pops(self, types: tuple[ValueType, ...]) -> None:
        for type in reversed(types):
            self.pop(type)

    def dead(self) -> None:
        del self.stack[self.blocks[-1].height :]
        self.blocks[-1].unreachable = True

    def branch(self, depth: int, opcode: str) -> Instruction:
        """Emit a branch: opcode, target, values taken along, height of the stack there."""
        if depth >= len(self.blocks):
            fail(f"unknown label {depth}")
        block = self.blocks[-1 - depth]
        instruction = self.emit(opcode, block.start, len(block.label), block.height)
        if block.start is None:
            block.waiting.append(instruction)
        return instruction

    def instruction(self, opcode: int) -> None:
        reader = self.reader
        operation = OPERATIONS.get(opcode if opcode != 0xFC else 0xFC00 + reader.u32())
        if operation is not None:
            self.pops(operation.params)
            self.stack.append(operation.result)
            self.emit(len(operation.params), operation.function)
        elif opcode in LOADS or opcode in STORES:
            self.access(opcode)
        elif opcode in (0x02, 0x03, 0x04):
            self.begin(opcode)
        elif opcode in (0x05, 0x0B):
            self.end(opcode)
        elif opcode <= 0x11:
            self.control(opcode)
        elif opcode <= 0x24:
            self.variable(opcode)
        elif opcode in (0x3F, 0x40):
            _at(self.module.memories, reader.byte(), "memory")
            if opcode == 0x40:
                self.pop(I32)
            self.stack.append(I32)
            self.emit("memory.grow" if opcode == 0x40 else "memory.size")
        else:
            type, value = _literal(opcode, reader)
            self.stack.append(type)
            self.emit("const", value)

    def access(self, opcode: int) -> None:
        _at(self.module.memories, 0, "memory")
        type, size, shape = LOADS.get(opcode) or STORES[opcode]
        if 1 << self.reader.u32() > size:
            fail("alignment must not be larger than natural")
        offset = self.reader.u32()
        if opcode in LOADS:
            self.pop(I32)
            self.stack.append(type)
            mask = {I32: (1 << 32) - 1, I64: (1 << 64) - 1}.get(type)
            self.emit("load", offset, size, shape, mask)
        else:
            self.pop(type)
            self.pop(I32)
            mask = (1 << 8 * size) - 1 if type in (I32, I64) else None
            self.emit("store", offset, size, shape, mask)

    def begin(self, opcode: int) -> None:
        first = self.reader.data[self.reader.at] if self.reader.at < self.reader.end else fail("unexpected end")
        if first == 0x40:
            self.reader.byte()
            type = FunctionType()
        elif first in _TYPES:
            type = FunctionType((), (self.reader.value_type(),))
        else:
            type = _at(self.module.types, self.reader.leb(33, True), "type")
        otherwise = None
        if opcode == 0x04:
            self.pop(I32)
            otherwise = self.emit("unless", None)
        self.pops(type.params)
        start = len(self.body) if opcode == 0x03 else None
        self.blocks.append(_Block(type, len(self.stack), start, otherwise=otherwise))
        self.stack += type.params

    def end(self, opcode: int) -> None:
        block = self.blocks[-1]
        self.pops(block.type.results)
        if len(self.stack) != block.height:
            fail("type mismatch: values remain on the stack at the end of a block")
        if opcode == 0x05:
            if block.otherwise is None:
                fail("else without if")
            block.waiting.append(self.emit("br", None, len(block.type.results), block.height))
            block.otherwise[1] = len(self.body)
            block.otherwise, block.unreachable = None, False
            self.stack += block.type.params
            return
        if block.otherwise is not None:
            if block.type.params != block.type.results:
                fail("type mismatch: an if without else leaves other values")
            block.otherwise[1] = len(self.body)
        for instruction in block.waiting:
            instruction[1] = len(self.body)
        self.blocks.pop()
        self.stack += block.type.results

    def control(self, opcode: int) -> None:
        reader = self.reader
        if opcode == 0x00:
            self.emit("unreachable")
            self.dead()
        elif opcode == 0x01:
            pass
        elif opcode == 0x0C:
            self.pops(self.label(depth := reader.u32()))
            self.branch(depth, "br")
            self.dead()
        elif opcode == 0x0D:
            self.pop(I32)
            types = self.label(depth := reader.u32())
            self.pops(types)
            self.stack += types
            self.branch(depth, "br_if")
        elif opcode == 0x0E:
            depths = [reader.u32() for _ in range(reader.u32() + 1)]
            self.pop(I32)
            types = self.label(depths[-1])
            for depth in depths:
                if self.label(depth) != types and not self.blocks[-1].unreachable:
                    fail("type mismatch: the labels of a br_table differ")
            self.pops(types)
            self.emit("br_table", len(depths))
            for depth in depths:  # the branches themselves follow
                self.branch(depth, "br")
            self.dead()
        elif opcode == 0x0F:
            self.pops(self.type.results)
            self.emit("return", len(self.type.results))
            self.dead()
        elif opcode == 0x10:
            index = reader.u32()
            self.called(_at(self.module.functions, index, "function"))
            self.emit("call", index)
        elif opcode == 0x11:
            type = _type(self.module, reader)
            _at(self.module.tables, reader.u32(), "table")
            self.pop(I32)
            self.called(type)
            self.emit("call_indirect", type)
        else:
            fail(f"unknown instruction 0x{opcode:02x} at byte {reader.at - 1}")

    def label(self, depth: int) -> tuple[ValueType, ...]:
        return self.blocks[-1 - depth].label if depth < len(self.blocks) else fail(f"unknown label {depth}")

    def called(self, type: FunctionType) -> None:
        self.pops(type.params)
        self.stack += type.results

    def variable(self, opcode: int) -> None:
        if opcode == 0x1A:
            self.pop()
            self.emit("drop")
        elif opcode == 0x1B:
            self.pop(I32)
            first = self.pop()
            self.stack.append(self.pop(first) or first)
            self.emit("select")
        elif opcode in (0x20, 0x21, 0x22):
            index = self.reader.u32()
            type = _at(self.locals, index, "local")
            if opcode != 0x20:
                self.pop(type)
            if opcode != 0x21:
                self.stack.append(type)
            self.emit({0x20: "local.get", 0x21: "local.set", 0x22: "local.tee"}[opcode], index)
        elif opcode in (0x23, 0x24):
            index = self.reader.u32()
            found = _at(self.module.globals, index, "global")
            if opcode == 0x23:
                self.stack.append(found.content)
            else:
                if not found.mutable:
                    fail("the global is immutable")
                self.pop(found.content)
            self.emit("global.get" if opcode == 0x23 else "global.set", index)
        else:
            fail(f"unknown instruction 0x{opcode:02x} at byte {self.reader.at - 1}")
