"""What the garbage collector frees, and what keeps what alive."""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from helpers.lifetimes import EXTERNREF, I32, NOTHING, guest, instantiate, parts

import pywasmrt
from pywasmrt import (
    FunctionType,
    Runtime,
    Trap,
)
from pywasmrt.testing import guests

Needs = Callable[..., None]


class Canary:
    """An object that can be watched dying."""


def test_a_host_function_that_holds_its_instance_is_collected(runtime: Runtime) -> None:

    def build() -> list[weakref.ref[Any]]:
        canary = Canary()

        def f(x: int) -> int:
            assert canary
            return int(instance.exports.direct(x - 1)) if x else 0

        instance = instantiate(runtime, f)
        assert instance.exports.direct(3) == 0
        return [weakref.ref(canary), weakref.ref(instance), weakref.ref(f)]

    references = build()
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


@pytest.mark.parametrize("part", ["function", "memory", "global", "table", "exports", "store", "module"])
def test_cycles_through_any_part_are_collected(runtime: Runtime, part: str) -> None:
    def build() -> weakref.ref[Canary]:
        canary = Canary()

        def f(x: int) -> int:
            assert canary
            assert held
            return x

        instance = instantiate(runtime, f)
        held = {**parts(instance), "store": instance.store, "module": instance.module}[part]
        instance.exports.direct(1)
        return weakref.ref(canary)

    reference = build()
    gc.collect()
    assert reference() is None


def test_a_cycle_through_a_common_store_is_collected(runtime: Runtime) -> None:
    def build() -> weakref.ref[Canary]:
        canary = Canary()
        store = runtime.new_store()
        first = instantiate(runtime, lambda x: x if canary and store else 0, store=store)
        second = runtime.instantiate(
            runtime.compile(guest(runtime).encode()), {"env": {"f": first.function("direct")}}, store=store
        )
        assert second.exports.nested(2, 5) == 5
        return weakref.ref(canary)

    reference = build()
    gc.collect()
    assert reference() is None


def test_closing_lets_go_of_the_host(runtime: Runtime) -> None:
    """Host functions and the objects in externrefs die with the store, although it is still referenced."""
    object_canary = Canary()

    def f(x: int) -> int:
        return x

    references: list[weakref.ref[Any]] = [weakref.ref(f), weakref.ref(object_canary)]
    instance = instantiate(runtime, f)
    if "reference-types" in runtime.info.features:
        instance.table("objects")[0] = object_canary
        objects = instance.store.table(1, element=EXTERNREF, init=object_canary)
        assert objects[0] is object_canary
    else:
        del references[1]
    del object_canary, f
    gc.collect()
    assert all(reference() is not None for reference in references)
    instance.close()
    gc.collect()
    assert not any(reference() for reference in references)


def test_an_externref_lives_as_long_as_the_guest_holds_it(runtime: Runtime, needs: Needs) -> None:
    """And, once the guest let go of it, not for much longer than the engine's own collector leaves it."""
    needs("reference-types", "externref-release")
    instance = instantiate(runtime)
    table = instance.table("objects")
    canary = Canary()
    reference = weakref.ref(canary)
    table[0] = canary
    del canary
    gc.collect()
    assert table[0] is reference()
    table[0] = None
    for _ in range(100_000):  # makes garbage for the engine's collector to be moved by
        table[0] = instance
        if reference() is None:
            break
    table[0] = None
    assert reference() is None


def test_nothing_outlives_a_failed_instantiation(runtime: Runtime) -> None:
    module = runtime.compile(guests.starting([("call", 0), ("unreachable",)], imports=NOTHING).encode())

    def build() -> weakref.ref[Canary]:
        canary = Canary()
        with pytest.raises(Trap):
            runtime.instantiate(module, {"env": {"f": lambda: canary and None}})
        with pytest.raises(pywasmrt.ModuleInstantiateError):
            runtime.instantiate(module, {"env": {"g": lambda: canary and None}})
        return weakref.ref(canary)

    reference = build()
    gc.collect()
    assert reference() is None


def test_exports_keep_their_store_alive(runtime: Runtime) -> None:
    for name in ("function", "memory", "global", "table", "exports"):
        part = parts(instantiate(runtime))[name]
        gc.collect()
        if name == "function":
            assert part(7) == 7
        elif name == "memory":
            assert part.size == 65536
        elif name == "global":
            assert part.value == 5
        elif name == "table":
            assert len(part) == 2
        else:
            assert part.direct(7) == 7


def test_reference_counts_are_what_they_were(runtime: Runtime) -> None:
    """Calls, callbacks, exceptions and traps leave the counts of what passes through unchanged."""
    value, error = object(), ValueError("kept")
    type = FunctionType((EXTERNREF, I32), (EXTERNREF, I32))

    def f(given: Any, n: int) -> Any:
        if n == 1:
            raise error
        return (given, None) if n == 2 else (given, n)

    def counts() -> list[int]:
        gc.collect()
        return [sys.getrefcount(each) for each in (value, error, f, Trap)]

    def rounds(passing: Any, trap: Any) -> None:
        for _ in range(100):
            assert passing.nested(2, value, 5) == (value, 5)
            for args in ((value, 1), (value, 2), (value, "1"), (value, 1 << 40), (value,)):
                with contextlib.suppress(ValueError, TypeError, OverflowError):
                    passing.direct(*args)
            with contextlib.suppress(Trap):
                trap()
        error.__traceback__ = None

    module, trapping = runtime.compile(guests.passthrough(type).encode()), runtime.compile(guests.traps().encode())
    before = counts()
    for _ in range(2):
        with runtime.instantiate(module, {"env": {"f": f}}) as instance, runtime.instantiate(trapping) as other:
            rounds(instance.exports, other.exports.unreachable)
        del instance, other
    assert counts() == before
