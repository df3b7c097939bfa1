"""The runtime over wazero: as the native one, but another engine reads text, and finds what a refused module needs."""

from __future__ import annotations

from typing import Any

from ...types import RuntimeInfo
from ...wasm.bulk_copies import SMALL_PIECES
from ..base.needs import Judge
from .engine import Engine
from .runtime import NativeRuntime

__all__ = ["WazeroRuntime"]


class WazeroRuntime(NativeRuntime):
    """A runtime over wazero. `reader` and `judge` are None where there is no Wasmtime to ask."""

    _pieces = SMALL_PIECES  # a guest polls when the counter of its loop iterations reaches zero

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
        self._read(data)
        self.engine.validate(data)

    def _compile(self, data: bytes) -> Any:
        self._read(data)
        return self.engine.compile(data)

    def _read(self, data: bytes) -> None:
        """Have the reader validate the module first: it says where an error is, and it also refuses types of proposals
        that are off or that wazero lacks.
        """
        if self._reader is not None:
            self._reader.validate(data)

    def _text_to_binary(self, text: str) -> bytes:
        return (self.engine if self._reader is None else self._reader).text_to_binary(text)
