"""Asynchronous stores: guests that wait for coroutines, on every runtime that has them.

Each test is a program of its own loop; what it shows holds wherever the guest waits, on a stack or on a thread.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from helpers.asynchronous import SOURCE, doubled, run, start

import pywasmrt
from pywasmrt import BusyError, Caller, ClosedError, Trap

Needs = Callable[..., None]

pytestmark = pytest.mark.usefixtures("needs_text")


def test_a_guest_waits_for_a_coroutine(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        instance = await start(runtime, doubled)
        assert await instance.exports.run.call_async(21) == 42
        assert await instance.exports.twice.call_async(3) == 12
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


def test_a_plain_function_serves_too_and_so_does_what_returns_a_coroutine(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        plain = await start(runtime, lambda x: x + 1)
        assert await plain.exports.twice.call_async(1) == 3
        wrapped = await start(runtime, lambda x: doubled(x))
        assert await wrapped.exports.twice.call_async(1) == 4

    run(main)


class AsyncCallable:
    async def __call__(self, x: int) -> int:
        return 5 * x


def test_an_object_whose_call_is_async_serves(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        instance = await start(runtime, AsyncCallable())
        assert await instance.exports.run.call_async(2) == 10

    run(main)


def test_the_decorator_takes_async_functions_with_exact_types(runtime: pywasmrt.Runtime) -> None:
    env = pywasmrt.HostModule("env")

    @env.function
    async def wait(caller: Caller, x: pywasmrt.i32) -> pywasmrt.i32:
        memory = caller.memory()
        await asyncio.sleep(0)
        memory.write(0, b"after")  # a Caller serves across an await
        return len(caller.memory().read(0, x))

    async def main() -> None:
        instance = await runtime.instantiate_async(runtime.compile(SOURCE), env)
        assert await instance.exports.run.call_async(5) == 5
        assert instance.memory().read(0, 5) == b"after"

    run(main)


def test_a_caller_is_dead_once_its_function_has_returned(runtime: pywasmrt.Runtime) -> None:
    kept = []

    async def wait(caller: Caller, x: int) -> int:
        kept.append(caller)
        await asyncio.sleep(0)
        return x

    async def main() -> None:
        instance = await start(runtime, wait)
        await instance.exports.run.call_async(1)
        with pytest.raises(ClosedError):
            kept[0].memory()

    run(main)


def test_guests_of_different_stores_wait_at_the_same_time(runtime: pywasmrt.Runtime) -> None:
    order: list[str] = []

    async def main() -> None:
        gate = asyncio.Event()

        async def first(x: int) -> int:
            order.append("first waits")
            await gate.wait()
            order.append("first goes on")
            return x

        async def second(x: int) -> int:
            order.append("second waits")
            gate.set()
            await asyncio.sleep(0)
            return x

        one, other = await start(runtime, first), await start(runtime, second)
        assert await asyncio.gather(one.exports.run.call_async(1), other.exports.run.call_async(2)) == [1, 2]

    run(main)
    assert sorted(order[:2]) == ["first waits", "second waits"]
    assert order[2:] == ["first goes on"]


def test_a_start_function_may_wait(runtime: pywasmrt.Runtime) -> None:
    seen = []

    async def wait(x: int) -> int:
        await asyncio.sleep(0)
        seen.append(x)
        return x

    async def main() -> None:
        module = runtime.compile(
            '(module (import "env" "wait" (func $w (param i32) (result i32)))'
            " (start 1) (func (drop (call $w (i32.const 7)))))"
        )
        await runtime.instantiate_async(module, {"env": {"wait": wait}})

    run(main)
    assert seen == [7]


def test_the_last_reference_may_go_while_the_guest_waits(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def wait(x: int) -> int:
            await gate.wait()
            return x

        call = asyncio.create_task((await start(runtime, wait)).exports.run.call_async(8))
        await asyncio.sleep(0)
        gc.collect()
        gate.set()
        assert await call == 8

    run(main)


def driven(call: Any) -> int:
    """The result of a call, without a loop: at a tick it yields once more."""
    for _ in range(100):
        try:
            call.send(None)
        except StopIteration as stop:
            return int(stop.value)
    return 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_fork_goes_on_with_guests_that_sleep(runtime: pywasmrt.Runtime, needs: Needs) -> None:
    needs("suspension")

    async def wait(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    instance = asyncio.run(start(runtime, wait))
    call = instance.exports.run.call_async(41)
    assert call.send(None) is None  # it waits
    child = os.fork()
    if child == 0:
        os._exit(driven(call))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert driven(call) == 42


def test_guests_of_a_pool_wait_on_stacks_of_the_pool(runtime: pywasmrt.Runtime, needs: Needs) -> None:
    needs("suspension")

    async def main() -> None:
        with pywasmrt.new_runtime(runtime.info.name, {"pool": pywasmrt.Pool(instances=3)}) as pooled:
            gate = asyncio.Event()

            async def wait(x: int) -> int:
                await gate.wait()
                return x

            instances = [await start(pooled, wait) for _ in range(3)]
            calls = [asyncio.ensure_future(each.exports.run.call_async(n)) for n, each in enumerate(instances)]
            await asyncio.sleep(0)
            with pytest.raises(pywasmrt.ModuleInstantiateError, match="pool is used up"):
                await start(pooled, wait)
            gate.set()
            assert await asyncio.gather(*calls) == [0, 1, 2]

    run(main)


def test_context_variables_are_not_lost_by_interleaving(runtime: pywasmrt.Runtime) -> None:
    """As the current span of OpenTelemetry is one."""
    span: ContextVar[str] = ContextVar("span", default="none")
    seen: list[tuple[int, str, str]] = []

    async def wait(x: int) -> int:
        before = span.get()
        await asyncio.sleep(0)
        seen.append((x, before, span.get()))
        return x

    async def request(n: int) -> None:
        span.set(f"span {n}")
        instance = await start(runtime, wait)
        await instance.exports.twice.call_async(n)
        assert span.get() == f"span {n}"

    async def main() -> None:
        await asyncio.gather(*(request(n) for n in range(20)))

    run(main)
    assert sorted(set(seen)) == sorted((n, f"span {n}", f"span {n}") for n in range(20))
    assert len(seen) == 40


# Calls back into the guest


def test_a_host_function_may_await_its_own_guest(runtime: pywasmrt.Runtime) -> None:
    async def wait(caller: Caller, x: int) -> int:
        await asyncio.sleep(0)
        if x == 0:
            return 100
        run = caller.function("run")
        assert run is not None
        return 1 + int(await run.call_async(x - 1))

    async def main() -> None:
        instance = await start(runtime, wait)
        assert await instance.exports.run.call_async(10) == 110
        assert instance.exports.calls.value == 11

    run(main)


def test_another_task_of_a_host_function_is_another(runtime: pywasmrt.Runtime) -> None:
    async def wait(caller: Caller, x: int) -> int:
        run = caller.function("run")
        assert run is not None
        return int(await asyncio.create_task(run.call_async(x)))  # type: ignore[arg-type]

    async def main() -> None:
        instance = await start(runtime, wait)
        with pytest.raises(BusyError):
            await instance.exports.run.call_async(1)

    run(main)


def test_recursion_through_the_host_ends_in_an_error(runtime: pywasmrt.Runtime) -> None:
    async def wait(caller: Caller, x: int) -> int:
        run = caller.function("run")
        assert run is not None
        return int(await run.call_async(x))

    async def main() -> None:
        instance = await start(runtime, wait)
        with pytest.raises((RecursionError, Trap)):
            await instance.exports.run.call_async(1)
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)
