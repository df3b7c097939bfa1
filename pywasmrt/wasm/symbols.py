"""What a module tells of its own source: the names of its functions, and where in it the code of each lies.

For modules that an engine has validated. Names are a custom section, which no engine checks: what is broken in it ends
the reading of it, and what was read before stays.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import ModuleCompileError
from .codes import CODE, CUSTOM, EXPORT
from .primitives import read_uleb
from .reading import malformed, read_interface, sections

__all__ = ["Body", "bodies", "custom_sections", "exported_functions", "function_names", "imported_functions"]

_LONGEST_NAME = 500
"""Characters of a name that are kept: names may be of any length, and are shown in tables."""


class Body(NamedTuple):
    """The code of one function, locals included: the function's index, and its place in the module's bytes."""

    function: int
    begin: int
    end: int


def imported_functions(data: bytes) -> int:
    """How many functions the module imports: the first that it defines has this index."""
    from ..types import ExternKind

    return sum(1 for item in read_interface(data).imports if item.kind is ExternKind.FUNCTION)


def bodies(data: bytes) -> tuple[int, list[Body]]:
    """Where the content of the code section begins, which is what addresses in DWARF count from, and the functions in
    it. Raises `ModuleCompileError` where `data` is malformed.
    """
    for _, id, begin, end in sections(data):
        if id != CODE:
            continue
        index = imported_functions(data)
        found = []
        try:
            count, at = read_uleb(data, begin)
            for n in range(count):
                size, at = read_uleb(data, at)
                found.append(Body(index + n, at, at + size))
                at += size
        except IndexError:
            raise ModuleCompileError(f"malformed module: the code section at byte {begin} ends too early") from None
        if at != end:
            raise ModuleCompileError("malformed module: section 10 does not end where it says")
        return begin, found
    return 0, []


def exported_functions(data: bytes) -> dict[int, str]:
    """The names under which functions are exported, by index; of several, the first. Raises `ModuleCompileError` where
    `data` is malformed.
    """
    found: dict[int, str] = {}
    for _, id, begin, _ in sections(data):
        if id != EXPORT:
            continue
        try:
            count, at = read_uleb(data, begin)
            for _ in range(count):
                size, at = read_uleb(data, at)
                name, kind = data[at : at + size].decode(), data[at + size]
                index, at = read_uleb(data, at + size + 1)
                if kind == 0:
                    found.setdefault(index, name)
        except (IndexError, UnicodeDecodeError) as error:
            raise malformed(data, error) from None
    return found


def custom_sections(data: bytes) -> dict[str, bytes]:
    """The content of each custom section by its name; of several with the same name, the first."""
    found: dict[str, bytes] = {}
    for _, id, begin, end in sections(data):
        if id != CUSTOM:
            continue
        try:
            size, at = read_uleb(data, begin)
            if at + size > end:
                continue
            name = data[at : at + size].decode()
        except (IndexError, UnicodeDecodeError, ModuleCompileError):
            continue
        found.setdefault(name, data[at + size : end])
    return found


def function_names(data: bytes) -> dict[int, str]:
    """The names of functions in the name section, by index. Long ones are cut; a broken section gives what could be
    read before.
    """
    content = custom_sections(data).get("name")
    names: dict[int, str] = {}
    if content is None:
        return names
    try:
        at = 0
        while at < len(content):
            kind = content[at]
            size, at = read_uleb(content, at + 1)
            if kind == 1:
                _read_names(content[at : at + size], names)
                break
            at += size
    except (IndexError, ModuleCompileError):
        pass
    return names


def _read_names(content: bytes, names: dict[int, str]) -> None:
    count, at = read_uleb(content, 0)
    for _ in range(count):
        index, at = read_uleb(content, at)
        size, at = read_uleb(content, at)
        if at + size > len(content):
            raise IndexError
        text = content[at : at + min(size, 4 * _LONGEST_NAME)].decode("utf-8", "replace")
        names.setdefault(index, text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…")
        at += size
