"""Stores that pass between threads, processes that fork or end with everything open."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from helpers.lifetimes import CLOSERS, I32, UNARY, USES, assert_all_closed, guest, instantiate, parts, refusal

import pywasmrt
from pywasmrt import (
    BusyError,
    ClosedError,
    Runtime,
    Trap,
)
from pywasmrt.runtimes.native import runtime as native_runtime
from pywasmrt.testing import guests

TIMEOUT = 30  # seconds until a test that waits for another thread gives up


def test_a_runtime_that_is_closed_while_it_instantiates(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread closes it at the last moment before the engine begins."""
    if not isinstance(runtime, native_runtime.NativeRuntime):
        pytest.skip("needs an engine in C")
    with pywasmrt.new_runtime(runtime.info.name) as victim:
        module = victim.compile(guests.loops().encode())

        def closing(*args: Any) -> Any:
            victim.close()
            return original(*args)

        original = native_runtime.InstanceState
        monkeypatch.setattr(native_runtime, "InstanceState", closing)
        with pytest.raises(ClosedError):
            victim.instantiate(module, {"env": {"f": lambda: None}})


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
    done = subprocess.run(child, capture_output=True, text=True, timeout=300, check=False)
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
        [sys.executable, "-c", EXIT, runtime.info.name], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
