"""Waiting on the event loop, for guests of asynchronous stores."""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable, Mapping

from .handles import Handle, duplicate
from .waiting import POLL_IN, POLL_OUT, Waiter, WouldWait

__all__ = ["go_on"]

_SECOND = 1e-9  # of a nanosecond


async def go_on(waiter: Waiter, wait: WouldWait, attempt: Callable[[], int]) -> int:
    """Wait for what `wait` says and make the attempt, which gives an errno, again: as often as it has to wait."""
    while True:
        waiter.answer = await _wait(wait.wants, wait.timeout)
        try:
            return attempt()
        except WouldWait as another:
            wait = another
        finally:
            waiter.answer = None


async def _wait(wants: Mapping[int, int], timeout: int | None) -> dict[int, int]:
    """As `Waiter.wait`. Cancelling ends it."""
    loop = asyncio.get_running_loop()
    end = None if timeout is None else loop.time() + timeout * _SECOND
    with _Watch(loop, wants) as watch:
        while not await watch.woken(end):
            ready = _ready(wants)
            if ready:
                return ready
            await asyncio.sleep(0)  # it was ready, but another reader was quicker
    return _ready(wants)


class _Watch:
    """Descriptors that the loop watches, in a `with` block. Each is a duplicate, as others may watch the same one, and
    the loop knows each number but once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wants: Mapping[int, int]) -> None:
        self._loop = loop
        self._wants = wants
        self._own: list[Handle] = []
        self._future: asyncio.Future[None] | None = None
        self._always = False

    def __enter__(self) -> _Watch:
        try:
            for fd, mask in self._wants.items():
                with contextlib.suppress(OSError):  # it is closed; asking for its state will report that
                    self._watch(duplicate(fd), mask)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _watch(self, own: Handle, mask: int) -> None:
        self._own.append(own)
        try:
            if mask & POLL_IN:
                self._loop.add_reader(own, self._wake)
            if mask & POLL_OUT:
                self._loop.add_writer(own, self._wake)
        except PermissionError:  # a file: it is always ready
            self._always = True

    def __exit__(self, *error: object) -> None:
        for own in self._own:
            if not self._loop.is_closed():
                self._loop.remove_reader(own)
                self._loop.remove_writer(own)
            own.close()

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def woken(self, end: float | None) -> bool:
        """Wait until one may be ready, or for the `end` in the loop's time. Whether that has come."""
        if self._always or len(self._own) < len(self._wants):
            return False
        self._future = self._loop.create_future()
        timer = None if end is None else self._loop.call_at(end, self._wake)
        try:
            await self._future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()
        return end is not None and self._loop.time() >= end


def _ready(wants: Mapping[int, int]) -> dict[int, int]:
    poller = select.poll()
    for fd, mask in wants.items():
        poller.register(fd, mask)
    return dict(poller.poll(0))
