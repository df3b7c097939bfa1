"""The runtime over wasm3: as the native one, but another engine validates modules and reads text."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import UnsupportedFeatureError
from ...types import RuntimeInfo
from ..base.needs import Judge
from .engine import Engine
from .runtime import NativeRuntime

__all__ = ["Validator", "Wasm3Runtime"]


class Validator(NamedTuple):
    """Validates modules for wasm3: an engine with the same proposals, and the judge that explains its refusals."""

    engine: Engine
    judge: Judge


class Wasm3Runtime(NativeRuntime):
    """A runtime over wasm3. `validator` may be None. `trusting` says that modules are not validated."""

    _pieces = None

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
        self._judge = None if validator is None else validator.judge
        self._trusting = trusting
        super().__init__(engine, info, settings, trap_on_grow_failure=trap_on_grow_failure)

    def _validate(self, data: bytes) -> None:
        if self._validator is None:
            raise UnsupportedFeatureError("modules cannot be validated without the package wasmtime", "validate")
        self._validator.engine.validate(data)
        self.engine.compile(data)  # finds what wasm3 cannot do; the handle that it returns frees the module

    def _compile(self, data: bytes) -> Any:
        if not self._trusting:
            assert self._validator is not None  # checked by create()
            self._validator.engine.validate(data)
        return self.engine.compile(data)

    def _text_to_binary(self, text: str) -> bytes:
        return (self.engine if self._validator is None else self._validator.engine).text_to_binary(text)
