"""Tables with 64-bit indices that the host makes. A module exports one where the engine's C API cannot make them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ...types import TableType
from ...wasm.module import Module

__all__ = ["WIDE_TABLE", "wide_table_module"]

WIDE_TABLE = "table"
"""The name of the one export."""


@lru_cache(maxsize=64)
def wide_table_module(type: TableType) -> bytes:
    """A module that exports an empty table which may grow to the maximum of `type`."""
    module: Any = Module()
    module.table(TableType(type.element, 0, type.maximum, True), export=WIDE_TABLE)
    return module.encode()  # type: ignore[no-any-return]
