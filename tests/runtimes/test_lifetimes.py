"""Closing, dropping and sharing, in any order, at any moment, from anywhere: never a crash, never a leak."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import pywasmrt
from pywasmrt import (
    BusyError,
    Caller,
    ClosedError,
    ExternKind,
    FunctionType,
    GlobalType,
    HostModule,
    MemoryType,
    Runtime,
    TableType,
    Trap,
    ValueType,
)
from pywasmrt.testing import Module, guests

I32 = ValueType.I32
EXTERNREF, FUNCREF = ValueType.EXTERNREF, ValueType.FUNCREF
NOTHING = FunctionType()
UNARY = FunctionType((I32,), (I32,))

Needs = Callable[..., None]
TIMEOUT = 30  # seconds until a test that waits for another thread gives up


def guest(runtime: Runtime) -> Module:
    """A guest that passes calls of its import `env.f` through, and exports one thing of each kind."""
    module = guests.passthrough(UNARY)
    module.memory(MemoryType(1, 3), export="memory")
    module.global_(GlobalType(I32, True), ("i32.const", 5), export="counter")
    if "reference-types" in runtime.info.features:
        module.table(TableType(EXTERNREF, 2, 9), export="objects")
    else:  # the one table that there is
        module.tables[0] = TableType(FUNCREF, 2, 9)
        module.export("objects", ExternKind.TABLE, 0)
    return module


def instantiate(runtime: Runtime, function: Callable[..., Any] = lambda x: x, **kwargs: Any) -> Any:
    return runtime.instantiate(runtime.compile(guest(runtime).encode()), {"env": {"f": function}}, **kwargs)


def parts(instance: Any) -> dict[str, Any]:
    return {
        "function": instance.function("direct"),
        "memory": instance.memory(),
        "global": instance.global_("counter"),
        "table": instance.table("objects"),
        "instance": instance,
        "exports": instance.exports,
    }


def set_value(global_: Any) -> None:
    global_.value = 1


def set_item(table: Any) -> None:
    table[0] = None


USES: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("function", "call", lambda it: it(1)),
    ("function", "raw call", lambda it: it.call(1)),
    ("memory", "read", lambda it: it.read(0, 1)),
    ("memory", "read nothing", lambda it: it.read(0, 0)),
    ("memory", "write", lambda it: it.write(0, b"x")),
    ("memory", "grow", lambda it: it.grow(1)),
    ("memory", "size", lambda it: it.size),
    ("memory", "len", len),
    ("global", "get", lambda it: it.value),
    ("global", "set", set_value),
    ("table", "get", lambda it: it[0]),
    ("table", "set", set_item),
    ("table", "len", len),
    ("table", "grow", lambda it: it.grow(1)),
    ("instance", "function", lambda it: it.function("direct")),
    ("instance", "memory", lambda it: it.memory()),
    ("instance", "global", lambda it: it.global_("counter")),
    ("instance", "table", lambda it: it.table("objects")),
    ("instance", "exports", lambda it: it.exports),
    ("instance", "enter", lambda it: it.__enter__()),
    ("exports", "attribute", lambda it: it.nested(1, 1)),
    ("exports", "item", lambda it: it["nested"](1, 1)),
]
STORE_USES: list[tuple[str, Callable[[Any], Any]]] = [
    ("memory", lambda store: store.memory(1)),
    ("table", lambda store: store.table(1)),
    ("global", lambda store: store.global_(I32, 1)),
]


def refusal(use: Callable[[Any], Any], it: Any) -> type[BaseException] | None:
    """The error of a use, which must say what is the matter, or None."""
    try:
        use(it)
    except (ClosedError, BusyError) as error:
        return type(error) if "closed" in str(error) or "another thread" in str(error) else None
    return None


def assert_all_closed(held: dict[str, Any]) -> None:
    for part, name, use in USES:
        if part in held:
            assert refusal(use, held[part]) is ClosedError, f"{name} of {part}"
    if "memory" in held:
        with pytest.raises((ClosedError, BufferError, TypeError, ValueError)):
            memoryview(held["memory"])
    for each in held.values():
        repr(each)


# --- use after close -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["instance", "store", "context", "runtime"])
def test_after_the_close_every_use_is_an_error(fresh_runtime: Runtime, closed: str) -> None:
    module = fresh_runtime.compile(guest(fresh_runtime).encode())
    instance, context = fresh_runtime.instantiate_with_host(module, {"env": {"f": lambda x: x}})
    store = instance.store
    held = parts(instance)
    owners = {"instance": instance, "store": store, "context": context, "runtime": fresh_runtime}
    for _ in range(3):
        owners[closed].close()
        assert owners[closed].closed
    assert instance.closed
    assert store.closed
    assert context.closed
    assert_all_closed(held)
    for _, use in STORE_USES:
        with pytest.raises(ClosedError, match="closed"):
            use(store)
    if closed == "runtime":
        assert module.closed
        for use in (
            lambda: fresh_runtime.compile(guest(fresh_runtime).encode()),
            lambda: fresh_runtime.validate(guest(fresh_runtime).encode()),
            lambda: fresh_runtime.new_store(),
            lambda: fresh_runtime.deserialize(b""),
            lambda: fresh_runtime.instantiate(module),
            lambda: module.serialize(),
            lambda: fresh_runtime.__enter__(),
        ):
            with pytest.raises(ClosedError, match="closed"):
                use()
    else:
        fresh_runtime.instantiate(module, {"env": {"f": lambda x: x}})


def test_closing_a_module_leaves_its_instances(fresh_runtime: Runtime) -> None:
    module = fresh_runtime.compile(guest(fresh_runtime).encode())
    instance = fresh_runtime.instantiate(module, {"env": {"f": lambda x: x + 1}})
    module.close()
    module.close()
    assert module.closed
    assert instance.exports.direct(1) == 2
    assert instance.module is module
    assert instance.table("objects")[1] is None
    with pytest.raises(ClosedError, match="this module was closed"):
        fresh_runtime.instantiate(module, {"env": {"f": lambda x: x}})
    with pytest.raises(ClosedError, match="this module was closed"):
        module.serialize()


def test_closing_one_instance_of_a_common_store_leaves_the_others(runtime: Runtime) -> None:
    store = runtime.new_store()
    shared = store.memory(1)
    first, second = instantiate(runtime, store=store), instantiate(runtime, lambda x: x + 1, store=store)
    held = parts(first)
    first.close()
    assert first.closed
    assert not store.closed
    assert_all_closed(held)
    assert second.exports.nested(5, 41) == 42
    assert shared.size == 65536
    assert instantiate(runtime, store=store).exports.direct(1) == 1
    store.close()
    assert second.closed


def test_what_a_closed_instance_gave_to_others_goes_on(runtime: Runtime) -> None:
    """Closing an instance ends the host's access to it; guests that were linked to it keep what they have."""
    store = runtime.new_store()
    provider = runtime.instantiate(runtime.compile(guests.memories(MemoryType(1)).encode()), store=store)
    user = Module()
    user.import_("lib", "load0", UNARY)
    user.import_("lib", "memory", MemoryType(1), export="memory")
    user.function(UNARY, [("local.get", 0), ("call", 0)], export="load")
    instance = runtime.instantiate(runtime.compile(user.encode()), {"lib": provider}, store=store)
    provider.close()
    instance.memory().write(7, b"\x2a")
    assert instance.exports.load(7) == 42
    with pytest.raises(ClosedError):
        runtime.instantiate(runtime.compile(user.encode()), {"lib": provider}, store=store)


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["runtime", "module", "store", "instance"])), ids="-".join
)
@pytest.mark.parametrize("drop", [False, True], ids=["kept", "dropped"])
def test_closing_in_any_order(runtime: Runtime, order: tuple[str, ...], drop: bool) -> None:
    own = pywasmrt.new_runtime(runtime.info.name)
    module = own.compile(guest(own).encode())
    store = own.new_store()
    instance = own.instantiate(module, {"env": {"f": lambda x: x}}, store=store)
    held = parts(instance)
    owners: dict[str, Any] = {"runtime": own, "module": module, "store": store, "instance": instance}
    del own, module, store, instance
    for name in order:
        owners[name].close()
        if drop:
            del owners[name]
            gc.collect()
    assert_all_closed(held)
    for each in owners.values():
        each.close()


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["runtime", "module", "store", "instance"])), ids="-".join
)
def test_dropping_in_any_order(runtime: Runtime, order: tuple[str, ...]) -> None:
    """What is still held goes on; nothing needs to be closed."""
    own = pywasmrt.new_runtime(runtime.info.name)
    module = own.compile(guest(own).encode())
    store = own.new_store()
    instance = own.instantiate(module, {"env": {"f": lambda x: x + 1}}, store=store)
    function, memory = instance.function("nested"), instance.memory()
    owners: dict[str, Any] = {"runtime": own, "module": module, "store": store, "instance": instance}
    del own, module, store, instance
    for name in order:
        del owners[name]
        gc.collect()
        assert function(3, 41) == 42
        assert memory.size == 65536
    del function
    gc.collect()
    assert memory.read(0, 4) == bytes(4)


def test_every_object_is_a_context_manager(runtime: Runtime) -> None:
    with pywasmrt.new_runtime(runtime.info.name) as own, own.compile(guest(own).encode()) as module:
        instance, context = own.instantiate_with_host(module, {"env": {"f": lambda x: x}})
        with context as entered, instance as same:
            assert entered is context
            assert same is instance
        assert instance.closed
    assert own.closed
    assert module.closed


def test_closing_what_has_many_children(fresh_runtime: Runtime) -> None:
    module = fresh_runtime.compile(guests.arithmetic().encode())
    common = fresh_runtime.new_store()
    held = [fresh_runtime.instantiate(module) for _ in range(700)]
    held += [fresh_runtime.instantiate(module, store=common) for _ in range(700)]
    modules = [fresh_runtime.compile(guests.arithmetic().encode()) for _ in range(200)]
    stores = [fresh_runtime.new_store() for _ in range(700)]
    fresh_runtime.close()
    assert all(each.closed for each in [*held, *modules, *stores])


# --- closing while a call runs ---------------------------------------------------------------------------------------


CLOSERS: dict[str, Callable[[Any], Any]] = {
    "instance": lambda instance: instance.close(),
    "store": lambda instance: instance.store.close(),
    "runtime": lambda instance: instance.store.runtime.close(),
}


@pytest.mark.parametrize("what", CLOSERS)
@pytest.mark.parametrize("name", ["direct", "indirect", "nested", "host"])
def test_closing_from_a_host_function_ends_the_call(runtime: Runtime, what: str, name: str) -> None:
    own = pywasmrt.new_runtime(runtime.info.name)
    after: list[Exception] = []

    def f(x: int) -> int:
        for _ in range(2):
            CLOSERS[what](instance)
        try:
            instance.function("direct")
        except ClosedError as error:
            after.append(error)
        return x

    instance = instantiate(own, f)
    held = parts(instance)
    args = (9, 1) if name == "nested" else (1,)
    function = instance.function(name)
    with pytest.raises(ClosedError, match="closed"):
        function(*args)
    assert len(after) == 1
    assert_all_closed(held)


@pytest.mark.parametrize("what", CLOSERS)
def test_closing_deep_inside_ends_every_call(runtime: Runtime, what: str) -> None:
    own = pywasmrt.new_runtime(runtime.info.name)
    ended = []

    def f(n: int) -> int:
        if n == 0:
            CLOSERS[what](instance)
            return 0
        try:
            return int(nested(3, n - 1))
        except ClosedError:
            ended.append(n)
            raise

    instance = instantiate(own, f)
    nested = instance.function("nested")
    with pytest.raises(ClosedError, match="closed"):
        nested(3, 5)
    assert ended == [1, 2, 3, 4, 5]


def test_a_close_wins_over_swallowing_it(runtime: Runtime) -> None:
    """A host function that goes on as if nothing had happened does not bring the call back to life."""

    def f(n: int) -> int:
        if n == 0:
            instance.close()
            return 0
        try:
            return int(direct(n - 1))
        except ClosedError:
            return n

    instance = instantiate(runtime, f)
    direct = instance.function("direct")
    with pytest.raises(ClosedError):
        direct(3)


def test_an_exception_after_a_close_is_the_exception(runtime: Runtime) -> None:
    def f(x: int) -> int:
        instance.close()
        raise ZeroDivisionError

    instance = instantiate(runtime, f)
    with pytest.raises((ZeroDivisionError, ClosedError)) as caught:
        instance.exports.direct(1)
    if isinstance(caught.value, ClosedError):
        assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_closing_with_the_caller_in_hand(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def f(caller: Caller, x: int) -> int:
        memory = caller.memory()
        instance.close()
        with pytest.raises(ClosedError):
            memory.read(0, 1)
        for use in (caller.memory, lambda: caller.function("direct"), lambda: caller.global_("counter")):
            with pytest.raises(ClosedError):
                use()
        return x

    instance = runtime.instantiate(runtime.compile(guest(runtime).encode()), env)
    with pytest.raises(ClosedError):
        instance.exports.direct(1)


def test_closing_another_store_during_a_call(runtime: Runtime) -> None:
    other = instantiate(runtime)

    def f(x: int) -> int:
        other.close()
        return x + 1

    assert instantiate(runtime, f).exports.direct(1) == 2
    assert other.closed


def test_closing_from_the_start_function(runtime: Runtime) -> None:
    store = runtime.new_store()
    module = runtime.compile(guests.starting([("call", 0)], imports=NOTHING).encode())
    with pytest.raises(ClosedError, match="closed"):
        runtime.instantiate(module, {"env": {"f": store.close}}, store=store)
    assert store.closed


# --- threads ---------------------------------------------------------------------------------------------------------


class Inside:
    """A call that stands still inside a host function, on a thread of its own, until it is let go."""

    def __init__(self, runtime: Runtime) -> None:
        self.entered, self.release = threading.Event(), threading.Event()
        self.outcome: Any = None
        self.instance = instantiate(runtime, self._wait)
        self._thread = threading.Thread(target=self._run, args=(self.instance.function("nested"),))

    def _wait(self, x: int) -> int:
        self.entered.set()
        assert self.release.wait(TIMEOUT)
        return x

    def _run(self, function: Any) -> None:
        try:
            self.outcome = function(3, 42)
        except BaseException as error:
            self.outcome = error

    def __enter__(self) -> Inside:
        self._thread.start()
        assert self.entered.wait(TIMEOUT)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release.set()
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()


def test_a_second_thread_is_told_that_the_store_is_busy(runtime: Runtime) -> None:
    inside = Inside(runtime)
    held = parts(inside.instance)
    store = inside.instance.store
    made = store.memory(1), store.global_(I32, 1, mutable=True), store.table(1)
    objects = {**held, "made memory": made[0]}
    with inside:
        for part, name, use in USES:
            if part in ("instance", "exports"):
                continue
            assert refusal(use, objects[part]) is BusyError, f"{name} of {part}"
        for use in (
            lambda: made[0].read(0, 1),
            lambda: made[1].value,
            lambda: len(made[2]),
            lambda: store.memory(1),
            lambda: store.table(1),
            lambda: store.global_(I32, 1),
            lambda: instantiate(runtime, store=store),
        ):
            with pytest.raises(BusyError, match="another thread"):
                use()
        # what needs no engine, and other stores, are free
        assert inside.instance.function("direct").type == UNARY
        assert not inside.instance.closed
        assert instantiate(runtime).exports.direct(5) == 5
        runtime.compile(guest(runtime).encode())
        inside.instance.module.serialize()
    assert inside.outcome == 42
    assert held["function"].type == UNARY
    assert made[1].value == 1


@pytest.mark.parametrize("what", CLOSERS)
def test_closing_from_another_thread_ends_the_call(runtime: Runtime, what: str) -> None:
    own = pywasmrt.new_runtime(runtime.info.name)
    inside = Inside(own)
    held = parts(inside.instance)
    with inside:
        CLOSERS[what](inside.instance)
        assert inside.instance.closed
        for part, _, use in USES:
            with pytest.raises((ClosedError, BusyError)):
                use(held[part])
    assert isinstance(inside.outcome, ClosedError)
    assert_all_closed(held)


def test_between_calls_a_store_passes_from_thread_to_thread(runtime: Runtime) -> None:
    instance = instantiate(runtime)
    outcomes = []

    def work(n: int) -> None:
        instance.global_("counter").value += 1
        outcomes.append(instance.exports.nested(2, n))

    for n in range(10):
        thread = threading.Thread(target=work, args=(n,))
        thread.start()
        thread.join(TIMEOUT)
    assert outcomes == list(range(10))
    assert instance.global_("counter").value == 15


def test_stores_run_side_by_side(runtime: Runtime) -> None:
    """Two calls meet in their host functions, which needs both to run at once."""
    barrier = threading.Barrier(2, timeout=TIMEOUT)
    outcomes = []

    def f(x: int) -> int:
        barrier.wait()
        return x

    module = runtime.compile(guest(runtime).encode())
    imports = {"env": {"f": f}}

    def work(n: int) -> None:
        function = runtime.instantiate(module, imports).function("nested")
        for _ in range(20):
            outcomes.append(function(n, n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert sorted(outcomes) == [0] * 20 + [1] * 20


def test_exceptions_on_many_threads_stay_apart(runtime: Runtime) -> None:
    """Each thread gets its own exceptions and traps, while all of them raise."""
    module = runtime.compile(guest(runtime).encode())
    crashing = runtime.compile(guests.traps().encode())
    wrong: list[Any] = []

    def work(n: int) -> None:
        mine = ValueError(n)

        def f(x: int) -> int:
            raise mine

        function = runtime.instantiate(module, {"env": {"f": f}}).function("nested")
        trap = runtime.instantiate(crashing).function("unreachable")
        for _ in range(50):
            try:
                function(3, 1)
                wrong.append("returned")
            except BaseException as error:
                if error is not mine:
                    wrong.append(error)
            try:
                trap()
                wrong.append("returned")
            except BaseException as error:
                if not isinstance(error, Trap) or error.code.value != "unreachable":
                    wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert wrong == []


def test_a_race_for_a_store_has_only_two_outcomes(runtime: Runtime) -> None:
    """Threads that use, close and reopen without any agreement: each use works, or is refused with the right error."""
    current = [instantiate(runtime)]
    wrong: list[BaseException] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                instance = current[0]
                assert instance.exports.nested(2, 7) == 7
                instance.memory().write(0, b"x")
                instance.global_("counter").value = 3
            except (BusyError, ClosedError):
                pass
            except BaseException as error:
                wrong.append(error)
                return

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(100):
            old, current[0] = current[0], instantiate(runtime)
            old.close()
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT)
    finally:
        sys.setswitchinterval(switch)
    assert wrong == []


FORK = """
import os, sys, pywasmrt
from pywasmrt.testing import guests

runtime = pywasmrt.new_runtime(sys.argv[1])
module = runtime.compile(guests.arithmetic().encode())
instance = runtime.instantiate(module)
child = os.fork()
if child == 0:
    try:
        sum = instance.exports.add(20, 22)
        fresh = runtime.instantiate(module).exports.add(1, 1)
        os._exit(0 if (sum, fresh) == (42, 2) else 1)
    except pywasmrt.WasmError:
        os._exit(0)
    finally:
        os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert instance.exports.add(20, 22) == 42
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_fork_the_child_goes_on_or_gets_an_error(runtime: Runtime) -> None:
    child = [sys.executable, "-W", "ignore", "-c", FORK, runtime.info.name]
    done = subprocess.run(child, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


EXIT = """
import sys, threading, pywasmrt
from pywasmrt.testing import guests
from pywasmrt import FunctionType, ValueType

runtime = pywasmrt.new_runtime(sys.argv[1])
guest = guests.passthrough(FunctionType((ValueType.I32,), (ValueType.I32,)))
entered = threading.Event()

def f(x):
    if x:
        entered.set()
        threading.Event().wait()
    return x

instance = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": f}})
sys.modules["kept until the very end"] = instance
other = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": f}})
threading.Thread(target=other.exports.direct, args=(1,), daemon=True).start()
entered.wait()
assert instance.exports.nested(5, 0) == 0
"""


def test_the_interpreter_ends_cleanly_with_everything_open(runtime: Runtime) -> None:
    """With instances that nobody closed, and one whose call still runs on a daemon thread."""
    done = subprocess.run(
        [sys.executable, "-c", EXIT, runtime.info.name], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- the garbage collector -------------------------------------------------------------------------------------------


class Canary:
    """An object that can be watched dying."""


def test_a_host_function_that_holds_its_instance_is_collected(runtime: Runtime) -> None:

    def build() -> list[weakref.ref[Any]]:
        canary = Canary()

        def f(x: int) -> int:
            assert canary
            return int(instance.exports.direct(x - 1)) if x else 0

        instance = instantiate(runtime, f)
        assert instance.exports.direct(3) == 0
        return [weakref.ref(canary), weakref.ref(instance), weakref.ref(f)]

    references = build()
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


@pytest.mark.parametrize("part", ["function", "memory", "global", "table", "exports", "store", "module"])
def test_cycles_through_any_part_are_collected(runtime: Runtime, part: str) -> None:
    def build() -> weakref.ref[Canary]:
        canary = Canary()

        def f(x: int) -> int:
            assert canary
            assert held
            return x

        instance = instantiate(runtime, f)
        held = {**parts(instance), "store": instance.store, "module": instance.module}[part]
        instance.exports.direct(1)
        return weakref.ref(canary)

    reference = build()
    gc.collect()
    assert reference() is None


def test_a_cycle_through_a_common_store_is_collected(runtime: Runtime) -> None:
    def build() -> weakref.ref[Canary]:
        canary = Canary()
        store = runtime.new_store()
        first = instantiate(runtime, lambda x: x if canary and store else 0, store=store)
        second = runtime.instantiate(
            runtime.compile(guest(runtime).encode()), {"env": {"f": first.function("direct")}}, store=store
        )
        assert second.exports.nested(2, 5) == 5
        return weakref.ref(canary)

    reference = build()
    gc.collect()
    assert reference() is None


def test_closing_lets_go_of_the_host(runtime: Runtime) -> None:
    """Host functions and the objects in externrefs die with the store, although it is still referenced."""
    object_canary = Canary()

    def f(x: int) -> int:
        return x

    references: list[weakref.ref[Any]] = [weakref.ref(f), weakref.ref(object_canary)]
    instance = instantiate(runtime, f)
    if "reference-types" in runtime.info.features:
        instance.table("objects")[0] = object_canary
        objects = instance.store.table(1, element=EXTERNREF, init=object_canary)
        assert objects[0] is object_canary
    else:
        del references[1]
    del object_canary, f
    gc.collect()
    assert all(reference() is not None for reference in references)
    instance.close()
    gc.collect()
    assert not any(reference() for reference in references)


def test_an_externref_lives_as_long_as_the_guest_holds_it(runtime: Runtime, needs: Needs) -> None:
    """And, once the guest let go of it, not for much longer than the engine's own collector leaves it."""
    needs("reference-types")
    instance = instantiate(runtime)
    table = instance.table("objects")
    canary = Canary()
    reference = weakref.ref(canary)
    table[0] = canary
    del canary
    gc.collect()
    assert table[0] is reference()
    table[0] = None
    for _ in range(100_000):  # makes garbage for the engine's collector to be moved by
        table[0] = instance
        if reference() is None:
            break
    table[0] = None
    assert reference() is None


def test_nothing_outlives_a_failed_instantiation(runtime: Runtime) -> None:
    module = runtime.compile(guests.starting([("call", 0), ("unreachable",)], imports=NOTHING).encode())

    def build() -> weakref.ref[Canary]:
        canary = Canary()
        with pytest.raises(Trap):
            runtime.instantiate(module, {"env": {"f": lambda: canary and None}})
        with pytest.raises(pywasmrt.ModuleInstantiateError):
            runtime.instantiate(module, {"env": {"g": lambda: canary and None}})
        return weakref.ref(canary)

    reference = build()
    gc.collect()
    assert reference() is None


def test_exports_keep_their_store_alive(runtime: Runtime) -> None:
    for name in ("function", "memory", "global", "table", "exports"):
        part = parts(instantiate(runtime))[name]
        gc.collect()
        if name == "function":
            assert part(7) == 7
        elif name == "memory":
            assert part.size == 65536
        elif name == "global":
            assert part.value == 5
        elif name == "table":
            assert len(part) == 2
        else:
            assert part.direct(7) == 7


def test_reference_counts_are_what_they_were(runtime: Runtime) -> None:
    """Calls, callbacks, exceptions and traps leave the counts of what passes through unchanged."""
    value, error = object(), ValueError("kept")
    type = FunctionType((EXTERNREF, I32), (EXTERNREF, I32))

    def f(given: Any, n: int) -> Any:
        if n == 1:
            raise error
        return (given, None) if n == 2 else (given, n)

    def counts() -> list[int]:
        gc.collect()
        return [sys.getrefcount(each) for each in (value, error, f, Trap)]

    def rounds(passing: Any, trap: Any) -> None:
        for _ in range(100):
            assert passing.nested(2, value, 5) == (value, 5)
            for args in ((value, 1), (value, 2), (value, "1"), (value, 1 << 40), (value,)):
                with contextlib.suppress(ValueError, TypeError, OverflowError):
                    passing.direct(*args)
            with contextlib.suppress(Trap):
                trap()
        error.__traceback__ = None

    module, trapping = runtime.compile(guests.passthrough(type).encode()), runtime.compile(guests.traps().encode())
    before = counts()
    for _ in range(2):
        with runtime.instantiate(module, {"env": {"f": f}}) as instance, runtime.instantiate(trapping) as other:
            rounds(instance.exports, other.exports.unreachable)
        del instance, other
    assert counts() == before
