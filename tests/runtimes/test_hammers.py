"""Many threads that do everything at once."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from helpers.long_calls import loops, works

import pywasmrt
from pywasmrt import (
    Limits,
    Runtime,
    WasmError,
)
from pywasmrt.testing import Module, guests


def hammer(seconds: float, *actions: Callable[[], object]) -> None:
    """Repeat every action on a thread of its own for that time. What is refused is refused with an error of ours."""
    until = time.monotonic() + seconds
    failures: list[BaseException] = []

    def repeat(action: Callable[[], object]) -> None:
        while time.monotonic() < until and not failures:
            try:
                action()
            except WasmError:
                pass
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


HAMMERING = float(os.environ.get("PYWASMRT_HAMMER_SECONDS", "1"))


def test_hammering_one_store(fresh_runtime: Runtime) -> None:
    """Calls, growth, views, interrupts and the collector, from all sides."""
    limits = Limits(timeout=0.05) if "deadline" in fresh_runtime.info.features else None
    if limits is None:
        pytest.skip("cannot stop a guest")
    instance = loops(fresh_runtime, lambda: time.sleep(0), limits=limits)
    memory = instance.memory()
    exports = instance.exports

    def grow() -> None:
        if memory.grow(1) == 15:
            time.sleep(0.01)

    def look() -> None:
        memory.write(0, memory.read(0, 65536))

    def interrupt() -> None:
        if "interruption" in fresh_runtime.info.features:
            instance.interrupt()
        time.sleep(0.001)

    calls = [lambda: exports.count(1000), exports.forever, exports.call_forever]
    hammer(HAMMERING, *calls, grow, look, interrupt, gc.collect)
    assert works(instance)


def test_hammering_many_stores(fresh_runtime: Runtime) -> None:
    """Instances made, called, interrupted and closed, each by whoever gets at it."""
    if "deadline" not in fresh_runtime.info.features:
        pytest.skip("cannot stop a guest")
    module = fresh_runtime.compile(guests.loops().encode())
    made: list[Any] = []

    def make() -> None:
        made.append(fresh_runtime.instantiate(module, {"env": {"f": lambda: made[-1]}}, limits=Limits(timeout=0.02)))
        del made[:-8]

    def call(export: str) -> Callable[[], object]:
        def one() -> None:
            if made:
                made[-1].exports[export]()

        return one

    def close() -> None:
        if made:
            made[0].close()
        time.sleep(0.001)

    def interrupt() -> None:
        if made and "interruption" in fresh_runtime.info.features:
            made[-1].interrupt()

    def swallow(action: Callable[[], object]) -> Callable[[], object]:
        def one() -> None:
            with suppress(TypeError, IndexError):  # the host function's result, or the list's, at the wrong moment
                action()

        return one

    actions = [make, close, interrupt, gc.collect, *[call(each) for each in ("forever", "call_forever", "call")]]
    hammer(HAMMERING, *[swallow(each) for each in actions])


def test_closing_the_runtime_under_everything(runtime: Runtime) -> None:
    for _ in range(5):
        victim = pywasmrt.new_runtime(runtime.info.name)
        module = victim.compile(guests.loops().encode())
        bounded = Limits(timeout=1) if "deadline" in victim.info.features else None

        def use(victim: Runtime = victim, module: Any = module, limits: Limits | None = bounded) -> None:
            instance: Any = victim.instantiate(module, {"env": {"f": lambda: None}}, limits=limits)
            instance.exports.count(10_000_000)

        closing = threading.Timer(0.02, victim.close)
        closing.start()
        hammer(0.05, use, use, lambda victim=victim: victim.compile(Module().encode()))
        closing.join()
        assert victim.closed  # type: ignore[attr-defined]
