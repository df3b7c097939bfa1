"""WebAssembly modules as Python data: built part by part, encoded to bytes, printed as text.

    module = Module()
    int_to_int = FunctionType((ValueType.I32,), (ValueType.I32,))
    module.function(int_to_int, [("local.get", 0), ("i32.const", 2), ("i32.mul",)], export="double")
    module.encode()  # the binary format
    module.wat()     # the text format

An instruction is a tuple of its name and its immediates, as `opcodes` lists them; `block`, `loop` and `if` are closed
by `("end",)`, and the `end` of a function is added. Nothing is validated: an invalid module gives invalid bytes,
which tests need too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from ..types import ExternKind, ExternType, FunctionType, GlobalType, MemoryType, TableType, ValueType
from . import encoding, printing
from .floats import f32_bits
from .syntax import Export, Function, Import, Instruction, Parts, Segment

__all__ = ["Export", "Function", "Import", "Instruction", "Module", "Segment", "const"]


def const(type: ValueType, value: Any) -> Instruction:
    """The instruction that pushes `value`: an int, a float, 16 bytes, or None for a null reference.

    A float is rounded to `type`; to give a float's exact bits write `("f32.const", bits)` or `("f64.const", bits)`.
    """
    if type in (ValueType.FUNCREF, ValueType.EXTERNREF):
        return ("ref.null", type)
    if type is ValueType.F32:
        return ("f32.const", f32_bits(value))
    if type is ValueType.F64:
        return ("f64.const", struct.unpack("<Q", struct.pack("<d", value))[0])
    return (f"{type}.const", value)


class Module(Parts):
    """A module under construction. Each method adds one part and returns its index.

    Imports come before the definitions of their kind, since the index space begins with them: an import that comes
    later raises `ValueError`.
    """

    def __repr__(self) -> str:
        """The text format, for the messages of failing tests."""
        return self.wat().rstrip()

    def encode(self) -> bytes:
        """The module in the binary format."""
        return encoding.encode(self)

    def wat(self) -> str:
        """The module in the text format."""
        self.encode()  # numbers the types that only function bodies mention
        return printing.wat(self)

    def import_(self, module: str, field: str, type: ExternType, *, export: str | None = None) -> int:
        """Import a function, memory, table or global, as `type` says."""
        kind, defined = self._space(type)
        if defined:
            raise ValueError(f"import {module}.{field} comes after a {kind} defined in the module; add imports first")
        if isinstance(type, FunctionType):
            self.type(type)
        self.imports.append(Import(module, field, kind, type))
        return self._added(kind, 0, export)

    def function(
        self,
        type: FunctionType,
        body: Iterable[Instruction],
        *,
        locals: Iterable[ValueType] = (),
        export: str | None = None,
        name: str | None = None,
    ) -> int:
        """Define a function. `name` goes into the name section; `locals` follow the parameters in the index space."""
        self.type(type)
        self.functions.append(Function(type, tuple(body), tuple(locals), name))
        return self._added(ExternKind.FUNCTION, len(self.functions), export)

    def memory(self, type: MemoryType, *, export: str | None = None) -> int:
        """Define a memory."""
        self.memories.append(type)
        return self._added(ExternKind.MEMORY, len(self.memories), export)

    def table(self, type: TableType, *, export: str | None = None) -> int:
        """Define a table, filled with null."""
        self.tables.append(type)
        return self._added(ExternKind.TABLE, len(self.tables), export)

    def global_(self, type: GlobalType, initial: Instruction, *, export: str | None = None) -> int:
        """Define a global that holds what the constant instruction `initial` gives."""
        self.globals.append((type, initial))
        return self._added(ExternKind.GLOBAL, len(self.globals), export)

    def elements(self, functions: Sequence[int], *, offset: int = 0, table: int = 0) -> int:
        """Fill a table with functions when the module is instantiated."""
        self.element_segments.append(Segment(table, ("i32.const", offset), tuple(functions)))
        return len(self.element_segments) - 1

    def data(self, content: bytes, *, offset: int = 0, memory: int = 0) -> int:
        """Fill a memory with bytes when the module is instantiated."""
        memories: list[Any] = [item.type for item in self.imports if item.kind is ExternKind.MEMORY]
        memories += self.memories
        wide = memory < len(memories) and memories[memory].is_64
        self.data_segments.append(Segment(memory, ("i64.const" if wide else "i32.const", offset), content))
        return len(self.data_segments) - 1

    def export(self, name: str, kind: ExternKind, index: int) -> None:
        """Export a part under a name."""
        self.exports.append(Export(name, kind, index))

    def start(self, function: int) -> None:
        """Run this function when the module is instantiated."""
        self.start_function = function

    def declare(self, *functions: int) -> None:
        """Declare functions that `ref.func` mentions and that nothing else names outside of function bodies."""
        self.declared.extend(functions)

    def _space(self, type: ExternType) -> tuple[ExternKind, int]:
        if isinstance(type, FunctionType):
            return ExternKind.FUNCTION, len(self.functions)
        if isinstance(type, MemoryType):
            return ExternKind.MEMORY, len(self.memories)
        if isinstance(type, TableType):
            return ExternKind.TABLE, len(self.tables)
        return ExternKind.GLOBAL, len(self.globals)

    def _added(self, kind: ExternKind, defined: int, export: str | None) -> int:
        index = self.imported(kind) + defined - 1
        if export is not None:
            self.export(export, kind, index)
        return index
