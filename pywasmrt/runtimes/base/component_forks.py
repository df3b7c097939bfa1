"""Forks of a process that has used WASI 0.2.

The engine runs WASI on threads of its own, which it makes once, when the process first uses WASI. The child of a fork
has no such threads and gets none, so that a guest would wait for ever. Such a child may not instantiate components that
import WASI, nor call those it inherited. Where the parent has not used WASI, the child may use it.
"""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

from ...errors import UnsupportedFeatureError
from .forking import forks

__all__ = ["begin_wasi"]

_TEXT = (
    "a component that imports WASI cannot run in this process: it was forked from one that had used WASI, and the "
    "engine's threads for that are gone; start the process by spawn, or use WASI of components only after the fork"
)

_begun: int | None = None  # the number of forks when WASI was first used
_states: WeakSet[Any] = WeakSet()  # the instances that use it


def begin_wasi(state: Any) -> None:
    """Call before the instance of `state`, a `ComponentState`, uses WASI. Raises `UnsupportedFeatureError` in a child
    whose parent has used it before the fork.
    """
    global _begun
    if _begun is None:
        _begun = forks()
    if _begun != forks():
        raise _error()
    _states.add(state)


def _error() -> UnsupportedFeatureError:
    return UnsupportedFeatureError(_TEXT, "fork")


def _in_child() -> None:
    for state in list(_states):
        state.refuse_calls(_error())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
