"""What the externs and the host functions of this runtime use of their store.

The store makes them, so it imports them; they name this contract instead of its class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

from ...errors import WasmError
from ...types import ExternKind, ValueType
from ..base.instance import InstanceState
from ..base.lifetime import Life
from ..base.linking import HostImport
from ..base.observing import Observer
from ..base.store import GuardedStore
from .deadline import Clock

__all__ = ["OwningStore"]


class OwningStore(GuardedStore):
    """What externs and host functions use of their store; only `WasmtimeStore` implements it."""

    handle: Any
    """The package's store."""
    parked: BaseException | None
    host_error: ref[WasmError] | None
    """What a host function raised last, if it is an error of ours."""
    """The host function's exception for which the guest is being unwound."""
    cell: list[Any]
    """A weak reference to the store, by which callbacks find it; renewed where the collector has cleared it."""
    hosts: list[Callable[..., Any]]
    """What the package's callbacks call, by number."""
    served: list[tuple[int, InstanceState, HostImport]]
    """The host functions of instances: number in `hosts`, instance, and host function."""
    held: list[dict[int, Any]]
    """The host's resources that components hold, for each component."""
    clock: Clock
    stack: int
    """Bytes of the calling thread's stack that a guest may use."""
    views: int
    """How many buffers of the store's memories are in use."""

    @property
    def observers(self) -> list[Observer]:
        raise NotImplementedError

    def find_again(self) -> None:
        """Let callbacks find the store again, which a destructor in a cycle with it uses: the collector has cleared the
        weak references. Called as guests begin to run.
        """
        raise NotImplementedError

    def wrap(self, life: Life, handle: Any, kind: ExternKind, type: Any, name: str) -> Any:
        raise NotImplementedError

    def type_of(self, handle: Any, kind: ExternKind, name: str | None) -> Any:
        raise NotImplementedError

    def failure(self, error: BaseException) -> BaseException:
        raise NotImplementedError

    def lower(self, value: Any, type: ValueType, where: str) -> Any:
        raise NotImplementedError

    def lift(self, value: Any, type: ValueType) -> Any:
        raise NotImplementedError
