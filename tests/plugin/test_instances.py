"""Several instances of one plugin: calls take one that is free, and everything else is as with one."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.bad_guests import write
from helpers.plugin_guests import c_guest, config

import pywasmrt
from pywasmrt.errors import BusyError, InvalidConfigurationError
from pywasmrt.otel import TelemetryError, WasmExporter, WasmProcessor, WasmReceiver
from pywasmrt.plugin import PluginConfig, PluginError, Stack, WasmPlugin

# Counts in its memory how many batches its instance has had, and gives the number as the result.
COUNTS = """(module
  (import "opentelemetry.io/wasm" "setResultTraces" (func $set (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "processTraces") (result i32)
    (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
    (call $set (i32.const 0) (i32.const 1))
    (i32.const 0)))"""

SPINS = """(module (memory (export "memory") 1)
  (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "processTraces") (result i32) (loop (br 0)) (i32.const 0)))"""


def several(path: object, name: str, instances: int = 2, **others: Any) -> dict[str, Any]:
    return config(path, **others) | {"runtime_config": {"type": name, "instances": instances}}


def call(plugin: WasmPlugin, result: Callable[[bytes], object] | None = None) -> int | None:
    return plugin.process_function_call("processTraces", Stack(current_traces=b"x", on_result_traces=result))


@pytest.fixture
def counting(tmp_path: Path, name: str) -> WasmPlugin:
    return WasmPlugin(several(write(tmp_path, COUNTS), name), ["processTraces"])


def run_all(*jobs: Callable[[], object]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_two_calls_are_inside_at_once(counting: WasmPlugin) -> None:
    both = threading.Barrier(2, timeout=60)
    with counting as plugin:
        assert plugin.instances == 2
        run_all(*[lambda: call(plugin, lambda data: both.wait())] * 2)


def test_a_third_call_gets_the_first_that_is_free(counting: WasmPlugin) -> None:
    inside = threading.Barrier(3, timeout=60)
    first, second = threading.Event(), threading.Event()
    ended: list[str] = []

    def held(until: threading.Event, label: str) -> None:
        def wait(data: bytes) -> None:
            inside.wait()
            until.wait(60)

        call(counting, wait)
        ended.append(label)

    def third() -> None:
        inside.wait()
        threading.Timer(0.01, second.set).start()
        call(counting)
        ended.append("third")
        first.set()

    with counting:
        run_all(lambda: held(first, "first"), lambda: held(second, "second"), third)
    assert ended[-1] == "first"  # the third did not wait for it
    assert set(ended) == {"first", "second", "third"}


def test_each_instance_has_a_memory_of_its_own(counting: WasmPlugin) -> None:
    counts: list[int] = []
    both = threading.Barrier(2, timeout=60)

    def note(data: bytes) -> None:
        both.wait()
        counts.append(data[0])

    with counting as plugin:
        for _ in range(2):
            run_all(*[lambda: call(plugin, note)] * 2)
    assert sorted(counts) == [1, 1, 2, 2]


def test_calls_of_many_threads(name: str) -> None:
    with WasmProcessor(several(c_guest("echo"), name, 3)) as processor:
        failed: list[object] = []

        def work(n: int) -> None:
            for m in range(50):
                payload = bytes([n, m]) * (n * 100 + 1)
                if processor.process_logs(payload) != payload:
                    failed.append((n, m))

        run_all(*[lambda n=n: work(n) for n in range(5)])  # type: ignore[misc]
        assert failed == []
        assert processor.counters("logs").succeeded_batches == 250


def test_only_the_instance_that_failed_is_started_again(tmp_path: Path, counting: WasmPlugin) -> None:
    both = threading.Barrier(2, timeout=60)
    counts: list[int] = []

    def note(data: bytes) -> None:
        both.wait()
        counts.append(data[0])

    def refuse(data: bytes) -> None:
        both.wait()
        raise KeyError("refused")

    def fails() -> None:
        with pytest.raises(KeyError, match="refused"):
            call(counting, refuse)

    with counting as plugin:
        run_all(lambda: call(plugin, note), fails)
        run_all(*[lambda: call(plugin, note)] * 2)
        assert plugin.restarts == 1
    assert sorted(counts) == [1, 1, 2]


def test_a_call_from_within_is_refused_though_an_instance_is_free(counting: WasmPlugin) -> None:
    raised: list[BaseException] = []

    def from_within(data: bytes) -> None:
        for again in (lambda: call(counting), counting.shutdown):
            try:
                again()
            except BusyError as error:
                raised.append(error)

    with counting:
        assert call(counting, from_within) == 0
        assert len(raised) == 2


def test_a_shutdown_waits_for_all_calls(counting: WasmPlugin) -> None:
    both = threading.Barrier(3, timeout=60)
    go_on = threading.Event()
    ended: list[object] = []

    def hold(data: bytes) -> None:
        both.wait()
        go_on.wait(60)

    def work() -> None:
        ended.append(call(counting, hold))

    def waits() -> None:
        try:
            ended.append(call(counting))
        except pywasmrt.ClosedError as error:
            ended.append(type(error))

    def close() -> None:
        both.wait()
        waiting = threading.Thread(target=waits)
        waiting.start()
        closing = threading.Thread(target=counting.shutdown)
        closing.start()
        while not counting._turns.ending:
            time.sleep(0.001)
        waiting.join(60)
        assert ended == [pywasmrt.ClosedError]  # at once, though both calls still run
        go_on.set()
        closing.join(60)

    run_all(work, work, close)
    assert counting.closed
    assert ended[1:] == [0, 0]
    counting.shutdown()


def test_a_shutdown_interrupts_all_calls(tmp_path: Path, name: str, needs: Any) -> None:
    needs("interruption")
    plugin = WasmPlugin(several(write(tmp_path, SPINS), name, timeout=None), ["processTraces"])
    ended: list[type[BaseException]] = []

    def work() -> None:
        try:
            call(plugin)
        except pywasmrt.Interrupted as error:
            ended.append(type(error))

    def close() -> None:
        while sum(1 for guest in plugin._guests if guest.owner) < 2:
            time.sleep(0.001)
        plugin.shutdown(0.05)

    run_all(work, work, close)
    assert ended == [pywasmrt.Interrupted] * 2
    assert plugin.closed


def test_a_call_that_cannot_be_stopped_leaves_the_others_usable(counting: WasmPlugin) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(data: bytes) -> None:
        inside.set()
        go_on.wait(60)

    def close() -> None:
        inside.wait(60)
        with pytest.raises(PluginError, match="does not end its call"):
            counting.shutdown(0.01)
        assert counting._turns.closer == 0
        go_on.set()

    def work() -> None:
        with pytest.raises((pywasmrt.Interrupted, pywasmrt.ClosedError)):
            call(counting, hold)

    run_all(work, close)
    counting.shutdown()
    assert counting.closed


def release_logging() -> None:
    """Release what Python's logging still holds on this thread.

    It acquires its locks a step before it guards them. A handler that raises in between leaves them held, and every
    other thread that logs would wait for ever.
    """
    for lock in (logging._lock, *[handler.lock for handler in logging.getLogger().handlers]):  # type: ignore[attr-defined]
        while lock is not None and lock._is_owned():
            lock.release()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers of the system")
def test_signal_handlers_that_raise_lose_no_instance(counting: WasmPlugin, name: str) -> None:
    """A handler that raises comes at any step of taking an instance and giving it back."""
    if name == "wasmtime-py":
        pytest.skip("ctypes drops what a handler raises while it begins or ends a callback")

    class Stop(Exception):
        pass

    def handler(number: int, frame: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, handler)
    stopped = 0
    try:
        for n in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + n * 1e-6)
                while True:
                    call(counting)
            except Stop:
                stopped += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        release_logging()
    assert stopped == 200
    assert [guest.owner for guest in counting._guests] == [0, 0]
    with counting:
        both = threading.Barrier(2, timeout=60)
        run_all(*[lambda: call(counting, lambda data: both.wait())] * 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork beside threads
def test_the_child_of_a_fork_has_all_instances(counting: WasmPlugin, needs: Any) -> None:
    needs("fork")
    inside, go_on = threading.Event(), threading.Event()

    def hold(data: bytes) -> None:
        inside.set()
        go_on.wait(60)

    thread = threading.Thread(target=call, args=(counting, hold))
    thread.start()
    inside.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            code = 0 if [call(counting) for _ in range(4)] == [0] * 4 and counting.restarts == 1 else 1
            counting.shutdown()
        except BaseException:
            code = 2
        os._exit(code)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert counting.restarts == 0
    counting.shutdown()


def test_an_exporter_of_several_instances(tmp_path: Path, name: str) -> None:
    with WasmExporter(several(c_guest("echo", "v1"), name, 2)) as exporter:
        run_all(*[lambda: exporter.push_traces(b"")] * 4)
        assert exporter.counters("traces").succeeded_batches == 4
        assert exporter.plugin.discarded_results == 4


def test_what_does_not_start_closes_every_instance(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pywasmrt.plugin.guest import Guest

    started: list[Guest] = []
    original = Guest.start

    def start(self: Guest) -> None:
        original(self)
        started.append(self)
        if len(started) == 2:
            raise RuntimeError("not this one")

    monkeypatch.setattr(Guest, "start", start)
    with pytest.raises(RuntimeError, match="not this one"):
        WasmPlugin(several(write(tmp_path, COUNTS), name, 3), ["processTraces"])
    assert [guest._store is not None and guest._store.closed for guest in started] == [True, True]


def test_a_receiver_has_one_instance(name: str) -> None:
    class Consumer:
        def consume_traces(self, data: bytes) -> None: ...

    with pytest.raises(InvalidConfigurationError, match=r"instances: a receiver runs in one instance, not in 2"):
        WasmReceiver(several(c_guest("echo", "v1"), name), Consumer())  # type: ignore[arg-type]


@pytest.mark.parametrize("instances", [0, -1, 1.5, "2", True, None, 5000])
def test_bad_numbers_of_instances(instances: Any) -> None:
    with pytest.raises(InvalidConfigurationError, match=r"runtime_config\.instances is a number from 1 to 1024, not"):
        PluginConfig.from_mapping({"path": "x.wasm", "runtime_config": {"instances": instances}})


def test_a_runtime_configuration_has_one_instance() -> None:
    assert PluginConfig("x.wasm", runtime_config=pywasmrt.RuntimeConfig("auto")).instances() == 1
    assert PluginConfig("x.wasm", runtime_config={"instances": 4}).instances() == 4


def test_a_batch_that_fails_on_one_instance_counts_once(tmp_path: Path, name: str) -> None:
    with WasmProcessor(several(write(tmp_path, SPINS.replace("(loop (br 0))", "unreachable")), name)) as processor:
        for _ in range(3):
            with pytest.raises(TelemetryError, match="unreachable"):
                processor.process_traces(b"")
        assert processor.counters("traces").failed_batches == 3
