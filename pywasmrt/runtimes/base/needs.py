"""Finds the proposal that a module needs and its runtime does not allow, in the same way for every engine.

An engine refuses a module at the first place that it cannot read, whether the module is broken or needs a proposal that
is off. So the validator is asked again, with more proposals. A module that is valid with all of them is not broken. It
needs the proposal with which the validator gets past that first place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import ModuleCompileError, UnsupportedFeatureError
from ...wasm.proposals import GRANTED, used_proposals
from .features import PROPOSALS

__all__ = ["Judge", "Validate", "needed_proposal"]

Validate = Callable[[frozenset[str], bytes], None]
"""Validates a module with exactly these proposals. Raises `ModuleCompileError`."""

# Some numbers may be encoded longer under a proposal. A module with such numbers is malformed without the proposal, but
# needs it for nothing else.
_ENCODINGS = ("zero byte expected", "integer representation too long", "integer too large")

# Proposals that no runtime here has, by what the validator says where a module uses one. What follows cannot be read
# without the proposal, so nobody can tell whether such a module would be valid.
_STRANGERS = {
    "legacy_exceptions feature": "legacy-exceptions",
    "stack switching": "stack-switching",
    "shared-everything-threads": "shared-everything-threads",
    "memory control support": "memory-control",
    "custom descriptors": "custom-descriptors",
    "compact imports": "compact-imports",
}

_LIMIT = "implementation-limit"  # what is named where no proposal is needed

# What an engine names where it knows only that it cannot compile an instruction or a type.
_GUESSES = GRANTED | {_LIMIT}

# A proposal that builds upon another cannot be on without that.
_BASES = {"relaxed-simd": frozenset({"simd"}), "gc": frozenset({"function-references"})}


@dataclass(frozen=True)
class Judge:
    """Tells modules that need a proposal from broken ones, for one runtime.

    `allowed` are the proposals that the validator is to allow; `known` are those that `RuntimeConfig(features=...)` can
    turn on as well. `lacking` are those of `allowed`, or of what the validator cannot turn off, that the runtime does
    not have; `copies` says whether it lacks memory.copy and memory.fill with bulk-memory. `foreign` says that the
    validator is another engine's: then a module that is valid may still be one that the runtime cannot compile.
    """

    runtime: str
    allowed: frozenset[str]
    known: frozenset[str]
    validate: Validate
    lacking: frozenset[str] = frozenset()
    copies: bool = True
    foreign: bool = False

    def verdict(
        self, data: bytes, error: ModuleCompileError | UnsupportedFeatureError
    ) -> ModuleCompileError | UnsupportedFeatureError:
        """The error to raise where the engine refused a module by `error`: `error`, or one that names a proposal."""
        if isinstance(error, UnsupportedFeatureError) and error.feature not in _GUESSES:
            return error
        feature = needed_proposal(data, self.allowed, self.validate) or self._lacked(data)
        if feature is None:
            if isinstance(error, UnsupportedFeatureError) or not self.foreign or not self._is_valid(data):
                return error
            reason = f"the module is valid, but {self.runtime} cannot compile it: {error}"
            return UnsupportedFeatureError(reason, _LIMIT)
        off = "is off in this runtime: name it in RuntimeConfig(features=...)"
        lacking = off if feature in self.known else f"{self.runtime} has not"
        return UnsupportedFeatureError(f"the module needs {feature!r}, which {lacking}: {error}", feature)

    def _lacked(self, data: bytes) -> str | None:
        """The first proposal that the module uses, the validator grants, and the runtime lacks."""
        if not self.lacking or not self._is_valid(data):
            return None
        return next((each for each in used_proposals(data, copies=self.copies) if each in self.lacking), None)

    def _is_valid(self, data: bytes) -> bool:
        """Whether the validator takes the module with the proposals that are allowed."""
        try:
            self.validate(self.allowed, data)
        except ModuleCompileError:
            return False
        return True


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
    if first is None or any(each in first for each in _ENCODINGS):
        return None
    last = reason(PROPOSALS)  # how far every proposal together gets: through the module, or to a stranger
    if last is not None:
        stranger = _stranger(last)
        if stranger is None or last == first:
            return stranger
    needed = PROPOSALS - allowed
    # From all of them, take away those that are not needed; those that build upon others go first.
    for name in sorted(needed, key=lambda name: (name not in _BASES, name)):
        without = needed - {name} - {above for above, bases in _BASES.items() if name in bases}
        if reason(allowed | without) == last:
            needed = without
    for name in sorted(needed, key=lambda name: (name in _BASES, name)):
        if reason(allowed | {name} | _BASES.get(name, frozenset())) != first:
            return name
    return min(needed, default=None)


def _stranger(reason: str) -> str | None:
    return next((name for phrase, name in _STRANGERS.items() if phrase in reason), None)
