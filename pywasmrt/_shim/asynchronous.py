"""Calling a guest from a coroutine: the call runs on a worker thread, and cancelling the task stops the guest."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ._fastcall import this_thread

if TYPE_CHECKING:
    from ._fastcall import Function

__all__ = ["call_async"]

_RETRY = 0.01  # seconds between two attempts to stop a call that is just beginning


async def call_async(function: Function, *args: Any) -> Any:
    """Call `function(*args)` on a thread of the running loop's default executor.

    When the task is cancelled, the guest is stopped first, so that afterwards the store is free for its next call.
    """
    worker = 0  # the thread that makes the call
    cancelled = False

    def run() -> Any:
        nonlocal worker
        worker = this_thread()  # before the look at `cancelled`: one of the two threads sees the other
        return None if cancelled else function(*args)

    call = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        cancelled = True
        store = function._store
        while worker and store.interruptible and not call.done():
            store.interrupt(worker)  # this call, and not one of another thread that has it refused
            with suppress(asyncio.CancelledError):  # again: it is being seen to
                await asyncio.wait({call}, timeout=_RETRY)
        if call.done():
            call.exception()  # looked at, so that nobody is told it was not
        else:
            call.add_done_callback(_look)
        raise


def _look(call: asyncio.Future[Any]) -> None:
    if not call.cancelled():
        call.exception()
