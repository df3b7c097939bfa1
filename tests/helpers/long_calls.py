"""Guests that take their time, and what stops them; shared by the tests of stopping and of threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pywasmrt import DeadlineExceeded, ModuleInstance, Runtime
from pywasmrt.testing import guests

Needs = Callable[..., None]

SOON = 0.03  # seconds: a deadline that a guest without an end meets
LONG = 60.0  # one that no test meets


def loops(runtime: Runtime, function: Callable[[], None] = lambda: None, **kwargs: Any) -> Any:
    return runtime.instantiate(runtime.compile(guests.loops().encode()), {"env": {"f": function}}, **kwargs)


@contextmanager
def beside(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Do `work` on another thread while the block runs. The event that it takes is set when the block has ended."""
    left = threading.Event()
    thread = threading.Thread(target=work, args=(left,))
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


@contextmanager
def after(seconds: float, instance: Any, action: Callable[[], object]) -> Iterator[None]:
    """Do `action` on another thread, that time after the block has entered a guest of `instance`, where it is to stay.

    On a busy machine a plain timer may end before that, when there is no call yet to be ended.
    """

    def act(left: threading.Event) -> None:
        while not instance.store.fast.depth:
            if left.wait(0.001):
                return
        time.sleep(seconds)
        action()

    with beside(act):
        yield


@contextmanager
def interrupting(instance: Any) -> Iterator[None]:
    """Interrupt the call that the block makes, from another thread, as soon as it has begun."""

    def act(left: threading.Event) -> None:
        while not left.wait(0.005) and not instance.interrupt():  # False before the call begins
            pass

    with beside(act):
        yield


def works(instance: ModuleInstance) -> bool:
    """Whether a short call succeeds. On a busy machine a thread may not run for as long as the instance's limit: such a
    call is made again.
    """
    for _ in range(100):
        try:
            return instance.exports.count(1000) == 1000
        except DeadlineExceeded:
            continue
    return False
