"""Guests that take their time, and what stops them; shared by the tests of stopping and of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pywasmrt import ModuleInstance, Runtime
from pywasmrt.testing import guests

Needs = Callable[..., None]

SOON = 0.03  # seconds: a deadline that a guest without an end meets
LONG = 60.0  # one that no test meets


def loops(runtime: Runtime, function: Callable[[], None] = lambda: None, **kwargs: Any) -> Any:
    return runtime.instantiate(runtime.compile(guests.loops().encode()), {"env": {"f": function}}, **kwargs)


@contextmanager
def after(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Do `action` on another thread in that time, which the block is to spend in a guest."""
    timer = threading.Timer(seconds, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def works(instance: ModuleInstance) -> bool:
    return instance.exports.count(1000) == 1000
