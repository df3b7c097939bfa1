"""A bounded pool of threads, for the guests of asynchronous stores where the engine cannot suspend one.

Its threads do not keep a program from ending, even if a guest waits for ever.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from weakref import WeakSet

from ..._shim.waiting import check_threads

__all__ = ["Workers", "is_worker"]

_here = threading.local()


def is_worker() -> bool:
    """Whether the running thread is one of a pool."""
    return getattr(_here, "worker", False)


class Workers:
    """At most `limit` threads that run calls, started when they are needed. Further calls wait for their turn."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._closed = False
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # guards the next three
        self._waiting: deque[Callable[[], None]] = deque()
        self._idle: list[SimpleQueue[Callable[[], None] | None]] = []
        self._threads = 0

    def run(self, job: Callable[[], None]) -> None:
        """Run `job`, which raises nothing, on one of the threads."""
        check_threads()
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
                return
            if self._threads >= self._limit:
                self._waiting.append(job)
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, args=(job,), name="pywasmrt-worker", daemon=True).start()
        except BaseException:
            with self._lock:
                self._threads -= 1
            raise

    def _work(self, job: Callable[[], None] | None) -> None:
        _here.worker = True
        inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        while job is not None:
            job()
            del job  # it holds its call
            with self._lock:
                if self._waiting:
                    job = self._waiting.popleft()
                    continue
                if self._closed:
                    self._threads -= 1
                    return
                self._idle.append(inbox)
            job = inbox.get()

    def close(self) -> None:
        """End the idle threads now, and each other thread when it has done its work."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._threads -= len(idle)
        for inbox in idle:
            inbox.put(None)


_pools: WeakSet[Workers] = WeakSet()


def _forget_threads() -> None:
    for pool in list(_pools):
        pool._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
