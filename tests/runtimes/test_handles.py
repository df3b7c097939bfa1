"""Compiled modules are owned in C: freed once, whatever a signal handler raises meanwhile."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pywasmrt import Runtime, _shim

pytestmark = [
    pytest.mark.skipif(_shim.unavailable_reason() is not None, reason="needs the native parts"),
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers"),
]

BINARY = b"\0asm\1\0\0\0"


class Arrived(Exception):
    """What the signal handler raises."""


def test_no_exception_of_a_handler_is_lost_while_modules_are_freed(
    runtime: Runtime, needs: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("interruption")  # the package `wasmtime` frees its modules in Python, where such an exception is lost
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signal handlers run on the main thread")
    lost: list[Any] = []
    armed = False

    def handler(number: int, frame: object) -> None:
        if armed:
            raise Arrived

    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    before = signal.signal(signal.SIGALRM, handler)
    caught = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0003)
        while caught < 200:
            try:
                try:
                    armed = True
                    while True:
                        runtime.compile(BINARY)
                finally:
                    armed = False
            except Arrived:
                caught += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert [each for each in lost if each.exc_type is Arrived] == []


def test_a_handle_is_filled_in_place_and_freed_once() -> None:
    from pywasmrt._shim._wrt import ffi

    from pywasmrt._shim import _fastcall

    freed: list[int] = []

    @ffi.callback("void (*)(wrt_module *)")
    def release(module: Any) -> None:
        freed.append(int(ffi.cast("uintptr_t", module)))

    handle = _fastcall.Handle(int(ffi.cast("uintptr_t", release)))
    assert handle.address == 0
    ffi.cast("uintptr_t *", handle.place)[0] = 42
    assert handle.address == 42
    del handle
    gc.collect()
    assert freed == [42]
    empty = _fastcall.Handle(int(ffi.cast("uintptr_t", release)))
    del empty
    assert freed == [42]
    with pytest.raises(ValueError, match="a handle needs the engine's function that frees it"):
        _fastcall.Handle(0)
    with pytest.raises(ValueError, match="there is no engine in the handle"):
        _fastcall.Engine(1, _fastcall.Handle(int(ffi.cast("uintptr_t", release))))
