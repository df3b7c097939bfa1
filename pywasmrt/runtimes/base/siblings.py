"""Further instances of the module of an instance, with the same imports: the threads of a guest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import ModuleInstantiateError, UnsupportedFeatureError
from ...types import ImportType, Limits, MemoryType
from .linking import Linking, is_provided

__all__ = ["Siblings", "with_memories"]

_PAGE = 65_536


class Siblings:
    """Makes instances of the same module with the same imports and host objects, each in a store of its own with the
    same limits, on any thread. It holds no store.
    """

    def __init__(self, runtime: Any, linking: Linking, states: Sequence[Any], limits: Limits | None) -> None:
        self.module = linking.module
        self._runtime = runtime
        self._linking = linking
        self._states = states
        self._limits = limits

    def new_store(self) -> Any:
        """Make the store for one more instance. The caller closes it."""
        return self._runtime.new_store(self._limits)

    def instantiate(self, store: Any, context: Any) -> Any:
        """Make the instance, whose WASI is `context`, and run its start function. The caller keeps the context open."""
        return store._new_sibling(self._linking, [*self._states, context])


def with_memories(
    runtime: Any, imports: Sequence[ImportType], providers: tuple[Any, ...], limits: Limits | None
) -> tuple[Any, ...]:
    """`providers`, followed by new shared memories for those of `imports` that none of them provides. A guest with
    threads expects such memories of its host.
    """
    features = runtime.info.features
    if "threads" in features and "memory-sharing" not in features:
        raise UnsupportedFeatureError(
            f"{runtime.info.name} has no threads of WASI: its shared memories cannot pass from one store to another",
            "memory-sharing",
        )
    made: dict[str, dict[str, Any]] = {}
    for wanted in imports:
        if isinstance(wanted.type, MemoryType) and wanted.type.shared and not is_provided(providers, wanted):
            made.setdefault(wanted.module, {})[wanted.name] = _memory(runtime, wanted, wanted.type, limits)
    return (*providers, made) if made else providers


def _memory(runtime: Any, wanted: ImportType, type: MemoryType, limits: Limits | None) -> Any:
    maximum = type.minimum if type.maximum is None else type.maximum
    if limits is not None and limits.memory_bytes is not None:
        maximum = min(maximum, limits.memory_bytes // _PAGE)
        if maximum < type.minimum:
            raise ModuleInstantiateError(
                f"cannot instantiate the module: {wanted} has {type.minimum * _PAGE} bytes at least, more than "
                f"Limits.memory_bytes, {limits.memory_bytes}"
            )
    # The memory holds its store, and the instances that import the memory hold it.
    return runtime.new_store().memory(type.minimum, maximum, is_64=type.is_64, shared=True)
