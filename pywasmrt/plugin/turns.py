"""Who calls which instance of a plugin: a call takes one that is free, or waits for the first that becomes so."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

from ..errors import BusyError, ClosedError
from .guest import Guest

__all__ = ["Turns"]

_AGAIN = 1.0
"""Seconds after which a waiting call looks again: a signal handler that raises may keep it from being woken."""


class Turns:
    """The instances of one plugin, the calls that wait for one, and the shutdown that waits for all.

    A thread takes an instance by writing its number into `owner` while it holds `lock`, and gives it back by writing 0.
    Each is one step, which no signal handler that raises can come into: so callers write both in their own code, with
    no call in between, and tell by `wake` afterwards if any are `waiting`.
    """

    def __init__(self, guests: Sequence[Guest], name: str) -> None:
        self._guests = guests
        self._name = name
        self.ending = False  # no call begins any more
        self.closer = 0  # the thread that closes the plugin, once every instance is free
        self.after_fork()

    def after_fork(self) -> None:
        """Renew the lock: a thread of the parent may have held it at the fork, or waited."""
        self.lock = threading.RLock()  # re-entrant: a signal handler may come while it is held
        self._freed = threading.Condition(self.lock)
        self.waiting = 0

    def find(self, me: int) -> Guest:
        """An instance that is free, for the thread `me`, which holds the lock. Raises `ClosedError` once a shutdown has
        begun, and `BusyError` as `refuse_within` does.
        """
        free = None
        for guest in self._guests:
            owner = guest.owner
            if not owner:
                if free is None:
                    free = guest
            elif owner == me:
                self.refuse_within(me, "called")
        return free if free is not None and not self.ending else self._wait_for_one(me)

    def refuse_within(self, me: int, what: str) -> None:
        """Raise `BusyError` on a thread that is in a call, or closes the plugin."""
        if self.closer == me or any(guest.owner == me for guest in self._guests):
            raise BusyError(f"the guest {self._name} is in a call on this very thread; it cannot be {what} from within")

    def _wait_for_one(self, me: int) -> Guest:
        self.refuse_within(me, "called")
        self.waiting += 1  # before looking: who frees one looks here after that
        try:
            while not self.ending:
                for guest in self._guests:
                    if not guest.owner:
                        return guest
                self._freed.wait(_AGAIN)
        finally:
            self.waiting -= 1
        raise ClosedError(f"the plugin {self._name} was shut down")

    def wake(self) -> None:
        """Tell those who wait that an instance is free, or that the plugin is closed."""
        with self.lock:
            self._freed.notify(self.waiting if self.ending else 1)

    def begin_closing(self, me: int, timeout: float) -> bool:
        """Wait until no call runs, and make the thread `me` the closer. False if that takes longer than `timeout`."""
        until = monotonic() + timeout
        with self.lock:
            self._freed.notify_all()  # calls that wait find that it is ending
            self.waiting += 1
            try:
                while self.closer or any(guest.owner for guest in self._guests):
                    left = until - monotonic()
                    if left <= 0:
                        return False
                    self._freed.wait(min(left, _AGAIN))
            finally:
                self.waiting -= 1
            self.closer = me
            return True
