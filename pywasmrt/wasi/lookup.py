"""Looking names up without waiting in the host's resolver, which no deadline and no signal ends.

A thread waits in the resolver, and the caller waits for a pipe, which it can stop doing. An abandoned thread goes on
until the resolver gives up, so the number of these threads in the process is bounded.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any

from .handles import Handle, pipe

__all__ = ["MOST", "Lookup"]

MOST = 32
"""Look-ups that a process has under way at a time, those included that nobody waits for any more."""

_slots = threading.BoundedSemaphore(MOST)


def _renew() -> None:
    """Start afresh in the child of a fork, where the parent's threads do not exist."""
    global _slots
    _slots = threading.BoundedSemaphore(MOST)


os.register_at_fork(after_in_child=_renew)


class Lookup:
    """One look-up, as `socket.getaddrinfo` takes its arguments. Any thread may make one and wait for it.

    `start` begins it, and `fileno` is readable once `result` has something to give.
    """

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._found: list[Any] | None = None
        self._error: BaseException | None = None
        self._reading: Handle | None = None

    def start(self) -> bool:
        """Begin. False where too many are under way: then it may be tried again in a while."""
        slots = _slots
        if not slots.acquire(blocking=False):
            return False
        try:
            reading, writing = pipe()
            thread = threading.Thread(target=self._run, args=(writing, slots), name="pywasmrt-lookup", daemon=True)
            self._reading = reading
            thread.start()
        except BaseException:  # no descriptor or no thread to be had
            slots.release()
            raise
        return True

    def _run(self, writing: Handle, slots: threading.BoundedSemaphore) -> None:
        try:
            self._found = socket.getaddrinfo(*self._arguments)
        except BaseException as error:
            self._error = error
        finally:
            slots.release()
            with contextlib.suppress(OSError):
                os.write(writing.fd, b"\0")  # into a pipe that nobody may be reading any more

    def fileno(self) -> int:
        """The descriptor to wait for."""
        assert self._reading is not None
        return self._reading.fd

    def result(self) -> list[Any]:
        """What was found, once `fileno` is readable. Raises what `getaddrinfo` raised."""
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found
