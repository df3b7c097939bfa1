"""The parts of a module as records, which the builder fills and the two formats are written from.

Core specification, section 2 (structure).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..types import ExternKind, ExternType, FunctionType, GlobalType, MemoryType, TableType, ValueType

__all__ = ["Export", "Function", "Import", "Instruction", "Parts", "Segment"]

Instruction = tuple[Any, ...]
"""The name of an instruction and its immediates."""


@dataclass(frozen=True)
class Import:
    """One import."""

    module: str
    field: str
    kind: ExternKind
    type: ExternType


@dataclass(frozen=True)
class Export:
    """One export."""

    name: str
    kind: ExternKind
    index: int


@dataclass(frozen=True)
class Function:
    """One function that the module defines."""

    type: FunctionType
    body: tuple[Instruction, ...]
    locals: tuple[ValueType, ...] = ()
    name: str | None = None


@dataclass(frozen=True)
class Segment:
    """What is put into the table or memory `index` when the module is instantiated: function indices, or bytes."""

    index: int
    offset: Instruction
    content: Any


class Parts:
    """All that a module consists of, in the order of its index spaces."""

    def __init__(self) -> None:
        self.types: list[FunctionType] = []
        self.imports: list[Import] = []
        self.functions: list[Function] = []
        self.tables: list[TableType] = []
        self.memories: list[MemoryType] = []
        self.globals: list[tuple[GlobalType, Instruction]] = []
        self.exports: list[Export] = []
        self.element_segments: list[Segment] = []
        self.data_segments: list[Segment] = []
        self.declared: list[int] = []
        self.start_function: int | None = None

    def type(self, type: FunctionType) -> int:
        """The index of a function type, added if it is new."""
        if type not in self.types:
            self.types.append(type)
        return self.types.index(type)

    def imported(self, kind: ExternKind) -> int:
        """How many imports of a kind there are: the index of the first definition of that kind."""
        return sum(item.kind is kind for item in self.imports)
