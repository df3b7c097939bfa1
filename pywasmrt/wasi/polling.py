"""Waiting for time and for descriptors: `poll_oneoff`."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, NamedTuple

from .abi import EVENT, SUBSCRIPTION, EventType, Rights
from .binding import Functions, function
from .errno import Errno, WasiError, from_os_error
from .memory import check, put_size, read_struct_bytes, write
from .process import time_of
from .waiting import POLL_IN, POLL_OUT, Stopped

if TYPE_CHECKING:
    from ..protocols import Memory
    from .context import WasiContext
    from .descriptors import Descriptor

__all__ = ["FUNCTIONS"]

FUNCTIONS: Functions = {}

MAX_SUBSCRIPTIONS = 4096
_ABSOLUTE = 1
_HANGUP = 1
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
_NEEDED = Rights.POLL_FD_READWRITE


class _Clock(NamedTuple):
    userdata: int
    left: int  # ns from now


class _Wanted(NamedTuple):
    userdata: int
    kind: int
    file: Descriptor
    fd: int | None  # the host's


@function(FUNCTIONS, "iiii")
def poll_oneoff(context: WasiContext, memory: Memory, subscriptions: int, out: int, count: int, result: int) -> None:
    """Every wait watches for the call's end too; then all subscriptions answer `ECANCELED`. A descriptor that is bad
    is an event with an errno. A hang-up counts as ready.
    """
    data = read_struct_bytes(memory, subscriptions, count, SUBSCRIPTION.size, MAX_SUBSCRIPTIONS)
    if not data:
        raise WasiError(Errno.INVAL)
    check(memory, out, count * EVENT.size)
    check(memory, result, 4)
    events: list[bytes] = []
    clocks: list[_Clock] = []
    wanted: list[_Wanted] = []
    for userdata, kind, which, timeout, _, flags in SUBSCRIPTION.iter_unpack(data):
        try:
            if kind == EventType.CLOCK:
                clocks.append(_clock(context, userdata, which, timeout, flags))
            else:
                wanted.append(_descriptor(context, userdata, kind, which))
        except WasiError as error:
            events.append(_event(userdata, kind, error.errno))
    try:
        _wait(context, clocks, wanted, events)
    except Stopped:
        events = [_event(each[0], each[1], Errno.CANCELED) for each in SUBSCRIPTION.iter_unpack(data)]
    write(memory, out, b"".join(events))
    put_size(memory, result, len(events))


def _clock(context: WasiContext, userdata: int, clock_id: int, timeout: int, flags: int) -> _Clock:
    if flags & ~_ABSOLUTE:
        raise WasiError(Errno.INVAL)
    if not flags and clock_id <= 1:
        return _Clock(userdata, timeout)
    now = time_of(context.clock, clock_id)
    return _Clock(userdata, max(0, timeout - now) if flags else timeout)


def _descriptor(context: WasiContext, userdata: int, kind: int, number: int) -> _Wanted:
    if kind not in (EventType.FD_READ, EventType.FD_WRITE):
        raise WasiError(Errno.INVAL)
    file = context.table.get(number, _NEEDED)
    return _Wanted(userdata, kind, file, file.host_fd())


def _wait(context: WasiContext, clocks: list[_Clock], wanted: list[_Wanted], events: list[bytes]) -> None:
    """Add the events of what is ready, after waiting until something is."""
    at_once = bool(events) or any(each.fd is None for each in wanted)
    left = min((each.left for each in clocks), default=None)
    virtual = context.clock.virtual and left is not None
    timeout = 0 if at_once or virtual else left
    fds: dict[int, int] = {}
    for each in wanted:
        if each.fd is not None:
            fds[each.fd] = fds.get(each.fd, 0) | (POLL_IN if each.kind == EventType.FD_READ else POLL_OUT)
    ready = context.waiter.wait(fds, timeout) if fds or timeout != 0 else {}
    for each in wanted:
        state = (POLL_IN | POLL_OUT) if each.fd is None else ready.get(each.fd, 0)
        if state & (_GONE | (POLL_IN if each.kind == EventType.FD_READ else POLL_OUT)):
            events.append(_ready(each, state))
    if left is not None:
        passed = 0 if events else left
        if virtual and passed:
            context.clock.advance(passed)
        events.extend(_event(each.userdata, EventType.CLOCK, Errno.SUCCESS) for each in clocks if each.left <= passed)


def _ready(wanted: _Wanted, state: int) -> bytes:
    size = 1
    if wanted.kind == EventType.FD_READ:
        try:
            size = wanted.file.readable_bytes()
        except OSError as error:
            return _event(wanted.userdata, wanted.kind, from_os_error(error))
    return _event(wanted.userdata, wanted.kind, Errno.SUCCESS, size, _HANGUP if state & select.POLLHUP else 0)


def _event(userdata: int, kind: int, errno: int, size: int = 0, flags: int = 0) -> bytes:
    return EVENT.pack(userdata, errno, kind, size, flags)
