"""The runtime over wazero: as the native one, but another engine reads text and tells what a refused module needs."""

from __future__ import annotations

from typing import Any

from ...errors import ModuleCompileError
from ...types import RuntimeInfo
from ..base.needs import Judge
from .engine import Engine
from .runtime import NativeRuntime

__all__ = ["WazeroRuntime"]


class WazeroRuntime(NativeRuntime):
    """A runtime over wazero. `reader` and `judge` are None where there is no Wasmtime to ask."""

    def __init__(
        self,
        engine: Engine,
        info: RuntimeInfo,
        settings: str,
        reader: Engine | None,
        judge: Judge | None,
        *,
        trap_on_grow_failure: bool,
    ) -> None:
        self._reader = reader
        self._judge = judge
        super().__init__(engine, info, settings, trap_on_grow_failure=trap_on_grow_failure)

    def _validate(self, data: bytes) -> None:
        try:
            self.engine.validate(data)
        except ModuleCompileError:
            self._explain(data)
            raise

    def _compile(self, data: bytes) -> Any:
        try:
            return self.engine.compile(data)
        except ModuleCompileError:
            self._explain(data)
            raise

    def _explain(self, data: bytes) -> None:
        """Raise the reader's error for a module that it refuses too: it tells the place."""
        if self._reader is not None:
            self._reader.validate(data)

    def _text_to_binary(self, text: str) -> bytes:
        return (self.engine if self._reader is None else self._reader).text_to_binary(text)
