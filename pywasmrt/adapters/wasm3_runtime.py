"""The runtime over wasm3: as the native one, but for modules that another engine validates and reads."""

from __future__ import annotations

from typing import Any

from ..types import RuntimeInfo
from .native import Engine, NativeRuntime

__all__ = ["Wasm3Runtime"]


class Wasm3Runtime(NativeRuntime):
    """A runtime over wasm3. `validator` is an engine that can validate and read text, or None where there is none;
    `trusting`: modules are not validated.
    """

    def __init__(self, engine: Engine, info: RuntimeInfo, settings: str, validator: Engine | None, trusting: bool) -> None:
        self._validator = validator
        self._trusting = trusting
        super().__init__(engine, info, settings)

    def _validate(self, data: bytes) -> None:
        (self._validator or self.engine).validate(data)

    def _compile(self, data: bytes) -> Any:
        if not self._trusting:
            assert self._validator is not None  # create() saw to it
            self._validator.validate(data)
        return self.engine.compile(data)

    def _text_to_binary(self, text: str) -> bytes:
        return (self._validator or self.engine).text_to_binary(text)
