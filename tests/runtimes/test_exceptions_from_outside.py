"""Exceptions set for a thread that runs a guest by another one (PyThreadState_SetAsyncExc), as debuggers do it."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from helpers.long_calls import LONG, SOON, Needs, after, loops, works
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import Limits, Runtime
from pywasmrt.testing import to_binary
from pywasmrt.wasi import WasiConfig


class Stop(BaseException):
    pass


class Later(BaseException):
    pass


def throw(thread: int | None, error: type[BaseException] = Stop) -> None:
    """Have the thread raise `error` as soon as it runs Python code."""
    assert thread is not None
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert set_exception(ctypes.c_ulong(thread), ctypes.py_object(error)) == 1


def run_some_python() -> None:
    """What is still to be raised is raised here."""
    for _ in range(100):
        time.sleep(0)


class Worker(threading.Thread):
    """Makes a call on a thread of its own, and keeps what it raised, and what was raised after it."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self.call = call
        self.ends: list[BaseException] = []

    def run(self) -> None:
        for part in (self.call, run_some_python):
            try:
                part()
            except BaseException as error:
                self.ends.append(error)

    def stopped(self, instance: Any, error: type[BaseException] = Stop) -> list[type[BaseException]]:
        """The classes of what was raised, after `error` was thrown into the call."""
        with after(SOON, instance, lambda: throw(self.ident, error)):
            self.start()
            self.join(LONG)
        assert not self.is_alive()
        return [type(each) for each in self.ends]


@pytest.mark.parametrize("export", ["forever", "call_forever", "call_then_loop"])
def test_it_ends_a_guest_that_computes(runtime: Runtime, needs: Needs, export: str) -> None:
    needs("interruption")
    instance = loops(runtime, limits=Limits(timeout=LONG))
    assert Worker(instance.exports[export]).stopped(instance) == [Stop]
    assert works(instance)


def test_it_ends_a_guest_of_the_main_thread(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    instance = loops(runtime, limits=Limits(timeout=LONG))
    with after(SOON, instance, lambda: throw(threading.main_thread().ident)), pytest.raises(Stop):
        instance.exports.forever()
    run_some_python()
    assert works(instance)


def test_it_ends_a_start_function(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    module = runtime.compile(to_binary("(module (func $spin (loop (br 0))) (start $spin))"))
    entered = threading.Event()

    def start() -> None:
        entered.set()
        runtime.instantiate(module, limits=Limits(timeout=LONG))

    worker = Worker(start)
    worker.start()
    assert entered.wait(LONG)
    time.sleep(SOON)
    throw(worker.ident)
    worker.join(LONG)
    assert [type(each) for each in worker.ends] == [Stop]


def test_it_ends_a_batch(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    wat = '(module (func (export "spin") (param i32) (result i32) (loop (br 0)) unreachable))'
    instance = runtime.instantiate(runtime.compile(to_binary(wat)), limits=Limits(timeout=LONG))
    column = array("i", range(1000))
    assert Worker(lambda: instance.exports.spin.map(column)).stopped(instance) == [Stop]


def test_it_passes_through_the_guests_that_called_each_other(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    inner = loops(runtime)
    outer = loops(runtime, lambda: inner.exports.forever())
    assert Worker(outer.exports.call_forever).stopped(inner) == [Stop]
    assert works(inner)
    assert works(outer)


def test_a_host_function_may_catch_it(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    caught: list[BaseException] = []
    inner = loops(runtime)

    def host() -> None:
        try:
            inner.exports.forever()
        except Stop as error:
            caught.append(error)

    wat = '(module (import "env" "f" (func $f)) (func (export "f") (call $f)))'
    outer = runtime.instantiate(runtime.compile(to_binary(wat)), {"env": {"f": host}})
    assert Worker(outer.exports.f).stopped(inner) == []
    assert [type(each) for each in caught] == [Stop]


def test_it_is_not_lost_where_the_call_ends_by_itself(runtime: Runtime, needs: Needs) -> None:
    """The deadline ends the guest, and the exception, which was set at the same time, comes after it."""
    needs("interruption")
    instance = loops(runtime)
    outcomes: list[type[BaseException]] = []

    def call() -> None:
        try:
            instance.exports.forever()
        except pywasmrt.Interrupted as error:
            outcomes.append(type(error))
            raise

    worker = Worker(call)

    def stop() -> None:
        throw(worker.ident)
        instance.interrupt()

    with after(SOON, instance, stop):
        worker.start()
        worker.join(LONG)
    assert not worker.is_alive()
    found = [type(each) for each in worker.ends]
    assert found.count(Stop) == 1
    assert set(found) <= {Stop, pywasmrt.Interrupted}


SLEEPER = """(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "env" "entered" (func $entered))
  (memory (export "memory") 1)
  (func (export "sleep") (result i32)
    (i32.store (i32.const 16) (i32.const 1))                           ;; the monotonic clock
    (i64.store (i32.const 24) (i64.const 3600000000000))               ;; an hour
    (call $entered)
    (call $poll (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 256)))
  (func (export "read") (result i32)
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 8))
    (call $entered)
    (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 256))))"""


@pytest.mark.parametrize("export", ["sleep", "read"])
def test_it_ends_a_wait_of_wasi(runtime: Runtime, export: str, tmp_path: Any) -> None:
    import os

    entered = threading.Event()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as stdin, os.fdopen(writing, "wb"):
        instance = runtime.instantiate(
            runtime.compile(to_binary(SLEEPER)), {"env": {"entered": entered.set}}, wasi=WasiConfig(stdin=stdin)
        )
        worker = Worker(instance.exports[export])
        worker.start()
        assert entered.wait(LONG)
        time.sleep(SOON)
        throw(worker.ident)
        worker.join(LONG)
    assert not worker.is_alive()
    assert [type(each) for each in worker.ends] == [Stop]


@given(
    inside=st.sampled_from(["forever", "call_forever", "call_then_loop"]),
    delay=st.sampled_from([0, 0.002, 0.006, 0.011, 0.02]),
    busy=st.booleans(),
)
def test_it_arrives_once_whenever_it_is_set(
    runtime: Runtime, needs: Needs, inside: str, delay: float, busy: bool
) -> None:
    needs("interruption")

    def host() -> None:
        if busy:
            sum(range(1000))

    instance = loops(runtime, host, limits=Limits(timeout=LONG))
    worker = Worker(instance.exports[inside])
    with after(delay, instance, lambda: throw(worker.ident, Later)):
        worker.start()
        worker.join(LONG)
    assert not worker.is_alive()
    assert [type(each) for each in worker.ends] == [Later]
    assert works(instance)


def test_it_ends_a_guest_that_computes_in_an_event_loop(runtime: Runtime, needs: Needs) -> None:
    """As the guest's, not somewhere in the loop, which would never go on with the guest."""
    needs("suspension")

    async def main() -> None:
        async def f() -> None: ...

        source = '(module (import "env" "f" (func)) (func (export "forever") (loop (br 0))))'
        instance = await runtime.instantiate_async(runtime.compile(to_binary(source)), {"env": {"f": f}})
        timer = threading.Timer(0.05, throw, (threading.get_ident(),))
        timer.start()
        try:
            await instance.exports.forever.call_async()
        finally:
            timer.join()

    def run_loop() -> None:
        """As `asyncio.run` does, but without waiting for tasks: one that is lost never ends."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: loop.stop())
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    # Between the slices of the guest it may come in the loop's own code all the same, which loses the guest's task.
    ends: list[list[type[BaseException]]] = []
    while not ends or (ends[-1] != [Stop] and len(ends) < 5):
        worker = Worker(run_loop)
        worker.start()
        worker.join(LONG)
        assert not worker.is_alive()
        ends.append([type(each) for each in worker.ends])
    assert ends[-1] == [Stop], ends
