"""The one place where a guest blocks: waiting for descriptors or for time, until the call is to stop.

In an asynchronous store nothing blocks. A function that would block raises `WouldWait`, the event loop waits instead
(`loop_waiting`), and the function runs again from its beginning, where the wait is then answered at once. So every
function waits before it does anything that cannot be done twice.

Every wait watches a pipe of its own beside what the guest waits for. Whoever interrupts or closes the store writes a
byte to it, and the wait ends at once. Ctrl-C needs no help: the signal's handler runs inside `poll` and raises through
it. Deadlines bound the wait's own timeout. An exception that is set for the thread from outside
(`PyThreadState_SetAsyncExc`) wakes nothing, and is raised only where Python code runs; so a wait looks up now and then.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Mapping
from threading import get_ident
from typing import Any, Protocol, runtime_checkable
from weakref import ref

from .abi import FdFlags
from .errno import Errno, WasiError
from .handles import pipe

__all__ = ["POLL_IN", "POLL_OUT", "Stoppable", "Stopped", "Waiter", "WouldWait"]

POLL_IN = select.POLLIN
POLL_OUT = select.POLLOUT
_MILLISECOND = 1_000_000
_LOOK_UP = 100
"""Milliseconds after which a wait lets Python raise what was set for the thread from outside."""


@runtime_checkable
class Stoppable(Protocol):
    """A store that can end the waits of its guests. A store of another package need not: its guests wait until their
    wait is over or their instance is closed.
    """

    @property
    def closed(self) -> bool: ...

    def until(self) -> int:
        """When the running call is to end, in ns of the monotonic clock; 0 for never."""

    def on_stop(self, callback: Any) -> None:
        """Have `callback` called, from any thread, when the running call is interrupted or the store closed."""

    def off_stop(self, callback: Any) -> None:
        """Undo `on_stop`."""


class Stopped(WasiError):
    """The wait ended since the call is to end."""

    def __init__(self) -> None:
        super().__init__(Errno.INTR)


class WouldWait(Exception):
    """What the function waits for, in an asynchronous store: as the arguments of `Waiter.wait`."""

    def __init__(self, wants: Mapping[int, int], timeout: int | None) -> None:
        self.wants = wants
        self.timeout = timeout


class _Bell:
    """A pipe to end a `poll` by; closed when this is dropped, and so never while a thread may still ring it."""

    __slots__ = ("_writing", "reading")

    def __init__(self) -> None:
        self.reading, self._writing = pipe()

    def ring(self) -> None:
        with contextlib.suppress(OSError):  # it is full: rung already
            os.write(self._writing.fd, b"\0")

    def silence(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self.reading.fd, 64)


class _Seat:
    """Where one thread of the guest waits: the store that it runs in, and the bell that ends its waits."""

    __slots__ = ("__weakref__", "bell", "store")

    def __init__(self, store: ref[Stoppable] | None) -> None:
        self.store = store
        self.bell: _Bell | None = None

    def wake(self) -> None:
        """End the wait that is under way. Quick, never raises, from any thread."""
        bell = self.bell
        if bell is not None:
            bell.ring()


class Waiter:
    """Waits for one instance, or for one instance and the threads that it started, each in a seat of its own."""

    def __init__(self) -> None:
        self._main = _Seat(None)
        self._seats: dict[int, _Seat] = {}  # of the threads that the guest started, by their number
        self._stopped = False
        self.gives_up = False
        """Whether a wait is given up with `WouldWait`, for the event loop to wait."""
        self.answer: dict[int, int] | None = None
        """What the wait that was given up came to."""

    def attach(self, store: Any) -> None:
        """Let the store stop the waits, if it can."""
        if isinstance(store, Stoppable):
            self._main.store = ref(store)

    def enter(self, store: Any) -> None:
        """From now on the calling thread waits for a store of its own, until `leave`."""
        self._seats[get_ident()] = _Seat(ref(store) if isinstance(store, Stoppable) else None)

    def leave(self) -> None:
        """Undo `enter`."""
        self._seats.pop(get_ident(), None)

    def _seat(self) -> _Seat:
        return self._seats.get(get_ident(), self._main) if self._seats else self._main

    def close(self) -> None:
        """End the waits that are under way, and every later one at once."""
        self._stopped = True
        for seat in (self._main, *list(self._seats.values())):
            seat.wake()

    def check(self) -> None:
        """Raise `Stopped` when the running call is to end; for work that takes long without waiting."""
        of = self._seat().store
        store = None if of is None else of()
        deadline = 0 if store is None else store.until()
        if self._stopped or (store is not None and store.closed) or (deadline and time.monotonic_ns() >= deadline):
            raise Stopped

    def ready(self, fd: int, mask: int, flags: int) -> None:
        """Wait until the host's `fd` is ready. `EAGAIN` if it is not and `flags` say `NONBLOCK`."""
        if not self.wait({fd: mask}, 0 if flags & FdFlags.NONBLOCK else None):
            raise WasiError(Errno.AGAIN)

    def wait(self, wants: Mapping[int, int], timeout: int | None) -> dict[int, int]:
        """Wait for descriptors of the host: each with `POLL_IN` or `POLL_OUT`, or both.

        `timeout` is in ns; None waits for ever. Returns what is ready, as `poll` tells it (hang-ups and errors
        included); nothing if the time is up. Raises `Stopped` when the running call is to end.
        """
        poller = select.poll()
        for fd, mask in wants.items():
            poller.register(fd, mask)
        if timeout == 0:
            return dict(poller.poll(0))
        if self.gives_up:
            return self._answered(wants, timeout)
        seat = self._seat()
        bell = seat.bell
        if bell is None:
            bell = seat.bell = _Bell()
        poller.register(bell.reading, POLL_IN)
        store = None if seat.store is None else seat.store()
        if store is not None:
            store.on_stop(seat.wake)
        try:
            # After on_stop, so that no stop is missed: it either rings the bell or is seen here.
            deadline = 0 if store is None else store.until()
            end = 0 if timeout is None else time.monotonic_ns() + timeout
            while not self._stopped and not (store is not None and store.closed):
                now = time.monotonic_ns()
                if deadline and now >= deadline:
                    break
                left = min((each - now for each in (end, deadline) if each), default=None)
                if left is None:
                    ready = dict(poller.poll(_LOOK_UP))
                elif left >= _MILLISECOND:
                    ready = dict(poller.poll(min(left // _MILLISECOND, _LOOK_UP)))
                else:  # poll counts in milliseconds
                    if left > 0:
                        time.sleep(left / 1e9)
                    ready = dict(poller.poll(0))
                if ready.pop(bell.reading.fd, 0):
                    bell.silence()
                    deadline = 0 if store is None else store.until()  # past, unless the bell rang for an earlier wait
                    continue
                if ready or (end and time.monotonic_ns() >= end):
                    return ready
            raise Stopped
        finally:
            if store is not None:
                store.off_stop(seat.wake)

    def _answered(self, wants: Mapping[int, int], timeout: int | None) -> dict[int, int]:
        """The answer to the wait that was given up before, or one that needs no wait; else raises `WouldWait`."""
        answer, self.answer = self.answer, None
        if answer is None:
            answer = self.wait(wants, 0)
            if not answer:
                raise WouldWait(wants, timeout)
        return answer
