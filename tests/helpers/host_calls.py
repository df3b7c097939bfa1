"""Guests and short forms for tests of host functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pywasmrt import (
    FunctionType,
    HostModule,
    Runtime,
    ValueType,
)
from pywasmrt.testing import Module, guests

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
FUNCREF, EXTERNREF = ValueType.FUNCREF, ValueType.EXTERNREF
NOTHING = FunctionType()
UNARY = FunctionType((I32,), (I32,))
Needs = Callable[..., None]


def instantiate(runtime: Runtime, guest: Module, *imports: Any, **kwargs: Any) -> Any:
    return runtime.instantiate(runtime.compile(guest.encode()), *imports, **kwargs)


def around(runtime: Runtime, type: FunctionType, function: Any, **kwargs: Any) -> Any:
    """An instance of the guest that passes everything through to `function`."""
    imports = function if isinstance(function, HostModule) else {"env": {"f": function}}
    return instantiate(runtime, guests.passthrough(type), imports, **kwargs)


class Unwelcome(BaseException):
    pass
