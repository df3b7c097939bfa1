"""What a fork of the process breaks, and how it is kept working.

Wasmtime compiles on a pool of threads that the whole process shares; the child of a fork has no such threads, and would
wait for them for ever. So in a child everything is compiled on the calling thread alone.

Wasmtime also has locks. A lock that another thread holds at the moment of a fork is never released in the child. So a
fork waits until no other thread is inside an engine without the interpreter's lock; it does not wait for running
guests.
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
    """The lock to hold while changing for a moment what the whole process shares: an environment variable, or a table
    in C. Re-entrant: a signal handler may take it while its own thread holds it.
    """
    return _environment


class _Inside:
    """A block in which this thread calls an engine and releases the interpreter's lock meanwhile. Many threads may be
    in such a block; a fork waits for them all, and no thread enters one while a fork waits.
    """

    def __init__(self) -> None:
        self._gate = RLock()  # held by the thread that forks; its signal handlers may take it too
        self._depths: dict[int, int] = {}  # per thread; the collector and signal handlers may nest blocks

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
