"""Threads, signals, forks and the interpreter's end, while guests run for long."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers.long_calls import LONG, SOON, Needs, after, loops, works

import pywasmrt
from pywasmrt import (
    PAGE_SIZE,
    BusyError,
    ClosedError,
    DeadlineExceeded,
    Interrupted,
    InvalidConfigurationError,
    Limits,
    Runtime,
    RuntimeConfig,
    ValueType,
    WasmError,
)
from pywasmrt._shim.asynchronous import call_async
from pywasmrt.testing import Module, guests

MANY = 1000


class Guest(threading.Thread):
    """A thread on which a guest runs without end, until it is stopped; `end` is how it ended."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self.call = call
        self.entered = threading.Event()
        self.end: BaseException | None = None

    def run(self) -> None:
        try:
            self.call()
        except BaseException as error:
            self.end = error

    @classmethod
    def begin(cls, runtime: Runtime, export: str = "call_then_loop") -> tuple[Guest, Any]:
        """Start one, and return when it is in the guest."""
        entered = threading.Event()
        instance = loops(runtime, entered.set)
        guest = cls(instance.exports[export])
        guest.start()
        assert entered.wait(LONG)
        return guest, instance


def stop(guest: Guest, instance: Any) -> None:
    while guest.is_alive():
        instance.interrupt()
        guest.join(0.01)


# Threads


def test_python_goes_on_while_a_guest_runs(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    guest, instance = Guest.begin(runtime)
    try:
        assert sum(range(100_000)) == 4_999_950_000
        assert guest.is_alive()
    finally:
        stop(guest, instance)
    assert isinstance(guest.end, Interrupted)


def test_a_store_that_runs_elsewhere_is_busy(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    guest, instance = Guest.begin(runtime)
    try:
        memory, count = instance.memory, instance.exports.__getattr__
        for use in (lambda: count("count")(1), lambda: memory().read(0, 1), lambda: instance.store.memory(1)):
            with pytest.raises(BusyError, match="running a call on another thread"):
                use()
        with pytest.raises(BusyError), instance.deadline(LONG):
            pass
        other = loops(runtime)
        assert works(other)
    finally:
        stop(guest, instance)
    assert works(instance)


def test_an_instance_goes_from_thread_to_thread(runtime: Runtime) -> None:
    instance = loops(runtime)
    for _ in range(10):
        results: list[bool] = []
        thread = threading.Thread(target=lambda results=results: results.append(works(instance)))
        thread.start()
        thread.join()
        assert results == [True]
    assert works(instance)


def test_threads_share_a_compiled_module(runtime: Runtime) -> None:
    module = runtime.compile(guests.loops().encode())
    results: list[int] = []

    def work() -> None:
        instance = runtime.instantiate(module, {"env": {"f": lambda: None}})
        results.extend(instance.exports.count(n) for n in range(1, 50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(list(range(1, 50)) * 8)


def test_the_collector_may_run_on_any_thread(runtime: Runtime) -> None:
    """Cycles with instances made on one thread are freed on another, while a third is in a guest."""

    def make() -> None:
        for _ in range(20):
            cycle: list[Any] = []
            cycle.append(loops(runtime, lambda cycle=cycle: cycle and None))
            cycle[0].exports.call()

    busy = loops(runtime)
    stop_at = time.monotonic() + 0.3

    def work() -> None:
        while time.monotonic() < stop_at:
            assert works(busy)

    threads = [threading.Thread(target=work), *[threading.Thread(target=make) for _ in range(3)]]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gc.collect()
    assert works(busy)


def test_destructors_run_while_no_other_thread_is_in_the_store(runtime: Runtime, needs: Needs) -> None:
    """They run on the way out of a store, when another thread may have come in already, whose guest lets go of more."""
    needs("interruption", "reference-types")
    store = runtime.new_store()
    table = store.table(3, element=ValueType.EXTERNREF)
    released, entered = threading.Event(), threading.Event()
    wrong: list[BaseException] = []
    other = loops(runtime, entered.set, store=store)
    guest = Guest(other.exports.call_then_loop)

    class Thing:
        def __del__(self) -> None:
            if not released.is_set():
                released.set()
                guest.start()
                assert entered.wait(LONG)
            else:
                try:
                    len(table)
                except BusyError as error:
                    wrong.append(error)

    for index in range(3):
        table[index] = Thing()
        table[index] = None

    def let_the_engine_collect() -> None:
        for _ in range(100_000):
            table[0] = table

    with pytest.raises(BusyError):  # as the guest has come in
        let_the_engine_collect()
    stop(guest, other)
    assert isinstance(guest.end, Interrupted)
    assert released.is_set()
    assert wrong == []
    gc.collect()
    assert len(table) == 3


def test_two_guests_that_wait_for_each_other(runtime: Runtime, needs: Needs) -> None:
    """One waits on a shared memory for what the other does: neither may keep Python to itself."""
    needs("threads", "wat")
    text = """(module
      (import "env" "shared" (memory 1 1 shared))
      (func (export "wait") (result i32)
        (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 20000000000)))
      (func (export "wake") (result i32)
        (i32.atomic.store (i32.const 0) (i32.const 1))
        (memory.atomic.notify (i32.const 0) (i32.const 1))))"""
    with pywasmrt.new_runtime(
        runtime.info.name, RuntimeConfig(features=(runtime.info.features & pywasmrt_proposals()) | {"threads"})
    ) as threaded:
        memory = threaded.new_store().memory(1, 1, shared=True)
        module = threaded.compile(text)
        waiting, waking = (threaded.instantiate(module, {"env": {"shared": memory}}) for _ in range(2))
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.append(waiting.exports.wait()))
        thread.start()
        while not waking.exports.wake():  # 0 until somebody waits, or has seen the 1 and never will
            if not thread.is_alive():
                break
        thread.join(LONG)
        assert results in ([0], [1])


def pywasmrt_proposals() -> frozenset[str]:
    from pywasmrt.runtimes.base.features import PROPOSALS

    return PROPOSALS


@pytest.mark.parametrize("interruptible", [True, False])
def test_a_thousand_instances_at_once(runtime: Runtime, interruptible: bool) -> None:
    """Their memories take address space only, and there is enough of that."""
    config = RuntimeConfig(interruptible=interruptible)
    with pywasmrt.new_runtime(runtime.info.name, config) as many:
        module = many.compile(guests.loops().encode())
        instances: list[Any] = [many.instantiate(module, {"env": {"f": lambda: None}}) for _ in range(MANY)]
        for n, instance in enumerate(instances):
            instance.memory().write(0, n.to_bytes(4, "little"))
            instance.memory().grow(15)
        for n, instance in enumerate(instances):
            assert instance.exports.count(n + 1) == n + 1
            assert instance.memory().read(0, 4) == n.to_bytes(4, "little")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_an_instance_takes_the_address_space_that_was_asked_for(runtime: Runtime) -> None:
    """And its guards, of 32 MiB each."""

    def address_space() -> int:
        found = re.search(r"^VmSize:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) << 10

    reservation = 16 << 20
    try:
        small = pywasmrt.new_runtime(runtime.info.name, {"options": {"memory_reservation": reservation}})
    except InvalidConfigurationError as error:
        pytest.skip(str(error))
    with small:
        instances = [loops(small)]
        before = address_space()
        instances += [loops(small) for _ in range(50)]
        assert reservation <= (address_space() - before) / 50 <= reservation + (66 << 20)


# The ticker


def ticker_switches() -> int | None:
    """How often the ticker has gone to sleep; None where there is none."""
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() == "pywasmrt-ticker":
            found = [line for line in (task / "status").read_text().splitlines() if line.startswith("voluntary")]
            return int(found[0].split()[1])
    return None


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_the_ticker_sleeps_when_nothing_runs(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    instance = loops(runtime)
    assert works(instance)
    if ticker_switches() is None:
        pytest.skip("this runtime has no ticker")
    time.sleep(0.4)
    before = ticker_switches()
    time.sleep(0.2)
    assert ticker_switches() == before
    with instance.deadline(SOON), pytest.raises(DeadlineExceeded):
        instance.exports.forever()
    assert (ticker_switches() or 0) > (before or 0)


# Signals


def send(number: int) -> Callable[[], None]:
    """What sends the main thread a signal."""
    main = threading.main_thread().ident
    assert main is not None
    return lambda: signal.pthread_kill(main, number)


@pytest.mark.parametrize("export", ["forever", "call_forever", "call_then_loop"])
def test_ctrl_c_ends_a_guest(runtime: Runtime, needs: Needs, export: str) -> None:
    needs("interruption")
    instance = loops(runtime)
    with after(SOON, instance, send(signal.SIGINT)), pytest.raises(KeyboardInterrupt):
        instance.exports[export]()
    assert works(instance)


def test_signal_handlers_run_while_a_guest_does(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    seen: list[int] = []

    def handle(number: int, frame: object) -> None:
        seen.append(number)
        if len(seen) == 2:
            raise LookupError("enough")
        threading.Timer(SOON, send(signal.SIGUSR1)).start()

    instance = loops(runtime)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with after(SOON, instance, send(signal.SIGUSR1)), pytest.raises(LookupError, match="enough"):
            instance.exports.forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1] * 2
    assert works(instance)


def test_a_signal_handler_may_call_the_guest_that_it_interrupts(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    results: list[int] = []

    def handle(number: int, frame: object) -> None:
        results.append(instance.exports.count(100_000))
        raise LookupError("enough")

    instance = loops(runtime)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with after(SOON, instance, send(signal.SIGUSR1)), pytest.raises(LookupError):
            instance.exports.forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert results == [100_000]
    assert works(instance)


@pytest.mark.parametrize("export", ["forever", "call_forever"])
@pytest.mark.parametrize("closed", ["instance", "store", "runtime"])
def test_a_signal_handler_may_close_what_it_interrupts(fresh_runtime: Runtime, closed: str, export: str) -> None:
    if "interruption" not in fresh_runtime.info.features:
        pytest.skip("cannot stop a guest that runs")
    instance = loops(fresh_runtime)
    victim = {"instance": instance, "store": instance.store, "runtime": fresh_runtime}[closed]
    refused: list[BaseException] = []

    def handle(number: int, frame: object) -> None:
        victim.close()
        with pytest.raises(ClosedError) as caught:
            works(instance)
        refused.append(caught.value)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with after(SOON, instance, send(signal.SIGUSR1)), pytest.raises(ClosedError, match="closed during this call"):
            instance.exports[export]()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(refused) == 1


def test_a_signal_handler_may_use_what_it_interrupts(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    instance = loops(runtime)
    memory = instance.memory()
    others: list[Any] = []

    def handle(number: int, frame: object) -> None:
        memory.write(memory.grow(1) * PAGE_SIZE, b"x")
        others.append(loops(runtime))
        assert works(others[0])
        instance.interrupt()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with after(SOON, instance, send(signal.SIGUSR1)), pytest.raises(Interrupted):
            instance.exports.forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert works(others[0])
    assert memory.read(PAGE_SIZE, 1) == b"x"
    assert works(instance)


# `wait` holds what it was given in frames on top of each other until `release` is called, which uses all of its own.
WAITS = """(module (memory 1)
  (func $wait (export "wait") (param $deep i32) (param $a i64) (param $b i64) (result i64)
    (if (result i64) (local.get $deep)
      (then (i64.add (local.get $a)
        (call $wait (i32.sub (local.get $deep) (i32.const 1)) (local.get $b) (i64.add (local.get $a) (local.get $b)))))
      (else (loop (br_if 0 (i32.eqz (i32.load (i32.const 0))))) (i64.sub (local.get $b) (local.get $a)))))
  (func $release (export "release") (param $deep i32) (param $a i64) (param $b i64) (result i64) (local i64 i64 i64 i64)
    (i32.store (i32.const 0) (i32.const 1))
    (local.set 3 (local.get $a)) (local.set 4 (local.get $b)) (local.set 5 (local.get $a)) (local.set 6 (local.get $b))
    (if (result i64) (local.get $deep)
      (then (call $release (i32.sub (local.get $deep) (i32.const 1)) (local.get 3) (local.get 4)))
      (else (i64.add (local.get 5) (local.get 6))))))"""


@pytest.mark.parametrize("deep", [0, 9])
def test_a_guest_goes_on_where_a_signal_handler_interrupted_it(runtime: Runtime, needs: Needs, deep: int) -> None:
    """Whatever the handler has called in the same store: the guest's frames lie where they were, as they were."""
    needs("interruption", "wat")
    results: list[int] = []
    instance = runtime.instantiate(runtime.compile(WAITS))
    expected, a, b = 0, 1 << 40, 3 << 41
    for _ in range(deep):
        expected, a, b = expected + a, b, a + b
    before = signal.signal(signal.SIGUSR1, lambda number, frame: results.append(instance.exports.release(20, -5, -6)))
    try:
        with after(SOON, instance, send(signal.SIGUSR1)):
            assert instance.exports.wait(deep, 1 << 40, 3 << 41) == expected + b - a
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert results == [-11]


def test_a_signal_handler_is_part_of_the_call_that_it_interrupts(runtime: Runtime, needs: Needs) -> None:
    """So a guest that it calls in another store ends with that call."""
    needs("interruption", "deadline")
    inner = loops(runtime, limits=Limits(timeout=60))  # a signal that comes too late finds no call that would end it
    outer = loops(runtime, limits=Limits(timeout=10 * SOON))
    began = time.monotonic()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: inner.exports.forever())
    try:
        with after(SOON, outer, send(signal.SIGUSR1)), pytest.raises(DeadlineExceeded):
            outer.exports.forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < 60
    assert works(inner)
    assert works(outer)


# The end of the process, and its beginning

COMMON = """
import json, os, sys, threading, time
import pywasmrt
from pywasmrt import BusyError, DeadlineExceeded, Limits, RuntimeConfig
from pywasmrt.testing import guests

runtime = pywasmrt.new_runtime(sys.argv[1], RuntimeConfig(options=json.loads(sys.argv[2])))
module = runtime.compile(guests.loops().encode())

def loops(f=lambda: None, **kwargs):
    return runtime.instantiate(module, {"env": {"f": f}}, **kwargs)

def begin(export, f=lambda: None):
    entered = threading.Event()
    instance = loops(lambda: (entered.set(), f()) and None)
    threading.Thread(target=instance.exports[export], daemon=True).start()
    assert entered.wait(30)
    return instance
"""

EXIT = {
    "in a guest": "begin('call_then_loop')",
    "between guest and host": "begin('call_forever')",
    "in a host function": "begin('call_forever', lambda: time.sleep(30))",
    "several": "kept = [begin(each) for each in ('call_then_loop', 'call_forever') * 4]; time.sleep(0.05)",
    "without polls": """
runtime = pywasmrt.new_runtime(sys.argv[1], RuntimeConfig(interruptible=False))
module = runtime.compile(guests.loops().encode())
begin("call_then_loop")
begin("call_forever")
begin("call_forever", lambda: time.sleep(30))
""",
    "while the last functions run": """
import atexit
busy, idle = begin("call_then_loop"), loops()
atexit.register(lambda: idle.exports.count(10) == busy.interrupt())
""",
}

# A thread that is no daemon is waited for, as ever.
EXIT_WAITING = """
def work():
    with instance.deadline(0.2):
        try:
            instance.exports.forever()
        except DeadlineExceeded:
            os.write(1, b"ended")

instance = loops()
threading.Thread(target=work).start()
"""

EXIT_SHARED = """
module = runtime.compile(
    '(module (import "env" "f" (func $f)) (memory 1 1 shared) (func (export "wait") (result i32)'
    '(call $f) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))'
)
begin("wait")
time.sleep(0.05)
"""


def run(script: str, runtime: Runtime, options: dict[str, Any] | None = None) -> str:
    """What the script prints; nothing goes wrong."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMMON + script, runtime.info.name, json.dumps(options or {})],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("where", EXIT)
def test_the_interpreter_ends_while_guests_run(runtime: Runtime, needs: Needs, where: str) -> None:
    needs("interruption")
    run(EXIT[where], runtime)


def test_the_interpreter_waits_for_a_guest_on_a_thread_that_is_no_daemon(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")
    assert run(EXIT_WAITING, runtime) == "ended"


def test_the_interpreter_ends_while_a_guest_waits_on_a_shared_memory(runtime: Runtime, needs: Needs) -> None:
    needs("threads", "wat")
    run(EXIT_SHARED, runtime)


FORK = """
busy = begin("call_then_loop")
idle = loops()
assert idle.exports.count(10) == 10
child = os.fork()
if child == 0:
    code = 1
    try:
        try:
            busy.exports.count(1)
        except BusyError:
            code = 2
        refused = []
        def refuse():
            try:
                busy.exports.count(1)
            except BusyError as error:
                refused.append(error)
        # A new thread lies where the one of the guest has been.
        for thread in [threading.Thread(target=refuse) for _ in range(3)]:
            thread.start()
            thread.join(5)
        assert len(refused) == 3
        assert idle.exports.count(10) == 10
        with idle.deadline(0.05):
            try:
                idle.exports.forever()
            except DeadlineExceeded:
                code = 0 if code == 2 else code
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert idle.exports.count(10) == 10
"""

FORK_WITHIN = """
children = []
def fork():
    children.append(os.fork())
instance = loops(fork, limits=Limits(timeout=0.2))
try:
    instance.exports.call_then_loop()
except DeadlineExceeded:
    if children == [0]:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
"""

FORK_IN_A_HANDLER = """
import signal

def handle(number, frame):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert idle.exports.count(10) == loops().exports.count(10) == busy.exports.count(10) == 10
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    raise LookupError

busy, idle = loops(), loops()
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    busy.exports.forever()
except LookupError:
    assert busy.exports.count(10) == 10
"""


FORK_OUT_OF_A_HANDLER = """
import signal
children = []
signal.signal(signal.SIGALRM, lambda *_: children.append(os.fork()))
instance = loops(limits=Limits(timeout=0.2))
signal.setitimer(signal.ITIMER_REAL, 0.05)
while not children:  # a machine that is busy may be late
    try:
        instance.exports.forever()
    except DeadlineExceeded:
        pass
if children == [0]:
    os._exit(0)
for _ in range(1000):
    ended, status = os.waitpid(children[0], os.WNOHANG)
    if ended:
        break
    time.sleep(0.01)
else:
    os.kill(children[0], signal.SIGKILL)
assert ended and os.waitstatus_to_exitcode(status) == 0
"""

FORK_SLEEP = """
from pathlib import Path

def switches():
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() == "pywasmrt-ticker":
            found = [line for line in (task / "status").read_text().splitlines() if line.startswith("voluntary")]
            return int(found[0].split()[1])

busy, idle = begin("call_then_loop"), loops()
child = os.fork()
if child == 0:
    code = 1
    try:
        idle.exports.count(10)
        time.sleep(0.4)
        before = switches()
        time.sleep(0.1)
        code = 0 if switches() == before else 1
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize(
    ("script", "need"),
    [
        (FORK, "interruption"),
        (FORK_WITHIN, "deadline"),
        (FORK_IN_A_HANDLER, "interruption"),
        (FORK_OUT_OF_A_HANDLER, "interruption"),
    ],
    ids=["beside a guest", "within a call", "in a signal handler", "out of a signal handler"],
)
def test_a_fork_while_a_guest_runs(runtime: Runtime, needs: Needs, script: str, need: str) -> None:
    needs(need)
    run(script, runtime)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_the_ticker_of_a_forks_child_sleeps_when_nothing_runs(runtime: Runtime, needs: Needs) -> None:
    """The guests on the parent's other threads do not run in the child."""
    needs("interruption")
    run(FORK_SLEEP, runtime)


# Compiling takes the engine's locks, for the types and for the code that there is. Without waiting, about one fork in
# twenty came at the wrong moment.
FORK_COMPILING = """
import faulthandler
from pywasmrt import FunctionType, ValueType
from pywasmrt.testing import Module

NUMBERS = [ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64]

def many_types(first):
    made = Module()
    for n in range(first, first + 100):
        made.import_("env", f"f{n}", FunctionType(tuple(NUMBERS[n >> 2 * digit & 3] for digit in range(6))))
    return made.encode()

def compile(data):
    while True:
        runtime.compile(data)

modules = [many_types(100 * n) for n in range(3)]
for data in modules:
    threading.Thread(target=compile, args=(data,), daemon=True).start()
for n in range(12):
    time.sleep(0.002)
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        code = 1
        try:
            runtime.compile(modules[0])
            assert loops().exports.count(10) == 10
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

FORK_WAITS = """
import signal
from pywasmrt.runtimes.base.forking import inside

entered, left, handled = threading.Event(), [], []

def work():
    with inside:
        entered.set()
        while not handled:
            time.sleep(0.001)
        with inside:  # as the collector may, at any moment
            pass
        left.append(True)

def handle(number, frame):
    runtime.compile(guests.loops().encode())
    handled.append(True)

threading.Thread(target=work).start()
assert entered.wait(30)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.05)
with inside:  # a signal handler may fork here
    child = os.fork()
if child == 0:
    code = 1
    try:
        assert handled and left
        runtime.compile(guests.loops().encode())
        code = 0
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
runtime.compile(guests.loops().encode())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("script", [FORK_COMPILING, FORK_WAITS], ids=["many times", "waits"])
def test_a_fork_while_others_compile(runtime: Runtime, script: str) -> None:
    run(script, runtime)


SIGNALS = """
import signal
assert loops().exports.count(1) == 1
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
os.kill(os.getpid(), signal.SIGUSR2)
assert signal.sigwait({signal.SIGUSR2}) == signal.SIGUSR2
"""


def test_the_ticker_takes_no_signals(runtime: Runtime, needs: Needs) -> None:
    """A program may block a signal and wait for it: no thread of ours may get it instead, and die of it."""
    needs("interruption")
    # The engine's own threads for compiling are not ours to tell.
    run(SIGNALS, runtime, {"parallel_compilation": False} if runtime.info.name == "wasmtime" else None)


# asyncio


def test_a_coroutine_awaits_a_guest(runtime: Runtime) -> None:
    instance = loops(runtime)

    async def main() -> list[Any]:
        results = [await instance.exports.count.call_async(n) for n in (1, 100)]
        with pytest.raises(TypeError, match="takes 1 argument"):
            await instance.exports.count.call_async()
        return results

    assert asyncio.run(main()) == [1, 100]


def test_the_event_loop_goes_on_meanwhile(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    instance = loops(runtime)
    turns: list[int] = []

    async def main() -> None:
        call = asyncio.create_task(instance.exports.forever.call_async())
        while len(turns) < 20:
            await asyncio.sleep(0.001)
            turns.append(1)
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert works(instance)  # the guest has ended by now

    asyncio.run(main())


def test_a_timeout_of_asyncio_stops_the_guest(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    instance = loops(runtime)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(instance.exports.forever.call_async(), SOON)
        assert works(instance)

    asyncio.run(main())


def test_a_loop_that_was_closed_leaves_its_guest_to_others(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    entered = threading.Event()
    instance = loops(runtime, entered.set)
    loop = asyncio.new_event_loop()

    async def main() -> asyncio.Task[Any]:
        call = asyncio.create_task(instance.exports.call_then_loop.call_async())
        while not entered.is_set():
            await asyncio.sleep(0.001)
        return call

    before = set(threading.enumerate())
    call = loop.run_until_complete(main())
    (worker,) = set(threading.enumerate()) - before
    loop.close()
    with pytest.raises(BusyError):
        works(instance)
    assert instance.interrupt()
    worker.join(LONG)
    assert works(instance)
    call._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own complaint of tasks left behind


def test_cancelling_a_refused_call_leaves_the_running_one_alone(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    guest, instance = Guest.begin(runtime)
    count = instance.store, guest.call

    async def main() -> None:
        for _ in range(50):
            second = asyncio.create_task(guest.call.call_async())  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises((asyncio.CancelledError, BusyError)):
                await second
        assert guest.is_alive()

    try:
        asyncio.run(main())
    finally:
        stop(guest, instance)
    assert count
    assert isinstance(guest.end, Interrupted)


def test_a_cancelled_call_that_is_over_stops_no_other() -> None:
    """A worker thread goes on to its next call only when nobody is about to stop the one before."""
    over, next_call = threading.Event(), threading.Event()
    overtaken: list[bool] = []

    class Store:
        interruptible = True

        def interrupt(self, thread: int) -> bool:
            over.set()
            overtaken.append(next_call.wait(5 * SOON))
            return True

    class Function:
        _store = Store()

        def __call__(self) -> None:
            assert over.wait(LONG)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as one:
            loop.set_default_executor(one)
            call = asyncio.create_task(call_async(Function()))  # type: ignore[arg-type]
            await asyncio.sleep(SOON)
            after = loop.run_in_executor(None, next_call.set)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await after

    asyncio.run(main())
    assert overtaken == [False]


# All at once


def hammer(seconds: float, *actions: Callable[[], object]) -> None:
    """Repeat every action on a thread of its own for that time. What is refused is refused with an error of ours."""
    until = time.monotonic() + seconds
    failures: list[BaseException] = []

    def repeat(action: Callable[[], object]) -> None:
        while time.monotonic() < until and not failures:
            try:
                action()
            except WasmError:
                pass
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


HAMMERING = float(os.environ.get("PYWASMRT_HAMMER_SECONDS", "1"))


def test_hammering_one_store(fresh_runtime: Runtime) -> None:
    """Calls, growth, views, interrupts and the collector, from all sides."""
    limits = Limits(timeout=0.05) if "deadline" in fresh_runtime.info.features else None
    if limits is None:
        pytest.skip("cannot stop a guest")
    instance = loops(fresh_runtime, lambda: time.sleep(0), limits=limits)
    memory = instance.memory()
    exports = instance.exports

    def grow() -> None:
        if memory.grow(1) == 15:
            time.sleep(0.01)

    def look() -> None:
        memory.write(0, memory.read(0, 65536))

    def interrupt() -> None:
        if "interruption" in fresh_runtime.info.features:
            instance.interrupt()
        time.sleep(0.001)

    calls = [lambda: exports.count(1000), exports.forever, exports.call_forever]
    hammer(HAMMERING, *calls, grow, look, interrupt, gc.collect)
    assert works(instance)


def test_hammering_many_stores(fresh_runtime: Runtime) -> None:
    """Instances made, called, interrupted and closed, each by whoever gets at it."""
    if "deadline" not in fresh_runtime.info.features:
        pytest.skip("cannot stop a guest")
    module = fresh_runtime.compile(guests.loops().encode())
    made: list[Any] = []

    def make() -> None:
        made.append(fresh_runtime.instantiate(module, {"env": {"f": lambda: made[-1]}}, limits=Limits(timeout=0.02)))
        del made[:-8]

    def call(export: str) -> Callable[[], object]:
        def one() -> None:
            if made:
                made[-1].exports[export]()

        return one

    def close() -> None:
        if made:
            made[0].close()
        time.sleep(0.001)

    def interrupt() -> None:
        if made and "interruption" in fresh_runtime.info.features:
            made[-1].interrupt()

    def swallow(action: Callable[[], object]) -> Callable[[], object]:
        def one() -> None:
            with suppress(TypeError, IndexError):  # the host function's result, or the list's, at the wrong moment
                action()

        return one

    actions = [make, close, interrupt, gc.collect, *[call(each) for each in ("forever", "call_forever", "call")]]
    hammer(HAMMERING, *[swallow(each) for each in actions])


def test_closing_the_runtime_under_everything(runtime: Runtime) -> None:
    for _ in range(5):
        victim = pywasmrt.new_runtime(runtime.info.name)
        module = victim.compile(guests.loops().encode())
        bounded = Limits(timeout=1) if "deadline" in victim.info.features else None

        def use(victim: Runtime = victim, module: Any = module, limits: Limits | None = bounded) -> None:
            instance: Any = victim.instantiate(module, {"env": {"f": lambda: None}}, limits=limits)
            instance.exports.count(10_000_000)

        closing = threading.Timer(0.02, victim.close)
        closing.start()
        hammer(0.05, use, use, lambda victim=victim: victim.compile(Module().encode()))
        closing.join()
        assert victim.closed  # type: ignore[attr-defined]
