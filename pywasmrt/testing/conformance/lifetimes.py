"""Closing, re-entry and threads."""

from __future__ import annotations

import threading
from typing import Any

from ...errors import BusyError, ClosedError
from ...types import FunctionType, MemoryType, ValueType
from .. import guests
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("lifetimes")

_I32 = ValueType.I32
_UNARY = FunctionType((_I32,), (_I32,))


def _live(subject: Subject) -> tuple[Any, Any]:
    runtime = subject.fresh()
    guest = guests.passthrough(_UNARY, memory=MemoryType(1))
    return runtime, runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": lambda x: x + 1}})


@PART
def closing_is_idempotent_and_final(subject: Subject) -> None:
    runtime, instance = _live(subject)
    direct, memory, table = instance.exports.direct, instance.memory(), instance.table("table")
    require(not instance.closed and not runtime.closed, "closed is True before anything was closed")
    for _ in range(2):
        instance.close()
        require(instance.closed, "closed is False after close()")
    for what, use in (
        ("a function", lambda: direct(1)),
        ("a function's raw call", lambda: direct.call(1)),
        ("a memory's read", lambda: memory.read(0, 1)),
        ("a memory's write", lambda: memory.write(0, b"x")),
        ("a memory's growth", lambda: memory.grow(0)),
        ("a memory's size", lambda: memory.size),
        ("a table", lambda: table[0]),
        ("exports", lambda: instance.exports),
        ("memory()", lambda: instance.memory()),
        ("function()", lambda: instance.function("direct")),
    ):
        expect(ClosedError, f"{what}, after close()", use)
    require(not runtime.closed, "closing an instance closed its runtime")


@PART
def closing_a_runtime_closes_what_it_made(subject: Subject) -> None:
    runtime, instance = _live(subject)
    module, store, direct = instance.module, runtime.new_store(), instance.exports.direct
    runtime.close()
    runtime.close()
    for what, thing in (("the module", module), ("the store", store), ("the instance", instance)):
        require(thing.closed, f"{what} is not closed, though its runtime is")
    data = guests.arithmetic().encode()
    for what, use in (
        ("compile", lambda: runtime.compile(data)),
        ("validate", lambda: runtime.validate(data)),
        ("new_store", runtime.new_store),
        ("instantiate", lambda: runtime.instantiate(module)),
        ("a function", lambda: direct(1)),
        ("a global's making", lambda: store.global_(_I32, 1)),
    ):
        expect(ClosedError, f"{what}, after the runtime was closed", use)


@PART
def everything_is_a_context_manager(subject: Subject) -> None:
    with subject.fresh() as runtime:
        with runtime.compile(guests.arithmetic().encode()) as module:
            with runtime.instantiate(module) as instance:
                equal(instance.exports.add(1, 2), 3, "a call in a with statement")
            require(instance.closed, "the instance is not closed after its with statement")
            _, context = runtime.instantiate_with_host(module)
            with context:
                require(not context.closed, "the context is closed in its with statement")
            require(context.closed and context.store.closed, "the context is not closed after its with statement")
        require(module.closed, "the module is not closed after its with statement")
    require(runtime.closed, "the runtime is not closed after its with statement")


@PART
def an_instance_outlives_its_module(subject: Subject) -> None:
    runtime, instance = _live(subject)
    instance.module.close()
    equal(instance.exports.direct(1), 2, "a call, after the module was closed")
    module = runtime.compile(guests.arithmetic().encode())
    module.close()
    expect(ClosedError, "instantiating a closed module", lambda: runtime.instantiate(module))


@PART
def a_store_given_outlives_its_instances(subject: Subject) -> None:
    store = subject.runtime.new_store()
    first = subject.instance(guests.arithmetic(), store=store)
    second = subject.instance(guests.arithmetic(), store=store)
    require(first.store is store, "instance.store is another than was given")
    first.close()
    require(not store.closed, "closing an instance closed the store that was given to it")
    equal(second.exports.add(1, 2), 3, "a call, after another instance of the store was closed")
    store.close()
    require(second.closed, "closing a store left its instance open")
    expect(ClosedError, "an instance in a closed store", lambda: subject.instance(guests.arithmetic(), store=store))


@PART
def closing_from_within_a_call_ends_it(subject: Subject) -> None:
    closed: list[Any] = []

    def function(value: int) -> int:
        closed[0].close()
        return value

    instance = subject.instance(guests.passthrough(_UNARY), {"env": {"f": function}})
    closed.append(instance)
    expect(ClosedError, "a call whose host function closes the instance", lambda: instance.exports.direct(1))
    require(instance.closed, "the instance is not closed")


@PART
def a_second_thread_is_refused(subject: Subject) -> None:
    found: list[BaseException] = []

    def function(value: int) -> int:
        def intrude() -> None:
            try:
                instance.exports.direct(value)
            except BaseException as error:
                found.append(error)

        if not found:
            thread = threading.Thread(target=intrude)
            thread.start()
            thread.join()
        return value

    instance = subject.instance(guests.passthrough(_UNARY), {"env": {"f": function}})
    equal(instance.exports.direct(3), 3, "a call during which another thread was refused")
    require(
        len(found) == 1 and isinstance(found[0], BusyError),
        f"another thread's call during a call gave {found} instead of BusyError",
    )
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(instance.exports.direct(4)))
    thread.start()
    thread.join()
    equal(results, [4], "a call from another thread, between calls")
