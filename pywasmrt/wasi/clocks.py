"""Clocks for guests: the real one, and two under the control of a test."""

from __future__ import annotations

import time

from ..types import expect

__all__ = ["Clock", "FixedClock", "SteppingClock", "SystemClock"]

_LAST = (1 << 64) - 1


class Clock:
    """The clock that a guest sees. All times are whole numbers of nanoseconds.

    Inherit to make one's own. `virtual` says that time passes only by `advance`: a guest that sleeps then goes on at
    once, and the clock is advanced by what it slept.
    """

    virtual: bool = False
    resolution: int = 1

    def realtime(self) -> int:
        """Nanoseconds since 1970, UTC."""
        raise NotImplementedError

    def monotonic(self) -> int:
        """Nanoseconds since some moment; never less than before."""
        raise NotImplementedError

    def cpu_time(self) -> int:
        """Nanoseconds of processor time that the process used."""
        return self.monotonic()

    def advance(self, nanoseconds: int) -> None:
        """Let virtual time pass."""
        raise NotImplementedError


class SystemClock(Clock):
    """The host's clocks."""

    def realtime(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns()

    def cpu_time(self) -> int:
        return time.process_time_ns()


class FixedClock(Clock):
    """Time stands still, except that it passes while guests sleep."""

    virtual = True

    def __init__(self, realtime: int = 0, monotonic: int = 0) -> None:
        expect(type(self).__name__, "an int, in nanoseconds", int, realtime=realtime, monotonic=monotonic)
        self._realtime = realtime
        self._monotonic = monotonic

    def realtime(self) -> int:
        return self._realtime

    def monotonic(self) -> int:
        return self._monotonic

    def advance(self, nanoseconds: int) -> None:
        # A guest may sleep for 584 years, and again; WASI's times end at 64 bits.
        self._realtime = min(self._realtime + nanoseconds, _LAST)
        self._monotonic = min(self._monotonic + nanoseconds, _LAST)


class SteppingClock(FixedClock):
    """Time moves on by `step` nanoseconds each time that a guest asks for it."""

    def __init__(self, realtime: int = 0, monotonic: int = 0, step: int = 1_000_000) -> None:
        super().__init__(realtime, monotonic)
        expect("SteppingClock", "an int, in nanoseconds", int, step=step)
        self._step = step

    def realtime(self) -> int:
        now = self._realtime
        self.advance(self._step)
        return now

    def monotonic(self) -> int:
        now = self._monotonic
        self.advance(self._step)
        return now
