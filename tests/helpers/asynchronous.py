"""A guest that calls a host function which waits, and short forms to start it and to run a test's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pywasmrt

from .long_calls import LONG

T = TypeVar("T")

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


async def during(call: asyncio.Future[Any], awaited: Awaitable[T]) -> T:
    """What is awaited while a call runs. A call that ends before raises what it ended with."""
    waiting = asyncio.ensure_future(awaited)
    await asyncio.wait([waiting, call], return_when=asyncio.FIRST_COMPLETED)
    if waiting.done():
        return waiting.result()
    waiting.cancel()
    raise AssertionError(f"the call ended before, with {call.result()!r}")


async def doubled(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x
