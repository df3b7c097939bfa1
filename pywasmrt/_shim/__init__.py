"""The native parts: `_wrt`, the engine tables through cffi, and `_fastcall`, the calls. Imported by adapters only.

Importing this package loads neither, so that the package as a whole starts fast and works where they are missing.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache

from ..values import ended, late

__all__ = ["unavailable_reason", "wasm3_reason"]

_MODULES = ("_wrt", "_fastcall")


@cache
def unavailable_reason() -> str | None:
    """Why the native parts cannot be used here, in one sentence; None where they can. The first call loads them."""
    recorded = _recorded_reason()
    if recorded is not None:
        return recorded
    for name in _MODULES:
        try:
            importlib.import_module(f"{__name__}.{name}")
        except ImportError as error:
            if sys.meta_path is None:
                raise ended(f"{__name__}.{name}") from None
            return f"the native module {__name__}.{name} cannot be imported: {error}"
    lock_is_on = getattr(sys, "_is_gil_enabled", lambda: True)
    if not lock_is_on():  # importing them turns the lock on, unless the user has forbidden that
        return "the native parts need the global interpreter lock; start Python without PYTHON_GIL=0 and -X gil=0"
    return None


@cache
def wasm3_reason() -> str | None:
    """Why the native parts, which must be there, hold no wasm3, in one sentence; None where they do hold it."""
    if late(f"{__name__}._wrt").lib.wrt_wasm3_ops():
        return None
    recorded = late(f"{__name__}._build_info")
    return f"this was built without wasm3: {recorded.wasm3_reason}"


def _recorded_reason() -> str | None:
    """What setup.py wrote down about the build, if there was one."""
    try:
        info = importlib.import_module(f"{__name__}._build_info")
    except ImportError as error:
        if sys.meta_path is None:
            raise ended("what the build recorded") from None
        if not isinstance(error, ModuleNotFoundError):
            raise
        return "the native parts were never built; install the package, or run `python setup.py build_ext --inplace`"
    reason: str | None = info.reason
    return reason
