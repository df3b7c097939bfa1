"""Signatures and short forms for tests of instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pywasmrt import (
    ExternKind,
    FunctionType,
    GlobalType,
    MemoryType,
    Runtime,
    TableType,
    ValueType,
)
from pywasmrt.testing import Module, const

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
FUNCREF, EXTERNREF = ValueType.FUNCREF, ValueType.EXTERNREF
NOTHING = FunctionType()
UNARY = FunctionType((I32,), (I32,))
BINARY = FunctionType((I32, I32), (I32,))
Needs = Callable[..., None]


def instantiate(runtime: Runtime, guest: Module, *imports: Any, **kwargs: Any) -> Any:
    return runtime.instantiate(runtime.compile(guest.encode()), *imports, **kwargs)


def everything() -> Module:
    guest = Module()
    guest.import_("env", "f", FunctionType((I32, F64), (I64,)))
    guest.import_("env", "m", MemoryType(1, 2))
    guest.import_("other", "t", TableType(FUNCREF, 1, 10))
    guest.import_("other", "g", GlobalType(I64, True))
    guest.import_("", "", NOTHING)
    guest.function(BINARY, [("local.get", 0)], export="run")
    guest.global_(GlobalType(F32), const(F32, 1.5), export="pi")
    guest.table(TableType(EXTERNREF, 2), export="objects")
    guest.export("memory", ExternKind.MEMORY, 0)
    guest.export("ü", ExternKind.FUNCTION, 0)
    return guest


def using(field: str = "f", type: FunctionType = UNARY) -> Module:
    guest = Module()
    guest.import_("env", field, type)
    guest.function(type, [*(("local.get", n) for n in range(len(type.params))), ("call", 0)], export="run")
    return guest
