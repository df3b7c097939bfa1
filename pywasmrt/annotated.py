"""The exact annotations of host functions: a type checker reads the Python type, this library the WebAssembly type."""

from __future__ import annotations

from typing import Annotated, Any, Optional

from .protocols import FunctionInstance
from .types import ValueType

__all__ = ["externref", "f32", "f64", "funcref", "i32", "i64", "v128"]

i32 = Annotated[int, ValueType.I32]
i64 = Annotated[int, ValueType.I64]
f32 = Annotated[float, ValueType.F32]
f64 = Annotated[float, ValueType.F64]
v128 = Annotated[bytes, ValueType.V128]
funcref = Annotated[Optional[FunctionInstance], ValueType.FUNCREF]
externref = Annotated[Any, ValueType.EXTERNREF]
