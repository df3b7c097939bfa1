"""Handles: pointers that an engine returns, each owned by an object in C from the start (csrc/fast/handle.c)."""

from __future__ import annotations

from typing import Any

from ..._shim import _fastcall
from ..._shim._wrt import ffi

__all__ = ["new_handle"]


def new_handle(release: Any) -> _fastcall.Handle:
    """An empty handle. The engine writes its pointer to `place`; `release`, of the engine's table, frees it."""
    return _fastcall.Handle(int(ffi.cast("uintptr_t", release)))
