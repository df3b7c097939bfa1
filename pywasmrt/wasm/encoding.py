"""The binary format, written (core specification 2.0, section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..types import PAGE_SIZE, ExternKind, ExternType, FunctionType, GlobalType, MemoryType, TableType, ValueType
from .codes import (
    CODE,
    CUSTOM,
    DATA,
    ELEMENT,
    EXPORT,
    FUNCTION,
    GLOBAL,
    IMPORT,
    KINDS,
    MEMORY,
    START,
    TABLE,
    TYPE,
    TYPE_CODES,
)
from .opcodes import INSTRUCTIONS
from .primitives import name, section, sleb, uleb, vector
from .syntax import Export, Function, Import, Instruction, Parts, Segment

__all__ = ["encode"]

_KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}


def encode(module: Parts) -> bytes:
    """The module in the binary format, in the canonical order of sections."""
    # First the code, since block types and indirect calls may add function types.
    code = [_function(module, function) for function in module.functions]
    start = b"" if module.start_function is None else section(START, uleb(module.start_function))
    return b"".join(
        [
            b"\0asm\1\0\0\0",
            _section(TYPE, [b"\x60" + _types(type.params) + _types(type.results) for type in module.types]),
            _section(IMPORT, [_import(module, item) for item in module.imports]),
            _section(FUNCTION, [uleb(module.type(function.type)) for function in module.functions]),
            _section(TABLE, [_table_type(type) for type in module.tables]),
            _section(MEMORY, [_memory_type(type) for type in module.memories]),
            _section(GLOBAL, [_global_type(type) + _constant(module, initial) for type, initial in module.globals]),
            _section(EXPORT, [_export(item) for item in module.exports]),
            start,
            _section(ELEMENT, _elements(module)),
            _section(CODE, code),
            _section(DATA, [_data(module, segment) for segment in module.data_segments]),
            _names(module),
        ]
    )


def _section(number: int, items: Sequence[bytes]) -> bytes:
    return section(number, vector(items)) if items else b""


def _types(types: Iterable[ValueType]) -> bytes:
    return vector([bytes([TYPE_CODES[type]]) for type in types])


def _limits(minimum: int, maximum: int | None, flags: int) -> bytes:
    if maximum is None:
        return bytes([flags]) + uleb(minimum)
    return bytes([flags | 1]) + uleb(minimum) + uleb(maximum)


def _memory_type(type: MemoryType) -> bytes:
    custom = type.page_size != PAGE_SIZE
    flags = (2 if type.shared else 0) | (4 if type.is_64 else 0) | (8 if custom else 0)
    page = uleb(type.page_size.bit_length() - 1) if custom else b""
    return _limits(type.minimum, type.maximum, flags) + page


def _table_type(type: TableType) -> bytes:
    return bytes([TYPE_CODES[type.element]]) + _limits(type.minimum, type.maximum, 4 if type.is_64 else 0)


def _global_type(type: GlobalType) -> bytes:
    return bytes([TYPE_CODES[type.content], int(type.mutable)])


def _extern_type(module: Parts, type: ExternType) -> bytes:
    if isinstance(type, FunctionType):
        return uleb(module.type(type))
    if isinstance(type, MemoryType):
        return _memory_type(type)
    if isinstance(type, TableType):
        return _table_type(type)
    return _global_type(type)


def _import(module: Parts, item: Import) -> bytes:
    return name(item.module) + name(item.field) + bytes([_KIND_CODES[item.kind]]) + _extern_type(module, item.type)


def _export(item: Export) -> bytes:
    return name(item.name) + bytes([_KIND_CODES[item.kind]]) + uleb(item.index)


def _elements(module: Parts) -> list[bytes]:
    segments = []
    for segment in module.element_segments:
        functions = vector([uleb(index) for index in segment.content])
        offset = _constant(module, segment.offset)
        if segment.index == 0:
            segments.append(b"\x00" + offset + functions)
        else:
            segments.append(b"\x02" + uleb(segment.index) + offset + b"\x00" + functions)
    if module.declared:
        segments.append(b"\x03\x00" + vector([uleb(index) for index in module.declared]))
    return segments


def _data(module: Parts, segment: Segment) -> bytes:
    where = b"\x00" if segment.index == 0 else b"\x02" + uleb(segment.index)
    return where + _constant(module, segment.offset) + uleb(len(segment.content)) + bytes(segment.content)


def _names(module: Parts) -> bytes:
    first = module.imported(ExternKind.FUNCTION)
    names = [uleb(n) + name(function.name) for n, function in enumerate(module.functions, first) if function.name]
    return section(CUSTOM, name("name") + section(1, vector(names))) if names else b""


def _function(module: Parts, function: Function) -> bytes:
    runs: list[list[Any]] = []
    for type in function.locals:
        if runs and runs[-1][1] is type:
            runs[-1][0] += 1
        else:
            runs.append([1, type])
    code = vector([uleb(count) + bytes([TYPE_CODES[type]]) for count, type in runs])
    code += b"".join(_instruction(module, instruction) for instruction in function.body) + b"\x0b"
    return uleb(len(code)) + code


def _constant(module: Parts, instruction: Instruction) -> bytes:
    return _instruction(module, instruction) + b"\x0b"


def _instruction(module: Parts, instruction: Instruction) -> bytes:
    word, *values = instruction
    opcode, kinds = INSTRUCTIONS[word]
    if kinds == ("memarg",):
        return opcode + _memarg(*values)
    return opcode + b"".join(_immediate(module, kind, value) for kind, value in zip(kinds, values, strict=True))


def _memarg(align: int = 0, offset: int = 0, memory: int = 0) -> bytes:
    if memory:
        return uleb(align | 0x40) + uleb(memory) + uleb(offset)
    return uleb(align) + uleb(offset)


def _immediate(module: Parts, kind: str, value: Any) -> bytes:
    if kind in ("index", "lane"):
        return uleb(value)
    if kind == "type":
        return uleb(module.type(value))
    if kind == "block":
        return _block_type(module, value)
    if kind == "labels":
        return vector([uleb(label) for label in value[:-1]]) + uleb(value[-1])
    if kind == "types":
        return _types(value)
    if kind == "heap":
        return bytes([TYPE_CODES[value]])
    if kind in ("i32", "i64"):
        return sleb(_signed(value, int(kind[1:])))
    if kind in ("f32", "f64"):
        return int(value).to_bytes(int(kind[1:]) // 8, "little")
    return bytes(value)


def _block_type(module: Parts, type: FunctionType) -> bytes:
    if type == FunctionType():
        return b"\x40"
    if not type.params and len(type.results) == 1:
        return bytes([TYPE_CODES[type.results[0]]])
    return sleb(module.type(type))


def _signed(value: int, bits: int) -> int:
    """A signed or unsigned integer as the signed one that the format has."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
