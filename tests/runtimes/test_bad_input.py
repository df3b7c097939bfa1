"""Wrong types, closed objects, garbage from host functions: an error each time, never a crash."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("hypothesis")
from helpers.damage import EXTERNREF, F64, FUNCREF, I32, I64
from hypothesis import given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import (
    ClosedError,
    ExternKind,
    FunctionType,
    GlobalType,
    HostModule,
    MemoryType,
    Runtime,
    TableType,
    Trap,
    WasmError,
)
from pywasmrt.testing import Module, guests
from pywasmrt.testing.strategies import value_types, values

UNARY = FunctionType((I32,), (I32,))
WRONG: list[Any] = [
    None,
    0,
    -1,
    1 << 200,
    1.5,
    "text",
    b"bytes",
    [],
    {},
    (),
    object(),
    int,
    len,
    lambda: None,
    Ellipsis,
]


def set_value(global_: Any, value: Any) -> None:
    global_.value = value


def set_item(table: Any, index: Any, value: Any = None) -> None:
    table[index] = value


class Targets:
    """One of everything, for calling with what does not fit."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        guest = guests.passthrough(UNARY)
        guest.memory(MemoryType(1, 2), export="memory")
        guest.global_(GlobalType(I32, True), ("i32.const", 5), export="g")
        guest.tables[0] = TableType(FUNCREF, 1, 9)  # as not every engine has a second table
        guest.export("functions", ExternKind.TABLE, 0)
        self.module = runtime.compile(guest.encode())
        self.imports = {"env": {"f": lambda x: x}}
        self.store = runtime.new_store()
        self.instance = runtime.instantiate(self.module, self.imports, store=self.store)
        self.function = self.instance.function("direct")
        self.memory = self.instance.memory()
        self.global_ = self.instance.global_("g")
        self.table = self.instance.table("functions")
        self.exports = self.instance.exports


# Each takes the targets and one wrong value; some values are right for some of them.
OPERATIONS: dict[str, Callable[[Targets, Any], Any]] = {
    "new_runtime": lambda on, x: pywasmrt.new_runtime(x),
    "new_runtime config": lambda on, x: pywasmrt.new_runtime(on.runtime.info.name, x),
    "register_runtime name": lambda on, x: (
        isinstance(x, str) or pywasmrt.register_runtime(x, lambda config: on.runtime)
    ),
    "register_runtime factory": lambda on, x: callable(x) or pywasmrt.register_runtime("bad input", x),
    "validate": lambda on, x: on.runtime.validate(x),
    "compile": lambda on, x: on.runtime.compile(x),
    "deserialize": lambda on, x: on.runtime.deserialize(x),
    "new_store": lambda on, x: on.runtime.new_store(x),
    "instantiate module": lambda on, x: on.runtime.instantiate(x),
    "instantiate imports": lambda on, x: on.runtime.instantiate(on.module, x),
    "instantiate namespace": lambda on, x: on.runtime.instantiate(on.module, {"env": x}),
    "instantiate namespace name": lambda on, x: on.runtime.instantiate(on.module, {x: {}} if hashable(x) else x),
    "instantiate field": lambda on, x: on.runtime.instantiate(on.module, {"env": {"f": x}}),
    "instantiate store": lambda on, x: on.runtime.instantiate(on.module, on.imports, store=x),
    "instantiate limits": lambda on, x: on.runtime.instantiate(on.module, on.imports, limits=x),
    "store.memory": lambda on, x: on.store.memory(x),
    "store.memory maximum": lambda on, x: on.store.memory(0, x),
    "store.table": lambda on, x: on.store.table(x if x != 1 << 31 else -1),
    "store.table maximum": lambda on, x: on.store.table(0, x),
    "store.table element": lambda on, x: on.store.table(0, 1, x),
    "store.table init": lambda on, x: on.store.table(1, init=x),
    "store.global_ type": lambda on, x: on.store.global_(x, 0),
    "store.global_ value": lambda on, x: on.store.global_(I32, x),
    "store.global_ funcref": lambda on, x: on.store.global_(FUNCREF, x),
    "instance.function": lambda on, x: on.instance.function(x),
    "instance.memory": lambda on, x: on.instance.memory(x),
    "instance.global_": lambda on, x: on.instance.global_(x),
    "instance.table": lambda on, x: on.instance.table(x),
    "exports item": lambda on, x: on.exports[x],
    "exports contains": lambda on, x: x in on.exports,
    "call": lambda on, x: on.function(x),
    "call with too many": lambda on, x: on.function(1, x),
    "call raw": lambda on, x: on.function.call(x),
    "call raw with too many": lambda on, x: on.function.call(1, x),
    "memory.read offset": lambda on, x: on.memory.read(x, 1),
    "memory.read size": lambda on, x: on.memory.read(0, x),
    "memory.write offset": lambda on, x: on.memory.write(x, b"x"),
    "memory.write data": lambda on, x: on.memory.write(0, x),
    "memory.grow": lambda on, x: on.memory.grow(x),
    "global set": lambda on, x: set_value(on.global_, x),
    "table get": lambda on, x: on.table[x],
    "table set index": lambda on, x: set_item(on.table, x),
    "table set value": lambda on, x: set_item(on.table, 0, x),
    "table.grow": lambda on, x: on.table.grow(x if x != 1 << 31 else -1),
    "table.grow value": lambda on, x: on.table.grow(0, x),
    "HostModule": lambda on, x: HostModule(x),
    "HostModule.function": lambda on, x: HostModule("env").function(x),
    "add_function name": lambda on, x: HostModule("env").add_function(x, [], [], len),
    "add_function params": lambda on, x: HostModule("env").add_function("f", x, [], len),
    "add_function param": lambda on, x: HostModule("env").add_function("f", [x], [], len),
    "add_function results": lambda on, x: HostModule("env").add_function("f", [], x, len),
    "add_function callable": lambda on, x: HostModule("env").add_function("f", [], [], x),
    "HostModule.get": lambda on, x: HostModule("env").get(x) if hashable(x) else None,
}


def hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


EXPECTED = (TypeError, ValueError, OverflowError, WasmError)


@pytest.mark.parametrize("name", OPERATIONS)
def test_wrong_types_everywhere(runtime: Runtime, name: str) -> None:
    """A documented error, or where the value happens to be right, no error; and all goes on."""
    targets = Targets(runtime)
    kinds = KINDS.get(name, EXPECTED)
    for wrong in WRONG:
        try:
            OPERATIONS[name](targets, wrong)
        except kinds:
            pass
        else:
            assert may_be_right(name, wrong), f"{name} takes {wrong!r}"
    assert targets.instance.exports.nested(2, 42) == 42
    gc.collect()


# Where a look-up by a wrong key is the error of its kind.
KINDS: dict[str, tuple[type[Exception], ...]] = {
    "exports item": (*EXPECTED, KeyError),
    "table get": (*EXPECTED, IndexError),
    "table set index": (*EXPECTED, IndexError),
    "table.grow": (*EXPECTED, IndexError),
}
RIGHT: dict[str, Callable[[Any], bool]] = {
    "new_runtime": lambda x: x == {},
    "new_runtime config": lambda x: x is None or x == {},
    "register_runtime name": lambda x: isinstance(x, str),
    "register_runtime factory": callable,
    "new_store": lambda x: x is None,
    "instantiate imports": lambda x: False,
    "instantiate field": lambda x: callable(x),
    "instantiate store": lambda x: x is None,
    "instantiate limits": lambda x: x is None,
    "store.memory": lambda x: x == 0,
    "store.memory maximum": lambda x: x is None or x == 0,
    "store.table": lambda x: x == 0,
    "store.table maximum": lambda x: x is None or x == 0,
    "store.table init": lambda x: x is None,
    "store.global_ value": lambda x: x in (0, -1),
    "store.global_ funcref": lambda x: x is None,
    "instance.function": lambda x: True,
    "instance.memory": lambda x: True,
    "instance.global_": lambda x: True,
    "instance.table": lambda x: True,
    "exports contains": lambda x: True,
    "call": lambda x: x in (0, -1),
    "call raw": lambda x: x == 0,
    "memory.read offset": lambda x: x == 0,
    "memory.read size": lambda x: x == 0,
    "memory.write offset": lambda x: x == 0,
    "memory.write data": lambda x: isinstance(x, bytes),
    "memory.grow": lambda x: x == 0,
    "global set": lambda x: x in (0, -1),
    "table get": lambda x: x == 0,
    "table set index": lambda x: x == 0,
    "table set value": lambda x: x is None,
    "table.grow": lambda x: x == 0,
    "table.grow value": lambda x: x is None,
    "HostModule": lambda x: isinstance(x, str),
    "HostModule.function": lambda x: callable(x) or x is None,
    "add_function name": lambda x: isinstance(x, str),
    "add_function params": lambda x: x in ([], {}, ()),
    "add_function results": lambda x: x in ([], {}, ()),
    "add_function callable": callable,
    "HostModule.get": lambda x: not hashable(x),
}


def may_be_right(name: str, value: Any) -> bool:
    return name in RIGHT and RIGHT[name](value)


def test_objects_of_no_public_constructor(runtime: Runtime) -> None:
    """Making one's own of a type that the library hands out is refused, or harmless."""
    targets = Targets(runtime)
    for each in (targets.function, targets.memory, targets.global_, targets.table, targets.exports, targets.instance):
        for make in (lambda: type(each)(), lambda: type(each).__new__(type(each))):  # noqa: B023  called at once
            try:
                made = make()
            except (TypeError, AttributeError):
                continue
            for attempt in (repr, len, callable, lambda it: it.close(), lambda it: it(1), lambda it: it.read(0, 1)):
                with contextlib.suppress(Exception):
                    attempt(made)
    assert targets.function(1) == 1


def test_objects_cannot_be_copied_or_pickled(runtime: Runtime) -> None:
    import copy
    import pickle

    targets = Targets(runtime)
    for each in (targets.function, targets.memory, targets.global_, targets.table, targets.store):
        with pytest.raises(Exception):  # noqa: B017, PT011  the class is Python's affair
            pickle.dumps(each)
        with contextlib.suppress(Exception):
            twin = copy.copy(each)
            repr(twin)
            del twin
    gc.collect()
    assert targets.function(1) == 1


def refusal(attempt: Callable[[], Any]) -> type[BaseException] | None:
    try:
        attempt()
    except Exception as error:
        return type(error)
    return None


def test_closed_objects_everywhere(runtime: Runtime) -> None:
    """Given to anything that takes one of its kind, a closed object is an error."""
    targets, other = Targets(runtime), Targets(runtime)
    memory, table = other.store.memory(1), other.store.table(1)
    global_ = other.store.global_(I32, 1)
    other.store.close()
    user = Module()
    user.import_("env", "it", UNARY)
    link = runtime.compile(user.encode())
    for use in (
        lambda: runtime.instantiate(targets.module, targets.imports, store=other.store),
        lambda: runtime.instantiate(link, {"env": {"it": other.function}}, store=targets.store),
        lambda: runtime.instantiate(link, {"env": other.instance}, store=targets.store),
        lambda: runtime.instantiate(targets.module, {"env": {"f": memory}}, store=targets.store),
        lambda: runtime.instantiate(targets.module, {"env": {"f": table}}, store=targets.store),
        lambda: runtime.instantiate(targets.module, {"env": {"f": global_}}, store=targets.store),
        lambda: set_item(targets.table, 0, other.function),
        lambda: targets.store.table(1, init=other.function),
        lambda: targets.store.global_(FUNCREF, other.function),
    ):
        with pytest.raises((WasmError, TypeError)):
            use()
    closing = runtime.instantiate(targets.module, targets.imports, store=targets.store)
    function = closing.function("direct")
    closing.close()
    for name, attempt in {
        "table set": lambda: set_item(targets.table, 0, function),
        "table init": lambda: targets.store.table(1, init=function),
        "global": lambda: targets.store.global_(FUNCREF, function),
        "import": lambda: runtime.instantiate(link, {"env": {"it": function}}, store=targets.store),
    }.items():
        assert refusal(attempt) is ClosedError, name
    assert targets.function(3) == 3


GARBAGE = st.one_of(
    st.sampled_from(
        [*WRONG, NotImplemented, Exception("not raised"), Trap("not raised"), type, gc, range(3), 1j, {1, 2}]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=20),
    st.recursive(
        st.none() | st.integers() | st.floats(), lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
    ),
)


@settings(max_examples=100)
@given(data=st.data())
def test_host_functions_that_return_garbage(runtime: Runtime, data: st.DataObject) -> None:
    types = value_types(runtime.info.features).filter(lambda type: type is not EXTERNREF)
    results = tuple(data.draw(st.lists(types, max_size=3)))
    garbage = data.draw(GARBAGE)
    guest = guests.passthrough(FunctionType((), results))
    instance = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": lambda: garbage}})
    for name, args in (("direct", ()), ("nested", (5,)), ("host", ())):
        try:
            returned = instance.exports[name](*args)
        except (TypeError, OverflowError) as error:
            refused = str(error)
            assert "host function env.f returned" in refused
        else:
            # Nothing wraps: what came through is what was given, as far as its type can hold it.
            given_values = garbage if len(results) > 1 else (garbage,) if results else ()
            returned = returned if len(results) > 1 else (returned,) if results else ()
            for type, value, came in zip(results, given_values, returned, strict=True):
                if type in (I32, I64):
                    bits = 32 if type is I32 else 64
                    assert came == value or came + (1 << bits) == value
                elif type is F64:
                    assert came == value or came != came


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(data=st.data())
def test_many_values_of_every_type(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(value_types(runtime.info.features))
    instance = runtime.instantiate(runtime.compile(guests.identities([type]).encode()))
    value = data.draw(values(type) | GARBAGE)
    with contextlib.suppress(TypeError, OverflowError):
        instance.exports.straight(value)
    with contextlib.suppress(TypeError, OverflowError):
        instance.exports.straight.call(value)
