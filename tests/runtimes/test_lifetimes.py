"""Closing: use after it, any order, and while a call runs."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from helpers.lifetimes import CLOSERS, I32, NOTHING, UNARY, assert_all_closed, guest, instantiate, parts

import pywasmrt
from pywasmrt import (
    Caller,
    ClosedError,
    HostModule,
    MemoryType,
    Runtime,
)
from pywasmrt.testing import Module, guests

STORE_USES: list[tuple[str, Callable[[Any], Any]]] = [
    ("memory", lambda store: store.memory(1)),
    ("table", lambda store: store.table(1)),
    ("global", lambda store: store.global_(I32, 1)),
]


@pytest.mark.parametrize("closed", ["instance", "store", "context", "runtime"])
def test_after_the_close_every_use_is_an_error(fresh_runtime: Runtime, closed: str) -> None:
    module = fresh_runtime.compile(guest(fresh_runtime).encode())
    instance, context = fresh_runtime.instantiate_with_host(module, {"env": {"f": lambda x: x}})
    store = instance.store
    held = parts(instance)
    owners = {"instance": instance, "store": store, "context": context, "runtime": fresh_runtime}
    for _ in range(3):
        owners[closed].close()
        assert owners[closed].closed
    assert instance.closed
    assert store.closed
    assert context.closed
    assert_all_closed(held)
    for _, use in STORE_USES:
        with pytest.raises(ClosedError, match="closed"):
            use(store)
    if closed == "runtime":
        assert module.closed
        for use in (
            lambda: fresh_runtime.compile(guest(fresh_runtime).encode()),
            lambda: fresh_runtime.validate(guest(fresh_runtime).encode()),
            lambda: fresh_runtime.new_store(),
            lambda: fresh_runtime.deserialize(b""),
            lambda: fresh_runtime.instantiate(module),
            lambda: module.serialize(),
            lambda: fresh_runtime.__enter__(),
        ):
            with pytest.raises(ClosedError, match="closed"):
                use()
    else:
        fresh_runtime.instantiate(module, {"env": {"f": lambda x: x}})


def test_closing_a_module_leaves_its_instances(fresh_runtime: Runtime) -> None:
    module = fresh_runtime.compile(guest(fresh_runtime).encode())
    instance = fresh_runtime.instantiate(module, {"env": {"f": lambda x: x + 1}})
    module.close()
    module.close()
    assert module.closed
    assert instance.exports.direct(1) == 2
    assert instance.module is module
    assert instance.table("objects")[1] is None
    with pytest.raises(ClosedError, match="this module was closed"):
        fresh_runtime.instantiate(module, {"env": {"f": lambda x: x}})
    with pytest.raises(ClosedError, match="this module was closed"):
        module.serialize()


def test_closing_one_instance_of_a_common_store_leaves_the_others(runtime: Runtime) -> None:
    store = runtime.new_store()
    shared = store.memory(1)
    first, second = instantiate(runtime, store=store), instantiate(runtime, lambda x: x + 1, store=store)
    held = parts(first)
    first.close()
    assert first.closed
    assert not store.closed
    assert_all_closed(held)
    assert second.exports.nested(5, 41) == 42
    assert shared.size == 65536
    assert instantiate(runtime, store=store).exports.direct(1) == 1
    store.close()
    assert second.closed


def test_what_a_closed_instance_gave_to_others_goes_on(runtime: Runtime) -> None:
    """Closing an instance ends the host's access to it; guests that were linked to it keep what they have."""
    store = runtime.new_store()
    provider = runtime.instantiate(runtime.compile(guests.memories(MemoryType(1)).encode()), store=store)
    user = Module()
    user.import_("lib", "load0", UNARY)
    user.import_("lib", "memory", MemoryType(1), export="memory")
    user.function(UNARY, [("local.get", 0), ("call", 0)], export="load")
    instance = runtime.instantiate(runtime.compile(user.encode()), {"lib": provider}, store=store)
    provider.close()
    instance.memory().write(7, b"\x2a")
    assert instance.exports.load(7) == 42
    with pytest.raises(ClosedError):
        runtime.instantiate(runtime.compile(user.encode()), {"lib": provider}, store=store)


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["runtime", "module", "store", "instance"])), ids="-".join
)
@pytest.mark.parametrize("drop", [False, True], ids=["kept", "dropped"])
def test_closing_in_any_order(runtime: Runtime, order: tuple[str, ...], drop: bool) -> None:
    own = pywasmrt.new_runtime(runtime.info.name)
    module = own.compile(guest(own).encode())
    store = own.new_store()
    instance = own.instantiate(module, {"env": {"f": lambda x: x}}, store=store)
    held = parts(instance)
    owners: dict[str, Any] = {"runtime": own, "module": module, "store": store, "instance": instance}
    del own, module, store, instance
    for name in order:
        owners[name].close()
        if drop:
            del owners[name]
            gc.collect()
    assert_all_closed(held)
    for each in owners.values():
        each.close()


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["runtime", "module", "store", "instance"])), ids="-".join
)
def test_dropping_in_any_order(runtime: Runtime, order: tuple[str, ...]) -> None:
    """What is still held goes on; nothing needs to be closed."""
    own = pywasmrt.new_runtime(runtime.info.name)
    module = own.compile(guest(own).encode())
    store = own.new_store()
    instance = own.instantiate(module, {"env": {"f": lambda x: x + 1}}, store=store)
    function, memory = instance.function("nested"), instance.memory()
    owners: dict[str, Any] = {"runtime": own, "module": module, "store": store, "instance": instance}
    del own, module, store, instance
    for name in order:
        del owners[name]
        gc.collect()
        assert function(3, 41) == 42
        assert memory.size == 65536
    del function
    gc.collect()
    assert memory.read(0, 4) == bytes(4)


def test_every_object_is_a_context_manager(runtime: Runtime) -> None:
    with pywasmrt.new_runtime(runtime.info.name) as own, own.compile(guest(own).encode()) as module:
        instance, context = own.instantiate_with_host(module, {"env": {"f": lambda x: x}})
        with context as entered, instance as same:
            assert entered is context
            assert same is instance
        assert instance.closed
    assert own.closed
    assert module.closed


def test_closing_what_has_many_children(fresh_runtime: Runtime) -> None:
    module = fresh_runtime.compile(guests.arithmetic().encode())
    common = fresh_runtime.new_store()
    held = [fresh_runtime.instantiate(module) for _ in range(700)]
    held += [fresh_runtime.instantiate(module, store=common) for _ in range(700)]
    modules = [fresh_runtime.compile(guests.arithmetic().encode()) for _ in range(200)]
    stores = [fresh_runtime.new_store() for _ in range(700)]
    fresh_runtime.close()
    assert all(each.closed for each in [*held, *modules, *stores])


@pytest.mark.parametrize("what", CLOSERS)
@pytest.mark.parametrize("name", ["direct", "indirect", "nested", "host"])
def test_closing_from_a_host_function_ends_the_call(runtime: Runtime, what: str, name: str) -> None:
    own = pywasmrt.new_runtime(runtime.info.name)
    after: list[Exception] = []

    def f(x: int) -> int:
        for _ in range(2):
            CLOSERS[what](instance)
        try:
            instance.function("direct")
        except ClosedError as error:
            after.append(error)
        return x

    instance = instantiate(own, f)
    held = parts(instance)
    args = (9, 1) if name == "nested" else (1,)
    function = instance.function(name)
    with pytest.raises(ClosedError, match="closed"):
        function(*args)
    assert len(after) == 1
    assert_all_closed(held)


@pytest.mark.parametrize("what", CLOSERS)
def test_closing_deep_inside_ends_every_call(runtime: Runtime, what: str) -> None:
    own = pywasmrt.new_runtime(runtime.info.name)
    ended = []

    def f(n: int) -> int:
        if n == 0:
            CLOSERS[what](instance)
            return 0
        try:
            return int(nested(3, n - 1))
        except ClosedError:
            ended.append(n)
            raise

    instance = instantiate(own, f)
    nested = instance.function("nested")
    with pytest.raises(ClosedError, match="closed"):
        nested(3, 5)
    assert ended == [1, 2, 3, 4, 5]


def test_a_close_wins_over_swallowing_it(runtime: Runtime) -> None:
    """A host function that goes on as if nothing had happened does not bring the call back to life."""

    def f(n: int) -> int:
        if n == 0:
            instance.close()
            return 0
        try:
            return int(direct(n - 1))
        except ClosedError:
            return n

    instance = instantiate(runtime, f)
    direct = instance.function("direct")
    with pytest.raises(ClosedError):
        direct(3)


def test_an_exception_after_a_close_is_the_exception(runtime: Runtime) -> None:
    def f(x: int) -> int:
        instance.close()
        raise ZeroDivisionError

    instance = instantiate(runtime, f)
    with pytest.raises((ZeroDivisionError, ClosedError)) as caught:
        instance.exports.direct(1)
    if isinstance(caught.value, ClosedError):
        assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_closing_with_the_caller_in_hand(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def f(caller: Caller, x: int) -> int:
        memory = caller.memory()
        instance.close()
        with pytest.raises(ClosedError):
            memory.read(0, 1)
        for use in (caller.memory, lambda: caller.function("direct"), lambda: caller.global_("counter")):
            with pytest.raises(ClosedError):
                use()
        return x

    instance = runtime.instantiate(runtime.compile(guest(runtime).encode()), env)
    with pytest.raises(ClosedError):
        instance.exports.direct(1)


def test_closing_another_store_during_a_call(runtime: Runtime) -> None:
    other = instantiate(runtime)

    def f(x: int) -> int:
        other.close()
        return x + 1

    assert instantiate(runtime, f).exports.direct(1) == 2
    assert other.closed


def test_closing_from_the_start_function(runtime: Runtime) -> None:
    store = runtime.new_store()
    module = runtime.compile(guests.starting([("call", 0)], imports=NOTHING).encode())
    with pytest.raises(ClosedError, match="closed"):
        runtime.instantiate(module, {"env": {"f": store.close}}, store=store)
    assert store.closed
