"""Keeps exceptions of signal handlers out of the package's callbacks.

The package calls host functions by callbacks of ctypes. Where a handler raises just as such a callback begins, ctypes
ignores the exception and gives the engine whatever lies on the stack as the callback's result, which crashes the
process. So while the main thread runs a guest, the handlers that were set in Python are wrapped. A signal that comes
while the package's code or that of a callback runs is kept, and is handled when the next host function begins or the
call ends. In a host function it is handled at once, as ever.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without conversions to enumerations, which cost most
import os
import signal
import sys
from collections.abc import Callable
from threading import get_ident, main_thread
from types import FrameType
from typing import Any

import wasmtime

__all__ = ["KEPT", "begin", "deliver", "end"]

_NAMES = ("SIGINT", "SIGALRM", "SIGTERM")  # whose handlers usually raise
_SIGNALS = [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]
_HERE = os.path.dirname(__file__)
_CALLBACKS = (  # where the code lies that callbacks run besides the host's functions
    os.path.dirname(str(wasmtime.__file__)) + os.sep,
    *[os.path.join(_HERE, name) for name in ("host.py", "component.py", "greenlets.py", "signals.py")],
)

_handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
KEPT: list[tuple[int, Callable[[int, FrameType | None], Any]]] = []
"""The signals that are still to be handled, and what handles them."""


def begin() -> bool:
    """A guest begins to run. Returns whether `end` has to be called after it."""
    if _handlers or get_ident() != main_thread().ident:
        return False
    for number in _SIGNALS:
        handler = _signal.getsignal(number)
        if callable(handler):
            _handlers[number] = handler
            _signal.signal(number, _handle)
    return True


def end() -> None:
    """The guest has ended. Raises what the handlers of kept signals raise."""
    for number, handler in _handlers.items():
        if _signal.getsignal(number) is _handle:  # not where a host function has set another
            _signal.signal(number, handler)
    _handlers.clear()
    if KEPT:
        deliver()


def deliver() -> None:
    """Handle the signals that were kept, on the main thread."""
    while KEPT and get_ident() == main_thread().ident:
        number, handler = KEPT.pop(0)
        handler(number, sys._getframe(1))


def _handle(number: int, frame: FrameType | None) -> None:
    handler = _handlers.get(number)
    if handler is None:  # the guest has ended meanwhile
        return
    if frame is not None and frame.f_code.co_filename.startswith(_CALLBACKS):
        KEPT.append((number, handler))
    else:
        handler(number, frame)
