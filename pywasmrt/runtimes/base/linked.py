"""What `Runtime.link` returns: a module linked once, of which an instance costs little more than in the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .lifetime import Closable

if TYPE_CHECKING:
    from ...types import Limits
    from .instance import BaseInstance
    from .linking import Linking
    from .module import BaseModule

__all__ = ["BaseLinkedModule"]


def _relinked(module: BaseModule, imports: tuple[Any, ...], wasi: Any, limits: Limits | None) -> BaseLinkedModule:
    linked: BaseLinkedModule = module.runtime.link(module, *imports, wasi=wasi, limits=limits)
    return linked


class BaseLinkedModule(Closable):
    """A module linked to what serves its imports. Several threads may use it at once. It pickles as the module and the
    imports, where these can be pickled.
    """

    _kind = "linked module"
    _has_children = False

    def __init__(
        self,
        module: BaseModule,
        linking: Linking,
        limits: Limits | None,
        imports: tuple[Any, ...],
        again: Callable[[Limits | None], Linking] | None = None,
    ) -> None:
        """`imports` are what it was linked to. `again` links anew for each instance, where instances need something of
        their own.
        """
        self.module = module
        self._imports: tuple[Any, ...] | None = imports
        self._again = again
        self.limits = limits
        self._linking: Linking | None = linking
        super().__init__(module)

    def instantiate(self, *, limits: Limits | None = None) -> BaseInstance:
        """Make an instance in a store of its own and run its start function. The caller closes it."""
        linking = self._linking
        if linking is None or limits is not None or self._again is not None or self._life.ended_by is not None:
            linking, limits = self._checked(limits)
        else:
            limits = self.limits
        instance: BaseInstance = self.module.runtime._new_instance(linking, limits)
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
        self._linking = self._again = self._imports = None

    def __copy__(self) -> BaseLinkedModule:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> BaseLinkedModule:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        linking, imports = self._linking, self._imports
        if linking is None or imports is None or self._life.ended_by is not None:
            raise self._life.error(self._kind)
        return _relinked, (self.module, imports, linking.wasi, self.limits)

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<LinkedModule imports={len(self.module.imports)} ({self.module.runtime.info.name}){state}>"
