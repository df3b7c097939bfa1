"""What the parts of a runtime use of their owners.

A module and a store belong to a runtime, a linked module to its module, an instance to a store. Each part holds its
owner and is imported by it, so the part cannot import the owner's class. It names one of these contracts instead.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ...types import ExportType, Limits, RuntimeInfo
from .lifetime import Closable

if TYPE_CHECKING:
    from ...protocols import WasiContext

__all__ = ["OwningRuntime", "OwningStore"]


class OwningRuntime(Closable):
    """What modules and stores use of their runtime; only `BaseRuntime` implements it."""

    @property
    def info(self) -> RuntimeInfo:
        raise NotImplementedError

    def identity(self) -> str:
        raise NotImplementedError

    def recipe(self, module: Any) -> tuple[Any, ...]:
        raise NotImplementedError

    def link(self, module: Any, *imports: Any, wasi: Any = None, limits: Limits | None = None) -> Any:
        raise NotImplementedError

    def _need(self, feature: str) -> None:
        raise NotImplementedError

    def _check_store_limits(self, limits: Limits | None) -> None:
        raise NotImplementedError

    def _run_on_worker(self, job: Callable[[], None]) -> None:
        raise NotImplementedError

    async def _new_instance_async(self, linking: Any, limits: Limits | None) -> Any:
        raise NotImplementedError

    def _new_instance(self, linking: Any, limits: Limits | None) -> Any:
        raise NotImplementedError


class OwningStore(Closable):
    """What instances use of their store; only `BaseStore` implements it."""

    @property
    def fuel(self) -> int | None:
        raise NotImplementedError

    @fuel.setter
    def fuel(self, fuel: int) -> None:
        raise NotImplementedError

    def interrupt(self) -> bool:
        raise NotImplementedError

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _export(self, instance: Any, export: ExportType) -> Any:
        raise NotImplementedError

    def _instance_closed(self, instance: Any, externs: list[Any]) -> None:
        raise NotImplementedError

    def _close_wasi(self, context: WasiContext) -> None:
        raise NotImplementedError
