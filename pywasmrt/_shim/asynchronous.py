"""Calling a guest from a coroutine: the call runs on a worker thread, and cancelling the task stops the guest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._fastcall import Function

__all__ = ["call_async"]

_RETRY = 0.01  # seconds between two attempts to stop a call that is just beginning


async def call_async(function: Function, *args: Any) -> Any:
    """Call `function(*args)` on a thread of the running loop's default executor.

    When the task is cancelled, the guest is stopped first, so that afterwards the store is free for its next call.
    """
    started = cancelled = False

    def run() -> Any:
        nonlocal started
        started = True  # before the look at `cancelled`: one of the two threads sees the other
        return None if cancelled else function(*args)

    call = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        cancelled = True
        while started and not call.done():
            function._store.interrupt()
            await asyncio.wait({call}, timeout=_RETRY)
        if call.done():
            call.exception()  # looked at, so that nobody is told it was not
        raise
