"""Deadlines for the `wasmtime-py` adapter: a thread advances the engine's epoch while calls with a deadline run.

The package cannot ask at the end of an epoch whether the guest may go on, so a store's deadline is set before its call,
as a number of ticks. For the same reason a running call cannot be interrupted, and a guest function keeps the deadline
that it was entered with: a deadline that a host function sets holds for later calls only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from threading import Condition, Thread, main_thread
from typing import Any

from ...errors import DeadlineExceeded, WasmError

__all__ = ["Clock", "Ticker"]

_TICK = 10_000_000  # ns
_IDLE = 1.0  # seconds without calls after which the thread ends
_NEVER = 1 << 62  # ticks
_ENDING = "the interpreter is ending: no thread would end this call at its deadline"


class Ticker:
    """Advances the epoch of one engine once each tick, while calls with a deadline run. For use from any thread."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._changed = Condition()
        self._calls = 0
        self._begun = self._ticks = 0  # when the first of the running calls began, and the ticks since then
        self._thread: Thread | None = None

    def begin(self) -> None:
        """Tick from now on, until `end` was called as often as this. Raises `WasmError` if no thread can be started."""
        if sys.is_finalizing():
            raise WasmError(_ENDING)
        if self._process != os.getpid():  # the child of a fork has no such thread, and its lock may never be released
            self._forget()
        with self._changed:
            if self._thread is None:
                self._thread = self._started()
            self._calls += 1
            if self._calls == 1:
                self._begun, self._ticks = time.monotonic_ns(), 0
            self._changed.notify()

    def _started(self) -> Thread:
        thread = Thread(target=self._run, name="pywasmrt deadlines", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not main_thread().is_alive():
                # Python 3.12.0 and 3.12.1 start no thread while the main thread waits for the others to end.
                raise WasmError(_ENDING) from None
            raise WasmError(
                "no thread can be started that would end this call at its deadline: the system's limit on processes, "
                "threads or memory is reached"
            ) from error
        return thread

    def end(self) -> None:
        """End a call with a deadline, in the process where it began."""
        with self._changed:
            self._calls -= 1

    def ticks_until(self, until: int) -> int:
        """How many ticks from now it takes until `until`. Late ticks that are still to come count too."""
        with self._changed:
            return max(0, -(-(until - self._begun) // _TICK) - self._ticks)

    def _run(self) -> None:
        changed = self._changed
        with changed:
            while changed.wait_for(lambda: self._calls, _IDLE):
                while self._calls:
                    changed.wait(_TICK / 1e9)
                    due = (time.monotonic_ns() - self._begun) // _TICK  # makes up for a late wake-up
                    while self._ticks < due:
                        self._tick()
                        self._ticks += 1
            self._thread = None


class Clock:
    """Tells when the running call of a store has to end. Used by the thread that is in the store. Times are in ns of
    the monotonic clock.
    """

    def __init__(self, store: Any, ticker: Ticker, timeout: int) -> None:
        """`store` is the package's; `timeout` bounds each call, 0 for no bound."""
        self._store = store
        self._ticker = ticker
        self._timeout = timeout
        self._block = 0
        self._call = 0  # the deadline that `timeout` sets
        self._process = 0  # the process in which the ticker ticks for the running call, 0 for none
        self.set = timeout != 0  # whether the next call has a deadline
        self.until = 0  # the deadline of the running call, or 0
        self._ended = False
        self.quiet = True  # no deadline, and not ended: nothing to check when a host function returns
        store.set_epoch_deadline(_NEVER)

    def start(self) -> None:
        """Begin a call. Raises `DeadlineExceeded` if the deadline has passed; otherwise `stop` must follow."""
        now = time.monotonic_ns()
        if self._block and self._block <= now:
            raise DeadlineExceeded("the deadline had passed before the call began")
        self._call = now + self._timeout if self._timeout else 0
        self._begin()
        self._apply()

    def _begin(self) -> None:
        self._ticker.begin()
        self._process = os.getpid()

    def stop(self) -> None:
        """End the call, if one has begun."""
        if self._process:
            if self._process == os.getpid():
                self._ticker.end()
            self._process = 0
            self._set_until(0)
            self._store.set_epoch_deadline(_NEVER)

    def set_block(self, until: int, running: bool) -> None:
        """Set the deadline of the running call and of every later one."""
        self._block = until
        self.set = until != 0 or self._timeout != 0
        if running:
            if not self._process and until:
                self._begin()
            if self._process:
                self._apply()

    def _apply(self) -> None:
        self._set_until(min([each for each in (self._call, self._block) if each], default=0))
        self._store.set_epoch_deadline(self._ticker.ticks_until(self.until) if self.until else _NEVER)

    def _set_until(self, until: int) -> None:
        self.until = until
        self.quiet = not until
        if self._ended:  # checked last, as another thread may have just set it
            self.quiet = False

    def end(self) -> None:
        """Note that the store was closed. From any thread."""
        self._ended = True
        self.quiet = False

    def check(self) -> None:
        """Raise `DeadlineExceeded` if the running call is past its deadline. Called when a host function was called."""
        if not self.until:
            return
        if self._process != os.getpid():
            self._begin()  # the process has forked, and the call goes on in the child
        if time.monotonic_ns() >= self.until:
            raise DeadlineExceeded("the call reached its deadline")
