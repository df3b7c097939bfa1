"""Ending a guest that goes on for too long: deadlines, interrupts and fuel, wherever it is and whatever it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from helpers.long_calls import LONG, SOON, Needs, after, loops, works

import pywasmrt
from pywasmrt import (
    ClosedError,
    DeadlineExceeded,
    FuelExhausted,
    Interrupted,
    InvalidConfigurationError,
    Limits,
    Runtime,
    RuntimeConfig,
    UnsupportedFeatureError,
)
from pywasmrt.testing import guests

# Deadlines


@pytest.mark.parametrize("export", ["forever", "call_forever", "call_then_loop"])
def test_a_timeout_ends_each_call(runtime: Runtime, needs: Needs, export: str) -> None:
    needs("deadline")
    instance = loops(runtime, limits=Limits(timeout=SOON))
    for _ in range(3):
        with pytest.raises(DeadlineExceeded, match="the call reached its deadline") as caught:
            instance.exports[export]()
        assert isinstance(caught.value, (TimeoutError, Interrupted))
        assert works(instance)


@pytest.mark.parametrize("export", ["spin", "call", "throw"])
def test_a_guest_cannot_catch_its_end(runtime: Runtime, needs: Needs, export: str) -> None:
    """It catches all exceptions there are, and goes on."""
    needs("deadline", "exceptions", "wat")
    text = """(module (import "env" "f" (func $f)) (tag $t)
      (func (export "count") (param i32) (result i32) (local.get 0))
      (func (export "spin")
        (loop $on (block $caught (try_table (catch_all $caught) (loop (br 0)))) (br $on)))
      (func (export "call")
        (loop $on (block $caught (try_table (catch_all $caught) (call $f))) (br $on)))
      (func (export "throw")
        (loop $on (block $caught (try_table (catch_all $caught) (throw $t))) (br $on))))"""
    module = runtime.compile(text)
    instance = runtime.instantiate(module, {"env": {"f": lambda: None}}, limits=Limits(timeout=SOON))
    with pytest.raises(DeadlineExceeded):
        instance.exports[export]()
    assert works(instance)


def test_a_timeout_is_of_each_call_and_not_of_all(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")
    instance = loops(runtime, limits=Limits(timeout=0.2))

    def all_calls_work() -> bool:
        """A busy machine may hold up one call for as long as the limit is, and hardly twenty times."""
        until = time.monotonic() + 0.4
        with suppress(DeadlineExceeded):
            while time.monotonic() < until:
                instance.exports.count(1000)
            return True
        return False

    assert any(all_calls_work() for _ in range(20))


def test_a_timeout_ends_a_start_function(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")
    guest = guests.starting([("loop", pywasmrt.FunctionType()), ("br", 0), ("end",)])
    with pytest.raises(DeadlineExceeded):
        runtime.instantiate(runtime.compile(guest.encode()), limits=Limits(timeout=SOON))


def test_a_deadline_is_of_its_block(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")
    instance = loops(runtime)

    def told(seconds: float) -> str:
        with instance.deadline(seconds):
            with pytest.raises(DeadlineExceeded) as raised:
                instance.exports.forever()
            with pytest.raises(DeadlineExceeded, match="the deadline had passed before the call began"):
                instance.exports.count(1)
        return str(raised.value)

    # On a busy machine the deadline may pass before the first call begins.
    assert any("the call reached its deadline" in told(seconds) for seconds in (SOON, 10 * SOON, 100 * SOON))
    assert works(instance)


def test_deadlines_nest_and_the_earliest_counts(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")
    instance = loops(runtime)
    with instance.deadline(LONG), instance.deadline(SOON), instance.deadline(LONG), pytest.raises(DeadlineExceeded):
        instance.exports.forever()
    with instance.deadline(SOON), instance.deadline(LONG), pytest.raises(DeadlineExceeded):
        instance.exports.forever()
    with instance.deadline(LONG):
        with instance.deadline(SOON):
            pass
        time.sleep(2 * SOON)
        assert works(instance)


def test_deadlines_may_overlap(runtime: Runtime, needs: Needs) -> None:
    """As those of two tasks do: a block that ends leaves the other as it is, whichever was entered first."""
    needs("deadline")
    instance = loops(runtime)
    for first, second in ((SOON, 2 * SOON), (2 * SOON, SOON)):
        one, other = instance.deadline(first), instance.deadline(second)
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        other.__exit__(None, None, None)
        time.sleep(3 * SOON)
        assert works(instance)
    for before, after_it in ((LONG, SOON), (SOON, LONG)):
        outer, inner = instance.deadline(before), instance.deadline(after_it)
        outer.__enter__()
        inner.__enter__()
        ended, left = (outer, inner) if before == LONG else (inner, outer)
        ended.__exit__(None, None, None)
        with pytest.raises(DeadlineExceeded):
            instance.exports.forever()
        left.__exit__(None, None, None)
        assert works(instance)


def test_a_host_function_may_set_a_deadline_for_the_rest_of_a_call(runtime: Runtime, needs: Needs) -> None:
    needs("deadline", "interruption")  # without the second a guest goes by the deadline that it began with
    blocks: list[Any] = []

    def enter() -> None:
        block = instance.deadline(SOON)
        block.__enter__()
        blocks.append(block)

    instance = loops(runtime, enter)
    with pytest.raises(DeadlineExceeded):
        instance.exports.call_then_loop()
    blocks.pop().__exit__(None, None, None)
    assert works(instance)


def test_a_deadline_within_a_host_function_ends_with_its_block(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")

    def enter_and_leave() -> None:
        with instance.deadline(SOON), pytest.raises(DeadlineExceeded):
            instance.exports.forever()

    instance = loops(runtime, enter_and_leave)
    instance.exports.call()
    assert works(instance)


def test_a_deadline_reaches_through_host_functions(runtime: Runtime, needs: Needs) -> None:
    """Neither the guest that is called again nor the host function that catches its end lets the outer call go on."""
    needs("deadline")
    caught = []

    def call_again() -> None:
        try:
            instance.exports.forever()
        except DeadlineExceeded as error:
            caught.append(error)

    instance = loops(runtime, call_again, limits=Limits(timeout=SOON))
    with pytest.raises(DeadlineExceeded):
        instance.exports.call_forever()
    assert len(caught) == 1
    assert works(instance)


def test_a_deadline_reaches_into_another_store(runtime: Runtime, needs: Needs) -> None:
    needs("deadline", "interruption")
    inner = loops(runtime)
    outer = loops(runtime, lambda: inner.exports.forever(), limits=Limits(timeout=SOON))
    with pytest.raises(DeadlineExceeded):
        outer.exports.call()
    assert works(inner)
    assert works(outer)


def test_a_slow_host_function_is_let_finish(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")
    finished = []

    def slow() -> None:
        time.sleep(2 * SOON)
        finished.append(True)

    instance = loops(runtime, slow, limits=Limits(timeout=SOON))
    with pytest.raises(DeadlineExceeded):
        instance.exports.call_forever()
    assert finished == [True]


def test_a_host_function_sees_when_its_call_has_to_end(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")
    seen: list[int] = []
    instance = loops(runtime, lambda: seen.append(instance.store.until()), limits=Limits(timeout=LONG))
    instance.exports.call()
    assert 0 < seen[0] - time.monotonic_ns() < LONG * 1e9
    free = loops(runtime, lambda: seen.append(free.store.until()))
    free.exports.call()
    assert seen[1] == 0
    assert free.store.until() == 0


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "1", None, True, 1e10])
def test_a_deadline_is_a_number_of_seconds(runtime: Runtime, needs: Needs, seconds: Any) -> None:
    needs("deadline")
    instance = loops(runtime)
    with pytest.raises(InvalidConfigurationError, match="a deadline is a number of seconds above 0"):
        instance.deadline(seconds).__enter__()
    if seconds is not None:
        with pytest.raises(InvalidConfigurationError, match=r"Limits\.timeout is a number of seconds above 0"):
            loops(runtime, limits=Limits(timeout=seconds))


# Interrupts


@pytest.mark.parametrize("export", ["forever", "call_forever", "call_then_loop"])
def test_another_thread_interrupts_a_call(runtime: Runtime, needs: Needs, export: str) -> None:
    needs("interruption")
    instance = loops(runtime)
    told: list[bool] = []
    with (
        after(SOON, instance, lambda: told.append(instance.interrupt())),
        pytest.raises(Interrupted, match=r"the call was stopped by interrupt\(\)") as caught,
    ):
        instance.exports[export]()
    assert not isinstance(caught.value, DeadlineExceeded)
    assert told == [True]
    assert works(instance)


def test_nothing_is_interrupted_where_nothing_runs(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    instance = loops(runtime)
    assert instance.interrupt() is False
    assert works(instance)  # and the next call is none the wiser


def test_a_host_function_interrupts_its_own_call(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    told: list[bool] = []
    instance = loops(runtime, lambda: told.append(instance.interrupt()))
    with pytest.raises(Interrupted):
        instance.exports.call_then_loop()
    assert told == [True]
    assert works(instance)


def test_an_interrupt_cannot_be_caught_on_the_way(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")

    def catch() -> None:
        with pytest.raises(Interrupted):
            instance.exports.forever()

    instance = loops(runtime, catch)
    with after(SOON, instance, instance.interrupt), pytest.raises(Interrupted):
        instance.exports.call_forever()
    assert works(instance)


def test_who_waits_is_told_of_the_end(runtime: Runtime, needs: Needs) -> None:
    """What a host function that blocks builds on."""
    needs("interruption")
    waking = threading.Event()

    def wait() -> None:
        instance.store.on_stop(waking.set)
        try:
            assert waking.wait(LONG)
        finally:
            instance.store.off_stop(waking.set)

    instance = loops(runtime, wait)
    with after(SOON, instance, instance.interrupt), pytest.raises(Interrupted):
        instance.exports.call_forever()
    waking.clear()
    with after(SOON, instance, instance.close), pytest.raises(ClosedError):
        instance.exports.call_forever()


# Closing


@pytest.mark.parametrize("which", ["instance", "runtime"])
def test_closing_from_another_thread_ends_the_call(fresh_runtime: Runtime, which: str) -> None:
    if "interruption" not in fresh_runtime.info.features:
        pytest.skip("cannot stop a guest that runs")
    instance = loops(fresh_runtime)
    closed = {"instance": instance, "runtime": fresh_runtime}[which]
    with after(SOON, instance, closed.close), pytest.raises(ClosedError, match="the store was closed during this call"):
        instance.exports.forever()
    assert instance.closed


# Without


def test_without_interruption_a_call_just_runs(runtime: Runtime) -> None:
    with pywasmrt.new_runtime(runtime.info.name, RuntimeConfig(interruptible=False)) as plain:
        assert not {"interruption", "deadline"} & plain.info.features
        instance = loops(plain)
        assert works(instance)
        instance.exports.call()
        for act in (instance.interrupt, lambda: instance.deadline(1).__enter__()):
            with pytest.raises(UnsupportedFeatureError, match="interruptible=False"):
                act()
        with pytest.raises(UnsupportedFeatureError, match="interruptible=False"):
            loops(plain, limits=Limits(timeout=1))


def test_interruptible_is_a_bool(runtime: Runtime) -> None:
    with pytest.raises(InvalidConfigurationError, match="interruptible is a bool, not 'no'"):
        pywasmrt.new_runtime(runtime.info.name, {"interruptible": "no"})


# Fuel


@pytest.fixture(scope="module")
def counting(runtime: Runtime) -> Iterator[Runtime]:
    """A runtime that counts fuel."""
    try:
        counting = pywasmrt.new_runtime(runtime.info.name, RuntimeConfig(options={"consume_fuel": True}))
    except InvalidConfigurationError as error:
        pytest.skip(str(error))
    with counting:
        assert "fuel" in counting.info.features
        yield counting


def test_fuel_is_used_up(counting: Runtime) -> None:
    instance = loops(counting, limits=Limits(fuel=100_000))
    assert instance.fuel == 100_000
    assert instance.exports.count(1000) == 1000
    used = 100_000 - instance.fuel
    assert 1000 < used < 20_000
    instance.exports.count(1000)
    assert instance.fuel == 100_000 - 2 * used  # the same work costs the same
    with pytest.raises(FuelExhausted, match=r"used up its fuel; instance\.fuel sets"):
        instance.exports.forever()
    with pytest.raises(FuelExhausted):
        instance.exports.count(1000)
    instance.fuel = used
    assert instance.exports.count(1000) == 1000
    assert instance.fuel == 0


def test_a_host_function_gives_fuel(counting: Runtime) -> None:
    turns: list[int] = []

    def refuel() -> None:
        turns.append(instance.fuel)
        if len(turns) < 10:
            instance.fuel = 1000

    instance = loops(counting, refuel, limits=Limits(fuel=1000))
    with pytest.raises(FuelExhausted):
        instance.exports.call_forever()
    assert len(turns) > 20


def test_fuel_runs_out_in_a_start_function(counting: Runtime) -> None:
    guest = guests.starting([("loop", pywasmrt.FunctionType()), ("br", 0), ("end",)])
    with pytest.raises(FuelExhausted):
        counting.instantiate(counting.compile(guest.encode()), limits=Limits(fuel=1000))


def test_without_limits_there_is_fuel_without_end(counting: Runtime) -> None:
    instance = loops(counting)
    assert instance.fuel == (1 << 64) - 1
    assert works(instance)


def test_fuel_has_a_range(counting: Runtime) -> None:
    instance = loops(counting)
    for wrong, error in (
        (-1, ValueError),
        (1 << 64, ValueError),
        (1.5, TypeError),
        ("1", TypeError),
        (True, TypeError),
    ):
        with pytest.raises(error, match="fuel is"):
            instance.fuel = wrong
    instance.fuel = (1 << 64) - 1
    assert instance.fuel == (1 << 64) - 1
    instance.close()
    with pytest.raises(ClosedError):
        instance.fuel = 1


def test_fuel_is_asked_for(runtime: Runtime) -> None:
    instance = loops(runtime)
    assert instance.fuel is None
    with pytest.raises(UnsupportedFeatureError, match="consume_fuel"):
        instance.fuel = 1
    with pytest.raises(UnsupportedFeatureError, match="consume_fuel"):
        loops(runtime, limits=Limits(fuel=1))
