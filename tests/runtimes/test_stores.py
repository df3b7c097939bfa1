"""Stores, limits and contexts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.instances import EXTERNREF, I32, Needs, instantiate, using

import pywasmrt
from pywasmrt import (
    InvalidConfigurationError,
    Limits,
    MemoryType,
    ModuleInstantiateError,
    Runtime,
    TableType,
    ValueType,
)
from pywasmrt.testing import Module, guests


def test_a_store_of_ones_own_or_a_common_one(runtime: Runtime) -> None:
    module = runtime.compile(guests.arithmetic().encode())
    store = runtime.new_store()
    with runtime.instantiate(module, store=store) as first:
        assert first.store is store
    assert first.closed
    assert not store.closed
    with runtime.instantiate(module) as second:
        own = second.store
    assert own.closed


def test_instantiate_with_host_gives_the_context_too(runtime: Runtime) -> None:
    module = runtime.compile(using().encode())
    instance, context = runtime.instantiate_with_host(module, {"env": {"f": lambda x: x + 1}})
    assert isinstance(context, pywasmrt.Context)
    assert context.store is instance.store
    with context:
        assert instance.exports.run(1) == 2
        assert not context.closed
    assert context.closed
    assert instance.closed
    with pytest.raises(pywasmrt.ClosedError):
        instance.function("run")


def test_limits_bound_memories_tables_and_instances(runtime: Runtime) -> None:
    limits = Limits(memory_bytes=3 * 65536, table_elements=10)
    store = runtime.new_store(limits)
    instance = instantiate(runtime, guests.memories(MemoryType(1)), store=store)
    assert instance.exports.grow0(2) == 1
    assert instance.exports.grow0(1) == -1
    with pytest.raises(pywasmrt.MemoryAccessError, match="grow"):
        instance.memory().grow(1)
    assert instance.memory().size == 3 * 65536
    objects = instantiate(runtime, guests.table(TableType(EXTERNREF, 4)), store=store)
    assert objects.exports.grow(None, 6) == 4
    if "table-limit" in runtime.info.features:
        assert objects.exports.grow(None, 1) == -1
    with pytest.raises(IndexError, match="grow"):
        objects.table("table").grow(1)
    with pytest.raises(ModuleInstantiateError):
        instantiate(runtime, guests.memories(MemoryType(4)), store=store)
    assert instance.exports.size0() == 3
    few = runtime.new_store(Limits(instances=2))
    for _ in range(2):
        instantiate(runtime, guests.arithmetic(), store=few)
    with pytest.raises(ModuleInstantiateError):
        instantiate(runtime, guests.arithmetic(), store=few)


@pytest.mark.parametrize(
    ("guest", "limits"),
    [
        (guests.memories(MemoryType(3)), Limits(memory_bytes=3 * 65536 - 1)),
        (guests.traps(), Limits(table_elements=1)),  # a table of 2
        (guests.arithmetic(), Limits(instances=0)),
    ],
)
def test_what_begins_beyond_a_limit_is_not_instantiated(runtime: Runtime, guest: Module, limits: Limits) -> None:
    module = runtime.compile(guest.encode())
    within = Limits(memory_bytes=3 * 65536, table_elements=2, instances=1)
    assert runtime.instantiate(module, limits=within)
    with pytest.raises(ModuleInstantiateError, match=r"cannot instantiate the module: .*(limit|exceed)"):
        runtime.instantiate(module, limits=limits)


def test_an_instance_too_many_is_refused(runtime: Runtime) -> None:
    module = runtime.compile(guests.arithmetic().encode())
    store = runtime.new_store(Limits(instances=2))
    kept = [runtime.instantiate(module, store=store) for _ in range(2)]
    with pytest.raises(ModuleInstantiateError, match=r"cannot instantiate the module: .*limit"):
        runtime.instantiate(module, store=store)
    assert [each.exports.add(1, 2) for each in kept] == [3, 3]


def test_an_option_bounds_the_stack(runtime: Runtime, needs: Callable[..., None]) -> None:
    needs("stack-limit")
    for size, enough in ((1 << 15, False), (1 << 19, True)):
        with pywasmrt.new_runtime(runtime.info.name, {"options": {"max_wasm_stack": size}}) as bounded:
            deep = instantiate(bounded, guests.recursion()).exports.deep
            if enough:
                assert deep(4000) == 4000
            else:
                with pytest.raises(pywasmrt.Trap) as caught:
                    deep(4000)
                assert caught.value.code is pywasmrt.TrapCode.STACK_OVERFLOW
            assert deep(100) == 100


def test_limits_are_given_to_the_instance_or_to_the_store(runtime: Runtime) -> None:
    module = runtime.compile(guests.memories(MemoryType(1)).encode())
    instance = runtime.instantiate(module, limits=Limits(memory_bytes=65536))
    assert instance.exports.grow0(1) == -1
    with pytest.raises(InvalidConfigurationError, match="new_store"):
        runtime.instantiate(module, store=runtime.new_store(), limits=Limits())
    for wrong in (Limits(memory_bytes=-1), Limits(instances=1 << 63), Limits(table_elements="1")):  # type: ignore[arg-type]
        with pytest.raises(InvalidConfigurationError, match="Limits"):
            runtime.new_store(wrong)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda store: store.memory(-1), ValueError),
        (lambda store: store.memory(2, 1), ValueError),
        (lambda store: store.memory(1 << 40), ValueError),
        (lambda store: store.memory("1"), TypeError),
        (lambda store: store.memory(1, 1.5), TypeError),
        (lambda store: store.table(-1), ValueError),
        (lambda store: store.table(2, 1), ValueError),
        (lambda store: store.table(1, element=I32), (TypeError, ValueError)),
        (lambda store: store.table(1, element="funcref"), (TypeError, ValueError)),
        (lambda store: store.table(1, init=5), TypeError),
        (lambda store: store.global_("i32", 1), TypeError),
        (lambda store: store.global_(I32, "1"), TypeError),
        (lambda store: store.global_(I32, 1 << 40), OverflowError),
        (lambda store: store.global_(ValueType.REF, None), (TypeError, pywasmrt.UnsupportedFeatureError)),
    ],
)
def test_a_store_refuses_what_it_cannot_make(runtime: Runtime, make: Callable[[Any], Any], error: Any) -> None:
    store = runtime.new_store()
    with pytest.raises(error):
        make(store)
    assert store.memory(1).size == 65536


def test_what_a_store_has_no_room_for_is_named(runtime: Runtime, needs: Needs) -> None:
    needs("host-memory", "host-table", "memory64")
    store = runtime.new_store(Limits(memory_bytes=1 << 16, table_elements=4))
    for make, message in (
        (lambda: store.memory(2, 3), "cannot make a memory 2 3: "),
        (lambda: store.memory(1 << 40, is_64=True), "cannot make a memory64 1099511627776: "),
        (lambda: store.table(5), "cannot make a table 5 funcref: "),
    ):
        with pytest.raises(ModuleInstantiateError) as caught:
            make()
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
