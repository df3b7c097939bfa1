"""What the host does with an asynchronous store while a guest in it waits: that call goes on all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers.asynchronous import run
from helpers.sanitizers import ADDRESS_SANITIZER

import pywasmrt
from pywasmrt import BusyError, DeadlineExceeded, Interrupted, Limits

Needs = Callable[..., None]

SOURCE = """
(module
  (import "env" "outer" (func $outer (result i32)))
  (import "env" "inner" (func $inner (result i32)))
  (global (export "global") (mut i32) (i32.const 7))
  (memory (export "memory") 1 100)
  (table (export "table") 1 funcref)
  (func (export "outer") (result i32) (call $outer))
  (func (export "inner") (result i32) (call $inner)))
"""


@pytest.fixture(autouse=True)
def _needs_suspension(needs: Needs) -> None:
    """Elsewhere the guest waits on a thread, and its store is busy."""
    needs("wat", "suspension")


def nothing() -> int:
    return 0


def start(runtime: pywasmrt.Runtime, outer: Callable[[], Any], inner: Callable[[], Any] = nothing, **more: Any) -> Any:
    return runtime.instantiate_async(runtime.compile(SOURCE), {"env": {"outer": outer, "inner": inner}}, **more)


def refused(instance: Any) -> None:
    with pytest.raises(pywasmrt.WasmError, match="call_async"):
        instance.exports.inner()


TOUCHES: dict[str, Callable[[Any], object]] = {
    "nothing": lambda instance: None,
    "a global that is read": lambda instance: instance.exports["global"].value,
    "a global that is written": lambda instance: setattr(instance.exports["global"], "value", 8),
    "a memory that grows": lambda instance: instance.exports.memory.grow(1),
    "a table that is read": lambda instance: instance.exports.table[0],
    "a table that is written": lambda instance: instance.exports.table.__setitem__(0, instance.exports.inner),
    "a table that grows": lambda instance: instance.exports.table.grow(1, None),
    "an export that is looked up": lambda instance: instance.exports.inner,
    "a call that is refused": refused,
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_the_deadline_stays(runtime: pywasmrt.Runtime, needs: Needs, touch: Callable[[Any], object]) -> None:
    needs("deadline")

    async def main() -> None:
        async def outer() -> int:
            touch(instance)
            await asyncio.Event().wait()
            return 1

        instance = await start(runtime, outer, limits=Limits(timeout=0.1))
        with pytest.raises(DeadlineExceeded):
            await instance.exports.outer.call_async()

    run(main)


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_the_interruption_stays(runtime: pywasmrt.Runtime, needs: Needs, touch: Callable[[Any], object]) -> None:
    needs("interruption")

    async def main() -> None:
        async def outer() -> int:
            assert instance.interrupt()
            touch(instance)
            return 1

        instance = await start(runtime, outer)
        with pytest.raises(Interrupted):
            await instance.exports.outer.call_async()

    run(main)


class Pause:
    """Awaiting it yields once, to whoever drives the coroutine."""

    def __init__(self) -> None:
        self.begun = False

    def __await__(self) -> Any:
        self.begun = True
        yield


def drive(call: Any, pause: Pause) -> None:
    """Go on with a call until its host function pauses. At a tick it yields too, and nothing has come of it yet."""
    while not pause.begun:
        call.send(None)


def result_of(call: Any) -> Any:
    try:
        while True:
            call.send(None)
    except StopIteration as stop:
        return stop.value


@pytest.mark.parametrize("how", ["send", "throw", "close"])
@pytest.mark.parametrize("end", ["send", "throw", "close", "free"])
def test_a_call_does_not_end_while_one_that_it_has_made_runs(runtime: pywasmrt.Runtime, how: str, end: str) -> None:
    """The inner call is resumed from elsewhere, and ends the outer one, or would free it."""
    calls: dict[str, Any] = {}
    told: list[object] = []
    within, without = Pause(), Pause()

    async def inner() -> int:
        try:
            await within
        finally:
            if end == "free":
                calls.pop("outer", None)
            else:
                method = getattr(calls["outer"], end)
                arguments = {"send": (None,), "throw": (LookupError(),), "close": ()}[end]
                with pytest.raises(ValueError, match="a call that a host function of this one has made is running"):
                    method(*arguments)
            told.append(end)
        return 4

    async def outer() -> int:
        calls["inner"] = instance.exports.inner.call_async()
        drive(calls["inner"], within)
        await without
        return 2

    instance = result_of(start(runtime, outer, inner))
    calls["outer"] = instance.exports.outer.call_async()
    drive(calls["outer"], without)
    call = calls.pop("inner")
    if how == "send":
        assert result_of(call) == 4
    elif how == "throw":
        with pytest.raises(KeyError):
            call.throw(KeyError())
    else:
        call.close()
    assert told == [end]
    if end == "free":
        assert result_of(instance.exports.inner.call_async()) == 4
    else:
        assert result_of(calls["outer"]) == 2


def test_a_call_is_not_resumed_on_a_second_thread_while_the_store_serves_the_first(runtime: pywasmrt.Runtime) -> None:
    calls: dict[str, Any] = {}
    found: list[BaseException] = []

    pause = Pause()

    async def inner() -> int:
        await pause
        return 4

    def resume() -> None:
        for resumed in (lambda: calls["inner"].send(None), lambda: calls["inner"].throw(KeyError())):
            try:
                resumed()
            except pywasmrt.WasmError as error:
                found.append(error)

    async def outer() -> int:
        calls["inner"] = instance.exports.inner.call_async()
        drive(calls["inner"], pause)
        thread = threading.Thread(target=resume)
        thread.start()
        thread.join()
        return int(result_of(calls["inner"]))

    instance = result_of(start(runtime, outer, inner))
    assert result_of(instance.exports.outer.call_async()) == 4
    assert [type(each) for each in found] == [BusyError, BusyError]


def test_a_call_may_be_closed_on_a_second_thread(runtime: pywasmrt.Runtime) -> None:
    """As the collector does. The store goes on serving the first thread."""
    calls: dict[str, Any] = {}

    pause = Pause()

    async def inner() -> int:
        await pause
        return 4

    async def outer() -> int:
        calls["inner"] = instance.exports.inner.call_async()
        drive(calls["inner"], pause)
        thread = threading.Thread(target=calls["inner"].close)
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="cannot reuse"):
            calls["inner"].send(None)
        return int(result_of(instance.exports.inner.call_async()))

    instance = result_of(start(runtime, outer, inner))
    assert result_of(instance.exports.outer.call_async()) == 4


@pytest.mark.skipif(ADDRESS_SANITIZER, reason="greenlets copy parts of the stack, which the sanitizer forbids")
def test_a_second_greenlet_may_outlive_the_call_that_it_was_made_in(runtime: pywasmrt.Runtime) -> None:
    """The outer call ends while the inner one's host function is switched away: then that has no guest to return to."""
    greenlet = pytest.importorskip("greenlet")
    hub = greenlet.getcurrent()
    calls: dict[str, Any] = {}
    found: list[object] = []

    async def inner() -> int:
        hub.switch()
        return 4

    def resume() -> None:
        try:
            found.append(result_of(calls["inner"]))
        except pywasmrt.WasmError as error:
            found.append(type(error))

    second = greenlet.greenlet(resume)

    async def outer() -> int:
        calls["inner"] = instance.exports.inner.call_async()
        second.switch()
        return 2

    instance = result_of(start(runtime, outer, inner))
    assert result_of(instance.exports.outer.call_async()) == 2
    second.switch()
    assert found == [Interrupted]
    assert second.dead


def test_what_is_thrown_is_checked_where_the_awaited_has_no_throw(runtime: pywasmrt.Runtime) -> None:
    class Bare:
        """An iterator that is no generator."""

        def __await__(self) -> Any:
            return iter([None, None])

    async def outer() -> int:
        await Bare()
        return 2

    instance = result_of(start(runtime, outer))
    for thrown, raised in ((5, TypeError), (LookupError, LookupError), (LookupError(), LookupError)):
        call = instance.exports.outer.call_async()
        call.send(None)
        with pytest.raises(raised):
            call.throw(thrown)
