"""The lines of a trap: told where the module carries debug information."""

from __future__ import annotations

import pytest
from helpers.debug_lines import LINE, module_with_lines

from pywasmrt import Trap


def test_a_trap_tells_the_line(runtime, needs):
    needs("trap-lines")
    boom = runtime.instantiate(runtime.compile(module_with_lines())).exports.boom
    with pytest.raises(Trap, match=r"guest\.c:42") as caught:
        boom()
    frame = caught.value.frames[0]
    assert (frame.file, frame.line) == ("guest.c", LINE)


def test_a_trap_without_debug_information_tells_none(runtime, needs):
    needs("trap-frames", "wat")
    boom = runtime.instantiate(runtime.compile('(module (func (export "boom") unreachable))')).exports.boom
    with pytest.raises(Trap) as caught:
        boom()
    assert (caught.value.frames[0].file, caught.value.frames[0].line) == (None, None)
