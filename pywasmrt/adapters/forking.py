"""What a fork takes away. Wasmtime compiles on a pool of threads that the whole process shares; the child of a fork has
no such threads, and would wait for them for ever. So there everything is compiled on the calling thread alone.
"""

from __future__ import annotations

import os
from threading import Lock

__all__ = ["environment", "forks"]

_forks = 0
_environment = Lock()


def forks() -> int:
    """How many forks lie between this process and the one that first loaded an adapter."""
    return _forks


def environment() -> Lock:
    """Held by whoever changes for a moment what the whole process shares: an environment variable, or a table in C."""
    return _environment


def _in_child() -> None:
    global _forks, _environment
    _forks += 1
    _environment = Lock()  # a thread that there is no more may hold the other


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
