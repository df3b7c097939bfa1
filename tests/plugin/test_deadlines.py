"""Guests that do not end."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.bad_guests import EXPERIMENTAL, V1, processor, serve_after, write
from helpers.plugin_guests import config

import pywasmrt
from pywasmrt.errors import Trap
from pywasmrt.otel import WasmProcessor, WasmReceiver
from pywasmrt.plugin import WasmPlugin


def needs_deadline(runtime: pywasmrt.Runtime) -> None:
    if "deadline" not in runtime.info.features:
        pytest.skip(f"{runtime.info.name} cannot stop a guest")


def test_an_endless_loop_ends_at_the_deadline(tmp_path: Path, runtime: pywasmrt.Runtime) -> None:
    needs_deadline(runtime)
    path = write(tmp_path, EXPERIMENTAL % "(loop $l (br $l))")
    with WasmProcessor(config(path, runtime.info.name, timeout=0.05)) as processor:
        error = serve_after(processor)
        assert isinstance(error.__cause__, pywasmrt.DeadlineExceeded)
        assert error.retryable
        assert processor.plugin.restarts == 2


@pytest.mark.parametrize("function", ["otelwasm_start", "otelwasm_get_supported_telemetry", "_initialize"])
def test_an_endless_loop_at_the_start_ends_at_the_deadline(
    tmp_path: Path, runtime: pywasmrt.Runtime, function: str
) -> None:
    needs_deadline(runtime)
    loops = f'(func (export "{function}") {"" if function[0] == "_" else "(result i32)"} (loop $l (br $l)) unreachable)'
    wat = (V1 % "nop")[:-1].replace(
        "otelwasm_get_supported_telemetry", "other" if "get" in function else "otelwasm_get_supported_telemetry"
    )
    path = write(tmp_path, f"{wat} {loops})")
    for make in (WasmProcessor, lambda made: WasmReceiver(made, processor)):
        with pytest.raises(pywasmrt.DeadlineExceeded):
            make(config(path, runtime.info.name, timeout=0.05))


@pytest.mark.parametrize("wasi", [False, True])
def test_an_endless_start_of_a_receiver_ends_at_the_deadline(
    tmp_path: Path, runtime: pywasmrt.Runtime, wasi: bool
) -> None:
    needs_deadline(runtime)
    wat = LOOPS.replace("(memory", "(func $forever (loop $l (br $l))) (start $forever) (memory", 1)
    if wasi:
        wat = LOOPS.replace("(memory", '(func (export "_initialize") (loop $l (br $l))) (memory', 1)
        wat = wat.replace("(module", '(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))', 1)
    with pytest.raises(pywasmrt.DeadlineExceeded):
        WasmReceiver(config(write(tmp_path, wat), runtime.info.name, timeout=0.05), processor)


LOOPS = """(module (import "otelwasm" "getShutdownRequested" (func $asked (result i32)))
  (memory (export "memory") 1) (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "startTracesReceiver") (loop $l (drop (call $asked)) (br $l))))"""


def test_a_receiver_that_does_not_listen_is_stopped_within_a_deadline(tmp_path: Path, name: str) -> None:
    receiver = WasmReceiver(config(write(tmp_path, LOOPS), name), processor)
    receiver.start()
    assert not receiver.wait(0.05)
    receiver.shutdown(timeout=0.1)
    assert not receiver.running
    assert receiver.closed


LISTENS = """(module (import "otelwasm" "getShutdownRequested" (func $asked (result i32)))
  (import "otelwasm" "setResultTraces" (func $set (param i32 i32)))
  (memory (export "memory") 1) (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "startTracesReceiver")
    (loop $l (call $set (i32.const 0) (i32.const 3)) (br_if $l (i32.eqz (call $asked))))))"""


def test_a_consumer_may_shut_its_own_receiver_down(tmp_path: Path, name: str) -> None:
    class Consumer:
        def consume_traces(self, data: bytes) -> None:
            receiver.shutdown()

    receiver = WasmReceiver(config(write(tmp_path, LISTENS), name), Consumer())  # type: ignore[arg-type]
    receiver.start()
    assert receiver.wait(20)
    assert receiver.error is None
    assert receiver.closed
    receiver.shutdown()


def test_a_receiver_that_fails_does_not_end_the_process(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, LOOPS.replace("(drop (call $asked))", "unreachable"))
    with WasmReceiver(config(path, name), processor) as receiver:
        receiver.start()
        assert receiver.wait(20)
        assert isinstance(receiver.error, Trap)
    assert "failed" in caplog.text


def test_a_receiver_that_ends_by_itself_is_told(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, LOOPS.replace("(br $l)", ""))
    with caplog.at_level("INFO"), WasmReceiver(config(path, name), processor) as receiver:
        receiver.start()
        assert receiver.wait(20)
        assert receiver.error is None
    assert "ended by itself" in caplog.text


def test_a_time_limit_that_cannot_be_kept_is_refused(tmp_path: Path, runtime: pywasmrt.Runtime) -> None:
    made = config(write(tmp_path, LOOPS), runtime.info.name, timeout=1)
    made["runtime_config"]["interruptible"] = False
    if "deadline" in pywasmrt.new_runtime(made["runtime_config"]["type"], {"interruptible": False}).info.features:
        pytest.skip(f"{runtime.info.name} keeps time limits without interruption")
    with pytest.raises(pywasmrt.UnsupportedFeatureError, match=r"^timeout: .* cannot stop a guest"):
        WasmPlugin(made)
    with WasmPlugin({**made, "timeout": None}, ["startTracesReceiver"]):
        pass
