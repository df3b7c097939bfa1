"""Python functions as lines of a program: imported where they can be, written out otherwise."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pywasmrt

from .reproducing import expression

__all__ = ["function_lines"]


def function_lines(func: Callable[..., Any]) -> list[str]:
    """Python that sets `function` to what `func` is.

    A function that a module has by name is imported. A lambda, or a function defined in another function or in a
    program's main module, is written out, after what it uses. Otherwise, as for a method, it is a line to replace.
    """
    home, name = _home(func)
    if home is not None:
        found = getattr(sys.modules[home], name, None)
        if found is func:
            return [f"from {home} import {name} as function"]
        if getattr(found, "function", None) is func:  # the decorator turned it into a test
            return [f"from {home} import {name}", f"function = {name}.function"]
    written = _written(func)
    if written is not None:
        return written
    code = getattr(func, "__code__", None)
    where = f", from {code.co_filename}:{code.co_firstlineno}" if code is not None else ""
    return [f"function = ...  # {func!r}{where}"]


def _home(value: Any) -> tuple[str | None, str]:
    """The module from which it can be imported, and its name there."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    importable = isinstance(module, str) and module in sys.modules and module != "__main__"
    return (module, name) if importable and isinstance(name, str) and name.isidentifier() else (None, "")


def _written(func: Any) -> list[str] | None:
    """The source, if it is that of a function, with its comments and without its decorators."""
    if not inspect.isfunction(func):
        return None
    try:
        text = textwrap.dedent(inspect.getsource(func))
        tree = ast.parse(text)
    except (OSError, SyntaxError):  # the source is gone, or is a fragment that does not parse alone
        return None
    wanted = ast.Lambda if func.__name__ == "<lambda>" else ast.FunctionDef
    nodes = [node for node in ast.walk(tree) if isinstance(node, wanted)]
    nodes = [node for node in nodes if getattr(node, "name", func.__name__) == func.__name__]
    if len(nodes) != 1:
        return None
    [node] = nodes
    if isinstance(node, ast.Lambda):
        lines = [f"function = {ast.get_source_segment(text, node)}"]
    else:
        lines = [*text.splitlines()[node.lineno - 1 : node.end_lineno], f"function = {func.__name__}"]
    return [*_names(func, node), *lines]


def _names(func: Any, node: ast.AST) -> Iterator[str]:
    """Python that sets the outer names that a function uses."""
    scope = dict(func.__globals__)
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        try:
            scope[name] = cell.cell_contents
        except ValueError:  # not set yet
            scope.pop(name, None)
    used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} & scope.keys()
    ours = sorted(name for name in used if getattr(pywasmrt, name, scope) is scope[name])
    if ours:
        yield f"from pywasmrt import {', '.join(ours)}"
    for name in sorted(used.difference(ours)):
        value = scope[name]
        home, known_as = _home(value)
        if isinstance(value, ModuleType):
            yield f"import {value.__name__} as {name}"
        elif home is not None and getattr(sys.modules[home], known_as, None) is value:
            yield f"from {home} import {known_as} as {name}"
        elif value is not func:
            yield f"{name} = {expression(value)}"
