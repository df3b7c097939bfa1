"""Calls of one plugin from several threads and from within."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.bad_guests import write
from helpers.plugin_guests import c_guest, config

import pywasmrt
from pywasmrt.errors import BusyError
from pywasmrt.otel import TelemetryError, WasmExporter, WasmProcessor
from pywasmrt.plugin import Stack, WasmPlugin


def test_calls_of_one_plugin_wait_for_each_other(name: str) -> None:
    with WasmProcessor(config(c_guest("echo"), name)) as processor:
        failed: list[object] = []

        def work(n: int) -> None:
            for m in range(50):
                payload = bytes([n, m]) * (n * 100 + 1)
                if processor.process_logs(payload) != payload:
                    failed.append((n, m))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert processor.counters("logs").succeeded_batches == 200


def test_calls_that_wait_do_not_keep_a_plugin_from_its_shutdown(name: str) -> None:
    processor = WasmProcessor(config(c_guest("echo"), name))
    inside, go_on = threading.Event(), threading.Event()
    ended: list[object] = []

    def result(data: bytes) -> None:
        inside.set()
        go_on.wait(60)

    def work() -> None:
        try:
            ended.append(
                processor.plugin.process_function_call("processLogs", Stack(current_logs=b"x", on_result_logs=result))
            )
        except pywasmrt.ClosedError as error:
            ended.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert inside.wait(60)
    closing = threading.Thread(target=processor.shutdown)
    closing.start()
    while not processor.plugin._turns.ending:
        time.sleep(0.001)
    go_on.set()
    for thread in (*threads, closing):
        thread.join(60)
    assert processor.closed
    assert sum(1 for each in ended if each == 0) == 1  # the one that was in flight
    assert sum(1 for each in ended if isinstance(each, pywasmrt.ClosedError)) == 3


def test_a_call_from_within_a_call_is_refused(name: str) -> None:
    with WasmPlugin(config(c_guest("echo"), name), ["processTraces"]) as plugin:
        raised: list[BaseException] = []

        def again(call: Callable[[], Any]) -> None:
            try:
                call()
            except BusyError as error:
                raised.append(error)

        def from_within(data: bytes) -> None:
            again(lambda: plugin.process_function_call("processTraces", Stack()))
            again(plugin.shutdown)

        assert plugin.process_function_call("processTraces", Stack(on_result_traces=from_within)) == 0
        assert len(raised) == 2
        assert plugin.process_function_call("processTraces", Stack()) == 0


def test_what_a_callback_raises_comes_out_of_the_call(name: str) -> None:
    class Interruption(BaseException):
        pass

    def refuse(data: bytes) -> None:
        raise Interruption

    with WasmPlugin(config(c_guest("echo"), name), ["processTraces"]) as plugin:
        with pytest.raises(Interruption):
            plugin.process_function_call("processTraces", Stack(current_traces=b"x", on_result_traces=refuse))
        stack = Stack(current_traces=b"y")
        assert plugin.process_function_call("processTraces", stack) == 0
        assert stack.result_traces == b"y"


def test_telemetry_is_bytes(name: str) -> None:
    with WasmExporter(config(c_guest("echo", "v1"), name)) as exporter:
        with pytest.raises(TypeError, match=r"telemetry is the bytes of an OTLP payload, not 'text'"):
            exporter.push_traces("text")  # type: ignore[arg-type]
        exporter.shutdown()
        with pytest.raises(TelemetryError, match=r"was shut down") as caught:
            exporter.push_traces(b"")
        assert caught.value.retryable
        assert exporter.counters("traces").failed_batches == 1


def test_a_guest_that_fails_to_start_again_goes_on_failing_until_it_does(tmp_path: Path, name: str) -> None:
    """The first instance serves; those made after a failure refuse to start as long as the file says so."""
    wat = """(module (import "otelwasm" "otelwasm_get_plugin_config" (func $config (param i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "otelwasm_abi_version_0_1_0"))
      (func (export "otelwasm_get_supported_telemetry") (result i32) (i32.const 4))
      (func (export "otelwasm_memory_allocate") (param i32) (result i32) (i32.const 16))
      (func (export "otelwasm_start") (result i32) (i32.gt_u (call $config (i32.const 0) (i32.const 0)) (i32.const 2)))
      (func (export "otelwasm_consume_traces") (param i32 i32) (result i32) unreachable))"""
    with WasmProcessor(config(write(tmp_path, wat), name)) as processor:
        with pytest.raises(TelemetryError, match=r"unreachable"):
            processor.process_traces(b"a")
        before, processor.plugin._guests[0].host.config_json = processor.plugin._guests[0].host.config_json, b"{...}"
        for _ in range(2):
            with pytest.raises(TelemetryError, match=r"otelwasm_start answered ERROR"):
                processor.process_traces(b"a")
        processor.plugin._guests[0].host.config_json = before
        with pytest.raises(TelemetryError, match=r"unreachable"):
            processor.process_traces(b"a")
        assert processor.counters("traces").failed_batches == 4
