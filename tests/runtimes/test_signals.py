"""Signals while guests run: Ctrl-C, and handlers that use what they interrupt."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers.long_calls import SOON, Needs, after, loops, works

from pywasmrt import (
    PAGE_SIZE,
    ClosedError,
    DeadlineExceeded,
    Interrupted,
    Limits,
    Runtime,
)
from pywasmrt.testing import to_binary


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
    inner, outer = loops(runtime, limits=Limits(timeout=60)), loops(runtime, limits=Limits(timeout=60))
    began = time.monotonic()

    def handler(*_: object) -> None:
        with outer.deadline(SOON):  # from here on, however late the signal comes
            inner.exports.forever()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with after(SOON, outer, send(signal.SIGUSR1)), pytest.raises(DeadlineExceeded):
            outer.exports.forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < 60
    assert works(inner)
    assert works(outer)


INTERRUPTED_OFTEN = """
import os, signal, sys, threading, time
import pywasmrt

runtime = pywasmrt.new_runtime(sys.argv[1])
from pywasmrt.testing import to_binary

source = '(module (import "env" "f" (func $f)) (func (export "run") (loop (call $f) (br 0))))'
module = runtime.compile(to_binary(source))
entered = threading.Event()


def begin():
    if not entered.is_set():
        entered.set()


def interrupt(seconds):
    entered.wait()
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGINT)


for round in range(20):
    entered.clear()
    instance = runtime.instantiate(module, {"env": {"f": begin}})
    timer = threading.Thread(target=interrupt, args=(round / 2000,))
    timer.start()
    try:
        instance.exports.run()
    except KeyboardInterrupt:
        pass
    timer.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
print("ends")
"""


def test_ctrl_c_while_a_guest_calls_host_functions_all_the_time(runtime: Runtime) -> None:
    """On wasmtime-py it may come where a callback of ctypes begins, which used to end the process."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_OFTEN, runtime.info.name], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")


def test_a_handler_set_by_a_host_function_stays(runtime: Runtime) -> None:
    module = runtime.compile(to_binary('(module (import "env" "f" (func $f)) (func (export "run") (call $f)))'))
    seen: list[int] = []

    def host() -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        runtime.instantiate(module, {"env": {"f": host}}).exports.run()
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
