"""Resources both ways: made, lent, given away, dropped, forgotten, and used after that."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import pytest

import pywasmrt
from pywasmrt import ClosedError

from .guests import COUNTERS, HOST_RESOURCE


@pytest.fixture
def counters(components: pywasmrt.Runtime) -> Any:
    instance = components.instantiate_component(components.compile_component(COUNTERS))
    yield instance.exports["local:demo/counters"]
    instance.close()


def test_a_guests_resource_is_an_object(counters: Any) -> None:
    counter = counters.Counter(5)
    assert (counter.inc(), counter.inc()) == (6, 7)
    assert isinstance(counter, counters.Counter)
    assert counters.Counter.live() == 1
    assert repr(counter) == "<Counter>"
    assert counters.Counter(start=1).inc() == 2


def test_it_is_dropped_at_the_right_time(counters: Any) -> None:
    with counters.Counter(1) as counter:
        assert counters.Counter.live() == 1
        assert not counter.closed
    assert counters.Counter.live() == 0
    assert counter.closed
    assert repr(counter) == "<Counter (closed)>"
    with pytest.raises(ClosedError, match="the counter was dropped or given away"):
        counter.inc()
    counter.drop()
    kept = counters.Counter(2)
    del kept
    assert counters.Counter.live() == 0  # what was forgotten goes at the next call


def test_nothing_leaks_where_python_forgets(counters: Any) -> None:
    for _ in range(1000):
        counters.Counter(1)
    gc.collect()
    assert counters.Counter.live() == 0


def test_giving_one_away(counters: Any) -> None:
    counter = counters.Counter(7)
    assert counters.consume(counter) == 7
    assert counters.Counter.live() == 0
    for use in (counter.inc, lambda: counters.consume(counter), lambda: counters.sum(counter, counter)):
        with pytest.raises(ClosedError, match="the counter was dropped or given away"):
            use()


def test_lending_one(counters: Any) -> None:
    one, two = counters.Counter(1), counters.Counter(2)
    assert counters.sum(one, two) == 3
    assert counters.sum(one, one) == 2
    assert one.inc() == 2


def test_what_is_no_such_resource(counters: Any, components: pywasmrt.Runtime) -> None:
    for wrong in (5, None, "x", object(), counters.Counter):
        with pytest.raises(TypeError, match="counter takes a Counter of this instance, not"):
            counters.consume(wrong)
    other = components.instantiate_component(components.compile_component(COUNTERS))
    stranger = other.exports["local:demo/counters"].Counter(1)
    with pytest.raises(TypeError, match="counter takes a Counter of this instance, not"):
        counters.consume(stranger)
    assert stranger.inc() == 2  # nothing was lost by trying
    other.close()
    assert stranger.closed
    with pytest.raises(ClosedError):
        stranger.inc()
    stranger.drop()


def test_a_handle_is_not_copied(counters: Any) -> None:
    counter = counters.Counter(1)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="it is a handle"):
            attempt(counter)


class Thing:
    alive = 0

    def __init__(self, start: int) -> None:
        self.value = start
        Thing.alive += 1

    def __del__(self) -> None:
        Thing.alive -= 1

    def add(self, x: int) -> int:
        self.value += x
        return self.value

    @staticmethod
    def count() -> int:
        return Thing.alive


class Things:
    def __init__(self) -> None:
        self.taken: list[Thing] = []
        self.Thing = Thing

    def take(self, thing: Thing) -> None:
        self.taken.append(thing)


@pytest.fixture
def things() -> Things:
    Thing.alive = 0
    return Things()


@pytest.fixture
def uses_things(components: pywasmrt.Runtime, things: Things) -> Any:
    component = components.compile_component(HOST_RESOURCE)
    with components.instantiate_component(component, {"local:demo/things": things}) as instance:
        yield instance


def test_a_hosts_resource_is_a_python_class(uses_things: Any, things: Things) -> None:
    exports = uses_things.exports
    assert exports.use(10) == 13
    assert Thing.alive == 0  # the guest dropped it
    exports.hand_over(7)
    assert [thing.value for thing in things.taken] == [7]
    assert Thing.alive == 1
    things.taken.clear()
    assert Thing.alive == 0
    assert exports.count() == 0


def test_the_same_object_comes_back(uses_things: Any) -> None:
    exports = uses_things.exports
    thing = Thing(100)
    assert exports.borrow(thing) == 110
    assert thing.value == 110
    exports.keep(thing)
    assert exports.give_back() is thing


def test_nothing_leaks_where_the_guest_forgets(uses_things: Any) -> None:
    exports = uses_things.exports
    exports.forget(1)
    assert Thing.alive == 1  # which the guest still holds, though it lost the handle
    uses_things.close()
    assert Thing.alive == 0


def test_many_pass_without_growth(uses_things: Any) -> None:
    exports = uses_things.exports
    thing = Thing(0)
    for _ in range(2000):
        exports.use(1)
        exports.borrow(thing)
        exports.keep(thing)
        exports.give_back()
    assert Thing.alive == 1


def test_missing_parts_of_a_class_are_named(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(HOST_RESOURCE)

    class Poor:
        def __init__(self) -> None:
            pass

    with pytest.raises(pywasmrt.ModuleInstantiateError) as caught:
        components.instantiate_component(component, {"local:demo/things": {"Thing": Poor, "take": len}})
    constructor, method, static = caught.value.problems
    assert "was given a function that takes ()" in constructor
    assert "Poor has no method 'add'" in method
    assert "Poor has no 'count'" in static
    with pytest.raises(pywasmrt.ModuleInstantiateError, match="has no class 'Thing' for the resource thing"):
        components.instantiate_component(component, {"local:demo/things": {"take": len}})


def test_a_method_may_raise_and_a_destructor_may_not_see_it(components: pywasmrt.Runtime) -> None:
    class Raising(Thing):
        def add(self, x: int) -> int:
            raise LookupError("mine")

    Thing.alive = 0
    component = components.compile_component(HOST_RESOURCE)
    with (
        components.instantiate_component(component, {"local:demo/things": {"Thing": Raising, "take": len}}) as instance,
        pytest.raises(LookupError, match="mine"),
    ):
        instance.exports.use(1)
    gc.collect()
    assert Thing.alive == 0
