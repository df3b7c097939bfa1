"""What a process has opened for its `Udf`s: each module once, and an instance for each thread that calls one.

A `Udf` that travels is made anew for each task that a worker gets, so what it opened cannot be its own: it is found by
what the `Udf` is made of. Beyond a fixed number, the least recently used are dropped.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..protocols import ModuleInstance

__all__ = ["drop_instance", "instance_of"]

MODULES = 32
"""Modules that a process keeps open."""

INSTANCES = 16
"""Instances that a thread keeps open."""


class _Opened:
    """The modules of this process, linked; `held` by each thread, its instances."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.linked: OrderedDict[bytes, Any] = OrderedDict()
        self.locks: dict[bytes, Any] = {}
        self.held = threading.local()


_opened = _Opened()


def _forget() -> None:
    """In the child of a fork: locks may be held by threads that are gone, and engines are opened anew."""
    global _opened
    _opened = _Opened()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _linked(key: bytes, link: Callable[[], Any]) -> Any:
    """The linked module of `key`. Threads that ask for the same at once wait for one of them to compile it."""
    opened = _opened
    with opened.lock:
        found = opened.linked.get(key)
        if found is not None and not found.closed:
            opened.linked.move_to_end(key)
            return found
        own = opened.locks.setdefault(key, threading.RLock())
    with own:
        with opened.lock:
            found = opened.linked.get(key)
        if found is None or found.closed:  # a compiled module's runtime is its owner's to close
            found = link()
            with opened.lock:
                opened.linked[key] = found
                opened.locks.pop(key, None)
                while len(opened.linked) > MODULES:
                    opened.linked.popitem(last=False)  # closed when its last instance is gone
    return found


def _instances() -> OrderedDict[bytes, ModuleInstance]:
    try:
        held: OrderedDict[bytes, ModuleInstance] = _opened.held.instances
    except AttributeError:
        held = _opened.held.instances = OrderedDict()
    return held


def instance_of(key: bytes, link: Callable[[], Any]) -> ModuleInstance:
    """This thread's instance of the module that `link` would link."""
    held = _instances()
    found = held.get(key)
    if found is None or found.closed:
        found = held[key] = _linked(key, link).instantiate()
        while len(held) > INSTANCES:
            held.popitem(last=False)
    else:
        held.move_to_end(key)
    return found


def drop_instance(key: bytes) -> None:
    """Have this thread's next call make an instance of its own."""
    _instances().pop(key, None)
