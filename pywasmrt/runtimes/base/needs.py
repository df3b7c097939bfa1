"""Which proposal a module needs that its runtime does not allow: one answer for every engine.

An engine refuses a module at the first place that it cannot read, in its own words, whether the module is broken or
asks for what is off. So the validator is asked again, with more proposals: where the module is valid with all of them,
it is not broken, and what it needs is the proposal that gets the validator past that first place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import ModuleCompileError, UnsupportedFeatureError
from .features import PROPOSALS

__all__ = ["Judge", "Validate", "needed_proposal"]

Validate = Callable[[frozenset[str], bytes], None]
"""Validates a module by an engine that has these proposals and no others; raises `ModuleCompileError`."""

# Some numbers may be longer under a proposal. A module that writes them so is malformed without it, and needs it for
# nothing else.
_ENCODINGS = ("zero byte expected", "integer representation too long", "integer too large")

# What builds upon another proposal cannot be on without it.
_BASES = {"relaxed-simd": frozenset({"simd"}), "gc": frozenset({"function-references"})}


@dataclass(frozen=True)
class Judge:
    """Tells a module that needs a proposal from a broken one, for one runtime.

    `allowed` are the proposals in force, `known` those that `RuntimeConfig(features=...)` could turn on besides.
    """

    runtime: str
    allowed: frozenset[str]
    known: frozenset[str]
    validate: Validate

    def verdict(self, data: bytes, error: ModuleCompileError) -> ModuleCompileError | UnsupportedFeatureError:
        """What to raise where the engine refused a module by `error`: that, or the error that names a proposal."""
        feature = needed_proposal(data, self.allowed, self.validate)
        if feature is None:
            return error
        off = "is off in this runtime: name it in RuntimeConfig(features=...)"
        lacking = off if feature in self.known else f"{self.runtime} has not"
        return UnsupportedFeatureError(f"the module needs {feature!r}, which {lacking}: {error}", feature)


def needed_proposal(data: bytes, allowed: frozenset[str], validate: Validate) -> str | None:
    """The first proposal beyond `allowed` that a module needs; None for one that is valid without or broken with all.

    First in the order in which the module is read; where a proposal builds upon another, both are taken for one.
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
    # From the whole, take away what is not needed. What builds upon others goes before them.
    for name in sorted(needed, key=lambda name: (name not in _BASES, name)):
        without = needed - {name} - {above for above, bases in _BASES.items() if name in bases}
        if reason(allowed | without) is None:
            needed = without
    for name in sorted(needed, key=lambda name: (name in _BASES, name)):
        if reason(allowed | {name} | _BASES.get(name, frozenset())) != first:
            return name
    return min(needed, default=None)
