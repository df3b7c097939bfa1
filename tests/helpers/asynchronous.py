"""A guest that calls a host function which waits, and short forms to start it and to run a test's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pywasmrt

from .long_calls import LONG

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
    asyncio.run(asyncio.wait_for(main(), LONG))


async def until(event: asyncio.Event, call: asyncio.Task[Any]) -> None:
    """Wait for an event that a call is to bring about; a call that ends without it raises what it ended with."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait([waiting, call], return_when=asyncio.FIRST_COMPLETED)
    if not event.is_set():
        waiting.cancel()
        raise AssertionError(f"the call ended with {call.result()!r}, and the event did not come")


async def doubled(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x
