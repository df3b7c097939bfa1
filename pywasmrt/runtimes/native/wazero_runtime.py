"""The runtime over wazero: as the native one, but another engine reads text and tells what a refused module needs."""

from __future__ import annotations

from ...types import RuntimeInfo
from ..base.needs import Judge
from .runtime import Engine, NativeRuntime

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

    def _text_to_binary(self, text: str) -> bytes:
        return (self.engine if self._reader is None else self._reader).text_to_binary(text)
