"""Calling a guest from a coroutine: the call runs on a worker thread, and cancelling the task stops the guest.

It is loaded with the native part, so it imports asyncio only for a call: a program without a loop need not load that.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..values import late
from .waiting import check_threads

if TYPE_CHECKING:
    import asyncio

    from ._fastcall import Function

__all__ = ["call_async"]

_RETRY = 0.01  # seconds between two attempts to stop a call that is just beginning


async def call_async(function: Function, *args: Any) -> Any:
    """Call `function(*args)` on a thread of the running loop's default executor, in a copy of the caller's context.

    When the task is cancelled, the guest is stopped first, so that afterwards the store is free for its next call.
    In an asynchronous store, whose host functions run on the loop, the call takes a thread of the runtime's instead.
    """
    asyncio = late("asyncio")
    this_thread = late(f"{__package__}._fastcall").this_thread
    store = function._store
    if store.turns is not None:
        return await store.turns.call(partial(function._run, *args))
    check_threads()
    context = copy_context()
    lock = Lock()  # guards the next two
    worker = 0  # the thread, while it makes this call: afterwards it makes others, which must not be stopped
    cancelled = False

    def run() -> Any:
        nonlocal worker
        with lock:
            if cancelled:
                return None
            worker = this_thread()
        try:
            return context.run(function, *args)
        except StopIteration as stop:  # a future cannot carry it
            raise RuntimeError("a host function raised StopIteration") from stop
        finally:
            with lock:
                worker = 0

    def stop() -> bool:
        with lock:
            if worker:
                store.interrupt(worker)  # only this call: another thread's stays untouched
            return worker != 0

    call = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        with lock:
            cancelled = True
        while store.interruptible and stop() and not call.done():
            with suppress(asyncio.CancelledError):  # cancelled again, while the first cancelling is under way
                await asyncio.wait({call}, timeout=_RETRY)
        if call.done():
            call.exception()  # asyncio warns of an exception that was never retrieved
        else:
            call.add_done_callback(_look)
        raise


def _look(call: asyncio.Future[Any]) -> None:
    if not call.cancelled():
        call.exception()
