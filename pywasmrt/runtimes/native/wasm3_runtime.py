"""The runtime over wasm3: as the native one, but for modules that another engine validates and reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...errors import ModuleCompileError, UnsupportedFeatureError
from ...types import RuntimeInfo
from .runtime import Engine, NativeRuntime

__all__ = ["Validator", "Wasm3Runtime"]


_OF_A_PROPOSAL = re.compile("enabled|feature|proposal|required for|not supported|multiple memories")


class Validator:
    """Validates modules by an engine that has the proposals `allowed` and no more.

    `lacking` are the proposals that wasm3 has not; `open_engine` makes an engine for a set of proposals, and is called
    only where a module was refused.
    """

    def __init__(
        self, allowed: frozenset[str], lacking: frozenset[str], open_engine: Callable[[frozenset[str]], Engine]
    ) -> None:
        self._allowed = allowed
        self._lacking = lacking
        self._open = open_engine
        self.engine = open_engine(allowed)

    def check(self, data: bytes) -> None:
        """Raise `UnsupportedFeatureError` if the module is valid but for a proposal that wasm3 lacks, and
        `ModuleCompileError` if it is not valid.
        """
        try:
            self.engine.validate(data)
        except ModuleCompileError as error:
            # A proposal can also make an encoding valid that is malformed without it; that is not to need it.
            feature = self._needed(data) if _OF_A_PROPOSAL.search(str(error)) else None
            if feature is None:
                raise
            raise UnsupportedFeatureError(
                f"the module needs {feature!r}, which wasm3 has not: {error}", feature
            ) from None

    def _needed(self, data: bytes) -> str | None:
        """The proposal without which the module is not valid; None if it is not valid with all of them either."""
        everything = self._allowed | self._lacking
        if not self._valid(everything, data):
            return None
        for feature in sorted(self._lacking):
            if not self._valid(everything - {feature} - _builds_upon(feature), data):
                return feature
        return min(self._lacking)

    def _valid(self, proposals: frozenset[str], data: bytes) -> bool:
        try:
            self._open(proposals).validate(data)
        except ModuleCompileError:
            return False
        return True


def _builds_upon(feature: str) -> frozenset[str]:
    """The proposals that no engine has without `feature`."""
    return {
        "simd": frozenset({"relaxed-simd"}),
        "function-references": frozenset({"gc"}),
    }.get(feature, frozenset())


class Wasm3Runtime(NativeRuntime):
    """A runtime over wasm3. `validator` is None where there is none; `trusting`: modules are not validated."""

    def __init__(
        self,
        engine: Engine,
        info: RuntimeInfo,
        settings: str,
        validator: Validator | None,
        trusting: bool,
        *,
        trap_on_grow_failure: bool,
    ) -> None:
        self._validator = validator
        self._trusting = trusting
        super().__init__(engine, info, settings, trap_on_grow_failure=trap_on_grow_failure)

    def _validate(self, data: bytes) -> None:
        if self._validator is None:
            raise UnsupportedFeatureError("modules cannot be validated without the package wasmtime", "validate")
        self._validator.check(data)
        self.engine.validate(data)  # reads what wasm3 would stumble over

    def _compile(self, data: bytes) -> Any:
        if not self._trusting:
            assert self._validator is not None  # create() saw to it
            self._validator.check(data)
        return self.engine.compile(data)

    def _text_to_binary(self, text: str) -> bytes:
        return (self.engine if self._validator is None else self._validator.engine).text_to_binary(text)
