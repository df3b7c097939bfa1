"""Guests on many threads: the lock, busy stores, many instances, the ticker."""

from __future__ import annotations

import gc
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.long_calls import LONG, SOON, Needs, loops, works
from helpers.running import Guest, stop

import pywasmrt
from pywasmrt import (
    BusyError,
    DeadlineExceeded,
    Interrupted,
    InvalidConfigurationError,
    Runtime,
    RuntimeConfig,
    ValueType,
)
from pywasmrt.testing import guests

MANY = 1000


def test_python_goes_on_while_a_guest_runs(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    guest, instance = Guest.begin(runtime)
    try:
        assert sum(range(100_000)) == 4_999_950_000
        assert guest.is_alive()
    finally:
        stop(guest, instance)
    assert isinstance(guest.end, Interrupted)


def test_a_store_that_runs_elsewhere_is_busy(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    guest, instance = Guest.begin(runtime)
    try:
        memory, count = instance.memory, instance.exports.__getattr__
        for use in (lambda: count("count")(1), lambda: memory().read(0, 1), lambda: instance.store.memory(1)):
            with pytest.raises(BusyError, match="running a call on another thread"):
                use()
        with pytest.raises(BusyError), instance.deadline(LONG):
            pass
        other = loops(runtime)
        assert works(other)
    finally:
        stop(guest, instance)
    assert works(instance)


def test_an_instance_goes_from_thread_to_thread(runtime: Runtime) -> None:
    instance = loops(runtime)
    for _ in range(10):
        results: list[bool] = []
        thread = threading.Thread(target=lambda results=results: results.append(works(instance)))
        thread.start()
        thread.join()
        assert results == [True]
    assert works(instance)


def test_threads_share_a_compiled_module(runtime: Runtime) -> None:
    module = runtime.compile(guests.loops().encode())
    results: list[int] = []

    def work() -> None:
        instance = runtime.instantiate(module, {"env": {"f": lambda: None}})
        results.extend(instance.exports.count(n) for n in range(1, 50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(list(range(1, 50)) * 8)


def test_the_collector_may_run_on_any_thread(runtime: Runtime) -> None:
    """Cycles with instances made on one thread are freed on another, while a third is in a guest."""

    def make() -> None:
        for _ in range(20):
            cycle: list[Any] = []
            cycle.append(loops(runtime, lambda cycle=cycle: cycle and None))
            cycle[0].exports.call()

    busy = loops(runtime)
    stop_at = time.monotonic() + 0.3

    def work() -> None:
        while time.monotonic() < stop_at:
            assert works(busy)

    threads = [threading.Thread(target=work), *[threading.Thread(target=make) for _ in range(3)]]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gc.collect()
    assert works(busy)


def test_destructors_run_while_no_other_thread_is_in_the_store(runtime: Runtime, needs: Needs) -> None:
    """They run on the way out of a store, when another thread may have come in already, whose guest lets go of more."""
    needs("interruption", "reference-types", "externref-release")
    store = runtime.new_store()
    table = store.table(3, element=ValueType.EXTERNREF)
    released, entered = threading.Event(), threading.Event()
    wrong: list[BaseException] = []
    other = loops(runtime, entered.set, store=store)
    guest = Guest(other.exports.call_then_loop)

    class Thing:
        def __del__(self) -> None:
            if not released.is_set():
                released.set()
                guest.start()
                assert entered.wait(LONG)
            else:
                try:
                    len(table)
                except BusyError as error:
                    wrong.append(error)

    for index in range(3):
        table[index] = Thing()
        table[index] = None

    def let_the_engine_collect() -> None:
        for _ in range(100_000):
            table[0] = table

    with pytest.raises(BusyError):  # as the guest has come in
        let_the_engine_collect()
    stop(guest, other)
    assert isinstance(guest.end, Interrupted)
    assert released.is_set()
    assert wrong == []
    gc.collect()
    assert len(table) == 3


def test_two_guests_that_wait_for_each_other(runtime: Runtime, needs: Needs) -> None:
    """One waits on a shared memory for what the other does: neither may keep Python to itself."""
    needs("threads", "memory-sharing", "wat")
    text = """(module
      (import "env" "shared" (memory 1 1 shared))
      (func (export "wait") (result i32)
        (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 20000000000)))
      (func (export "wake") (result i32)
        (i32.atomic.store (i32.const 0) (i32.const 1))
        (memory.atomic.notify (i32.const 0) (i32.const 1))))"""
    with pywasmrt.new_runtime(
        runtime.info.name, RuntimeConfig(features=(runtime.info.features & pywasmrt_proposals()) | {"threads"})
    ) as threaded:
        memory = threaded.new_store().memory(1, 1, shared=True)
        module = threaded.compile(text)
        waiting, waking = (threaded.instantiate(module, {"env": {"shared": memory}}) for _ in range(2))
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.append(waiting.exports.wait()))
        thread.start()
        while not waking.exports.wake():  # 0 until somebody waits, or has seen the 1 and never will
            if not thread.is_alive():
                break
        thread.join(LONG)
        assert results in ([0], [1])


def pywasmrt_proposals() -> frozenset[str]:
    from pywasmrt.runtimes.base.features import PROPOSALS

    return PROPOSALS


@pytest.mark.parametrize("interruptible", [True, False])
def test_a_thousand_instances_at_once(runtime: Runtime, interruptible: bool) -> None:
    """Their memories take address space only, and there is enough of that."""
    config = RuntimeConfig(interruptible=interruptible)
    with pywasmrt.new_runtime(runtime.info.name, config) as many:
        module = many.compile(guests.loops().encode())
        instances: list[Any] = [many.instantiate(module, {"env": {"f": lambda: None}}) for _ in range(MANY)]
        for n, instance in enumerate(instances):
            instance.memory().write(0, n.to_bytes(4, "little"))
            instance.memory().grow(15)
        for n, instance in enumerate(instances):
            assert instance.exports.count(n + 1) == n + 1
            assert instance.memory().read(0, 4) == n.to_bytes(4, "little")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_an_instance_takes_the_address_space_that_was_asked_for(runtime: Runtime) -> None:
    """And its guards, of 32 MiB each."""

    def address_space() -> int:
        found = re.search(r"^VmSize:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) << 10

    reservation = 16 << 20
    try:
        small = pywasmrt.new_runtime(runtime.info.name, {"options": {"memory_reservation": reservation}})
    except InvalidConfigurationError as error:
        pytest.skip(str(error))
    with small:
        instances = [loops(small)]
        before = address_space()
        instances += [loops(small) for _ in range(50)]
        assert reservation <= (address_space() - before) / 50 <= reservation + (66 << 20)


def ticker_switches() -> int | None:
    """How often the ticker has gone to sleep; None where there is none."""
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() == "pywasmrt-ticker":
            found = [line for line in (task / "status").read_text().splitlines() if line.startswith("voluntary")]
            return int(found[0].split()[1])
    return None


def comes_to_rest() -> bool:
    """Whether the ticker does not wake for a while. It goes to rest some ticks after the last guest, and a busy machine
    delays those ticks: so one look decides nothing, while a ticker that never rests is seen awake every time.
    """
    before = ticker_switches()
    time.sleep(0.2)
    return ticker_switches() == before


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_the_ticker_sleeps_when_nothing_runs(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    instance = loops(runtime)
    with instance.deadline(SOON), pytest.raises(DeadlineExceeded):  # starts the ticker, where none has run yet
        instance.exports.forever()
    if ticker_switches() is None:
        pytest.skip("this runtime has no ticker")
    assert any(comes_to_rest() for _ in range(50))
    before = ticker_switches() or 0
    with instance.deadline(SOON), pytest.raises(DeadlineExceeded):
        instance.exports.forever()
    # A switch is counted when the ticker goes to sleep again, which may be after the guest has ended.
    assert any((ticker_switches() or 0) > before or time.sleep(0.1) for _ in range(300))
