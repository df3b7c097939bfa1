"""A million calls, host calls, errors and resources leave the process as large as it was."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
from collections.abc import Callable
from typing import Any

import pytest

import pywasmrt
from pywasmrt import ComponentError

from .guests import CALLS_HOST, COUNTERS, HOST_RESOURCE, RESULTS
from .test_imports import Host
from .test_resources import Things

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="needs getrusage")]


def peak() -> int:
    """The largest that the process has been, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def check(x: int) -> int:
    if x % 2:
        raise ComponentError("odd" * 100)
    return x


def works(runtime: pywasmrt.Runtime) -> dict[str, Callable[[], Any]]:
    calls = runtime.instantiate_component(runtime.compile_component(CALLS_HOST), {"local:demo/host": Host()}).exports
    results = runtime.instantiate_component(runtime.compile_component(RESULTS), {"check": check}).exports
    counters = runtime.instantiate_component(runtime.compile_component(COUNTERS)).exports["local:demo/counters"]
    things = Things()
    host = runtime.instantiate_component(
        runtime.compile_component(HOST_RESOURCE), {"local:demo/things": things}
    ).exports
    thing = things.Thing(1)

    def error() -> None:
        with contextlib.suppress(ComponentError):
            results.check(1)
        with contextlib.suppress(TypeError):
            results.check("x")

    def guests_resource() -> None:
        counters.Counter(1).inc()
        counters.consume(counters.Counter(2))

    def hosts_resource() -> None:
        host.use(1)
        host.borrow(thing)
        host.keep(thing)
        host.give_back()

    return {
        "calls": lambda: calls.twice(1),
        "values": lambda: calls.join_all(["some", "text"] * 10),
        "errors": error,
        "guests' resources": guests_resource,
        "the host's resources": hosts_resource,
    }


def test_nothing_grows(runtime: pywasmrt.Runtime, needs: Callable[..., None]) -> None:
    needs("component-model")
    count = 1_000_000 if runtime.info.name == "wasmtime" else 2_000
    for name, work in works(runtime).items():
        for _ in range(count // 10):
            work()
        gc.collect()
        before = peak()
        for _ in range(count):
            work()
        assert peak() - before < 2048, name


class Waits:
    """What CALLS_HOST and RESULTS import, as coroutines."""

    async def inc(self, x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    async def swap(self, pair: Any) -> Any:
        return pair

    async def join_all(self, texts: list[str]) -> str:
        await asyncio.sleep(0)
        return "".join(texts)

    async def check(self, x: int) -> int:
        await asyncio.sleep(0)
        return check(x)


async def wait_often(runtime: pywasmrt.Runtime, count: int) -> None:
    """Wait in calls that return, that fail and that are cancelled."""
    host = Waits()
    calls = runtime.link_component(runtime.compile_component(CALLS_HOST), {"local:demo/host": host})
    results = runtime.link_component(runtime.compile_component(RESULTS), {"check": host.check})
    instance, checking = await calls.instantiate_async(), await results.instantiate_async()
    for n in range(count):
        assert await instance.exports.twice.call_async(n) == n + 2
        assert await instance.exports.join_all.call_async(["some", "text"]) == "sometext"
        with contextlib.suppress(ComponentError):
            await checking.exports.check.call_async(n)
        if n % 100 == 0:
            with await calls.instantiate_async() as once:
                call = asyncio.ensure_future(once.exports.twice.call_async(1))
                await asyncio.sleep(0)
                call.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await call
    instance.close()
    checking.close()


def test_waiting_grows_nothing(runtime: pywasmrt.Runtime, needs: Callable[..., None]) -> None:
    needs("component-model")
    count = 100_000 if runtime.info.name == "wasmtime" else 500
    asyncio.run(wait_often(runtime, count // 10))
    gc.collect()
    before = peak()
    asyncio.run(wait_often(runtime, count))
    gc.collect()
    assert peak() - before < 2048


def test_instances_come_and_go(runtime: pywasmrt.Runtime, needs: Callable[..., None]) -> None:
    needs("component-model")
    component = runtime.compile_component(COUNTERS)
    linked = runtime.link_component(component)

    def once() -> None:
        with linked.instantiate() as instance:
            counters = instance.exports["local:demo/counters"]
            counters.Counter(1).inc()

    for _ in range(500):
        once()
    gc.collect()
    before = peak()
    for _ in range(3000):
        once()
    gc.collect()
    assert peak() - before < 4096
