"""What calls that wait ask of the event loop. It does not import asyncio: a program without a loop need not load that.

A call of an asynchronous store (csrc/fast/task.c) knows no loop: it only passes on what it is sent. That is not enough
where the wait has to end early. Then the asyncio task that awaits the call is cancelled, as `asyncio.timeout` does it,
and the `CancelledError` that comes back is turned into the error that tells the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from ..errors import ClosedError
from ..values import late

if TYPE_CHECKING:
    import asyncio

    class Waiting(Protocol):
        """A call that waits."""

        def _expire(self) -> bool:
            """End the wait if it has to end; on the loop's thread. Returns False where there is no reason yet."""


__all__ = ["Wait", "check_threads", "first_wait", "on_thread"]


_EARLY = 0.001  # seconds by which a timer may fire too early


class Wait:
    """The asyncio task in which a call waits, if it is one, and the timer of the call's deadline."""

    __slots__ = ("__weakref__", "_call", "_cancelling", "_task", "_timer")

    def __init__(self, call: Waiting, seconds: float | None) -> None:
        self._task: asyncio.Task[Any] | None = None
        loops = sys.modules.get("asyncio")
        if loops is not None:
            with suppress(RuntimeError):  # no loop of asyncio runs
                self._task = loops.current_task()
        self._call = ref(call)  # weak: the call owns this
        self._cancelling = 0
        self._timer: asyncio.TimerHandle | None = None
        if seconds is not None and self._task is not None:
            self._timer = self._task.get_loop().call_later(seconds, _expire_timed, ref(self))

    def end(self) -> bool:
        """Cancel the task, and return whether there is one; on the loop's thread."""
        task: Any = self._task
        if task is None:
            return False
        if hasattr(task, "cancelling"):  # since Python 3.11
            self._cancelling = task.cancelling()
        task.cancel()
        return True

    def soon(self) -> None:
        """Have the loop look whether the wait has to end; from any thread."""
        if self._task is not None:
            loop = self._task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_expire, self._call)

    def ended(self, error: BaseException) -> bool:
        """Take back the cancelling that `end` has asked for. Returns whether `error` comes of that alone."""
        task: Any = self._task
        others = task.uncancel() > self._cancelling if hasattr(task, "uncancel") else False
        return isinstance(error, sys.modules["asyncio"].CancelledError) and not others

    def over(self) -> None:
        """The call has ended."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._task = None


def _expire(reference: ref[Waiting]) -> None:
    call = reference()
    if call is not None:
        call._expire()


def _expire_timed(reference: ref[Wait]) -> None:
    wait = reference()
    if wait is None or wait._task is None:
        return
    call = wait._call()
    if call is not None and not call._expire():  # a timer may be early by the resolution of the loop's clock
        wait._timer = wait._task.get_loop().call_later(_EARLY, _expire_timed, reference)


first_wait = Wait


def check_threads() -> None:
    """Raise `ClosedError` while the interpreter ends: a thread would not run any more, and its caller wait for ever."""
    if sys.is_finalizing():
        raise ClosedError("the interpreter is ending: no thread can make this call any more")


async def on_thread(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call `function(*args)` on a thread of the running loop's default executor, in a copy of the caller's context.

    The thread lets the arguments go before the caller hears of the end.
    """
    check_threads()
    held = [(function, args)]

    def call() -> Any:
        function, args = held.pop()
        try:
            return function(*args)
        except StopIteration as stop:  # a future cannot carry it
            raise RuntimeError("a host function raised StopIteration") from stop

    return await late("asyncio").to_thread(call)
