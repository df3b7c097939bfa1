"""The three dialects of the ABI, on every runtime, with guests built from examples/guests and by hand."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from helpers.plugin_guests import ABIS, binary, c_guest, config
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt.errors import (
    FunctionNotExportedError,
    MemoryExportNotFoundError,
    ModuleCompileError,
    ModuleInstantiateError,
)
from pywasmrt.otel import WasmExporter, WasmProcessor
from pywasmrt.plugin import GuestProtocolError, GuestStatusError, Stack, Telemetry, WasmPlugin
from pywasmrt.plugin.logs import GuestLog

each_abi = pytest.mark.parametrize("abi", ABIS)
SIGNALS = ("traces", "metrics", "logs")


def write(folder: Path, wat: str) -> Path:
    path = folder / "guest.wasm"
    path.write_bytes(binary(wat))
    return path


@pytest.fixture
def name(runtime: pywasmrt.Runtime) -> str:
    return runtime.info.name


@each_abi
def test_payloads_of_any_size_come_back(abi: str, name: str) -> None:
    with WasmProcessor(config(c_guest("echo", abi), name)) as processor:
        assert processor.signals == SIGNALS
        for size in (0, 1, 2, 100, 2047, 2048, 2049, 4095, 4096, 4097, 65536, 100_000, 4 << 20, 3):
            payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
            assert processor.process_traces(payload) == payload
            assert processor.process_metrics(payload) == payload
            assert processor.process_logs(bytearray(payload)) == payload
        assert processor.process_logs(memoryview(b"abcdef")[::2]) == b"ace"
        assert processor.plugin.restarts == 0


@each_abi
def test_the_dialect_is_found_by_marker_and_import(abi: str, name: str) -> None:
    with WasmPlugin(config(c_guest("echo", abi), name), ["processTraces", "processLogs"]) as plugin:
        assert plugin.dialect.name == {"v1-coded": "v1 as coded"}.get(abi, abi)
        assert plugin.supported_telemetry == Telemetry.TRACES | Telemetry.METRICS | Telemetry.LOGS
        assert plugin.supported_telemetry.signals == SIGNALS
        stack = Stack(current_traces=b"abc")
        called = "processTraces" if abi == "experimental" else "otelwasm_consume_traces"
        assert plugin.process_function_call(called, stack) == 0
        assert stack.result_traces == b"abc"
        assert stack.result_logs is None


# Configurations


READS_CONFIG = r"""
#define OTELWASM_SUPPORTS OTELWASM_TRACES
#define OTELWASM_PROCESSOR
#include "sdk/otelwasm.h"
uint32_t otelwasm_process(uint32_t signal, bytes payload) {
  bytes json;
  if (!otelwasm_config(&json)) return OTELWASM_ERROR;
  otelwasm_set_result(signal, json);
  (void)payload;
  return OTELWASM_OK;
}
"""


@each_abi
@pytest.mark.parametrize("size", [0, 2030, 2040, 2050, 4080, 4090, 5000, 300_000])
def test_configurations_of_any_size_arrive(abi: str, size: int, name: str) -> None:
    plugin_config = {"text": "x" * size, "ä": [1, True, None, 0.5]}
    with WasmProcessor(config(c_guest("config", abi, READS_CONFIG), name, plugin_config=plugin_config)) as processor:
        read = processor.process_traces(b"")
        assert read.decode() == '{"text":"' + "x" * size + '","ä":[1,true,null,0.5]}'
        assert processor.process_traces(b"") == read


# What a result that was not set means


SILENT = r"""
#define OTELWASM_SUPPORTS (OTELWASM_TRACES | OTELWASM_METRICS | OTELWASM_LOGS)
#define OTELWASM_PROCESSOR
#include "sdk/otelwasm.h"
uint32_t otelwasm_process(uint32_t signal, bytes payload) {
  (void)signal, (void)payload;
  return OTELWASM_OK;
}
"""


@each_abi
def test_without_a_result_v1_passes_on_and_the_experimental_dialect_drops(abi: str, name: str) -> None:
    with WasmProcessor(config(c_guest("silent", abi, SILENT), name)) as processor:
        for process in (processor.process_traces, processor.process_metrics, processor.process_logs):
            assert process(b"payload") == (b"" if abi == "experimental" else b"payload")


def test_an_empty_payload_of_v1_needs_no_allocation(tmp_path: Path, name: str) -> None:
    guest = write(
        tmp_path,
        """(module (import "otelwasm" "otelwasm_set_result_traces" (func $set (param i32 i32)))
          (memory (export "memory") 1)
          (func (export "otelwasm_abi_version_0_1_0"))
          (func (export "otelwasm_memory_allocate") (param i32) (result i32) unreachable)
          (func (export "otelwasm_get_supported_telemetry") (result i32) (i32.const 4))
          (func (export "otelwasm_consume_traces") (param i32 i32) (result i32)
            (call $set (i32.const 0) (i32.const 3))
            (i32.or (local.get 0) (local.get 1))))""",
    )
    with WasmProcessor(config(guest, name)) as processor:
        assert processor.process_traces(b"") == bytes(3)


# Lifecycle of v1


def lifecycle(start: str = "i32.const 0", shutdown: str = "i32.const 0") -> str:
    return f"""(module
      (import "otelwasm" "otelwasm_set_status_reason" (func $reason (param i32 i32)))
      (import "otelwasm" "otelwasm_log" (func $log (param i32 i32 i32)))
      (import "otelwasm" "otelwasm_get_shutdown_requested" (func $asked (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "no licence")
      (func (export "otelwasm_abi_version_0_1_0"))
      (func (export "otelwasm_memory_allocate") (param i32) (result i32) (i32.const 64))
      (func (export "otelwasm_get_supported_telemetry") (result i32) (i32.const 4))
      (func (export "otelwasm_start") (result i32) {start})
      (func (export "otelwasm_shutdown") (result i32) {shutdown})
      (func (export "otelwasm_consume_traces") (param i32 i32) (result i32) (i32.const 0)))"""


def test_a_guest_may_refuse_to_start(tmp_path: Path, name: str) -> None:
    guest = write(tmp_path, lifecycle("(call $reason (i32.const 0) (i32.const 10)) (i32.const 1)"))
    with pytest.raises(GuestStatusError, match=r"^otelwasm_start answered ERROR: no licence$") as caught:
        WasmProcessor(config(guest, name))
    assert (caught.value.status, caught.value.reason) == (1, "no licence")


def test_shutdown_is_told_to_the_guest_once(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    # It logs with the level that getShutdownRequested gives, plus 2.
    body = "(call $log (i32.add (call $asked) (i32.const 2)) (i32.const 3) (i32.const 7)) (i32.const 0)"
    guest = write(tmp_path, lifecycle(shutdown=body))
    processor = WasmProcessor(config(guest, name, name="lawyer"))
    with caplog.at_level(logging.DEBUG, "pywasmrt.guest.lawyer"):
        processor.shutdown()
        processor.shutdown()
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [("WARNING", "licence")]
    with pytest.raises(pywasmrt.ClosedError, match=r"the plugin lawyer was shut down"):
        processor.plugin.process_function_call("processTraces", Stack())


@pytest.mark.parametrize("shutdown", ["i32.const 5", "unreachable"])
def test_a_guest_that_fails_to_shut_down_is_logged(
    tmp_path: Path, name: str, shutdown: str, caplog: pytest.LogCaptureFixture
) -> None:
    WasmProcessor(config(write(tmp_path, lifecycle(shutdown=shutdown)), name)).shutdown()
    assert "otelwasm_shutdown" in caplog.text


def test_a_stream_that_raises_in_the_shutdown_keeps_nothing_open(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def closed(data: bytes) -> None:
        raise ValueError("I/O operation on closed file")

    write_once = "(drop (call $write (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 120))) (i32.const 0)"
    imported = (
        '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))\n(memory'
    )
    guest = write(tmp_path, lifecycle(shutdown=write_once).replace("(memory", imported, 1))
    processor = WasmProcessor(config(guest, name, wasi={"stdout": closed}))
    processor.shutdown()
    assert processor.closed
    assert "closed file" in caplog.text


# Logs


def test_both_shapes_of_log_message(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    def guest(shape: str, call: str, data: str) -> Path:
        return write(
            tmp_path,
            f"""(module (import "opentelemetry.io/wasm" "logMessage" (func $log (param {shape})))
              (memory (export "memory") 1)
              (data (i32.const 8) "{data}")
              (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
              (func (export "processTraces") (result i32)
                (call $log {call}) (i32.const 0)))""",
        )

    caplog.set_level(logging.DEBUG, "pywasmrt.guest")
    text = r"{\22message\22:\22hello\22,\22fields\22:{\22a\22:\22b\22}}"
    size = len(text.replace(r"\22", "."))
    for level in (0, 1, 2, 3, 9):
        path = guest("i32 i32 i32", f"(i32.const {level}) (i32.const 8) (i32.const {size})", text)
        with WasmProcessor(config(path, name, name="logs")) as processor:
            processor.process_traces(b"")
    for level in (-4, 0, 4, 8, 9, 11):
        more = text.replace("{", rf"{{\22level\22:{level},", 1)
        path = guest("i32 i32", f"(i32.const 8) (i32.const {len(more.replace(chr(92) + '22', '.'))})", more)
        with WasmProcessor(config(path, name, name="logs")) as processor:
            processor.process_traces(b"")
    assert [each.levelname for each in caplog.records] == (
        "DEBUG INFO WARNING ERROR INFO DEBUG INFO WARNING ERROR CRITICAL CRITICAL".split()
    )
    for record in caplog.records:
        assert record.name == "pywasmrt.guest.logs"
        assert record.getMessage() == "hello a=b"
        assert record.fields == {"a": "b"}  # type: ignore[attr-defined]


def test_what_is_no_json_is_logged_as_it_is(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write(
        tmp_path,
        r"""(module (import "otelwasm" "logMessage" (func $log (param i32 i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "oh\ff")
          (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
          (func (export "processTraces") (result i32) (call $log (i32.const 0) (i32.const 3)) (i32.const 0)))""",
    )
    with caplog.at_level(logging.INFO, "pywasmrt.guest.guest"), WasmProcessor(config(path, name)) as processor:
        processor.process_traces(b"")
    assert [each.getMessage() for each in caplog.records] == ["oh\ufffd"]


TEXTS = st.text(st.sampled_from("a\\\ud83d\ude00\udfff\N{PILE OF POO}"), max_size=5)
JSON = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@given(JSON, JSON)
def test_whatever_a_guest_logs_can_be_written(message: Any, fields: Any) -> None:
    """JSON may hold half a surrogate pair; no handler can write that to a file or send it on."""
    written = io.TextIOWrapper(io.BytesIO(), "utf-8")
    handler = logging.StreamHandler(written)
    handler.handleError = lambda record: pytest.fail(f"{record.msg} was lost")  # type: ignore[method-assign]
    handler.format = lambda record: (  # type: ignore[method-assign]
        record.getMessage() + json.dumps(record.fields, ensure_ascii=False)  # type: ignore[attr-defined]
    )
    logger = logging.getLogger("pywasmrt.guest.anything")
    logger.addHandler(handler)
    try:
        GuestLog("anything").json(3, json.dumps({"message": message, "fields": fields}).encode())
    finally:
        logger.removeHandler(handler)


def test_a_log_message_of_another_shape_is_refused(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path,
        """(module (import "otelwasm" "logMessage" (func (param i64)))
          (memory (export "memory") 1) (func (export "getSupportedTelemetry") (result i32) (i32.const 4)))""",
    )
    with pytest.raises(
        GuestProtocolError, match=r"logMessage: function \(i64\) -> \(\); it is \(i32, i32, i32\) -> \(\)"
    ):
        WasmPlugin(config(path, name))


# Loading


NO_MEMORY = '(module (func (export "getSupportedTelemetry") (result i32) (i32.const 4)))'
NO_FUNCTION = '(module (memory (export "memory") 1) (func (export "getSupportedTelemetry") (result i32) (i32.const 4)))'
NOTHING = '(module (memory (export "memory") 1))'
WRONG_TYPE = """(module (memory (export "memory") 1) (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "processTraces") (param i32) (result i32) (i32.const 0)))"""
NO_IMPORT = """(module (import "otelwasm" "otelwasm_fly" (func)) (memory (export "memory") 1)
  (func (export "getSupportedTelemetry") (result i32) (i32.const 4)) (func (export "processTraces") (result i32)
  i32.const 0))"""
WRONG_IMPORT = NO_IMPORT.replace('"otelwasm_fly" (func)', '"getPluginConfig" (func (param i64))')
NO_ALLOCATE = """(module (memory (export "memory") 1) (func (export "otelwasm_abi_version_0_1_0"))
  (func (export "otelwasm_get_supported_telemetry") (result i32) (i32.const 4))
  (func (export "otelwasm_consume_traces") (param i32 i32) (result i32) (i32.const 0)))"""
TRAPS_AT_START = """(module (memory (export "memory") 1) (func (export "getSupportedTelemetry") (result i32) (i32.const
4))
  (func (export "processTraces") (result i32) i32.const 0) (func $start unreachable) (start $start))"""


@pytest.mark.parametrize(
    ("wat", "error", "message"),
    [
        (NO_MEMORY, MemoryExportNotFoundError, "exports no memory called 'memory'"),
        (NO_FUNCTION, FunctionNotExportedError, "does not export the function processTraces"),
        (NOTHING, FunctionNotExportedError, "does not export the function processTraces"),
        (WRONG_TYPE, GuestProtocolError, r"processTraces as \(i32\) -> \(i32\); the ABI wants \(\) -> \(i32\)"),
        (NO_IMPORT, ModuleInstantiateError, "otelwasm_fly"),
        (WRONG_IMPORT, ModuleInstantiateError, "getPluginConfig"),
        (NO_ALLOCATE, FunctionNotExportedError, "does not export otelwasm_memory_allocate"),
        (TRAPS_AT_START, pywasmrt.Trap, "unreachable"),
    ],
)
def test_a_guest_that_cannot_serve_is_refused_and_everything_closed(
    tmp_path: Path, name: str, wat: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    original = pywasmrt.registry.new_runtime

    def new_runtime(*args: Any) -> Any:
        made.append(original(*args))
        return made[-1]

    monkeypatch.setattr("pywasmrt.plugin.plugin.new_runtime", new_runtime)
    with pytest.raises(error, match=message):
        WasmPlugin(config(write(tmp_path, wat), name), ["processTraces"])
    assert [runtime.closed for runtime in made] == [True]


def test_a_file_that_is_no_module_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "guest.wasm"
    path.write_bytes(b"\0asm\1\0\0\0\xff")
    with pytest.raises(ModuleCompileError, match=r"guest\.wasm: "):
        WasmPlugin(config(path, name))
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=r"^path: the guest's module cannot be read: "):
        WasmPlugin(config(tmp_path / "missing.wasm", name))


@each_abi
def test_what_a_guest_supports_is_judged_by_its_answer(abi: str, name: str) -> None:
    # It exports every function of a processor, and says that it handles traces alone.
    guest = c_guest("traces", abi, SILENT.replace("OTELWASM_TRACES | OTELWASM_METRICS | OTELWASM_LOGS", "4"))
    with WasmProcessor(config(guest, name)) as processor:
        assert processor.signals == ("traces",)
        with pytest.raises(pywasmrt.WasmError, match=r"the guest handles traces, not logs"):
            processor.process_logs(b"")
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=r"does not support logs, only traces"):
        WasmProcessor(config(guest, name), ["traces", "logs"])


def test_an_experimental_processor_is_no_exporter(name: str) -> None:
    with pytest.raises(
        pywasmrt.WasmError, match=r"is no exporter: .* exports none of pushTraces, pushMetrics, pushLogs"
    ):
        WasmExporter(config(c_guest("echo"), name))


def test_what_an_exporter_sets_as_a_result_is_counted(name: str) -> None:
    with WasmExporter(config(c_guest("echo", "v1"), name)) as exporter:
        exporter.push_logs(b"abc")
        assert exporter.plugin.discarded_results == 1
