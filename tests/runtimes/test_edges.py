"""Odd moments: the collector, destructors, forks, small stacks and lack of memory, in the middle of something else."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import pywasmrt
from pywasmrt import (
    Caller,
    FunctionType,
    GlobalType,
    Limits,
    MemoryType,
    ModuleInstantiateError,
    Runtime,
    TableType,
    Trap,
    ValueType,
    WasmError,
)
from pywasmrt.testing import Module, guests

I32, V128, EXTERNREF = ValueType.I32, ValueType.V128, ValueType.EXTERNREF

Needs = Callable[..., None]
TIMEOUT = 60  # seconds until a child that hangs is given up


def in_child(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, as it may end badly."""
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", script, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def run_in_child(script: str, *args: str) -> None:
    done = in_child(script, *args)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def native(runtime: Runtime) -> Runtime:
    """Wasmtime in C, known by what it alone can do; for what is Python's own matter elsewhere."""
    if "trap-lines" not in runtime.info.features:
        pytest.skip(f"{runtime.info.name} is not Wasmtime in C")
    return runtime


# --- the collector and destructors -----------------------------------------------------------------------------------


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


def test_the_destructor_of_what_a_guest_held_may_use_the_store(runtime: Runtime) -> None:
    """The engine says that an object is not held any more while it collects, when nobody may use the store."""
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
    needs("threads")
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
        if name == "type_codes" and not closed_in:  # the function after the memory is being made
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


# --- traps -----------------------------------------------------------------------------------------------------------


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


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        bytearray(16),
        memoryview(bytes(32))[::2],
        memoryview(bytes(16)).cast("I"),
        memoryview(bytes(16)).cast("B", (4, 4)),
    ],
    ids=["bytearray", "gaps", "words", "matrix"],
)
def test_a_v128_comes_from_any_buffer_of_16_bytes(runtime: Runtime, needs: Needs, value: Any) -> None:
    needs("simd")
    guest = guests.passthrough(FunctionType((V128,), (V128,)))
    instance: Any = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": lambda x: value}})
    assert instance.exports.direct(value) == bytes(16)
    store = runtime.new_store()
    assert store.global_(V128, value).value == bytes(16)


GUESTS_OWN = """
(module
  (import "env" "f" (func $f (param externref) (result externref)))
  (global (export "g") externref (extern.convert_any (ref.i31 (i32.const 5))))
  (table (export "t") 1 externref (extern.convert_any (ref.i31 (i32.const 5))))
  (func (export "result") (result externref) (extern.convert_any (ref.i31 (i32.const 5))))
  (func (export "results") (param externref) (result externref externref)
    (local.get 0) (extern.convert_any (ref.i31 (i32.const 5))))
  (func (export "argument") (result externref) (call $f (extern.convert_any (ref.i31 (i32.const 5))))))
"""


def test_a_reference_of_the_guests_own_is_refused_not_read_as_none(native: Runtime) -> None:
    """The package behind the fallback cannot tell the two apart."""
    with pywasmrt.new_runtime(native.info.name) as runtime:
        called: list[object] = []
        instance: Any = runtime.instantiate(runtime.compile(GUESTS_OWN), {"env": {"f": called.append}})
        exports = instance.exports
        counts = sys.getrefcount(called)
        uses: list[Callable[[], Any]] = [
            exports.result,
            exports.argument,
            lambda: exports.results(called),
            lambda: exports.g.value,
            lambda: exports.t[0],
        ]
        for use in uses:
            with pytest.raises(TypeError, match=r"reference of the guest's own"):
                use()
        assert called == []
        instance.close()
        assert sys.getrefcount(called) <= counts


def test_no_room_for_references_is_no_error_of_instantiating(runtime: Runtime) -> None:
    guest = guests.passthrough(FunctionType((EXTERNREF,), (EXTERNREF,)))
    with runtime.instantiate(
        runtime.compile(guest.encode()), {"env": {"f": lambda x: x}}, limits=Limits(memory_bytes=0)
    ) as instance:
        exports: Any = instance.exports
        try:
            found = exports.direct(runtime)
        except ModuleInstantiateError:
            raise
        except WasmError:
            found = runtime  # an engine that does not count what it needs for references passes it
        assert found is runtime
        assert exports.direct(None) is None


def test_a_caller_has_nothing_of_an_odd_name(runtime: Runtime) -> None:
    found: list[object] = []

    def f(caller: Caller, x: int) -> int:
        for ask in (caller.function, caller.global_, caller.table):
            found.append(ask("no such name"))
            for name in (5, None, b"direct"):
                wrong: Any = name
                with pytest.raises(TypeError, match=r"^an export is asked for by its name, a str, not "):
                    ask(wrong)
        return x

    guest = guests.passthrough(FunctionType((I32,), (I32,)))
    instance: Any = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": f}})
    assert instance.exports.direct(1) == 1
    assert found == [None, None, None]


# --- threads, forks, memory ------------------------------------------------------------------------------------------

STACKS = """
import sys, threading, pywasmrt
from pywasmrt.testing import guests

runtime = pywasmrt.new_runtime(sys.argv[1])
instance = runtime.instantiate(runtime.compile('''(module
  (func $deep (export "deep") (result i32) (i32.add (i32.const 1) (call $deep)))
  (func (export "nothing")))'''))
names, stop, met = set(), threading.Event(), threading.Event()

def start(kib, function):
    threading.stack_size(kib << 10)
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread

def large():
    names.add(threading.get_ident())
    instance.exports.nothing()

def small(done):
    if threading.get_ident() in names:  # the place of a thread that had more
        met.set()
        try:
            instance.exports.deep()
        except pywasmrt.Trap as trap:
            assert trap.code is pywasmrt.TrapCode.STACK_OVERFLOW
    done.set()
    stop.wait()

for _ in range(12):
    start(65536, large).join()
    for _ in range(2):  # after which the C library gives the large stack back
        start(1024, int).join()
    for _ in range(8):
        done = threading.Event()
        start(192, lambda: small(done))
        assert done.wait(30)
        if met.is_set():
            break
"""


def test_a_thread_in_the_place_of_one_with_more_stack_keeps_within_its_own(native: Runtime) -> None:
    run_in_child(STACKS, native.info.name)


FORK = """
import os, sys, pywasmrt
from pywasmrt import registry
from pywasmrt.testing import guests

runtime = pywasmrt.new_runtime(sys.argv[1])
guest = guests.passthrough(pywasmrt.FunctionType()).encode()
runtime.compile(guests.arithmetic().encode())
registry._lock.acquire()  # as a thread may hold it at this moment
child = os.fork()
if child == 0:
    status = 1
    try:
        with runtime if sys.argv[2] == "inherited" else pywasmrt.new_runtime(sys.argv[1]) as compiler:
            compiler.validate(guest)
            module = compiler.compile(guest)
            called = []
            host = {"env": {"f": lambda: called.append(1)}}
            compiler.instantiate(module, host).exports.nested(3)
            blob = module.serialize()
            compiler.instantiate(compiler.deserialize(blob), host).exports.direct()
            status = 0 if called == [1, 1] else 2
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("which", ["inherited", "new"])
def test_the_child_of_a_fork_compiles(runtime: Runtime, needs: Needs, which: str) -> None:
    """Though the threads that its parent compiles on are not there."""
    needs("serialize")
    run_in_child(FORK, runtime.info.name, which)


NO_MEMORY = """
import sys
import _testcapi, pywasmrt
from pywasmrt import Caller, ValueType

runtime = pywasmrt.new_runtime(sys.argv[1])
module = runtime.compile('''(module
  (import "env" "f" (func $f (param externref i32) (result i64 externref)))
  (import "env" "g" (func $g (param i64)))
  (memory (export "memory") 1 4)
  (global (export "global") (mut externref) (ref.null extern))
  (table (export "table") 3 20 externref)
  (func (export "mix") (param externref i32 f64 v128) (result externref i64 v128)
    (local.get 0) (i64.const -1) (local.get 3))
  (func (export "host") (param externref) (result externref)
    (call $g (i64.const 99999999999)) (call $f (local.get 0) (i32.const 3)) (local.set 0) (drop) (local.get 0))
  (func (export "trap") unreachable)
  (func (export "long") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
    (result i64 i64) (i64.const 1) (i64.const 9999999999)))''')

def g(caller: Caller, x):
    caller.memory().read(0, 3)
    caller.function("mix")

imports = {"env": {"f": lambda o, x: [1 << 40, o], "g": g}}
it = runtime.instantiate(module, imports).exports
store = runtime.new_store()
uses = [
    lambda: it.mix(object(), 1, 2.0, bytes(16)), lambda: it.mix(1), lambda: it.host([1]), lambda: it.trap(),
    lambda: it.long(*[1] * 18), lambda: it.long.call(*[1] * 18), lambda: it.long.call(1),
    lambda: it.memory.read(0, 100), lambda: it.memory.read(70000, 1), lambda: memoryview(it.memory).release(),
    lambda: it.memory.type, lambda: it.memory.grow(9), lambda: repr(it.memory),
    lambda: it.global_.value, lambda: it.table[0], lambda: it.table.__setitem__(0, {}),
    lambda: len(it.table) < 19 and it.table.grow(1, [1]), lambda: runtime.instantiate(module, imports).close(),
    lambda: store.memory(1, 2), lambda: store.table(1, 2, ValueType.EXTERNREF, [1]),
    lambda: store.global_(ValueType.EXTERNREF, [1]), lambda: runtime.new_store().close(),
]
for use in uses:
    for n in range(60):
        try:
            _testcapi.set_nomemory(n, n + 1)
            try:
                use()
            finally:
                _testcapi.remove_mem_hooks()
        except BaseException:
            pass
assert it.mix(3, 1, 2, bytes(16)) == (3, -1, bytes(16))
"""


def test_lack_of_memory_anywhere_is_an_error(native: Runtime) -> None:
    pytest.importorskip("_testcapi")
    if sys.version_info >= (3, 13):
        pytest.skip("CPython itself ends in a fault here, in a generator of its own")
    if "sanitize" in os.environ.get("LD_PRELOAD", "") or "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the sanitizer has an allocator of its own")
    run_in_child(NO_MEMORY, native.info.name)
