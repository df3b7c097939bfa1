"""Guests that are called from coroutines."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest
from helpers.long_calls import LONG, SOON, Needs, loops, works
from helpers.running import Guest, stop

from pywasmrt import (
    BusyError,
    Interrupted,
    Runtime,
)
from pywasmrt._shim.asynchronous import call_async


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
        while not (entered.is_set() or call.done()):
            await asyncio.sleep(0.001)
        return call

    before = set(threading.enumerate())
    try:
        call = loop.run_until_complete(main())
        (worker,) = set(threading.enumerate()) - before
    finally:
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
        turns = None

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


def test_context_variables_reach_host_functions(runtime: Runtime, needs: Needs) -> None:
    needs("wat")
    request: ContextVar[str] = ContextVar("request", default="lost")
    seen: list[str] = []
    module = runtime.compile('(module (import "env" "f" (func $f)) (func (export "run") (call $f)))')
    imports = {"env": {"f": lambda: seen.append(request.get())}}

    async def main() -> None:
        request.set("r-1")
        await runtime.instantiate(module, imports).exports.run.call_async()
        await (await runtime.instantiate_async(module, imports)).exports.run.call_async()

    asyncio.run(main())
    assert seen == ["r-1", "r-1"]


def test_stop_iteration_of_a_host_function_reaches_the_task(runtime: Runtime, needs: Needs) -> None:
    """A future cannot carry it, and whoever awaited that waited for ever."""
    needs("wat")
    module = runtime.compile(
        '(module (import "env" "f" (func $f (result i32))) (func (export "run") (result i32) (call $f)))'
    )
    numbers = iter([1])

    async def main() -> None:
        instance = runtime.instantiate(module, {"env": {"f": lambda: next(numbers)}})
        assert await instance.exports.run.call_async() == 1
        with pytest.raises(RuntimeError, match="StopIteration") as raised:
            await asyncio.wait_for(instance.exports.run.call_async(), LONG)
        assert isinstance(raised.value.__cause__, StopIteration)

    asyncio.run(main())
