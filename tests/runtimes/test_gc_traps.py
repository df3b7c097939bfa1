"""Traps of the proposal gc have codes of their own."""

from __future__ import annotations

import pytest

import pywasmrt
from pywasmrt import TrapCode

GUEST = """(module (type $a (array i32)) (type $s (struct))
  (func (export "cast") (drop (ref.cast (ref $a) (struct.new $s))))
  (func (export "read") (drop (array.get $a (array.new $a (i32.const 0) (i32.const 1)) (i32.const 5))))
  (func (export "make") (drop (array.new $a (i32.const 0) (i32.const -1))))
  (func (export "null") (drop (array.len (ref.null $a)))))
"""


@pytest.mark.wasm_features("gc", "wat")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("cast", TrapCode.CAST_FAILURE),
        ("read", TrapCode.ARRAY_OUT_OF_BOUNDS),
        ("make", TrapCode.ALLOCATION_TOO_LARGE),
        ("null", TrapCode.NULL_REFERENCE),
    ],
)
def test_the_code_tells_what_happened(runtime: pywasmrt.Runtime, name: str, code: TrapCode) -> None:
    instance = runtime.instantiate(runtime.compile(GUEST))
    with pytest.raises(pywasmrt.Trap) as caught:
        instance.exports[name]()
    assert caught.value.code is code
