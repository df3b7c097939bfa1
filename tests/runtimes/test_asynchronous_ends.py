"""Awaited calls that end otherwise than with a result: by exceptions, cancelling, deadlines, interrupts and closing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from helpers.asynchronous import doubled, during, run, start
from helpers.long_calls import LONG

import pywasmrt
from pywasmrt import ClosedError, DeadlineExceeded, Interrupted, Limits, Trap, TrapCode

Needs = Callable[..., None]

pytestmark = pytest.mark.usefixtures("needs_text")


# Exceptions


class Own(BaseException):
    pass


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("error", [ValueError("x"), Own(), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_exception_comes_out_as_itself(runtime: pywasmrt.Runtime, error: BaseException, at_once: bool) -> None:
    async def wait(x: int) -> int:
        if not at_once:
            await asyncio.sleep(0)
        raise error

    async def main() -> None:
        instance = await start(runtime, wait)
        with pytest.raises(type(error)) as raised:
            await instance.exports.run.call_async(1)
        assert raised.value is error
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


def test_stop_iteration_becomes_a_runtime_error(runtime: pywasmrt.Runtime) -> None:
    stop = StopIteration(5)

    def wait(x: int) -> int:
        raise stop

    async def main() -> None:
        instance = await start(runtime, wait)
        with pytest.raises(RuntimeError, match="StopIteration") as raised:
            await instance.exports.run.call_async(1)
        assert raised.value.__cause__ is stop

    run(main)


def test_a_trap_after_a_wait_is_a_trap(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        instance = await start(runtime, doubled)
        with pytest.raises(Trap) as raised:
            await instance.exports.trap_after.call_async(1)
        assert raised.value.code is TrapCode.UNREACHABLE
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


# Ending early


@pytest.mark.parametrize("times", [1, 2])
def test_cancelling_cancels_the_coroutine_and_unwinds_the_guest(runtime: pywasmrt.Runtime, times: int) -> None:
    events: list[str] = []

    async def main() -> None:
        waits = asyncio.Event()

        async def wait(x: int) -> int:
            waits.set()
            try:
                await asyncio.Event().wait()
            finally:
                events.append("finally")
            return x

        instance = await start(runtime, wait)
        call = asyncio.create_task(instance.exports.run.call_async(1))
        await during(call, waits.wait())
        for _ in range(times):
            call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert events == ["finally"]
        assert await instance.exports.add.call_async(1, 2) == 3  # the instance can be used

    run(main)


def test_a_coroutine_that_ignores_the_cancelling_lets_the_guest_go_on(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        waits = asyncio.Event()

        async def wait(x: int) -> int:
            waits.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return 9
            return x

        instance = await start(runtime, wait)
        call = asyncio.create_task(instance.exports.run.call_async(1))
        await during(call, waits.wait())
        call.cancel()
        assert await call == 9

    run(main)


@pytest.mark.parametrize("export", ["forever", "ask_forever"])
def test_a_guest_that_computes_lets_the_loop_go_on_and_can_be_cancelled(
    runtime: pywasmrt.Runtime, needs: Needs, export: str
) -> None:
    needs("interruption")

    async def main() -> None:
        instance = await start(runtime, lambda x: x)
        call = asyncio.create_task(instance.exports[export].call_async())
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


@pytest.mark.parametrize("export", ["run", "forever"])
def test_a_deadline_ends_the_wait_and_the_computing(runtime: pywasmrt.Runtime, needs: Needs, export: str) -> None:
    needs("deadline")
    events: list[str] = []

    async def wait(x: int) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            events.append("finally")
        return x

    async def main() -> None:
        arguments = [1] if export == "run" else []
        for timeout in (0.05, 1, 20):  # on a busy machine it may be over before the host function waits
            instance = await start(runtime, wait, limits=Limits(timeout=timeout))
            with pytest.raises(DeadlineExceeded):
                await instance.exports[export].call_async(*arguments)
            if events or export != "run":
                break
        task: Any = asyncio.current_task()
        if sys.version_info >= (3, 11):
            assert task.cancelling() == 0
        await asyncio.sleep(0)  # nobody is cancelled any more
        assert events == (["finally"] if export == "run" else [])
        for _ in range(20):  # the limit may be over before this one runs, too
            with suppress(DeadlineExceeded):
                assert await instance.exports.add.call_async(1, 2) == 3
                break
        else:
            pytest.fail("no call goes through")

    run(main)


def test_a_deadline_block_counts_the_wait(runtime: pywasmrt.Runtime, needs: Needs) -> None:
    needs("deadline")

    async def wait(x: int) -> int:
        await asyncio.Event().wait()
        return x

    async def main() -> None:
        instance = await start(runtime, wait)
        with instance.deadline(0.05), pytest.raises(DeadlineExceeded):
            await instance.exports.run.call_async(1)
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


def test_a_deadline_and_a_cancelling_at_once_are_a_cancelling(runtime: pywasmrt.Runtime, needs: Needs) -> None:
    needs("deadline")
    if sys.version_info < (3, 11):
        pytest.skip("before 3.11 asyncio does not tell who cancelled")

    async def main() -> None:
        calls: list[asyncio.Task[Any]] = []

        waited: list[int] = []

        async def wait(x: int) -> int:
            waited.append(x)
            try:
                await asyncio.Event().wait()
            finally:
                calls[0].cancel()  # somebody else, just when the deadline ends the wait
            return x

        for timeout in (0.02, 1, 20):  # on a busy machine it may be over before the host function waits
            instance = await start(runtime, wait, limits=Limits(timeout=timeout))
            calls[:] = [asyncio.create_task(instance.exports.run.call_async(1))]
            with pytest.raises((asyncio.CancelledError, DeadlineExceeded)):
                await calls[0]
            if waited:
                break
        assert calls[0].cancelled()

    run(main)


def test_interrupt_ends_the_wait(runtime: pywasmrt.Runtime, needs: Needs) -> None:
    needs("interruption")

    async def main() -> None:
        waits = asyncio.Event()

        async def wait(x: int) -> int:
            waits.set()
            await asyncio.Event().wait()
            return x

        instance = await start(runtime, wait)
        call = asyncio.create_task(instance.exports.run.call_async(1))
        await during(call, waits.wait())
        assert await asyncio.to_thread(instance.interrupt)
        with pytest.raises(Interrupted):
            await call
        assert await instance.exports.add.call_async(1, 2) == 3
        assert not instance.interrupt()

    run(main)


@pytest.mark.parametrize("what", ["instance", "runtime"])
@pytest.mark.parametrize("by", ["another", "itself"])
def test_closing_ends_the_wait(fresh_runtime: pywasmrt.Runtime, what: str, by: str) -> None:
    async def main() -> None:
        waits = asyncio.Event()

        def close() -> None:
            (instance if what == "instance" else fresh_runtime).close()

        async def wait(x: int) -> int:
            waits.set()
            if by == "itself":
                close()
            await asyncio.Event().wait()
            return x

        instance = await start(fresh_runtime, wait)
        call = asyncio.create_task(instance.exports.run.call_async(1))
        await during(call, waits.wait())
        if by == "another":
            close()
        with pytest.raises(ClosedError):
            await call
        with pytest.raises(ClosedError):
            await instance.exports.add.call_async(1, 2)

    run(main)


def test_a_loop_that_ends_under_a_guest_unwinds_it(runtime: pywasmrt.Runtime) -> None:
    events: list[str] = []

    async def main() -> Any:
        waits = asyncio.Event()

        async def wait(x: int) -> int:
            waits.set()
            try:
                await asyncio.Event().wait()
            finally:
                events.append("finally")
            return x

        instance = await start(runtime, wait)
        call = asyncio.create_task(instance.exports.run.call_async(1))
        await asyncio.wait_for(during(call, waits.wait()), LONG)
        del call
        return instance

    instance = asyncio.run(main())  # which cancels what is left
    assert events == ["finally"]
    assert asyncio.run(instance.exports.add.call_async(1, 2)) == 3
