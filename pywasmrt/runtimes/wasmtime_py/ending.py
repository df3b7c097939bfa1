"""Keeps the package usable while the interpreter ends.

Some of its functions import from the package itself. That fails once the interpreter has emptied `sys.modules`, which
it does before it runs the last destructors.
"""

from __future__ import annotations

import sys

import wasmtime

__all__ = ["keep_importable"]

_modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == wasmtime.__name__}


def keep_importable() -> None:
    """Put the package back into `sys.modules` if it is gone. Called before a use that may import from it."""
    if sys.modules.get("wasmtime") is None:
        sys.modules.update(_modules)
