"""Where an instruction ends: asked of an engine's validator."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from helpers.texts import wat

from pywasmrt import (
    UnsupportedFeatureError,
)
from pywasmrt.wasm.instructions import skip_instruction
from pywasmrt.wasm.primitives import section, uleb, vector
from pywasmrt.wasm.reading import HEADER, sections

# What may be asked for by the numbers 0 to 5: types of each form, among them structs whose field of that number serves.
SPACES = """(module
  (type (func)) (type (struct (field i32 (mut i32)))) (type (array (mut i32))) (type (array (mut funcref)))
  (type (struct (field i32 i32 i32 i32 (mut i8)))) (type (array (mut i8)))
  (memory 1 1) (table 1 funcref) (global (mut i32) (i32.const 0)) (tag (type 0))
  (elem funcref) (elem funcref) (elem funcref) (elem funcref) (data "") (data "") (data "")
  (func) (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0))) (elem declare func 0))
"""
OPCODES = [bytes([each]) for each in range(0x100) if not 0xFB <= each <= 0xFE]
OPCODES += [bytes([prefix]) + uleb(each) for prefix in range(0xFB, 0xFF) for each in range(0x180)]
# What is not valid with such operands, in the midst of code: else, end, select with types, br_on_non_null, br_on_cast
# and br_on_cast_fail; and the exceptions of old, which the engine has not.
ELSEWHERE = {b"\x05", b"\x0b", b"\x1c", b"\xd6", b"\xfb\x18", b"\xfb\x19"}
LEGACY = {b"\x06", b"\x07", b"\x09", b"\x18", b"\x19"}


def test_an_instruction_ends_where_the_engine_says(validate: Callable[[bytes], str]) -> None:
    """After `unreachable` any operands will do. The engine tells where it finds a byte that is no instruction."""
    spaces = wat(SPACES)
    parts = [spaces[start:end] for start, id, _, end in sections(spaces) if id not in (0, 10)]
    code_after = next(n for n, part in enumerate(parts) if part[0] == 12) + 1  # the data count

    def reason(code: bytes) -> tuple[str, int]:
        """Why the engine refuses a function, and at which byte of it."""
        body = b"\1\1\x7f" + code  # a local
        bodies = section(10, vector([uleb(len(body)) + body, b"\2\0\x0b"]))
        binary = HEADER + b"".join([*parts[:code_after], bodies, *parts[code_after:]])
        text = validate(binary)
        return text, int(re.search(r"at offset 0x([0-9a-f]+)", text)[1], 16) - binary.index(code)  # type: ignore[index]

    known, agreed = set(), set()
    for opcode in OPCODES:
        for number in range(6):
            code = b"\0" + opcode + bytes([number]) * 20
            try:
                end = skip_instruction(code, 1)
            except UnsupportedFeatureError:
                text, _ = reason(code)
                assert re.search("illegal opcode|unknown 0x.. subopcode|support is not enabled", text), (code, text)
                break
            known.add(opcode)
            text, at = reason(code[:end] + b"\xff")
            if "illegal opcode: 0xff" in text:
                assert at == end, (opcode, text)
                agreed.add(opcode)
    assert known - agreed == ELSEWHERE | LEGACY


def test_exceptions_of_old_are_passed_over() -> None:
    """try, with a type; catch and throw of a tag; rethrow; delegate; catch_all."""
    parts = [b"\x06\x40", b"\x06\x63\x70", b"\x07\x80\1", b"\x08\0", b"\x09\1", b"\x18\1", b"\x19", b"\x0b"]
    code = b"".join(parts)
    ends = [0]
    while ends[-1] < len(code):
        ends.append(skip_instruction(code, ends[-1]))
    assert [code[begin:end] for begin, end in pairwise(ends)] == parts


@pytest.mark.parametrize("code", [b"\xd0\x65\x70", b"\xd0\x62\0", b"\x02\x63\x65\x70\0", b"\xff", b"\xfe\x4f\0\0"])
def test_what_is_not_known_is_told(code: bytes) -> None:
    with pytest.raises(UnsupportedFeatureError, match="is not known"):
        skip_instruction(code, 0)
