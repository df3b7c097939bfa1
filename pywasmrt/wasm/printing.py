"""Prints the text format, for people to read when a test fails.

Parsing the text gives the bytes that `encoding` writes, except for the names of functions.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ..types import PAGE_SIZE, ExternKind, ExternType, FunctionType, GlobalType, MemoryType, TableType, ValueType
from .opcodes import INSTRUCTIONS
from .syntax import Function, Instruction, Parts

__all__ = ["wat"]

_KIND_WORDS = {
    ExternKind.FUNCTION: "func",
    ExternKind.TABLE: "table",
    ExternKind.MEMORY: "memory",
    ExternKind.GLOBAL: "global",
}
_FLOAT_SHAPES = {"f32": (32, 23), "f64": (64, 52)}


def wat(module: Parts) -> str:
    """The module in the text format."""
    lines = [f"(type (;{n};) (func{_signature(type)}))" for n, type in enumerate(module.types)]
    for item in module.imports:
        described = _extern_type(module, item.type)
        lines.append(f"(import {_quoted(item.module)} {_quoted(item.field)} ({_KIND_WORDS[item.kind]} {described}))")
    lines += [f"(table {_table_type(type)})" for type in module.tables]
    lines += [f"(memory {_memory_type(type)})" for type in module.memories]
    lines += [f"(global {_global_type(type)} ({_instruction(module, initial)}))" for type, initial in module.globals]
    lines += [f"(export {_quoted(item.name)} ({_KIND_WORDS[item.kind]} {item.index}))" for item in module.exports]
    if module.start_function is not None:
        lines.append(f"(start {module.start_function})")
    for segment in module.element_segments:
        table = f"(table {segment.index}) " if segment.index else ""
        functions = " ".join(map(str, segment.content))
        lines.append(f"(elem {table}({_instruction(module, segment.offset)}) func {functions})")
    if module.declared:
        lines.append(f"(elem declare func {' '.join(map(str, module.declared))})")
    for n, function in enumerate(module.functions, module.imported(ExternKind.FUNCTION)):
        lines += _function(module, n, function)
    for segment in module.data_segments:
        memory = f"(memory {segment.index}) " if segment.index else ""
        lines.append(f"(data {memory}({_instruction(module, segment.offset)}) {_quoted(segment.content)})")
    return "\n".join(["(module", *("  " + line for line in lines), ")"]) + "\n"


def _quoted(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return '"' + "".join(chr(b) if 0x20 <= b < 0x7F and b not in b'"\\' else f"\\{b:02x}" for b in raw) + '"'


def _type_list(word: str, types: Sequence[ValueType]) -> str:
    return f" ({word} {' '.join(map(str, types))})" if types else ""


def _signature(type: FunctionType) -> str:
    return _type_list("param", type.params) + _type_list("result", type.results)


def _limits(minimum: int, maximum: int | None) -> str:
    return f"{minimum}" if maximum is None else f"{minimum} {maximum}"


def _memory_type(type: MemoryType) -> str:
    words = ["i64"] if type.is_64 else []
    words.append(_limits(type.minimum, type.maximum))
    if type.shared:
        words.append("shared")
    if type.page_size != PAGE_SIZE:
        words.append(f"(pagesize {type.page_size})")
    return " ".join(words)


def _table_type(type: TableType) -> str:
    return f"{'i64 ' if type.is_64 else ''}{_limits(type.minimum, type.maximum)} {type.element}"


def _global_type(type: GlobalType) -> str:
    return f"(mut {type.content})" if type.mutable else f"{type.content}"


def _extern_type(module: Parts, type: ExternType) -> str:
    if isinstance(type, FunctionType):
        return f"(type {module.type(type)})"
    if isinstance(type, MemoryType):
        return _memory_type(type)
    if isinstance(type, TableType):
        return _table_type(type)
    return _global_type(type)


def _function(module: Parts, index: int, function: Function) -> list[str]:
    name = f" (; {function.name} ;)" if function.name else ""
    lines = [f"(func (;{index};){name} (type {module.type(function.type)}){_signature(function.type)}"]
    if function.locals:
        lines.append("  (local " + " ".join(map(str, function.locals)) + ")")
    depth = 1
    for instruction in function.body:
        if instruction[0] in ("end", "else"):
            depth -= 1
        lines.append("  " * depth + _instruction(module, instruction))
        if instruction[0] in ("block", "loop", "if", "else"):
            depth += 1
    return [*lines, ")"]


def _instruction(module: Parts, instruction: Instruction) -> str:
    name, *values = instruction
    kinds = INSTRUCTIONS[name][1]
    if kinds == ("memarg",):
        return str(name) + _memarg(*values)
    if name == "call_indirect":
        return f"call_indirect {values[1]} (type {module.type(values[0])})"
    word: str = "select" if name == "select_typed" else name
    return " ".join([word, *(_immediate(kind, value) for kind, value in zip(kinds, values, strict=True))]).rstrip()


def _memarg(align: int = 0, offset: int = 0, memory: int = 0) -> str:
    return f"{f' {memory}' if memory else ''}{f' offset={offset}' if offset else ''} align={1 << align}"


def _immediate(kind: str, value: Any) -> str:
    if kind == "block":
        return _signature(value).lstrip()
    if kind == "labels":
        return " ".join(map(str, value))
    if kind == "types":
        return _type_list("result", value).lstrip()
    if kind == "heap":
        return "func" if value is ValueType.FUNCREF else "extern"
    if kind in ("f32", "f64"):
        return _float(kind, value)
    if kind == "v128":
        return "i8x16 " + " ".join(map(str, value))
    return str(value)


def _float(kind: str, bits: int) -> str:
    """A float's bits as a literal that gives the same bits back."""
    width, fraction = _FLOAT_SHAPES[kind]
    ones = (1 << (width - 1 - fraction)) - 1
    if (bits >> fraction) & ones == ones:
        payload = bits & ((1 << fraction) - 1)
        return ("-" if bits >> (width - 1) else "") + (f"nan:{payload:#x}" if payload else "inf")
    data = bits.to_bytes(width // 8, "little")
    value: float = struct.unpack("<f" if width == 32 else "<d", data)[0]
    return value.hex()
