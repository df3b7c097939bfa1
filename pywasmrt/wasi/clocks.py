"""Clocks for guests: the real one, and two under the control of a test."""

from __future__ import annotations

import time
from operator import index

from ..types import expect
from ..values import shown, shown_int

__all__ = ["Clock", "FixedClock", "SteppingClock", "SystemClock", "checked"]

_LAST = (1 << 64) - 1


def _check(owner: str, **times: int) -> None:
    for name, value in times.items():
        if not 0 <= value <= _LAST:
            raise ValueError(f"{name} of {owner} is 0 to 2**64 - 1 nanoseconds, not {shown_int(value)}")


class Clock:
    """The clock that a guest sees. All times are whole numbers of nanoseconds, from 0 to 2**64 - 1.

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
    """Time stands still, except that it passes while guests sleep. Raises `ValueError` for a time beyond 64 bits."""

    virtual = True

    def __init__(self, realtime: int = 0, monotonic: int = 0) -> None:
        expect(type(self).__name__, "an int, in nanoseconds", int, realtime=realtime, monotonic=monotonic)
        _check(type(self).__name__, realtime=realtime, monotonic=monotonic)
        self._realtime = realtime
        self._monotonic = monotonic

    def realtime(self) -> int:
        return self._realtime

    def monotonic(self) -> int:
        return self._monotonic

    def advance(self, nanoseconds: int) -> None:
        expect("advance()", "an int, in nanoseconds", int, nanoseconds=nanoseconds)
        _check("advance()", nanoseconds=nanoseconds)
        # A guest may sleep for 584 years, and again; WASI's times end at 64 bits.
        self._realtime = min(self._realtime + nanoseconds, _LAST)
        self._monotonic = min(self._monotonic + nanoseconds, _LAST)


class SteppingClock(FixedClock):
    """Time moves on by `step` nanoseconds each time that a guest asks for it, up to 2**64 - 1."""

    def __init__(self, realtime: int = 0, monotonic: int = 0, step: int = 1_000_000) -> None:
        super().__init__(realtime, monotonic)
        expect("SteppingClock", "an int, in nanoseconds", int, step=step)
        _check("SteppingClock", step=step)
        self._step = step

    def realtime(self) -> int:
        now = self._realtime
        self.advance(self._step)
        return now

    def monotonic(self) -> int:
        now = self._monotonic
        self.advance(self._step)
        return now


_OURS = (SystemClock, FixedClock, SteppingClock)


def checked(clock: Clock) -> Clock:
    """The clock, or a stand-in for one of somebody else's that checks what it says: what is no time would come out of
    a guest's call as an error about bytes.
    """
    return clock if type(clock) in _OURS else _Checked(clock)


class _Checked(Clock):
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.virtual = clock.virtual
        self.resolution = self._time("resolution", clock.resolution)
        self.advance = clock.advance  # type: ignore[method-assign]  # the same

    def realtime(self) -> int:
        return self._time("realtime()", self._clock.realtime())

    def monotonic(self) -> int:
        return self._time("monotonic()", self._clock.monotonic())

    def cpu_time(self) -> int:
        return self._time("cpu_time()", self._clock.cpu_time())

    def _time(self, name: str, value: object) -> int:
        try:
            time = index(value)  # type: ignore[arg-type]  # refused below
        except TypeError:
            time = -1
        if not 0 <= time <= _LAST:
            text = shown_int(value) if isinstance(value, int) else shown(value)
            raise ValueError(f"{type(self._clock).__name__}.{name} is 0 to 2**64 - 1 nanoseconds, an int, not {text}")
        return time
