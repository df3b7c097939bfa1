"""Globals and tables, made by guests and by the host."""

from __future__ import annotations

from typing import Any

from ...types import FunctionType, GlobalType, TableType, ValueType
from .. import guests
from ..comparing import as_guest_sees, same_value
from ..edge_values import sample_arguments
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("globals and tables")

_NUMBERS = (ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64)


@PART
def globals_hold_what_either_side_puts_in(subject: Subject) -> None:
    instance = subject.instance(guests.globals_(_NUMBERS))
    for n, type in enumerate(_NUMBERS):
        found = instance.global_(f"g{n}")
        if found is None:
            raise AssertionError(f"the exported global g{n} is not found")
        equal(found.type, GlobalType(type, True), f"the type of a global of {type}")
        for seed in range(8):
            [value] = sample_arguments(FunctionType((type,)), seed)
            found.value = value
            wanted = as_guest_sees(type, value)
            for got in (found.value, instance.exports[f"get{n}"]()):
                require(same_value(type, got, wanted), f"a global of {type} set to {value!r} holds {got!r}")
            instance.exports[f"set{n}"](0)
            equal(found.value, as_guest_sees(type, 0), f"a global of {type} set to 0 by the guest")


def _set(extern: Any, value: Any) -> None:
    extern.value = value


@PART
def globals_refuse_what_does_not_fit(subject: Subject) -> None:
    instance = subject.instance(guests.globals_([ValueType.I32]))
    found = instance.global_("g0")
    expect(TypeError, "a str for a global of i32", lambda: _set(found, "1"))
    expect(OverflowError, "2**32 for a global of i32", lambda: _set(found, 1 << 32))
    constant = subject.instance(guests.globals_([ValueType.I32], mutable=False)).global_("g0")
    expect(TypeError, "setting an immutable global", lambda: _set(constant, 1))


@PART
def the_host_can_make_globals(subject: Subject) -> None:
    store = subject.runtime.new_store()
    for type in _NUMBERS:
        made = store.global_(type, 7, mutable=True)
        equal(made.value, as_guest_sees(type, 7), f"a global of {type} made by the host")
        made.value = 8
        equal(made.value, as_guest_sees(type, 8), f"a global of {type} set by the host")
    expect(TypeError, "setting an immutable global of the host's", lambda: _set(store.global_(ValueType.I32, 1), 2))
    expect(OverflowError, "2**32 for a global of i32", lambda: store.global_(ValueType.I32, 1 << 32))


@PART
def tables_hold_functions(subject: Subject) -> None:
    type = FunctionType((ValueType.I32,), (ValueType.I32,))
    instance = subject.instance(guests.passthrough(type), {"env": {"f": lambda x: x + 1}})
    table = instance.table("table")
    if table is None:
        raise AssertionError("the exported table is not found")
    equal(len(table), 1, "the length of a table")
    equal(table.type, TableType(ValueType.FUNCREF, 1, 1), "the type of a table")
    equal(table[0](41), 42, "a function out of a table, called")
    table[0] = None
    equal(table[0], None, "an element set to None")
    table[0] = instance.exports.direct
    equal(table[0](1), 2, "an element set to a function, called")
    for index in (1, -1, 1 << 40):
        expect(IndexError, f"table[{index}]", table.__getitem__, index)
        expect(IndexError, f"table[{index}] = None", table.__setitem__, index, None)
    expect(TypeError, "a Python function in a table", lambda: table.__setitem__(0, len))
    expect(IndexError, "growing beyond the maximum", lambda: table.grow(1))


@PART.needs("reference-types")
def tables_of_externrefs_grow(subject: Subject) -> None:
    instance = subject.instance(guests.table(TableType(ValueType.EXTERNREF, 1, 4)))
    table = instance.table("table")
    if table is None:
        raise AssertionError("the exported table is not found")
    value = object()
    equal(table.grow(2, value), 1, "the length before growing")
    equal(len(table), 3, "the length after growing")
    require(table[0] is None and table[2] is value, "the elements after growing are others")
    require(instance.exports.get(1) is value, "the guest finds another object than was put in")
    equal(instance.exports.grow(None, 1), 3, "table.grow in the guest")
    expect(IndexError, "growing beyond the maximum", lambda: table.grow(1))
    equal(instance.exports.size(), 4, "the length in the guest")


@PART
def the_host_can_make_tables(subject: Subject) -> None:
    store = subject.runtime.new_store()
    table = store.table(2, 3)
    equal(len(table), 2, "the length of a table made by the host")
    equal(table[1], None, "an element of a table made by the host")
    expect(TypeError, "a table of numbers", lambda: store.table(1, element=ValueType.I32))
    expect(ValueError, "a maximum below the minimum", lambda: store.table(3, 2))
