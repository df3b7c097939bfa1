"""References of the proposal gc: what they are in Python, handed back, compared, read and held."""

from __future__ import annotations

from typing import Any

from ...errors import ClosedError
from ...protocols import Reference
from ...types import FunctionType, ValueType
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("references")

_GUEST = """
(module
  (type $pair (struct (field $first (mut i32)) (field anyref)))
  (type $numbers (array (mut i16)))
  (import "env" "f" (func $f (param anyref) (result anyref)))
  (func (export "pair") (param i32 anyref) (result (ref $pair)) (struct.new $pair (local.get 0) (local.get 1)))
  (func (export "first") (param (ref $pair)) (result i32) (struct.get $pair $first (local.get 0)))
  (func (export "numbers") (param i32) (result arrayref) (array.new $numbers (i32.const -1) (local.get 0)))
  (func (export "any") (param anyref) (result anyref) (local.get 0))
  (func (export "outwards") (param anyref) (result externref) (extern.convert_any (local.get 0)))
  (func (export "through") (param anyref) (result anyref) (call $f (local.get 0)))
  (global (export "held") (mut anyref) (ref.null any)))
"""


def _exports(subject: Subject) -> Any:
    module = subject.runtime.compile(_GUEST)
    return subject.runtime.instantiate(module, {"env": {"f": lambda value: value}}).exports


@PART.needs("gc", "gc-references", "wat")
def objects_of_the_guest_are_references(subject: Subject) -> None:
    exports = _exports(subject)
    inner = exports.numbers(3)
    pair = exports.pair(5, inner)
    require(isinstance(pair, Reference) and isinstance(inner, Reference), "an object of the guest is no Reference")
    equal((pair.kind, len(pair), inner.kind, len(inner)), ("struct", 2, "array", 3), "the kinds and sizes of objects")
    equal((pair[0], inner[2]), (5, 0xFFFF), "a field and a packed element")
    require(pair[1] == inner and pair != inner, "references compare wrongly")
    expect(IndexError, "a field beyond the end", lambda: pair[2])
    equal(exports.first(pair), 5, "a field that the guest reads")
    equal(exports.first.type, FunctionType((ValueType.REF,), (ValueType.I32,)), "the type of a typed reference")


@PART.needs("gc", "gc-references", "wat")
def a_reference_is_one_whichever_way_it_crosses(subject: Subject) -> None:
    exports = _exports(subject)
    pair, thing = exports.pair(1, None), object()
    for value in (pair, 7, -7, None, thing):
        for name in ("any", "outwards", "through"):
            require(exports[name](value) == value, f"{name} gave something else than {value!r}")
        exports.held.value = value
        require(exports.held.value == value, f"a global holds something else than {value!r}")
    require(exports.any(thing) is thing, "an object of Python's comes back as another")
    expect(OverflowError, "2**31 for an i31", exports.any, 1 << 31)
    for wrong in (None, 5, exports.numbers(1), "text"):
        expect(TypeError, f"{wrong!r} for a struct", exports.first, wrong)


@PART.needs("gc", "gc-references", "wat")
def references_end_with_their_store(subject: Subject) -> None:
    instance = subject.runtime.instantiate(subject.runtime.compile(_GUEST), {"env": {"f": lambda value: value}})
    pair = instance.exports.pair(1, None)
    expect(TypeError, "a reference of another store", _exports(subject).first, pair)
    instance.close()
    expect(ClosedError, "a field after close", lambda: pair[0])
    equal(pair.kind, "struct", "the kind of a reference after close")
