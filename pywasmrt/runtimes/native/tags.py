"""Tags of the exception-handling proposal over a store's C half, and the exceptions that come out of guests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ...errors import UnsupportedFeatureError, WasmException
from ...types import Frame, FunctionType
from ..base.lifetime import stays
from ..base.tag import BaseTag

__all__ = ["NativeTag", "raise_exception"]


class NativeTag(BaseTag):
    """A tag. The C half finds its store and its handle by these names (`csrc/fast/exception.c`)."""

    __slots__ = ("__weakref__", "_handle", "_store", "_throws", "type")

    def __init__(self, store: Any, handle: bytes, type: FunctionType, throws: bool = True) -> None:
        """`throws`: whether the host can throw exceptions with it (the feature "exception-values")."""
        self._store = store
        self._handle = handle
        self._throws = throws
        self.type = type

    def payload(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """The values of an exception, converted to its types."""
        if not self._throws:
            raise UnsupportedFeatureError(
                "this runtime cannot throw exceptions into a guest; the runtime 'wasmtime' can", "exception-values"
            )
        return super().payload(values)

    def __reduce__(self) -> Any:
        stays("tag")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NativeTag):
            return NotImplemented
        return self._store is other._store and self._handle == other._handle

    def __hash__(self) -> int:
        return hash(self._handle)

    def __repr__(self) -> str:
        params = ", ".join(map(str, self.type.params))
        return f"<Tag ({params}){' (closed)' if self._store.closed else ''}>"


def raise_exception(told: Any, message: str, frames: Callable[[], Sequence[Frame]]) -> NoReturn:
    """Raise the exception that ended a guest's call. `told` is the exception that a host function threw, or the parts
    of a new one.
    """
    if isinstance(told, WasmException):
        told._frames = frames
        raise told
    store, handle, type, values = told
    raise WasmException(NativeTag(store, handle, type), values, frames=frames)
