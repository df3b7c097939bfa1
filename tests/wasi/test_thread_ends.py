"""What ends the threads of a guest from its first instance: errors of every kind, in every way of calling."""

from __future__ import annotations

import asyncio
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pywasmrt import DeadlineExceeded, Exit, Interrupted, RowError, Runtime, Trap, wasi

Needs = Callable[..., None]
LONG = 30.0

# Address 0: how many threads have begun. 4: counts on while one of them computes. `end` and `_start` do what the number
# says that they are given: `end` as its argument, `_start` at address 8.
GUEST = """(module
  (import "env" "memory" (memory 1 1 shared)) (export "memory" (memory 0))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "env" "called" (func $called (param i32)))
  (global (export "global") i32 (i32.const 7))
  (func $sleep (param i32) (drop (memory.atomic.wait32 (i32.const 12) (i32.const 0) (i64.const -1))))
  (func (export "wasi_thread_start") (param i32 i32)
    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
    (if (local.get 1) (then (call $sleep (i32.const 0)) (unreachable)))
    (loop $again (drop (i32.atomic.rmw.add (i32.const 4) (i32.const 1))) (br $again)))
  (func (export "spawn") (drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 1)))
    (loop $again (br_if $again (i32.ne (i32.atomic.load (i32.const 0)) (i32.const 2)))))
  (func $deeper (call $deeper))
  (func $end (export "end") (param i32) (result i32)
    (if (i32.eq (local.get 0) (i32.const 1)) (then (unreachable)))
    (if (i32.eq (local.get 0) (i32.const 2)) (then (call $exit (i32.const 3))))
    (if (i32.eq (local.get 0) (i32.const 3)) (then (call $deeper)))
    (if (i32.ge_u (local.get 0) (i32.const 4)) (then
      (call $called (local.get 0))
      (if (i32.ge_u (local.get 0) (i32.const 6)) (then (loop $again (br $again))))))
    (local.get 0))
  (func (export "_start") (drop (call $end (i32.load (i32.const 8))))))"""
RETURN, TRAP, EXIT, DEEP, RAISE, NEST, INTERRUPT, SPIN = range(8)
ENDS = {
    TRAP: Trap,
    EXIT: Exit,
    DEEP: Trap,
    RAISE: LookupError,
    INTERRUPT: Interrupted,
    SPIN: DeadlineExceeded,
}


class Guest:
    """An instance with two threads: one computes, and one waits for ever."""

    def __init__(self, runtime: Runtime, store: Any = None) -> None:
        module = runtime.compile(GUEST)
        config = wasi.WasiConfig(threads=2)
        self.instance: Any = runtime.instantiate(module, {"env": {"called": self.called}}, wasi=config, store=store)
        self.exports = self.instance.exports
        self.in_guest: Callable[[], object] = bool
        self.exports.spawn()

    def called(self, what: int) -> None:
        if what == RAISE:
            raise LookupError("in the host")
        if what == INTERRUPT:
            self.instance.interrupt()
        if what == NEST:
            with pytest.raises(Trap):
                self.exports.end(TRAP)
        self.in_guest()

    def start(self, what: int) -> Any:
        """The command, which will do that."""
        self.instance.memory().write(8, what.to_bytes(4, "little"))
        return self.exports._start

    def goes_on(self) -> bool:
        """Whether the thread that computes does, and the other one is there."""
        before, until = self._count(), time.monotonic() + LONG
        while self._count() == before and time.monotonic() < until:
            time.sleep(0.001)
        return self._count() != before and len(threads()) == 2

    def _count(self) -> bytes:
        return bytes(self.instance.memory().read(4, 4))


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("pywasmrt-guest")]


def no_threads() -> bool:
    """Whether all threads of guests have ended, which they do soon."""
    until = time.monotonic() + LONG
    while threads() and time.monotonic() < until:
        time.sleep(0.001)
    return not threads()


@pytest.fixture
def guest(runtime: Runtime, needs: Needs) -> Iterator[Guest]:
    needs("threads", "memory-sharing", "deadline", "interruption")
    made = Guest(runtime)
    yield made
    made.instance.close()
    assert no_threads()


def call(function: Any, *args: int) -> Any:
    return function(*args)


def call_raw(function: Any, *args: int) -> Any:
    return function.call(*args)


def call_async(function: Any, *args: int) -> Any:
    async def main() -> Any:
        return await function.call_async(*args)

    return asyncio.run(main())


def call_map(function: Any, *args: int) -> Any:
    return function.map(*(array("i", [RETURN, each]) for each in args))


def call_mask(function: Any, *args: int) -> Any:
    return function.map(*(array("i", [RETURN, each]) for each in args), on_error="mask")


def is_ended_by(guest: Guest, error: BaseException | None) -> bool:
    """Whether the threads end, and every later call raises the error that has ended them. What the guest holds can be
    read.
    """
    assert error is not None
    assert no_threads()
    for again in (call, call_raw, call_async, call_map):
        with pytest.raises(type(error)) as raised:
            again(guest.exports.end, RETURN)
        assert raised.value is error
    assert guest.instance.global_("global").value == 7
    return guest.instance.memory().read(0, 1) == b"\2"


@pytest.mark.parametrize("way", [call, call_raw, call_async, call_map])
@pytest.mark.parametrize("what", ENDS)
def test_an_error_of_the_first_instance_ends_all(guest: Guest, what: int, way: Callable[..., Any]) -> None:
    ends: tuple[type[Exception], ...] = (ENDS[what], RowError) if way is call_map else (ENDS[what],)
    with pytest.raises(ends) as raised, guest.instance.deadline(0.05 if what == SPIN else 2 * LONG):
        way(guest.exports.end, what)
    assert is_ended_by(guest, raised.value.__cause__ if isinstance(raised.value, RowError) else raised.value)


@pytest.mark.parametrize("way", [call, call_raw, call_async])
@pytest.mark.parametrize("what", ENDS)
def test_an_error_of_a_command_that_is_called_ends_all(guest: Guest, what: int, way: Callable[..., Any]) -> None:
    start = guest.start(what)
    with pytest.raises(ENDS[what]) as raised, guest.instance.deadline(0.05 if what == SPIN else 2 * LONG):
        way(start)
    assert is_ended_by(guest, raised.value)


@pytest.mark.parametrize("way", [call, call_raw, call_async])
def test_a_command_that_is_called_and_returns_ends_its_threads(guest: Guest, way: Callable[..., Any]) -> None:
    assert not way(guest.start(RETURN))
    assert not threads()
    assert guest.exports.end(RETURN) == RETURN  # nothing has failed


@pytest.mark.parametrize("way", [call, call_raw, call_async, call_map])
def test_an_export_that_returns_ends_nothing(guest: Guest, way: Callable[..., Any]) -> None:
    way(guest.exports.end, RETURN)
    assert guest.goes_on()


def test_an_error_that_the_host_deals_with_ends_nothing(guest: Guest) -> None:
    """Be it within the guest's call, or in a row that is masked."""
    assert guest.exports.end(NEST) == NEST
    assert list(call_mask(guest.exports.end, TRAP)[1]) == [0, 1]
    assert guest.goes_on()
    with pytest.raises(LookupError) as raised:
        call_mask(guest.exports.end, RAISE)  # this one no mask takes
    assert is_ended_by(guest, raised.value)


def test_a_call_that_is_refused_ends_nothing(guest: Guest) -> None:
    for function, argument in ((guest.exports.end, "5"), (guest.start(RETURN), 5)):
        for way in (call, call_raw, call_async):
            with pytest.raises(TypeError):
                way(function, argument)
    with pytest.raises(IndexError):
        guest.instance.memory().read(1 << 20, 1)
    assert guest.goes_on()


def test_a_call_whose_deadline_has_passed_ends_all(guest: Guest) -> None:
    """Whether a deadline passes before the call or in it is a matter of chance."""
    with guest.instance.deadline(1e-9):
        time.sleep(0.001)
        with pytest.raises(DeadlineExceeded, match="before the call") as raised:
            guest.exports.end(RETURN)
    assert is_ended_by(guest, raised.value)


def test_a_call_that_is_cancelled_ends_all(guest: Guest) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(guest.exports.end.call_async(SPIN))
        guest.in_guest = lambda: loop.call_soon_threadsafe(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert no_threads()
    with pytest.raises(Interrupted):
        guest.exports.end(RETURN)


@pytest.mark.parametrize("what", ENDS)
def test_a_command_that_is_run_ends_its_threads(guest: Guest, what: int) -> None:
    guest.start(what)
    if what == EXIT:
        assert guest.instance.run() == 3
    else:
        with pytest.raises(ENDS[what]), guest.instance.deadline(0.05 if what == SPIN else 2 * LONG):
            guest.instance.run()
    assert not threads()
    with pytest.raises(ENDS[what]):
        guest.exports.end(RETURN)


def test_an_error_of_another_instance_of_the_store_ends_all(runtime: Runtime, needs: Needs) -> None:
    needs("threads", "memory-sharing", "deadline", "interruption")
    with runtime.new_store() as store:
        guest = Guest(runtime, store)
        other = runtime.instantiate(runtime.compile('(module (func (export "f") unreachable))'), store=store)
        with pytest.raises(Trap) as raised:
            other.exports.f()
        assert is_ended_by(guest, raised.value)
    with runtime.new_store() as store:
        guest = Guest(runtime, store)
        guest.instance.close()
        assert no_threads()
        other = runtime.instantiate(runtime.compile('(module (func (export "f") unreachable))'), store=store)
        for _ in range(2):  # the store has nothing more to end
            with pytest.raises(Trap):
                other.exports.f()
        quiet = runtime.instantiate(runtime.compile('(module (func (export "f")))'), store=store)
        quiet.exports.f()
