"""Greenlets that are switched inside host functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers.sanitizers import ADDRESS_SANITIZER

import pywasmrt
from pywasmrt import BusyError, Runtime

greenlet: Any = pytest.importorskip("greenlet")

pytestmark = pytest.mark.skipif(
    ADDRESS_SANITIZER,
    reason="greenlets copy parts of the stack, which the sanitizer forbids",
)

Needs = Callable[..., None]

SOURCE = """
(module
  (import "env" "wait" (func $wait))
  (func (export "returns") (result i32) (call $wait) (i32.const 1))
  (func (export "traps") (call $wait) unreachable)
  (func (export "plain") (result i32) (i32.const 2)))
"""


@pytest.fixture(autouse=True)
def _needs_text(needs: Needs) -> None:
    needs("wat")


def started(runtime: Runtime, wait: Callable[[], object]) -> Any:
    return runtime.instantiate(runtime.compile(SOURCE), {"env": {"wait": lambda: (wait(), None)[1]}})


def outcome(call: Callable[[], Any], found: list[Any]) -> Callable[[], None]:
    def body() -> None:
        try:
            found.append(call())
        except pywasmrt.WasmError as error:
            found.append(type(error))

    return body


@pytest.mark.parametrize("export", ["returns", "traps", "plain"])
def test_a_call_on_top_of_another_greenlets_is_refused(runtime: Runtime, export: str) -> None:
    """Else the first could return before the second, and the engine would end the process."""
    hub = greenlet.getcurrent()
    found: list[Any] = []
    first = greenlet.greenlet(outcome(started(runtime, hub.switch).exports["returns"], found))
    second = greenlet.greenlet(outcome(started(runtime, hub.switch).exports[export], found))
    first.switch()
    second.switch()
    assert found == [BusyError]
    with pytest.raises(BusyError):
        started(runtime, hub.switch).exports.plain()
    first.switch()
    assert found == [BusyError, 1]
    third = greenlet.greenlet(outcome(started(runtime, hub.switch).exports["plain"], found))
    third.switch()
    assert found == [BusyError, 1, 2]


def test_a_call_within_the_same_greenlet_is_let_through(runtime: Runtime) -> None:
    found: list[Any] = []
    inner = started(runtime, lambda: None)
    outer = started(runtime, lambda: found.append(inner.exports.plain()))
    greenlet.greenlet(outer.exports.returns).switch()
    assert outer.exports.returns() == 1
    assert found == [2, 2]


def test_another_greenlet_cannot_enter_the_store_that_waits(runtime: Runtime) -> None:
    hub = greenlet.getcurrent()
    instance = started(runtime, hub.switch)
    found: list[Any] = []
    first = greenlet.greenlet(outcome(instance.exports.returns, found))
    second = greenlet.greenlet(outcome(instance.exports.plain, found))
    first.switch()
    second.switch()
    first.switch()
    assert found == [BusyError, 1]


def test_a_greenlet_that_is_forgotten_inside_a_host_function_unwinds_its_guest(runtime: Runtime) -> None:
    hub = greenlet.getcurrent()
    instance = started(runtime, hub.switch)
    forgotten = greenlet.greenlet(instance.exports.returns)
    forgotten.switch()
    del forgotten  # GreenletExit is raised in it
    assert instance.exports.plain() == 2


def drive(call: Any, hub: Any) -> Any:
    """Run a call of an asynchronous store from a greenlet: at a tick the others have their turn."""
    try:
        while True:
            call.send(None)
            hub.switch()
    except StopIteration as stop:
        return stop.value


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_greenlets_are_switched_freely_in_asynchronous_stores(
    runtime: Runtime, needs: Needs, order: tuple[int, int]
) -> None:
    needs("suspension")
    hub = greenlet.getcurrent()
    found: list[Any] = []
    module = runtime.compile(SOURCE)

    waiting: list[Any] = []

    def wait() -> None:
        waiting.append(greenlet.getcurrent())
        hub.switch()

    def body(export: str) -> Any:
        instance = drive(runtime.instantiate_async(module, {"env": {"wait": wait}}), hub)
        return drive(instance.exports[export].call_async(), hub)

    both = [greenlet.greenlet(outcome(lambda name=name: body(name), found)) for name in ("traps", "returns")]  # type: ignore[misc]
    for each in both:
        while each not in waiting and not each.dead:  # it also comes back here at each tick
            each.switch()
    assert found == []
    for at in order:
        while not both[at].dead:
            both[at].switch()
    assert found == [[pywasmrt.Trap, 1][at] for at in order]


def test_a_task_is_not_polled_on_top_of_another_greenlets_host_function(runtime: Runtime, needs: Needs) -> None:
    needs("suspension")
    hub = greenlet.getcurrent()

    class Once:
        def __await__(self) -> Any:
            yield "waiting"

    async def wait() -> None:
        await Once()

    def until(call: Any, goal: object) -> None:
        while call.send(None) != goal:  # at a tick it yields None
            pass

    module = runtime.compile(SOURCE)
    call = drive(runtime.instantiate_async(module, {"env": {"wait": wait}}), hub).exports.returns.call_async()
    until(call, "waiting")
    found: list[Any] = []
    other = greenlet.greenlet(outcome(started(runtime, hub.switch).exports["returns"], found))
    other.switch()
    with pytest.raises(BusyError):
        call.send(None)
    other.switch()
    assert found == [1]
    with pytest.raises(StopIteration) as stop:  # nothing was lost
        until(call, "never")
    assert stop.value.value == 1
