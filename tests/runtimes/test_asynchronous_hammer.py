"""Guests that wait, in thousands: random answers, exceptions, cancelling, references and calls back, with the same seed
each time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import pywasmrt
from pywasmrt import BusyError, Caller, Runtime

SOURCE = """
(module
  (import "env" "wait" (func $wait (param i32 externref) (result externref)))
  (table (export "kept") 4 externref)
  (func (export "run") (param i32 externref) (result externref)
    (local $held externref)
    (local.set $held (local.get 1))
    (table.set (i32.and (local.get 0) (i32.const 3)) (local.get $held))
    (drop (call $wait (local.get 0) (local.get $held)))
    (if (i32.eq (local.get 0) (i32.const 13)) (then unreachable))
    (local.get $held))
  (func (export "spin") (param i32)
    (loop $again (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
"""


class Asked(Exception):
    """What host functions raise."""


class Thing:
    """What passes as a reference."""


class Hammer:
    def __init__(self, runtime: Runtime, seed: int) -> None:
        self.runtime = runtime
        self.module = runtime.compile(SOURCE)
        self.random = random.Random(seed)
        self.suspended = 0

    async def wait(self, caller: Caller, depth: int, thing: Any) -> Any:
        chance = self.random.random()
        self.suspended += 1
        await asyncio.sleep(0)
        if chance < 0.1:
            raise Asked
        if chance < 0.2:
            await asyncio.Event().wait()  # until somebody cancels
        if chance < 0.3 and depth < 20:
            call = caller.function("run")
            assert call is not None
            found = await call.call_async(depth + 1, thing)
            assert found is thing
        if chance < 0.35:
            left = caller.function("run")
            assert left is not None
            left.call_async(0, Thing()).send(None)  # begun, and left behind
        if chance < 0.4:
            gc.collect()
        return Thing()

    async def one(self, rounds: int) -> None:
        instance = await self.runtime.instantiate_async(self.module, {"env": {"wait": self.wait}})
        for _ in range(rounds):
            thing = Thing()
            call = asyncio.ensure_future(instance.exports.run.call_async(self.random.choice([0, 5, 13]), thing))
            if self.random.random() < 0.3:
                for _ in range(self.random.randrange(4)):
                    await asyncio.sleep(0)
                call.cancel()
            with contextlib.suppress(Asked, asyncio.CancelledError, asyncio.TimeoutError, pywasmrt.Trap, BusyError):
                assert await asyncio.wait_for(call, 0.05) is thing
        await instance.exports.spin.call_async(1000)
        if self.random.random() < 0.5:
            instance.close()

    async def all(self, guests: int, rounds: int) -> None:
        await asyncio.gather(*(self.one(rounds) for _ in range(guests)))


def hammer(runtime: Runtime, guests: int, rounds: int) -> None:
    alive = weakref.WeakSet[Thing]()
    made = Thing.__init__

    def init(self: Thing) -> None:
        made(self)
        alive.add(self)

    Thing.__init__ = init  # type: ignore[method-assign]
    try:
        work = Hammer(runtime, 1)
        asyncio.run(work.all(guests, rounds))
        assert work.suspended >= guests
        del work
        gc.collect()
        assert len(alive) == 0
    finally:
        Thing.__init__ = made  # type: ignore[method-assign]


def test_an_object_is_handed_over_while_a_guest_waits_only_as_its_result(
    runtime: Runtime, needs: Callable[..., None]
) -> None:
    """The engine's collector does not see what the stack of a guest that waits holds."""
    needs("wat", "reference-types", "suspension")

    async def wait(caller: Caller, x: int, thing: Any) -> Any:
        kept: Any = caller.table("kept")
        await asyncio.sleep(0)
        assert kept[1] is thing
        kept[1] = None
        with pytest.raises(BusyError, match="waiting"):
            kept[1] = thing
        return thing

    async def main() -> None:
        instance = await runtime.instantiate_async(runtime.compile(SOURCE), {"env": {"wait": wait}})
        thing = Thing()
        assert await instance.exports.run.call_async(1, thing) is thing
        kept: Any = instance.table("kept")
        kept[2] = thing
        assert kept[2] is thing

    asyncio.run(main())


def test_guests_wait_in_every_way(runtime: Runtime, needs: Callable[..., None]) -> None:
    needs("wat", "reference-types", "interruption", "suspension")
    hammer(runtime, 20, 20)


@pytest.mark.slow
def test_guests_wait_two_hundred_thousand_times(runtime: Runtime, needs: Callable[..., None]) -> None:
    needs("wat", "reference-types", "interruption", "suspension")
    hammer(runtime, 400, int(os.environ.get("PYWASMRT_HAMMER_ROUNDS", "400")))
