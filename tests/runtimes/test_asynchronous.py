"""Asynchronous stores: guests that wait for coroutines, on every runtime that has them.

Each test is a program of its own loop; what it shows holds wherever the guest waits, on a stack or on a thread.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

import pywasmrt
from pywasmrt import BusyError, Caller, ClosedError, DeadlineExceeded, Interrupted, Limits, Trap, TrapCode

Needs = Callable[..., None]

SOURCE = """
(module
  (import "env" "wait" (func $wait (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $calls (export "calls") (mut i32) (i32.const 0))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "run") (param i32) (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (call $wait (local.get 0)))
  (func (export "twice") (param i32) (result i32) (call $wait (call $wait (local.get 0))))
  (func (export "trap_after") (param i32) (drop (call $wait (local.get 0))) unreachable)
  (func (export "forever") (loop $again (br $again)))
  (func (export "ask_forever") (loop $again (drop (call $wait (i32.const 0))) (br $again))))
"""


def start(runtime: pywasmrt.Runtime, wait: Callable[..., Any], **more: Any) -> Coroutine[Any, Any, Any]:
    return runtime.instantiate_async(runtime.compile(SOURCE), {"env": {"wait": wait}}, **more)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 20))


async def doubled(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


@pytest.fixture(autouse=True)
def _needs_text(needs: Needs) -> None:
    needs("wat")


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


# What is refused


def test_a_synchronous_call_is_refused_in_words(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        instance = await start(runtime, doubled)
        for call in (instance.exports.add, instance.exports.add.call):
            with pytest.raises(pywasmrt.WasmError, match="call_async"):
                call(1, 2)
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


def test_an_async_function_is_refused_by_instantiate(runtime: pywasmrt.Runtime) -> None:
    with pytest.raises(pywasmrt.ModuleInstantiateError, match=r"env\.wait.*instantiate_async"):
        runtime.instantiate(runtime.compile(SOURCE), {"env": {"wait": doubled}})


def test_a_store_is_entered_in_one_way(runtime: pywasmrt.Runtime) -> None:
    module = runtime.compile(SOURCE)
    imports = {"env": {"wait": lambda x: x}}

    async def main() -> None:
        store = runtime.new_store()
        runtime.instantiate(module, imports, store=store)
        with pytest.raises(pywasmrt.ModuleInstantiateError, match="synchronous instances"):
            await runtime.instantiate_async(module, imports, store=store)
        store = runtime.new_store()
        first = await runtime.instantiate_async(module, imports, store=store)
        with pytest.raises(pywasmrt.ModuleInstantiateError, match="asynchronous instances"):
            runtime.instantiate(module, imports, store=store)
        second = await runtime.instantiate_async(module, {"env": {"wait": first.exports.run}}, store=store)
        assert await second.exports.run.call_async(4) == 4

    run(main)


def test_arguments_are_checked_as_ever(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        instance = await start(runtime, doubled)
        with pytest.raises(TypeError, match="takes 2 arguments"):
            await instance.exports.add.call_async(1)
        with pytest.raises(TypeError, match="argument 1"):
            await instance.exports.add.call_async("1", 2)
        with pytest.raises(OverflowError):
            await instance.exports.add.call_async(1 << 40, 2)
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


@pytest.mark.parametrize("wrong", ["x", None, 1 << 50, (1, 2)])
def test_what_a_coroutine_returns_is_checked(runtime: pywasmrt.Runtime, wrong: object) -> None:
    async def wait(x: int) -> object:
        await asyncio.sleep(0)
        return wrong

    async def main() -> None:
        instance = await start(runtime, wait)
        with pytest.raises((TypeError, OverflowError), match=r"env\.wait"):
            await instance.exports.run.call_async(1)
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


def test_a_second_task_finds_the_store_busy(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        gate, waits = asyncio.Event(), asyncio.Event()

        async def wait(x: int) -> int:
            waits.set()
            await gate.wait()
            return x

        instance = await start(runtime, wait)
        call = asyncio.create_task(instance.exports.run.call_async(1))
        await waits.wait()
        with pytest.raises(BusyError):
            await instance.exports.add.call_async(1, 2)
        gate.set()
        assert await call == 1
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


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
        await waits.wait()
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
        await waits.wait()
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
        instance = await start(runtime, wait, limits=Limits(timeout=0.05))
        arguments = [1] if export == "run" else []
        with pytest.raises(DeadlineExceeded):
            await instance.exports[export].call_async(*arguments)
        task: Any = asyncio.current_task()
        if sys.version_info >= (3, 11):
            assert task.cancelling() == 0
        await asyncio.sleep(0)  # nobody is cancelled any more
        assert events == (["finally"] if export == "run" else [])
        assert await instance.exports.add.call_async(1, 2) == 3

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

        async def wait(x: int) -> int:
            try:
                await asyncio.Event().wait()
            finally:
                calls[0].cancel()  # somebody else, just when the deadline ends the wait
            return x

        instance = await start(runtime, wait, limits=Limits(timeout=0.02))
        calls.append(asyncio.create_task(instance.exports.run.call_async(1)))
        with pytest.raises(asyncio.CancelledError):
            await calls[0]

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
        await waits.wait()
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
        await waits.wait()
        if by == "another":
            close()
        with pytest.raises(ClosedError):
            await call
        with pytest.raises(ClosedError):
            await instance.exports.add.call_async(1, 2)

    run(main)


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
        await waits.wait()
        del call
        return instance

    instance = asyncio.run(main())  # which cancels what is left
    assert events == ["finally"]
    assert asyncio.run(instance.exports.add.call_async(1, 2)) == 3


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


def test_an_awaited_call_cannot_be_awaited_again(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        instance = await start(runtime, doubled)
        call = instance.exports.run.call_async(1)
        assert await call == 2
        with pytest.raises(RuntimeError, match="already awaited"):
            await call
        never = instance.exports.run.call_async(1)
        never.close()
        with pytest.raises(RuntimeError, match="already awaited"):
            await never

    run(main)


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
