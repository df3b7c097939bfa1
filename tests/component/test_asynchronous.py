"""Asynchronous stores of components: coroutines as imports, calls that wait, resources, and WASI that sleeps."""

from __future__ import annotations

import asyncio
import contextvars
import time
from typing import Any

import pytest

import pywasmrt
from pywasmrt import BusyError, ComponentError, DeadlineExceeded, Limits, WasmError, wasi

from . import test_imports
from .guests import CALLS_HOST, COMMAND, COUNTERS, HOST_RESOURCE, MISBEHAVING, RESULTS, SLEEPER

MILLISECOND = 1_000_000


class Host:
    """What CALLS_HOST imports, each function a coroutine."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.gate: asyncio.Event | None = None

    async def inc(self, x: int) -> int:
        self.steps.append("inc")
        if self.gate is not None:
            try:
                await self.gate.wait()
            finally:
                self.steps.append("over")
        await asyncio.sleep(0)
        return x + 1

    async def swap(self, pair: Any) -> Any:
        await asyncio.sleep(0)
        return type(pair)(pair.right, pair.left)

    async def join_all(self, texts: list[str]) -> str:
        await asyncio.sleep(0)
        return "-".join(texts)


async def started(runtime: pywasmrt.Runtime, host: Any, **settings: Any) -> Any:
    component = runtime.compile_component(CALLS_HOST)
    return await runtime.instantiate_component_async(component, {"local:demo/host": host}, **settings)


def test_coroutines_serve_imports(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        with await started(components, Host()) as instance:
            assert await instance.exports.twice.call_async(1) == 3
            assert await instance.exports.twice.call_async(x=5) == 7
            assert await instance.exports.join_all.call_async(["ä", "b", ""]) == "ä-b-"
            pair = await instance.exports.swap.call_async({"left": 1, "right": 2})
            assert (pair.left, pair.right) == (2, 1)

    asyncio.run(main())


def test_plain_functions_serve_too_and_instances_are_many(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        linked = components.link_component(
            components.compile_component(CALLS_HOST), {"local:demo/host": test_imports.Host()}
        )
        with linked.instantiate() as alone:
            assert alone.exports.twice(1) == 3
        many = [await linked.instantiate_async() for _ in range(5)]
        calls = [each.exports.twice.call_async(n) for n, each in enumerate(many)]
        assert await asyncio.gather(*calls) == [2, 3, 4, 5, 6]
        for each in many:
            each.close()

    asyncio.run(main())


def test_a_synchronous_call_says_how_to_call(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        with await started(components, Host()) as instance:
            with pytest.raises(WasmError, match=r"await twice\.call_async"):
                instance.exports.twice(1)
            with pytest.raises(OverflowError, match=r"argument 1 of twice\(\)"):
                await instance.exports.twice.call_async(-1)
            with pytest.raises(TypeError, match=r"twice\(\) takes 1 argument, not 0"):
                await instance.exports.twice.call_async()
        with pytest.raises(pywasmrt.ClosedError):
            await instance.exports.twice.call_async(1)

    asyncio.run(main())


def test_coroutines_need_an_asynchronous_store(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(CALLS_HOST)
    with pytest.raises(pywasmrt.ModuleInstantiateError, match="await instantiate_component_async"):
        components.instantiate_component(component, {"local:demo/host": Host()})
    linked = components.link_component(component, {"local:demo/host": Host()})
    with pytest.raises(pywasmrt.ModuleInstantiateError, match="await instantiate_component_async"):
        linked.instantiate()


def test_call_async_in_a_synchronous_store(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        component = components.compile_component(CALLS_HOST)
        with components.instantiate_component(component, {"local:demo/host": test_imports.Host()}) as instance:
            assert await instance.exports.twice.call_async(x=1) == 3

    asyncio.run(main())


def test_errors_come_out_as_themselves(components: pywasmrt.Runtime) -> None:
    async def check(x: int) -> int:
        await asyncio.sleep(0)
        if x == 1:
            raise ComponentError("one")
        if x == 2:
            raise LookupError("two")
        if x == 3:
            return "three"  # type: ignore[return-value]
        return x

    async def main() -> None:
        component = components.compile_component(RESULTS)
        for x, error, text in ((2, LookupError, "two"), (3, TypeError, "host function check")):
            with await components.instantiate_component_async(component, {"check": check}) as instance:
                assert await instance.exports.check.call_async(7) == 7
                with pytest.raises(ComponentError) as caught:  # which the guest is told of, and tells in turn
                    await instance.exports.check.call_async(1)
                assert caught.value.payload == "one"
                with pytest.raises(error, match=text):
                    await instance.exports.check.call_async(x)
                with pytest.raises(pywasmrt.Trap, match="make a new instance"):
                    await instance.exports.check.call_async(7)

    asyncio.run(main())


def test_traps_and_calls_back(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        component = components.compile_component(MISBEHAVING)
        instance: Any = None

        async def back() -> None:
            with pytest.raises(BusyError, match="component model does not let a host function call back"):
                await instance.exports.give.call_async()

        instance = await components.instantiate_component_async(component, {"call-back": back})
        with instance:
            await instance.exports.recurse.call_async()
            with pytest.raises(pywasmrt.Trap) as caught:
                await instance.exports.trap.call_async()
            assert caught.value.code is pywasmrt.TrapCode.UNREACHABLE

    asyncio.run(main())


def test_a_second_task_is_refused(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        host = Host()
        host.gate = asyncio.Event()
        with await started(components, host) as instance:
            first = asyncio.create_task(instance.exports.twice.call_async(1))
            while not (host.steps or first.done()):
                await asyncio.sleep(0)
            assert not first.done()
            with pytest.raises(BusyError, match="give each task a store of its own"):
                await instance.exports.twice.call_async(1)
            host.gate.set()
            assert await first == 3

    asyncio.run(main())


def test_cancelling_ends_the_coroutine_and_the_guest(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        host = Host()
        host.gate = asyncio.Event()
        with await started(components, host) as instance:
            call = asyncio.create_task(instance.exports.twice.call_async(1))
            while not (host.steps or call.done()):
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert host.steps == ["inc", "over"]
            with pytest.raises(pywasmrt.Trap, match="make a new instance"):  # the component model's rule
                await instance.exports.twice.call_async(1)
        with await started(components, Host()) as again:
            assert await again.exports.twice.call_async(1) == 3

    asyncio.run(main())


def test_deadlines_count_waiting(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        for timeout in (0.02, 1, 20):  # on a busy machine it may be over before the host function waits
            host = Host()
            host.gate = asyncio.Event()
            with (
                await started(components, host, limits=Limits(timeout=timeout)) as instance,
                pytest.raises(DeadlineExceeded),
            ):
                await instance.exports.twice.call_async(1)
            if host.steps:
                break
        assert host.steps == ["inc", "over"]
        component = components.compile_component(MISBEHAVING)
        spinning = await components.instantiate_component_async(
            component, {"call-back": lambda: None}, limits=Limits(timeout=0.02)
        )
        with spinning, pytest.raises(DeadlineExceeded):
            await spinning.exports.spin.call_async()

    asyncio.run(main())


def test_closing_and_interrupting_end_a_wait(components: pywasmrt.Runtime, needs: Any) -> None:
    async def main() -> None:
        for end, error in (("close", pywasmrt.ClosedError), ("interrupt", pywasmrt.Interrupted)):
            if end == "interrupt" and "interruption" not in components.info.features:
                continue
            host = Host()
            host.gate = asyncio.Event()
            with await started(components, host) as instance:
                call = asyncio.create_task(instance.exports.twice.call_async(1))
                while not (host.steps or call.done()):
                    await asyncio.sleep(0)
                getattr(instance, end)()
                with pytest.raises(error):
                    await call
                assert host.steps == ["inc", "over"]

    asyncio.run(main())


def test_the_context_is_the_caller_s(components: pywasmrt.Runtime) -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

    class Named(Host):
        async def join_all(self, texts: list[str]) -> str:
            await asyncio.sleep(0)
            return name.get()

    async def call(runtime: pywasmrt.Runtime, own: str) -> str:
        name.set(own)
        with await started(runtime, Named()) as instance:
            found: str = await instance.exports.join_all.call_async([])
            return found

    async def main() -> None:
        assert await asyncio.gather(*[call(components, own) for own in "abcd"]) == list("abcd")

    asyncio.run(main())


class Thing:
    """A resource of the host's, whose methods are coroutines."""

    def __init__(self, start: int) -> None:
        self.value = start

    async def add(self, x: int) -> int:
        await asyncio.sleep(0)
        self.value += x
        return self.value

    @staticmethod
    async def count() -> int:
        await asyncio.sleep(0)
        return 42


class Things:
    Thing = Thing

    def __init__(self) -> None:
        self.taken: list[Thing] = []

    async def take(self, thing: Thing) -> None:
        await asyncio.sleep(0)
        self.taken.append(thing)


def test_resources_of_the_host(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        things = Things()
        component = components.compile_component(HOST_RESOURCE)
        with await components.instantiate_component_async(component, {"local:demo/things": things}) as instance:
            exports = instance.exports
            assert await exports.use.call_async(5) == 8
            await exports.hand_over.call_async(6)
            assert [each.value for each in things.taken] == [6]
            assert await exports.count.call_async() == 42
            thing = Thing(1)
            for n in range(3):
                assert await exports.borrow.call_async(thing) == 11 + 10 * n
            await exports.keep.call_async(thing)
            assert await exports.give_back.call_async() is thing
            await exports.forget.call_async(1)

    asyncio.run(main())


def test_resources_of_the_guest(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        component = components.compile_component(COUNTERS)
        with await components.instantiate_component_async(component) as instance:
            counters = instance.exports["local:demo/counters"]
            async with await counters.Counter.call_async(5) as counter:
                assert await counter.inc.call_async() == 6
                with pytest.raises(WasmError, match=r"await Counter\.inc\.call_async"):
                    counter.inc()
                with pytest.raises(WasmError, match="await drop_async"):
                    counter.drop()
                with pytest.raises(WasmError, match="use async with"), counter:
                    pass
            assert counter.closed
            with pytest.raises(WasmError, match=r"await Counter\.call_async"):
                counters.Counter(5)
            counter = await counters.Counter.call_async(start=7)
            assert await counters.Counter.live.call_async() == 1
            await counter.drop_async()
            await counter.drop_async()
            assert await counters.Counter.live.call_async() == 0
            kept = await counters.Counter.call_async(1), await counters.Counter.call_async(2)
            assert await counters.sum.call_async(*kept) == 3
            assert await counters.consume.call_async(kept[0]) == 1
            del kept, counter
            assert await counters.Counter.live.call_async() == 0

    asyncio.run(main())


def test_a_guest_that_sleeps_does_not_hold_up_the_loop(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        turns = 0

        async def note(x: int) -> int:
            await asyncio.sleep(0)
            return turns + x

        component = components.compile_component(SLEEPER)
        with await components.instantiate_component_async(
            component, {"note": note}, wasi=wasi.WasiConfig()
        ) as instance:
            call = asyncio.create_task(instance.exports.sleep.call_async(200 * MILLISECOND))
            while not call.done():
                await asyncio.sleep(0.001)
                turns += 1
            assert call.result() > 5  # how often the loop had its turn during the sleep

    asyncio.run(main())


def test_cancelling_a_guest_that_sleeps(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        component = components.compile_component(SLEEPER)
        host = {"note": lambda x: x}
        with await components.instantiate_component_async(component, host, wasi=wasi.WasiConfig()) as instance:
            call = asyncio.create_task(instance.exports.sleep.call_async(2000 * MILLISECOND))
            await asyncio.sleep(0.02)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            with pytest.raises(BusyError):  # the wait is the engine's, and goes on; its store is busy until then
                await instance.exports.sleep.call_async(1)
            until = time.monotonic() + 30
            while time.monotonic() < until:
                try:
                    await instance.exports.sleep.call_async(1)
                except BusyError:
                    await asyncio.sleep(0.01)
                    continue
                except pywasmrt.Trap:  # where the guest could be stopped
                    pass
                return
            raise AssertionError("the store stays busy")

    asyncio.run(main())


def test_a_command(components: pywasmrt.Runtime) -> None:
    async def main() -> None:
        out = bytearray()
        component = components.compile_component(COMMAND)
        for args, code in ((["a"], 0), (["a", "b"], 1), (["a", "b", "c"], 1)):
            with await components.instantiate_component_async(
                component, wasi=wasi.WasiConfig(args=args, stdout=out)
            ) as instance:
                assert await instance.run_async() == code
        assert out.startswith(b"a\na\nb\n")

    asyncio.run(main())
