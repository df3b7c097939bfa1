"""Stopping running guests: interrupts, deadlines, coroutines."""

from __future__ import annotations

import asyncio
import threading

from ...errors import DeadlineExceeded, Interrupted
from ...types import Limits
from .. import guests
from .checking import Part, Subject, equal, expect

__all__ = ["PART"]

PART = Part("stopping")

_SOON = 0.03  # seconds that an endless guest must run


@PART
def calls_can_be_awaited(subject: Subject) -> None:
    exports = subject.instance(guests.arithmetic()).exports

    async def both() -> tuple[object, BaseException]:
        found = await exports.add.call_async(1, 2)
        try:
            await exports.add.call_async("1", 2)
        except TypeError as error:
            return found, error
        raise AssertionError("call_async('1', 2) raised no TypeError")

    found, _ = asyncio.run(both())
    equal(found, 3, "call_async(1, 2)")


@PART.needs("interruption")
def an_endless_guest_can_be_interrupted(subject: Subject) -> None:
    instance = subject.instance(guests.loops(), {"env": {"f": lambda: None}})
    equal(instance.interrupt(), False, "interrupt(), while nothing runs,")
    timer = threading.Timer(_SOON, instance.interrupt)
    timer.start()
    try:
        expect(Interrupted, "a guest without an end, interrupted,", instance.exports.forever)
    finally:
        timer.join()
    equal(instance.exports.count(1000), 1000, "a call, after an interrupt")


@PART.needs("deadline")
def an_endless_guest_ends_at_its_deadline(subject: Subject) -> None:
    instance = subject.instance(guests.loops(), {"env": {"f": lambda: None}})
    with instance.deadline(_SOON):
        expect(DeadlineExceeded, "a guest without an end, with a deadline,", instance.exports.forever)
    with instance.deadline(60):
        equal(instance.exports.count(1000), 1000, "a call, long before its deadline")
    limited = subject.instance(guests.loops(), {"env": {"f": lambda: None}}, limits=Limits(timeout=_SOON))
    for _ in range(2):
        expect(DeadlineExceeded, "a guest without an end, with a timeout,", limited.exports.forever)
