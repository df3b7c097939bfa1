"""Calling functions of a guest: values in and out, what is refused, raw slots."""

from __future__ import annotations

import math
import struct
from typing import Any

from ...types import FunctionType, ValueType
from .. import guests
from ..comparing import as_guest_sees, same_value
from ..edge_values import F32_EDGES, F64_EDGES, INTEGERS, V128_EDGES, float_from_bits
from .checking import Part, Subject, equal, expect, one_to_one, require, same_bits

__all__ = ["PART"]

PART = Part("functions")

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_V128, _FUNCREF, _EXTERNREF = ValueType.V128, ValueType.FUNCREF, ValueType.EXTERNREF


def _identity(subject: Subject, type: ValueType) -> Any:
    return subject.instance(guests.rearranged([type], [0])).exports.rearrange


def _crosses(subject: Subject, type: ValueType, values: Any) -> None:
    identity = _identity(subject, type)
    for value in values:
        found, wanted = identity(value), as_guest_sees(type, value)
        require(same_value(type, found, wanted), f"the identity of {type} gave {found!r} for {value!r}")


@PART
def integers_cross_signed(subject: Subject) -> None:
    for type in (_I32, _I64):
        _crosses(subject, type, INTEGERS[type])
        equal(_identity(subject, type)(True), 1, f"the identity of {type} for True")


@PART
def floats_cross(subject: Subject) -> None:
    for edge in (*F64_EDGES, *(edge | 1 << 63 for edge in F64_EDGES)):
        value = float_from_bits(edge, 64)
        same_bits(_identity(subject, _F64)(value), value, f"the identity of f64 for 0x{edge:016x}")
    _crosses(subject, _F32, [float_from_bits(edge, 32) for edge in F32_EDGES])
    _crosses(subject, _F32, [0.1, 1e300, -1e300, 5, -0.0])
    equal(_identity(subject, _F64)(3), 3.0, "the identity of f64 for the int 3")


@PART.needs("simd")
def vectors_cross(subject: Subject) -> None:
    _crosses(subject, _V128, V128_EDGES)
    expect(TypeError, "15 bytes for a v128", lambda: _identity(subject, _V128)(bytes(15)))


@PART.needs("reference-types")
def any_object_crosses_as_an_externref(subject: Subject) -> None:
    identity = _identity(subject, _EXTERNREF)
    for value in (None, object(), [], 0, "", {}):
        require(identity(value) is value, f"the identity of externref gave another object for {value!r}")


@PART.needs("reference-types")
def functions_cross_as_funcrefs(subject: Subject) -> None:
    store = subject.runtime.new_store()
    add = subject.instance(guests.arithmetic(), store=store).exports.add
    identity = subject.instance(guests.rearranged([_FUNCREF], [0]), store=store).exports.rearrange
    equal(identity(None), None, "the identity of funcref for None")
    found = identity(add)
    equal(found.type, add.type, "the type of a function that crossed")
    equal(found(2, 3), 5, "a function that crossed, called")
    expect(TypeError, "a Python function as a funcref", lambda: identity(len))


@PART
def arithmetic_is_right(subject: Subject) -> None:
    exports = subject.instance(guests.arithmetic()).exports
    equal(exports.add((1 << 31) - 1, 1), -(1 << 31), "add(2**31 - 1, 1)")
    equal(exports.add64((1 << 63) - 1, 1), -(1 << 63), "add64(2**63 - 1, 1)")
    equal(exports.add64(1 << 40, 1), (1 << 40) + 1, "add64(2**40, 1)")
    equal(exports.sub(3, 5), -2, "sub(3, 5)")
    equal(exports.add_f64(0.5, 0.25), 0.75, "add_f64(0.5, 0.25)")
    equal(exports.add_f32(0.1, 0.2), struct.unpack("<f", struct.pack("<f", 0.3))[0] + 0.0, "add_f32(0.1, 0.2)")
    require(math.isnan(exports.add_f64(math.inf, -math.inf)), "inf - inf is a NaN")
    equal(exports.nothing(), None, "a function without results")


@PART
def a_function_knows_its_type(subject: Subject) -> None:
    exports = subject.instance(guests.arithmetic()).exports
    equal(exports.add.type, FunctionType((_I32, _I32), (_I32,)), "the type of add")
    equal(exports.nothing.type, FunctionType(), "the type of nothing")


@PART.needs("multi-value")
def several_results_are_a_tuple_in_order(subject: Subject) -> None:
    rearrange = subject.instance(guests.rearranged([_I32, _F64, _I64], [2, 0, 1, 0])).exports.rearrange
    equal(rearrange(1, 2.5, 3), (3, 1, 2.5, 1), "four results")


@PART
def wrong_arguments_are_refused(subject: Subject) -> None:
    exports = subject.instance(guests.arithmetic()).exports
    for name, args, error in (
        ("add", (), TypeError),
        ("add", (1,), TypeError),
        ("add", (1, 2, 3), TypeError),
        ("nothing", (1,), TypeError),
        ("add", (1, "2"), TypeError),
        ("add", (1, None), TypeError),
        ("add", (1, 2.0), TypeError),
        ("add_f64", (1.0, "2"), TypeError),
        ("add", (1, 1 << 32), OverflowError),
        ("add", (-(1 << 31) - 1, 1), OverflowError),
        ("add64", (1, 1 << 64), OverflowError),
        ("add64", (1, -(1 << 63) - 1), OverflowError),
        ("add_f64", (1, 10**400), OverflowError),
    ):
        expect(error, f"{name}{args}", exports[name], *args)
    equal(exports.add(1, 2), 3, "add(1, 2), after calls that were refused")


@PART
def raw_slots_hold_the_bits(subject: Subject) -> None:
    exports = subject.instance(guests.arithmetic()).exports
    equal(exports.add.call((1 << 32) - 1, 2), [1], "add.call(2**32 - 1, 2)")
    equal(exports.sub.call(0, 1), [(1 << 32) - 1], "sub.call(0, 1)")
    equal(exports.add64.call((1 << 64) - 1, 0), [(1 << 64) - 1], "add64.call(2**64 - 1, 0)")
    equal(exports.nothing.call(), [], "nothing.call()")
    one, half = (int.from_bytes(struct.pack("<d", value), "little") for value in (1.0, 0.5))
    equal(exports.add_f64.call(half, half), [one], "add_f64.call of the bits of 0.5")
    expect(TypeError, "a slot too few", lambda: exports.add.call(1))
    expect(TypeError, "a float as a slot", lambda: exports.add.call(1, 2.0))
    expect(OverflowError, "a slot wider than i32", lambda: exports.add.call(1, 1 << 32))
    expect(OverflowError, "a negative slot", lambda: exports.add64.call(1, -1))


@PART.needs("f32-nan-bits")
def slots_keep_the_bits_of_nans(subject: Subject) -> None:
    for type, edges in ((_F32, F32_EDGES), (_F64, F64_EDGES)):
        identity = _identity(subject, type)
        for bits in edges:
            equal(identity.call(bits), [bits], f"the identity of {type} for the slot 0x{bits:x}")


@PART.needs("reference-types")
def references_have_no_slots(subject: Subject) -> None:
    identity = _identity(subject, _EXTERNREF)
    expect(TypeError, "call() with an externref", lambda: identity.call(0))


@PART
def many_values_cross(subject: Subject) -> None:
    types = [_I32, _I64, _F32, _F64] * 4
    wanted: list[Any] = [n + 0.5 if type in (_F32, _F64) else n for n, type in enumerate(types)]
    for at in range(len(types)):
        pick = subject.instance(guests.rearranged(types, [at])).exports.rearrange
        equal(pick(*wanted), wanted[at], f"argument {at + 1} of {len(types)}")
    if "multi-value" in subject.runtime.info.features:
        every = subject.instance(guests.rearranged(types, range(len(types)))).exports.rearrange
        equal(every.type, one_to_one(*types), "the type of a function with 16 results")
        equal(every(*wanted), tuple(wanted), "16 results")
