"""Asynchronous stores whose guests run on worker threads: the pool, and what the loop's thread may do meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any
from weakref import ref

import pytest
from helpers.asynchronous import during, run

import pywasmrt
from pywasmrt import BusyError, Caller, Runtime
from pywasmrt._shim.waiting import on_thread
from pywasmrt.runtimes.base.turns import Turns
from pywasmrt.runtimes.base.workers import Workers

Needs = Callable[..., None]

SOURCE = """
(module
  (import "env" "wait" (func $wait (param i32) (result i32)))
  (memory (export "memory") 1 3)
  (func (export "run") (param i32) (result i32) (call $wait (local.get 0)))
  (func (export "forever") (loop $again (br $again))))
"""


@pytest.fixture
def threaded(runtime: Runtime, needs: Needs) -> Any:
    """A runtime whose guests share one thread."""
    needs("wat")
    if "suspension" in runtime.info.features:
        pytest.skip("its guests are suspended")
    with pywasmrt.new_runtime(runtime.info.name, {"options": {"async_threads": 1}}) as made:
        yield made


def start(runtime: Runtime, wait: Callable[..., Any]) -> Coroutine[Any, Any, Any]:
    return runtime.instantiate_async(runtime.compile(SOURCE), {"env": {"wait": wait}})


def test_beyond_the_pool_calls_wait_for_their_turn(threaded: Runtime) -> None:
    async def main() -> None:
        gate, waits = asyncio.Event(), asyncio.Event()

        async def wait(x: int) -> int:
            waits.set()
            await gate.wait()
            return x

        first, second, third = [await start(threaded, wait) for _ in range(3)]
        call = asyncio.ensure_future(first.exports.run.call_async(1))
        await during(call, waits.wait())
        queued = asyncio.ensure_future(second.exports.run.call_async(2))
        given_up = asyncio.ensure_future(third.exports.run.call_async(3))
        await asyncio.sleep(0.01)
        assert not queued.done()
        given_up.cancel()  # which takes no thread
        with pytest.raises(asyncio.CancelledError):
            await given_up
        gate.set()
        assert [await call, await queued] == [1, 2]
        assert await third.exports.run.call_async(4) == 4

    run(main)


def test_a_guest_that_awaits_itself_needs_no_second_thread(threaded: Runtime) -> None:
    async def wait(caller: Caller, x: int) -> int:
        call = caller.function("run")
        assert call is not None
        return 100 if x == 0 else 1 + int(await call.call_async(x - 1))

    async def main() -> None:
        assert await (await start(threaded, wait)).exports.run.call_async(3) == 103

    run(main)


def test_host_functions_run_on_the_thread_of_the_loop_and_have_the_store(threaded: Runtime) -> None:
    threads = set()

    async def wait(caller: Caller, x: int) -> int:
        threads.add(threading.get_ident())
        memory = caller.memory()
        memory.write(0, b"one")
        await asyncio.sleep(0)
        threads.add(threading.get_ident())
        assert memory.grow(1) == 1
        assert memory.read(0, 3) == b"one"
        return x

    async def main() -> None:
        assert await (await start(threaded, wait)).exports.run.call_async(3) == 3
        assert threads == {threading.get_ident()}

    run(main)


def test_while_the_guest_computes_its_memory_is_its_own(threaded: Runtime, needs: Needs) -> None:
    needs("interruption")

    async def main() -> None:
        instance = await start(threaded, lambda x: x)
        memory = instance.memory()
        call = asyncio.ensure_future(instance.exports.forever.call_async())
        busy = False
        while not (busy or call.done()):
            await asyncio.sleep(0)
            try:
                memory.read(0, 1)
            except BusyError:
                busy = True
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert memory.read(0, 1) == b"\0"

    run(main)


def test_a_wrong_number_of_threads_is_refused(runtime: Runtime) -> None:
    for wrong in (0, 5000, True, "many"):
        with pytest.raises(pywasmrt.InvalidConfigurationError, match="async_threads"):
            pywasmrt.new_runtime(runtime.info.name, {"options": {"async_threads": wrong}})


def test_the_pool_uses_its_threads_again_and_lets_them_go() -> None:
    pool = Workers(2)
    used: list[int] = []
    done = threading.Semaphore(0)

    def job() -> None:
        used.append(threading.get_ident())
        done.release()

    for _ in range(20):
        pool.run(job)
        assert done.acquire(timeout=120)
    assert 1 <= len(set(used)) <= 2
    threads = [each for each in threading.enumerate() if each.ident in used]
    pool.close()
    for each in threads:
        each.join(120)
        assert not each.is_alive()


class Argument:
    """What a call is given, and what somebody waits to see the end of."""


class KeepsCalls(ThreadPoolExecutor):
    """As a thread does that is not quite at its end when the caller hears of the result."""

    def __init__(self) -> None:
        super().__init__(1)
        self.kept: list[Callable[..., Any]] = []

    def submit(self, call: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        self.kept.append(call)
        self.kept.extend(args)
        return super().submit(call, *args, **keywords)


def test_a_thread_holds_no_argument_when_its_call_has_ended() -> None:
    async def main() -> None:
        with KeepsCalls() as threads:
            asyncio.get_running_loop().set_default_executor(threads)
            argument = Argument()
            gone = ref(argument)
            await on_thread(lambda _: None, (argument,))
            del argument
            assert gone() is None

    run(main)


class Alone:
    """What `Turns` asks of a store, of which nothing is wanted here."""

    closed = False

    def until(self) -> int:
        return 0

    def this_thread(self) -> int:
        return threading.get_ident()

    def lend(self, thread: int | None) -> None:
        pass

    def stop_guest(self) -> bool | None:
        return None


def test_a_worker_holds_no_argument_and_no_result_when_its_call_has_ended() -> None:
    async def main() -> None:
        with KeepsCalls() as threads:
            turns = Turns(Alone(), lambda work: threads.submit(work) and None)
            argument = Argument()
            gone = ref(argument)
            result = await turns.call(partial(lambda given: given, argument))
            assert result is argument
            del argument, result
            assert gone() is None

    run(main)
