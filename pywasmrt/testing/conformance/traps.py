"""Traps: each has its code, and the instance goes on."""

from __future__ import annotations

from ...errors import Trap
from ...types import FunctionType, TrapCode, ValueType
from ...wasm.module import Module
from .. import guests
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("traps")

_I32 = ValueType.I32


def _simple() -> Module:
    """A guest with the traps that need no feature."""
    guest = Module()
    for code in (
        TrapCode.UNREACHABLE,
        TrapCode.INTEGER_DIVISION_BY_ZERO,
        TrapCode.INTEGER_OVERFLOW,
        TrapCode.BAD_CONVERSION_TO_INTEGER,
    ):
        body = guests.TRAP_BODIES[code]
        index = guest.function(FunctionType(), body, export=code.value, name=code.value)
        guest.function(FunctionType(), [("call", index)], export=f"via_{code.value}", name=f"via_{code.value}")
    guest.function(FunctionType((), (_I32,)), [("i32.const", 5)], export="fine")
    return guest


@PART
def traps_have_their_codes(subject: Subject) -> None:
    exports = subject.instance(_simple()).exports
    for name in exports:
        if name != "fine":
            trap = expect(Trap, name, exports[name])
            equal(trap.code.value, name.removeprefix("via_"), f"the code of the trap {name}")
            require(str(trap), f"the trap {name} has no message")
            equal(exports.fine(), 5, f"another function, after the trap {name}")


@PART.needs("reference-types")
def every_trap_has_its_code(subject: Subject) -> None:
    exports = subject.instance(guests.traps()).exports
    known_by_others: dict[TrapCode, TrapCode] = {}
    if "trap-null-element" not in subject.runtime.info.features:
        known_by_others[TrapCode.INDIRECT_CALL_TO_NULL] = TrapCode.TABLE_OUT_OF_BOUNDS
    for code in guests.TRAP_BODIES:
        for name in (code.value, f"via_{code.value}"):
            trap = expect(Trap, name, exports[name])
            equal(trap.code, known_by_others.get(code, code), f"the code of the trap {name}")


@PART
def endless_recursion_is_a_trap(subject: Subject) -> None:
    exports = subject.instance(guests.recursion()).exports
    for _ in range(2):
        trap = expect(Trap, "recursion without end", exports.forever)
        equal(trap.code, TrapCode.STACK_OVERFLOW, "the code of recursion without end")
        equal(exports.deep(50), 50, "recursion with an end")


@PART.needs("trap-frames")
def a_trap_tells_its_frames(subject: Subject) -> None:
    exports = subject.instance(_simple()).exports
    trap = expect(Trap, "via_unreachable", exports.via_unreachable)
    equal([frame.func_name for frame in trap.frames], ["unreachable", "via_unreachable"], "the functions of the frames")
    equal([frame.func_index for frame in trap.frames], [0, 1], "the indices of the frames")
