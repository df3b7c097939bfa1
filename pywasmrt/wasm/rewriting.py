"""Replaces instructions with calls, to change what a module does where its engine offers no switch for that.

Each of the chosen instructions becomes a call of a function that has its operands and results. These functions and
their types are appended, so that no index changes; they have names, for the frames of traps.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from ..errors import ModuleCompileError
from .codes import CODE, CUSTOM, FUNCTION, TYPE
from .instructions import skip_instruction, skip_value_type
from .primitives import name, read_uleb, section, skip_leb, uleb, vector
from .reading import HEADER, Spaces, malformed, read_spaces, sections

__all__ = ["Replaced", "Rule", "rewritten"]

_APPENDED_TO = frozenset((TYPE, FUNCTION, CODE))
_CALL = b"\x10"
_NOP = b"\x01"
_MAX_LEB = 5

Replaced = tuple[int, bytes]
"""One instruction to replace: a number of the rule's for what it is, and its immediates. Those that are equal share a
function."""


class Rule(ABC):
    """Which instructions are replaced, and by what."""

    in_place: ClassVar[bool] = False
    """Whether the call takes exactly the room of the instruction, so that no code moves."""

    @abstractmethod
    def suspects(self, spaces: Spaces) -> bytes:
        """A regular expression that every function with such an instruction matches; others are not read."""

    @abstractmethod
    def find(self, data: bytes, at: int, after: int) -> Replaced | None:
        """The record of the instruction from `at` to `after`, if it is to be replaced."""

    @abstractmethod
    def type(self, spaces: Spaces, replaced: Replaced) -> bytes:
        """The type of the function that takes its place. Raises `IndexError` for an index that does not exist."""

    @abstractmethod
    def body(self, spaces: Spaces, replaced: Replaced) -> bytes:
        """Its locals and its code."""

    @abstractmethod
    def name(self, replaced: Replaced) -> str:
        """Its name in the frames of traps."""


def rewritten(data: bytes, rules: Sequence[Rule]) -> bytes:
    """A validated module with the rules applied. One in which they find nothing comes back as it is.

    Where code moves, the name section is the only custom section kept, as others refer to places in the code. Raises
    `UnsupportedFeatureError` for an instruction that is not known, `ModuleCompileError` where `data` is malformed.
    """
    try:
        return _Rewriting(data, rules).result()
    except (IndexError, UnicodeDecodeError) as error:
        raise malformed(data, error) from None


class _Rewriting:
    def __init__(self, data: bytes, rules: Sequence[Rule]) -> None:
        self.data = data
        self.rules = rules
        self.helpers: dict[tuple[Rule, Replaced], int] = {}
        self.moved = False

    def result(self) -> bytes:
        data = self.data
        found = sections(data)
        code = next(((begin, end) for _, id, begin, end in found if id == CODE), None)
        if code is None:
            return data
        self.spaces = spaces = read_spaces(data)
        bodies = self._bodies(*code)
        helpers = self.helpers
        if not helpers:
            return data
        appended = {
            TYPE: [rule.type(spaces, replaced) for rule, replaced in helpers],
            FUNCTION: [uleb(spaces.types + n) for n in range(len(helpers))],
            CODE: [_sized(rule.body(spaces, replaced)) for rule, replaced in helpers],
        }
        count, items = read_uleb(data, code[0])
        self.moved |= len(uleb(count + len(helpers))) != items - code[0]  # places are counted from the count
        parts = [HEADER]
        for start, id, begin, end in found:
            if id in _APPENDED_TO:
                count, items = read_uleb(data, begin)
                content = bodies if id == CODE else data[items:end]
                more = appended.pop(id, None)
                if more is None:
                    raise ModuleCompileError(f"malformed module: section {id} occurs twice")
                parts.append(section(id, uleb(count + len(more)) + content + b"".join(more)))
            elif id != CUSTOM or not self.moved or data[begin:end].startswith(name("name")):
                parts.append(data[start:end])
        if appended:
            raise ModuleCompileError(f"malformed module: section {min(appended)} is missing")
        # A second name section, as the first need not be well-formed: engines add it to the first.
        names = vector([uleb(index) + name(rule.name(replaced)) for (rule, replaced), index in helpers.items()])
        parts.append(section(CUSTOM, name("name") + section(1, names)))
        return b"".join(parts)

    def _bodies(self, at: int, end: int) -> bytes:
        """The bodies of the code section's functions, without their count."""
        # Most functions have nothing to replace, and `suspects` rules many of them out.
        data = self.data
        suspect = re.compile(b"|".join(rule.suspects(self.spaces) for rule in self.rules), re.DOTALL)
        parts = []
        count, at = read_uleb(data, at)
        for _ in range(count):
            start = at
            size, at = read_uleb(data, at)
            begin, at = at, at + size
            if at > end:
                raise ModuleCompileError(f"malformed module: the function at byte {start} reaches beyond its section")
            if suspect.search(data, begin, at) is None:
                parts.append(data[start:at])
                continue
            body = self._with_calls(begin, at)
            if len(body) == size:
                parts.append(data[start:begin] + body)
            else:
                self.moved = True
                parts.append(_sized(body))
        if at != end:
            raise ModuleCompileError("malformed module: section 10 does not end where it says")
        return b"".join(parts)

    def _with_calls(self, begin: int, end: int) -> bytes:
        """The body of a function with calls of helpers in the place of what is replaced."""
        data = self.data
        groups, at = read_uleb(data, begin)
        for _ in range(groups):
            at = skip_value_type(data, skip_leb(data, at))
        parts = []
        kept = begin
        while at < end:
            after = skip_instruction(data, at)
            for rule in self.rules:
                replaced = rule.find(data, at, after)
                if replaced is not None:
                    index = self.helpers.setdefault((rule, replaced), self.spaces.functions + len(self.helpers))
                    self.moved |= not rule.in_place
                    room = after - at if rule.in_place else 0
                    parts += [data[kept:at], _call(index, room)]
                    kept = after
                    break
            at = after
        if at != end:
            raise ModuleCompileError(f"malformed module: the function at byte {begin} does not end where it says")
        parts.append(data[kept:end])
        return b"".join(parts)


def _call(index: int, room: int) -> bytes:
    """A call that takes `room` bytes, if it can: a number may be written longer than it needs to be."""
    number = uleb(index)
    wanted = min(room - 1, _MAX_LEB)
    if len(number) < wanted:
        number = number[:-1] + bytes([number[-1] | 0x80]) + b"\x80" * (wanted - len(number) - 1) + b"\x00"
    call = _CALL + number
    return call + _NOP * (room - len(call))


def _sized(body: bytes) -> bytes:
    return uleb(len(body)) + body
