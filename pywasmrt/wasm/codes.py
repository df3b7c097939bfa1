"""The numbers of the binary format: sections, value types and kinds of externs (core specification 3.0, section 5)."""

from __future__ import annotations

from ..types import ExternKind, ValueType

__all__ = [
    "CODE",
    "CUSTOM",
    "DATA",
    "ELEMENT",
    "EXPORT",
    "FUNCTION",
    "GLOBAL",
    "IMPORT",
    "KINDS",
    "MEMORY",
    "START",
    "TABLE",
    "TAG",
    "TYPE",
    "TYPE_CODES",
]

CUSTOM, TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA = range(12)
TAG = 13
"""The sections, in the order of a module but for the last, which stands behind the memories."""

TYPE_CODES = {
    ValueType.I32: 0x7F,
    ValueType.I64: 0x7E,
    ValueType.F32: 0x7D,
    ValueType.F64: 0x7C,
    ValueType.V128: 0x7B,
    ValueType.FUNCREF: 0x70,
    ValueType.EXTERNREF: 0x6F,
    ValueType.ANYREF: 0x6E,
    ValueType.EQREF: 0x6D,
    ValueType.I31REF: 0x6C,
    ValueType.STRUCTREF: 0x6B,
    ValueType.ARRAYREF: 0x6A,
    ValueType.EXNREF: 0x69,
}
"""The value types that can cross into Python."""

KINDS = (ExternKind.FUNCTION, ExternKind.TABLE, ExternKind.MEMORY, ExternKind.GLOBAL, ExternKind.TAG)
"""The kinds of externs, by their number in imports and exports."""
