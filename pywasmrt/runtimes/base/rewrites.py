"""The rules of `pywasmrt.wasm` by which a runtime's modules are rewritten before they are compiled."""

from __future__ import annotations

from ...wasm.bulk_copies import has_copies
from ...wasm.growth import GROWTH_TRAPS
from ...wasm.rewriting import Rule
from ...wasm.waits import STOPPABLE_WAITS, has_waits

__all__ = ["Rewrites"]


class Rewrites:
    """The rules for a runtime with these features. `pieces` splits large copies and fills, and is None where the engine
    does that itself; `trap_on_grow_failure` is `RuntimeConfig`'s.
    """

    def __init__(self, features: frozenset[str], pieces: Rule | None, trap_on_grow_failure: bool) -> None:
        stops = not features.isdisjoint(("deadline", "interruption"))
        self._waits = stops and "threads" in features
        self._pieces = pieces if stops else None
        self._growth = trap_on_grow_failure

    def identity(self) -> str:
        """What compiled code depends on besides the engine's own settings."""
        growth = ",trap_on_grow_failure" if self._growth else ""
        return growth + (",stoppable_waits" if self._waits else "") + (",pieces" if self._pieces is not None else "")

    def stopping(self, data: bytes) -> list[Rule]:
        """The rules for a module or component that split the instructions in which an engine would not stop."""
        rules: list[Rule] = []
        if self._waits and has_waits(data):
            rules.append(STOPPABLE_WAITS)
        if self._pieces is not None and has_copies(data):
            rules.append(self._pieces)
        return rules

    def all(self, data: bytes) -> list[Rule]:
        """The rules for a module."""
        return [*self.stopping(data), GROWTH_TRAPS] if self._growth else self.stopping(data)
