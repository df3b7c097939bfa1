"""Traps: codes, messages and frames, and what goes on after them."""

from __future__ import annotations

import gc

import pytest
from helpers.host_calls import NOTHING, Needs, around, instantiate

import pywasmrt
from pywasmrt import (
    Frame,
    Runtime,
    Trap,
    TrapCode,
)
from pywasmrt.testing import Module, guests

MESSAGES = {
    TrapCode.UNREACHABLE: "unreachable",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "out of bounds memory access",
    TrapCode.INTEGER_DIVISION_BY_ZERO: "integer divide by zero",
    TrapCode.INTEGER_OVERFLOW: "integer overflow",
    TrapCode.BAD_CONVERSION_TO_INTEGER: "invalid conversion to integer",
    TrapCode.TABLE_OUT_OF_BOUNDS: "out of bounds",
    TrapCode.INDIRECT_CALL_TO_NULL: "uninitialized element",
    TrapCode.BAD_SIGNATURE: "indirect call type mismatch",
    TrapCode.STACK_OVERFLOW: "call stack exhausted",
}


@pytest.mark.parametrize("code", guests.TRAP_BODIES, ids=str)
def test_a_trap_has_a_code_and_a_message(runtime: Runtime, needs: Needs, code: TrapCode) -> None:
    if code is TrapCode.INDIRECT_CALL_TO_NULL:
        needs("trap-null-element")
    instance = instantiate(runtime, guests.traps())
    for call in (instance.exports[code.value], instance.exports[code.value].call):
        with pytest.raises(Trap, match=MESSAGES[code]) as caught:
            call()
        assert caught.value.code is code
        assert caught.value.message in str(caught.value)
        assert isinstance(caught.value, pywasmrt.WasmError)
    assert instance.memory().size == 65536


@pytest.mark.parametrize("code", [code for code in guests.TRAP_BODIES if code is not TrapCode.STACK_OVERFLOW], ids=str)
def test_a_trap_tells_its_frames(runtime: Runtime, needs: Needs, code: TrapCode) -> None:
    needs("trap-frames")
    guest = guests.traps()
    with pytest.raises(Trap) as caught:
        instantiate(runtime, guest).exports[f"via_{code.value}"]()
    frames = caught.value.frames
    assert [frame.func_name for frame in frames] == [code.value, f"via_{code.value}"]
    assert [frame.func_index for frame in frames] == index_of(guest, code.value, f"via_{code.value}")
    data = guest.encode()
    for frame in frames:
        assert isinstance(frame, Frame)
        if "trap-offsets" not in runtime.info.features:
            assert frame.func_offset is frame.module_offset is None
            continue
        assert frame.func_offset is not None
        assert frame.module_offset is not None
        # 0 is the function itself: there an engine may have put the check that lets a guest be stopped.
        assert 0 <= frame.func_offset < frame.module_offset < len(data)
        assert f"{frame.func_name} at 0x{frame.module_offset:x}" in str(caught.value)
        assert frame.file is None
    if "trap-offsets" in runtime.info.features:
        assert data[frames[1].module_offset or 0] == 0x10  # the call instruction


def index_of(guest: Module, *names: str) -> list[int]:
    by_name = {function.name: n for n, function in enumerate(guest.functions)}
    return [by_name[name] for name in names]


def test_a_function_without_a_name_has_its_index(runtime: Runtime, needs: Needs) -> None:
    needs("trap-frames")
    guest = Module()
    guest.import_("env", "f", NOTHING)
    guest.function(NOTHING, [("unreachable",)], export="exported")
    with pytest.raises(Trap) as caught:
        instantiate(runtime, guest, {"env": {"f": lambda: None}}).exports.exported()
    (frame,) = caught.value.frames
    assert (frame.func_index, frame.func_name) == (1, None)
    where = " at 0x" if "trap-offsets" in runtime.info.features else ""
    assert f"<function 1>{where}" in str(caught.value)


def test_a_trap_passes_through_host_functions(runtime: Runtime) -> None:
    """An inner call's trap is raised in the host function, which may let it go on as the outer call's exception."""
    inner = instantiate(runtime, guests.traps())
    caught_inside: list[Trap] = []

    def f() -> None:
        try:
            inner.exports.unreachable()
        except Trap as trap:
            caught_inside.append(trap)
            raise

    outer = around(runtime, NOTHING, f)
    with pytest.raises(Trap) as caught:
        outer.exports.nested(3)
    assert caught.value is caught_inside[0]
    assert caught.value.code is TrapCode.UNREACHABLE


def test_a_trap_after_a_host_call_is_a_trap(runtime: Runtime) -> None:
    guest = Module()
    guest.import_("env", "f", NOTHING)
    guest.function(NOTHING, [("call", 0), ("unreachable",)], export="run")

    def f() -> None:
        with pytest.raises(ZeroDivisionError):
            raise ZeroDivisionError

    with pytest.raises(Trap) as caught:
        instantiate(runtime, guest, {"env": {"f": f}}).exports.run()
    assert caught.value.code is TrapCode.UNREACHABLE
    assert caught.value.__context__ is None


def test_after_a_trap_the_instance_goes_on(runtime: Runtime) -> None:
    instance = instantiate(runtime, guests.traps())
    for _ in range(3):
        for code in guests.TRAP_BODIES:
            with pytest.raises(Trap):
                instance.exports[f"via_{code.value}"]()
    assert instance.memory().read(0, 1) == b"\0"


def test_the_stack_is_there_again_after_an_overflow(runtime: Runtime) -> None:
    instance = instantiate(runtime, guests.recursion())
    for _ in range(3):
        with pytest.raises(Trap) as caught:
            instance.exports.forever()
        assert caught.value.code is TrapCode.STACK_OVERFLOW
        assert len(caught.value.frames) < 200
        assert instance.exports.deep(500) == 500


def test_a_trap_outlives_its_runtime(runtime: Runtime) -> None:
    with pywasmrt.new_runtime(runtime.info.name) as own, pytest.raises(Trap) as caught:
        instantiate(own, guests.traps()).exports.unreachable()
    del own
    gc.collect()
    assert "unreachable" in str(caught.value)
    assert caught.value.code is TrapCode.UNREACHABLE
