"""Observers of host calls: what replaces the host functions of a store while their calls are observed.

Calls that nobody observes cost nothing more: an adapter exchanges the callable that a guest reaches, and puts the
original back when the last observer has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .instance import InstanceState
from .linking import HostImport

__all__ = ["Observer", "observed"]

Observer = Callable[[InstanceState, HostImport], Callable[..., Any]]
"""Takes the instance and one of its host functions. Returns what guests call in place of the host function's callable,
with the same arguments (the `Caller` first, where `pass_caller` is set) and the same results, or that callable itself
to leave it alone. It must not raise, nor use the store.
"""


def observed(observers: Sequence[Observer], state: InstanceState, function: HostImport) -> Callable[..., Any]:
    """What guests call in place of `function` while `observers` observe it; the first of them is the innermost."""
    for observer in list(observers):
        function = function._replace(callable=observer(state, function))
    return function.callable
