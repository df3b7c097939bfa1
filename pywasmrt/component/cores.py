"""Rewriting the core modules in a component."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ModuleCompileError, UnsupportedFeatureError
from ..wasm.primitives import read_uleb, section
from ..wasm.rewriting import Rule, rewritten
from .binary import HEADER, MOST_NESTED

__all__ = ["with_rewritten_cores"]

_CORE_MODULE, _COMPONENT = 1, 4  # ids of sections


def with_rewritten_cores(data: bytes, rules: Sequence[Rule]) -> bytes:
    """The component with the rules applied to each of its core modules, those of nested components included. What is
    malformed stays as it is: the engine, which has not seen the component yet, says what is wrong.
    """
    try:
        return _component(data, rules, MOST_NESTED)
    except (IndexError, ModuleCompileError):
        return data


def _component(data: bytes, rules: Sequence[Rule], nested: int) -> bytes:
    parts = [data[: len(HEADER)]]
    at, end = len(HEADER), len(data)
    while at < end:
        start, id = at, data[at]
        size, begin = read_uleb(data, at + 1)
        at = begin + size
        if at > end or nested == 0:
            raise IndexError
        content = data[begin:at]
        changed = content
        if id == _CORE_MODULE:
            changed = _core_module(content, rules)
        elif id == _COMPONENT:
            changed = _component(content, rules, nested - 1)
        parts.append(data[start:at] if changed is content else section(id, changed))
    return b"".join(parts)


def _core_module(data: bytes, rules: Sequence[Rule]) -> bytes:
    try:
        return rewritten(data, rules)
    except (ModuleCompileError, UnsupportedFeatureError):
        return data
