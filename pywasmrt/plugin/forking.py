"""Renewing locks in the child of a fork: a thread that held one does not exist there, and never releases it."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["renew_after_fork"]


class _Renewable(Protocol):
    def after_fork(self) -> None:
        """Called in the child of a fork, on its only thread."""


_renewed: WeakSet[_Renewable] = WeakSet()


def renew_after_fork(each: _Renewable) -> None:
    """Have `each.after_fork()` called in the child of every fork, as long as the object exists."""
    _renewed.add(each)


def _in_child() -> None:
    for each in list(_renewed):
        each.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
