"""A guest for tests of linked modules."""

from __future__ import annotations

from helpers.instances import UNARY
from pywasmrt import (
    FunctionType,
    MemoryType,
)
from pywasmrt.wasm.module import Module


def caller_of(count: int, *, type: FunctionType = UNARY, start: bool = False) -> bytes:
    """A guest that imports env.f0 to env.f<count-1> and has run0 to run<count-1> call them."""
    guest = Module()
    for n in range(count):
        guest.import_("env", f"f{n}", type)
    guest.memory(MemoryType(1), export="memory")
    for n in range(count):
        guest.function(type, [*[("local.get", at) for at in range(len(type.params))], ("call", n)], export=f"run{n}")
    if start:
        guest.start(guest.function(FunctionType(), [("i32.const", 1), ("call", 0), ("drop",)]))
    return guest.encode()
