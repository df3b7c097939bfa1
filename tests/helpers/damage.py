"""Modules to damage, and how they are used afterwards."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("hypothesis")
import pywasmrt
from pywasmrt import (
    ValueType,
)

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
EXTERNREF, FUNCREF = ValueType.EXTERNREF, ValueType.FUNCREF
NUMBERS = (I32, I64, F32, F64)


def use(export: Any) -> None:
    if callable(export):
        export(*(0 if param in NUMBERS else None for param in export.type.params))
    elif isinstance(export, pywasmrt.Memory):
        export.read(0, min(export.size, 100))
    elif isinstance(export, pywasmrt.Global):
        assert export.type
        _ = export.value
    elif isinstance(export, pywasmrt.Table) and len(export):
        _ = export[0]
