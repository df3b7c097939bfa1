"""Keeps the package usable while the interpreter ends.

Some of its functions import from the package itself. That fails once the interpreter has emptied `sys.modules`, which
it does before it runs the last destructors.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any

import wasmtime

__all__ = ["components", "keep_importable"]


def _loaded() -> dict[str, ModuleType]:
    """The package's modules that are loaded now."""
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == wasmtime.__name__}


_modules = _loaded()


def keep_importable() -> None:
    """Put the package back into `sys.modules` if it is gone. Called before a use that may import from it."""
    if sys.modules.get("wasmtime") is None:
        sys.modules.update(_modules)


@cache
def components() -> Any:
    """The package's part for components, which is loaded with the first component and kept."""
    keep_importable()
    from wasmtime import component

    _modules.update(_loaded())
    return component
