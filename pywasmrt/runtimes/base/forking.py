"""What a fork takes away, and how to keep it whole.

Wasmtime compiles on a pool of threads that the whole process shares; the child of a fork has no such threads, and
would wait for them for ever. So there everything is compiled on the calling thread alone.

And it has locks. What another thread holds at the moment of a fork nobody in the child releases. So a fork waits until
no other thread is inside of an engine without the interpreter's lock, guests that run excepted.
"""

from __future__ import annotations

import os
import time
from threading import RLock, get_ident

__all__ = ["environment", "forks", "inside"]

_forks = 0
_environment = RLock()


def forks() -> int:
    """How many forks lie between this process and the one that first loaded an adapter."""
    return _forks


def environment() -> RLock:
    """Held by whoever changes for a moment what the whole process shares: an environment variable, or a table in C.
    Re-entrant: a signal handler may come here while its own thread holds it.
    """
    return _environment


class _Inside:
    """A block in which this thread calls an engine and gives the interpreter's lock away meanwhile. Many threads may be
    in one; a fork waits for them all, and none begins while it waits.
    """

    def __init__(self) -> None:
        self._gate = RLock()  # held by the thread that forks, whose signal handlers may come here as well
        self._depths: dict[int, int] = {}  # by thread; nested where the collector or a signal handler comes in between

    def __enter__(self) -> None:
        me = get_ident()
        if me in self._depths:
            self._depths[me] += 1
        else:
            with self._gate:
                self._depths[me] = 1

    def __exit__(self, *error: object) -> None:
        me = get_ident()
        self._depths[me] -= 1
        if not self._depths[me]:
            del self._depths[me]

    def before_fork(self) -> None:
        self._gate.acquire()
        me = get_ident()
        while any(thread != me for thread in list(self._depths)):
            time.sleep(0.001)

    def after_fork(self) -> None:
        self._gate.release()


inside = _Inside()


def _in_child() -> None:
    global _forks, _environment
    _forks += 1
    _environment = RLock()  # a thread of the parent may have held the old one
    inside.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=inside.before_fork, after_in_parent=inside.after_fork, after_in_child=_in_child)
