"""Keeps the package usable for destructors: those of a collected cycle, and those that run while the interpreter ends.

The collector finalizes the objects of a cycle in the order in which they were made, so it would free the package's
store before a destructor that still calls the guest. `unseen` hides the package's objects from it.

Some functions of the package import from the package itself. That fails once the interpreter has emptied `sys.modules`,
which it does before it runs the last destructors.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

import wasmtime

__all__ = ["components", "keep_importable", "unseen"]

_Object = TypeVar("_Object")

_untrack = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.argtypes, _untrack.restype = [ctypes.py_object], None


def unseen(object: _Object) -> _Object:
    """Hide an object from the collector, so that it lives until nothing refers to it any more. Returns it.

    The object must not refer, by any way, to what refers to it: nobody would see that cycle.
    """
    _untrack(object)
    return object


def _loaded() -> dict[str, ModuleType]:
    """The package's modules that are loaded now."""
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == wasmtime.__name__}


_modules = _loaded()
# The package's own variables hold objects that calls need, and would be garbage with its modules.
_variables = unseen([vars(module) for module in _modules.values()])


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
    _variables[:] = [vars(module) for module in _modules.values()]
    return component
