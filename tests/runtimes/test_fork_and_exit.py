"""Forks and the interpreter's end, while guests run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.long_calls import LONG, Needs

from pywasmrt import (
    Runtime,
)

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
    try:
        with instance.deadline(0.2):
            instance.exports.call_then_loop()
    except DeadlineExceeded:
        os.write(1, b"ended")
    finally:
        begun.set()

begun = threading.Event()
instance = loops(begun.set)
threading.Thread(target=work).start()
begun.wait()
"""
EXIT_LATE = """
def work():
    while threading.main_thread().is_alive():
        time.sleep(0.001)
    try:
        with instance.deadline(0.2):
            instance.exports.forever()
    except DeadlineExceeded:
        os.write(1, b"ended")
    except pywasmrt.WasmError as error:
        os.write(1, str(error).encode())

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


def test_a_first_call_with_a_deadline_while_the_interpreter_waits_for_its_thread(
    runtime: Runtime, needs: Needs
) -> None:
    needs("deadline")
    found = run(EXIT_LATE, runtime)
    if runtime.info.name == "wasmtime-py" and (3, 12) <= sys.version_info < (3, 12, 2):  # which start no thread then
        assert found == "the interpreter is ending: no thread would end this call at its deadline"
    else:
        assert found == "ended"


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
        for _ in range(100):  # it rests some ticks after the last guest, and a busy machine delays them
            before = switches()
            time.sleep(0.1)
            if switches() == before:
                code = 0
                break
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
    needs(need, "fork")
    run(script, runtime)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_the_ticker_of_a_forks_child_sleeps_when_nothing_runs(runtime: Runtime, needs: Needs) -> None:
    """The guests on the parent's other threads do not run in the child."""
    needs("interruption", "fork")
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
def test_a_fork_while_others_compile(runtime: Runtime, needs: Needs, script: str) -> None:
    needs("fork")
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
