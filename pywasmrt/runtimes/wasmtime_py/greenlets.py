"""Greenlets, which share a thread's stack: a call is refused while a host function of another one has not returned.

The package must return from calls in the reverse order in which they were made. Switching greenlets inside a host
function would change this order, and the process would end. csrc/fast/greenlet.c guards the other runtimes in the same
way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import get_ident
from typing import Any

from ...errors import BusyError

__all__ = ["check", "guarded", "inside"]

inside: dict[int, list[int]] = {}
"""For each thread, the greenlets whose host functions have not returned, the innermost last. They are kept by `id`, so
that a forgotten greenlet can end.
"""


def guarded(callable: Callable[..., Any]) -> Callable[..., Any]:
    """The same host function; where there are greenlets, its calls are recorded."""
    greenlets = sys.modules.get("greenlet")
    if greenlets is None:
        return callable
    getcurrent = greenlets.getcurrent

    def call(*args: Any) -> Any:
        me = get_ident()
        stack = inside.setdefault(me, [])
        stack.append(id(getcurrent()))
        try:
            return callable(*args)
        finally:
            stack.pop()
            if not stack:
                inside.pop(me, None)

    return call


def check() -> None:
    """Raise `BusyError` unless a call may begin on top of the host function that runs on this thread."""
    stack = inside.get(get_ident())
    if stack and stack[-1] != id(sys.modules["greenlet"].getcurrent()):
        raise BusyError("another greenlet of this thread is inside a host function, and its guest has to return first")
