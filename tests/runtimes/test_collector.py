"""The garbage collector, destructors, and traps that outlive what made them."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref
from typing import Any

import pytest
from helpers.children import EXTERNREF, I32, Needs, run_in_child

import pywasmrt
from pywasmrt import (
    FunctionType,
    GlobalType,
    MemoryType,
    Runtime,
    TableType,
    Trap,
)
from pywasmrt.testing import Module, guests


def test_the_collector_sees_only_whole_functions(native: Runtime) -> None:
    """A callback of the collector, as a leak finder installs, looks at everything there is."""
    guest = Module()
    for n in range(12):  # each signature is another, so that each is made anew
        body = [("local.get", 0)] if n else [("i32.const", 0)]
        guest.function(FunctionType((I32,) * n, (I32,)), body, export=f"f{n}")
    instance = native.instantiate(native.compile(guest.encode()))
    kind = type(instance.exports.f0)
    seen = []

    def look(phase: str, info: object) -> None:
        if phase == "start":
            seen.extend([repr(each) + str(each.type) for each in gc.get_objects() if type(each) is kind])

    before = gc.get_threshold()
    gc.callbacks.append(look)
    gc.set_threshold(1)
    try:
        for n in range(12):
            instance.exports[f"f{n}"]
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(look)
    assert seen


def test_a_result_whose_destructor_calls_again_does_not_leak(runtime: Runtime) -> None:
    living = 0
    again = 0

    class Loud(int):
        def __new__(cls) -> Loud:
            nonlocal living
            living += 1
            return super().__new__(cls, 7)

        def __del__(self) -> None:
            nonlocal living, again
            living -= 1
            if again:
                again -= 1
                assert instance.exports.direct() == (7, None)

    guest = guests.passthrough(FunctionType((), (I32, EXTERNREF)))
    instance: Any = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": lambda: [Loud(), None]}})
    for _ in range(50):
        again = 1
        assert instance.exports.direct() == (7, None)
    again = 0
    instance.close()
    assert living == 0


CHAIN = """
import sys, threading, pywasmrt
from pywasmrt.testing import Module

guest = Module()
objects = pywasmrt.ValueType.EXTERNREF
guest.global_(pywasmrt.GlobalType(objects, True), ("ref.null", objects), export="next")
guest.function(pywasmrt.FunctionType(), [], export="f")
runtime = pywasmrt.new_runtime(sys.argv[1])
module = runtime.compile(guest.encode())
last = [None]
for _ in range(6000):
    instance = runtime.instantiate(module)
    instance.exports.next.value = last[0]
    last[0] = instance.exports.f
del instance
# Since 3.13 CPython itself goes as deep as a stack of the usual size allows.
threading.stack_size((256 if sys.version_info < (3, 13) else 8192) << 10)
thread = threading.Thread(target=last.clear)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("where", ["global", "table", "argument", "result"])
def test_a_cycle_through_an_externref_is_collected(runtime: Runtime, where: str) -> None:
    class Holder:
        instance: Any

    guest = guests.passthrough(FunctionType((EXTERNREF,), (EXTERNREF,)))
    guest.global_(GlobalType(EXTERNREF, True), ("ref.null", EXTERNREF), export="global")
    guest.table(TableType(EXTERNREF, 1, 1), export="objects")
    module = runtime.compile(guest.encode())

    def build() -> weakref.ref[Holder]:
        holder = Holder()
        made = [holder]
        instance = holder.instance = runtime.instantiate(module, {"env": {"f": lambda x: made[0]}})
        if where == "global":
            instance.exports["global"].value = holder
        elif where == "table":
            instance.exports.objects[0] = holder
        else:
            assert instance.exports.direct(holder if where == "argument" else None) is holder
        return weakref.ref(holder)

    reference = build()
    gc.collect()
    assert reference() is None


def test_the_destructor_of_what_a_guest_held_may_use_the_store(runtime: Runtime, needs: Needs) -> None:
    """The engine says that an object is not held any more while it collects, when nobody may use the store."""
    needs("externref-release")
    guest = guests.passthrough(FunctionType((EXTERNREF,), (EXTERNREF,)))
    instance: Any = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": lambda x: x}})
    ended = 0

    class Busy:
        def __del__(self) -> None:
            nonlocal ended
            thing = object()
            assert instance.exports.direct(thing) is thing
            ended += 1

    for _ in range(6000):
        instance.exports.direct(Busy())
    for _ in range(6000):
        instance.exports.direct(object())
    assert ended


def test_exports_are_not_copied(runtime: Runtime) -> None:
    guest = guests.passthrough(FunctionType())
    instance = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": lambda: None}})
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"cannot be copied or pickled"):
            attempt(instance.exports)


def test_stores_that_hold_one_another_die_without_deep_recursion(runtime: Runtime, needs: Needs) -> None:
    needs("reference-types")
    run_in_child(CHAIN, runtime.info.name)


def test_a_shared_memory_is_held_while_it_is_linked(runtime: Runtime, needs: Needs) -> None:
    """Its store is closed by somebody else between the check and the use."""
    needs("threads", "memory-sharing")
    guest = Module()
    guest.import_("env", "memory", MemoryType(1, 1, shared=True))
    guest.import_("env", "f", FunctionType((I32,)))
    guest.function(FunctionType((), (I32,)), [("i32.const", 0), ("i32.load", 2, 0)], export="load")
    module = runtime.compile(guest.encode())
    theirs, ours = runtime.new_store(), runtime.new_store()
    memory = theirs.memory(1, 1, shared=True)
    memory.write(0, b"\x2a")
    closed_in: list[str] = []

    def close(phase: str, info: object) -> None:
        name = sys._getframe(1).f_code.co_name
        if name == "_new_instance" and not closed_in:  # what serves the imports was found and prepared
            closed_in.append(name)
            theirs.close()

    before = gc.get_threshold()
    gc.callbacks.append(close)
    gc.set_threshold(1)
    try:
        instance: Any = runtime.instantiate(module, {"env": {"memory": memory, "f": lambda x: None}}, store=ours)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(close)
    assert theirs.closed == bool(closed_in)
    assert instance.exports.load() == 42


def trap_of(runtime: Runtime) -> Trap:
    with runtime.instantiate(runtime.compile(guests.traps().encode())) as instance:
        exports: Any = instance.exports
        # Not `unreachable`: where it is a function's first, Wasmtime tells one of two places, the other after a poll.
        with pytest.raises(Trap) as raised:
            exports.memory_out_of_bounds()
        return raised.value


def test_a_trap_tells_its_frames_when_its_engine_is_gone(runtime: Runtime, needs: Needs) -> None:
    needs("trap-frames")
    with pywasmrt.new_runtime(runtime.info.name) as gone:
        trap = trap_of(gone)
    again = trap_of(runtime)
    assert trap.frames == again.frames
    assert len(trap.frames) == 1
    assert trap.frames is trap.frames
    assert str(trap) == str(again)


def test_a_trap_travels_to_another_process(runtime: Runtime) -> None:
    trap = trap_of(runtime)
    trap.note = "kept"  # type: ignore[attr-defined]
    for copied in (pickle.loads(pickle.dumps(trap)), copy.copy(trap)):
        assert (copied.code, copied.frames, str(copied)) == (trap.code, trap.frames, str(trap))
        assert copied.note == "kept"


@pytest.mark.parametrize(
    "error",
    [
        pywasmrt.Exit(3),
        pywasmrt.ModuleInstantiateError("text", ["a problem"]),
        pywasmrt.UnsupportedFeatureError("text", "simd"),
        pywasmrt.FunctionNotExportedError("text"),
        pywasmrt.DeadlineExceeded("text"),
        pywasmrt.FuelExhausted(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_to_another_process(error: pywasmrt.WasmError) -> None:
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(copied) is type(error)
        assert (str(copied), copied.__dict__) == (str(error), error.__dict__)
