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

_lock = threading.RLock()
_under_way: set[Lookup] = set()


def _renew() -> None:
    """Start afresh in the child of a fork, where the parent's threads do not exist."""
    global _lock, _under_way
    _lock, _under_way = threading.RLock(), set()


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
        self._writing: Handle | None = None

    def start(self) -> bool:
        """Begin. False where too many are under way: then it may be tried again in a while."""
        thread = threading.Thread(target=self._run, args=(_under_way,), name="pywasmrt-lookup", daemon=True)
        try:
            with _lock:
                if len(_under_way) >= MOST:
                    return False
                _under_way.add(self)
            self._reading, self._writing = pipe()
            thread.start()
        except BaseException:  # no descriptor, no thread, or a signal handler, perhaps when the thread had begun
            if not thread.is_alive():
                _under_way.discard(self)
            raise
        return True

    def _run(self, under_way: set[Lookup]) -> None:
        assert self._writing is not None
        try:
            self._found = socket.getaddrinfo(*self._arguments)
        except BaseException as error:
            self._error = error
        finally:
            under_way.discard(self)
            with contextlib.suppress(OSError):
                os.write(self._writing.fd, b"\0")  # into a pipe that nobody may be reading any more

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
