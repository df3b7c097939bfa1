"""The core modules in a component: finding and rewriting them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from ..errors import ModuleCompileError, UnsupportedFeatureError
from ..wasm.primitives import read_uleb, section
from ..wasm.rewriting import Rule, rewritten
from .binary import HEADER, MOST_NESTED

__all__ = ["core_modules", "with_rewritten_cores"]

_CORE_MODULE, _COMPONENT = 1, 4  # ids of sections


def with_rewritten_cores(data: bytes, rules: Sequence[Rule]) -> bytes:
    """The component with the rules applied to each of its core modules, those of nested components included. What is
    malformed stays as it is: the engine, which has not seen the component yet, says what is wrong.
    """
    try:
        return _component(data, rules, MOST_NESTED)
    except (IndexError, ModuleCompileError):
        return data


def core_modules(data: bytes) -> Iterator[bytes]:
    """The core modules in a component and in its nested components, in order, as far as the component can be read."""
    with suppress(IndexError, ModuleCompileError):
        yield from _found(data, MOST_NESTED)


def _found(data: bytes, nested: int) -> Iterator[bytes]:
    for id, _, content in _sections(data, nested):
        if id == _CORE_MODULE:
            yield content
        elif id == _COMPONENT:
            yield from _found(content, nested - 1)


def _component(data: bytes, rules: Sequence[Rule], nested: int) -> bytes:
    parts = [data[: len(HEADER)]]
    for id, whole, content in _sections(data, nested):
        changed = content
        if id == _CORE_MODULE:
            changed = _core_module(content, rules)
        elif id == _COMPONENT:
            changed = _component(content, rules, nested - 1)
        parts.append(whole if changed is content else section(id, changed))
    return b"".join(parts)


def _sections(data: bytes, nested: int) -> Iterator[tuple[int, bytes, bytes]]:
    """The sections of a component: the id, the whole section, and its content. Raises `IndexError` where it ends early,
    and where `nested`, how many components may still lie in one another, is 0.
    """
    at, end = len(HEADER), len(data)
    while at < end:
        start, id = at, data[at]
        size, begin = read_uleb(data, at + 1)
        at = begin + size
        if at > end or nested == 0:
            raise IndexError
        yield id, data[start:at], data[begin:at]


def _core_module(data: bytes, rules: Sequence[Rule]) -> bytes:
    try:
        return rewritten(data, rules)
    except (ModuleCompileError, UnsupportedFeatureError):
        return data
