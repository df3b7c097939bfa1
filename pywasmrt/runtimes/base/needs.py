"""Finds the proposal that a module needs and its runtime does not allow, in the same way for every engine.

An engine refuses a module at the first place that it cannot read, whether the module is broken or needs a proposal that
is off. So the validator is asked again, with more proposals. A module that is valid with all of them is not broken. It
needs the proposal with which the validator gets past that first place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import ModuleCompileError, UnsupportedFeatureError
from .features import PROPOSALS

__all__ = ["Judge", "Validate", "needed_proposal"]

Validate = Callable[[frozenset[str], bytes], None]
"""Validates a module with exactly these proposals. Raises `ModuleCompileError`."""

# Some numbers may be encoded longer under a proposal. A module with such numbers is malformed without the proposal, but
# needs it for nothing else.
_ENCODINGS = ("zero byte expected", "integer representation too long", "integer too large")

# A proposal that builds upon another cannot be on without that.
_BASES = {"relaxed-simd": frozenset({"simd"}), "gc": frozenset({"function-references"})}


@dataclass(frozen=True)
class Judge:
    """Tells modules that need a proposal from broken ones, for one runtime.

    `allowed` are the proposals in force; `known` are those that `RuntimeConfig(features=...)` can turn on as well.
    """

    runtime: str
    allowed: frozenset[str]
    known: frozenset[str]
    validate: Validate

    def verdict(self, data: bytes, error: ModuleCompileError) -> ModuleCompileError | UnsupportedFeatureError:
        """The error to raise where the engine refused a module by `error`: `error`, or one that names a proposal."""
        feature = needed_proposal(data, self.allowed, self.validate)
        if feature is None:
            return error
        off = "is off in this runtime: name it in RuntimeConfig(features=...)"
        lacking = off if feature in self.known else f"{self.runtime} has not"
        return UnsupportedFeatureError(f"the module needs {feature!r}, which {lacking}: {error}", feature)


def needed_proposal(data: bytes, allowed: frozenset[str], validate: Validate) -> str | None:
    """The first proposal beyond `allowed` that a module needs; None if it is valid without any, or broken with all.

    The first is by the order in which the module is read. A proposal and the one it builds upon count as one.
    """

    def reason(proposals: frozenset[str]) -> str | None:
        try:
            validate(proposals, data)
        except ModuleCompileError as error:
            return str(error)
        return None

    first = reason(allowed)
    if first is None or any(each in first for each in _ENCODINGS) or reason(PROPOSALS) is not None:
        return None
    needed = PROPOSALS - allowed
    # From all of them, take away those that are not needed; those that build upon others go first.
    for name in sorted(needed, key=lambda name: (name not in _BASES, name)):
        without = needed - {name} - {above for above, bases in _BASES.items() if name in bases}
        if reason(allowed | without) is None:
            needed = without
    for name in sorted(needed, key=lambda name: (name in _BASES, name)):
        if reason(allowed | {name} | _BASES.get(name, frozenset())) != first:
            return name
    return min(needed, default=None)
