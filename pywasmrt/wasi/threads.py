"""Threads of a guest, by the proposal wasi-threads: `wasi.thread-spawn`, and `wasi_thread_start` in the guest.

Each thread is an instance of the guest's module in a store of its own, on a thread of the host's; they have the memory
in common, which is shared, and the descriptors. They end together: when the command's `_start` returns or any of them
calls `proc_exit`, when one traps or raises, and when the first instance's store is closed. The error that ended
them is raised from the first instance's running call, or else from its next.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

from ..errors import WasmError
from ..types import HostFunction, ValueType
from .errno import Errno

if TYPE_CHECKING:
    from .context import WasiContext

__all__ = ["START", "THREAD_SPAWN", "ThreadGroup"]

START = "wasi_thread_start"
_MAX_NUMBER = (1 << 29) - 1  # of a thread, as the proposal has it
_PATIENCE = 5.0
"""Seconds that the end of the process waits for threads: those that a host function keeps are left to it."""
_STARTING = 1000
"""Times to look, a millisecond apart, whether a thread that another one is starting has been started."""

_groups: WeakSet[ThreadGroup] = WeakSet()


class ThreadGroup:
    """The threads of one guest beside its first, `most` at a time. Holds neither the first instance nor its store."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.RLock()  # a collected guest, or a signal handler, may end it from within
        self._running: dict[int, threading.Thread] = {}
        self._stores: dict[int, Any] = {}
        self._last = 0
        self._ended = False
        self._siblings: Any = None
        self._main: ref[Any] | None = None
        if most:
            _groups.add(self)

    def begin(self, siblings: Any, store: Any) -> None:
        """Learn how instances are made, and in which store the first one lives."""
        if self._most:
            self._siblings = siblings
            self._main = ref(store, lambda _: self.end(None))  # nobody holds the guest any more
            store.on_failure(self.end)

    def attach(self, instance: Any, ended: Callable[[], object]) -> None:
        """Learn of the first instance. `ended` is called when its command has returned, however it was called."""
        start = None if self._siblings is None else instance.function("_start")
        if start is not None:
            instance.store.on_return(start, ended)

    def spawn(self, context: WasiContext, argument: int) -> int:
        """Start a thread, and return its number; or an errno, negative."""
        if self._siblings is None or START not in {each.name for each in self._siblings.module.exports}:
            return -int(Errno.NOTSUP)
        with self._lock:
            if self._ended or len(self._running) >= self._most:
                return -int(Errno.AGAIN)
            number = self._last % _MAX_NUMBER + 1
            while number in self._running:
                number = number % _MAX_NUMBER + 1
            self._last = number
            thread = threading.Thread(
                target=self._run, args=(context, number, argument), name=f"pywasmrt-guest-{number}", daemon=True
            )
            self._running[number] = thread
        try:
            thread.start()  # outside of the lock, which a collected guest's end may take on the new thread
        except RuntimeError:  # the system has no more
            with self._lock:
                del self._running[number]
            return -int(Errno.AGAIN)
        except BaseException:  # a signal handler's: the thread may have started, and then looks after itself
            if thread.ident is None:
                with self._lock:
                    self._running.pop(number, None)
            raise
        return number

    def _run(self, context: WasiContext, number: int, argument: int) -> None:
        store = None
        try:
            store = self._siblings.new_store()
            with self._lock:
                if self._ended:
                    return
                self._stores[number] = store
            context.waiter.enter(store)
            own = copy.copy(context)
            instance = self._siblings.instantiate(store, own)
            own.use_memory(instance.memory())
            instance.exports[START](number, argument)
        except BaseException as error:
            self.end(error)
        finally:
            context.waiter.leave()
            if store is not None:
                store.close()
            with self._lock:
                self._stores.pop(number, None)
                self._running.pop(number, None)

    def end(self, error: BaseException | None) -> None:
        """Stop every thread; from any of them, from the first instance's failing call, and from outside. The first
        `error` comes out of the first instance's call that runs, and of every later one.
        """
        with self._lock:
            if self._ended:
                return
            self._ended = True
            stores = list(self._stores.values())
        for each in stores:
            with contextlib.suppress(WasmError):
                each.close()
        main = None if self._main is None else self._main()
        if main is not None:
            main.off_failure(self.end)
        if error is not None and main is not None and not main.closed:
            with contextlib.suppress(WasmError):  # closed meanwhile
                main.interrupt_with(error)

    @property
    def running(self) -> bool:
        """Whether any thread has not ended yet."""
        return bool(self._running)

    def join(self, seconds: float | None = None, caller: threading.Thread | None = None) -> None:
        """Wait until the threads have ended, once they are told to. The thread that waits is not waited for: `caller`,
        or the one that calls this.
        """
        waiting = caller or threading.current_thread()
        with self._lock:
            threads = list(self._running.values())
        for each in threads:
            if each is waiting:
                continue
            for _ in range(_STARTING):  # another thread may just be starting it; then it cannot be joined yet
                if each.is_alive() or each not in self._running.values():
                    break
                time.sleep(0.001)
            if each.is_alive():
                each.join(seconds)

    def forget(self) -> None:
        """Forget the threads, in the child of a fork, where they do not exist."""
        self._lock = threading.RLock()  # a collected guest, or a signal handler, may end it from within
        self._running.clear()
        self._stores.clear()


def _end_all() -> None:
    for each in list(_groups):
        each.end(None)
    for each in list(_groups):
        each.join(_PATIENCE)


def _forget_all() -> None:
    for each in list(_groups):
        each.forget()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_forget_all)


def _spawn(context: WasiContext, caller: Any, argument: int) -> int:
    return context.threads.spawn(context, argument)


THREAD_SPAWN = HostFunction(
    "thread-spawn", _spawn, (ValueType.I32,), (ValueType.I32,), pass_caller=True, takes_state=True
)
