"""A million calls, host calls, errors and resources leave the process as large as it was."""

from __future__ import annotations

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
    count = 200_000 if runtime.info.name == "wasmtime" else 2_000
    for name, work in works(runtime).items():
        for _ in range(count // 10):
            work()
        gc.collect()
        before = peak()
        for _ in range(count):
            work()
        assert peak() - before < 2048, name


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
