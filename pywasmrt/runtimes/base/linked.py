"""What `Runtime.link` gives: a module linked once, and instances of it at the engine's own price."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .lifetime import Closable

if TYPE_CHECKING:
    from ...types import Limits
    from .instance import BaseInstance
    from .linking import Linking
    from .module import BaseModule

__all__ = ["BaseLinkedModule"]


class BaseLinkedModule(Closable):
    """A module with what serves its imports; from any thread, several at a time."""

    _kind = "linked module"

    def __init__(
        self,
        module: BaseModule,
        linking: Linking,
        limits: Limits | None,
        again: Callable[[Limits | None], Linking] | None = None,
    ) -> None:
        """`again` links anew for each instance, where something is each one's own."""
        self.module = module
        self._again = again
        self.limits = limits
        self._linking: Linking | None = linking
        super().__init__(module)

    def instantiate(self, *, limits: Limits | None = None) -> BaseInstance:
        """Make an instance in a store of its own and run its start function. The caller closes it."""
        linking, bounds = self._checked(limits)
        instance: BaseInstance = self.module.runtime._new_instance(linking, bounds)
        return instance

    async def instantiate_async(self, *, limits: Limits | None = None) -> BaseInstance:
        """As `instantiate`, in an asynchronous store, whose guests may wait for coroutines."""
        linking, bounds = self._checked(limits)
        instance: BaseInstance = await self.module.runtime._new_instance_async(linking, bounds)
        return instance

    def _checked(self, limits: Limits | None) -> tuple[Linking, Limits | None]:
        linking = self._linking
        if linking is None or self._life.ended_by is not None:
            raise self._life.error(self._kind)
        if limits is None:
            limits = self.limits
        else:
            self.module.runtime._check_store_limits(limits)
        return linking if self._again is None else self._again(limits), limits

    def _free(self) -> None:
        self._linking = self._again = None

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<LinkedModule imports={len(self.module.imports)} ({self.module.runtime.info.name}){state}>"
