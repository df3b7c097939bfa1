"""A guest that misbehaves on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.plugin_guests import binary
from pywasmrt.otel import TelemetryError, WasmProcessor

# A guest that misbehaves if its payload begins with "x" and gives it back otherwise.
EXPERIMENTAL = """(module
  (import "opentelemetry.io/wasm" "currentTraces" (func $current (param i32 i32) (result i32)))
  (import "opentelemetry.io/wasm" "currentLogs" (func $current_logs (param i32 i32) (result i32)))
  (import "opentelemetry.io/wasm" "setResultTraces" (func $set (param i32 i32)))
  (import "opentelemetry.io/wasm" "setResultMetrics" (func $set_metrics (param i32 i32)))
  (import "opentelemetry.io/wasm" "setResultStatusReason" (func $reason (param i32 i32)))
  (import "opentelemetry.io/wasm" "getPluginConfig" (func $config (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "processTraces") (result i32) (local $size i32)
    (local.set $size (call $current (i32.const 16) (i32.const 1024)))
    (if (i32.eq (i32.load8_u (i32.const 16)) (i32.const 120)) (then %s))
    (call $set (i32.const 16) (local.get $size))
    (i32.const 0)))"""
V1 = """(module
  (import "otelwasm" "otelwasm_set_result_traces" (func $set (param i32 i32)))
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 16))
  (func (export "otelwasm_abi_version_0_1_0"))
  (func (export "otelwasm_get_supported_telemetry") (result i32) (i32.const 4))
  (func (export "otelwasm_memory_allocate") (param $size i32) (result i32)
    (if (i32.eq (local.get $size) (i32.const 4)) (then %s)) (i32.const 16))
  (func (export "otelwasm_consume_traces") (param i32 i32) (result i32)
    (call $set (local.get 0) (local.get 1)) (i32.const 0)))"""


def write(folder: Path, wat: str) -> Path:
    path = folder / "guest.wasm"
    path.write_bytes(binary(wat))
    return path


def serve_after(processor: WasmProcessor, bad: bytes = b"xbad") -> TelemetryError:
    """Serve two bad batches between good ones, and return the error of the first."""
    assert processor.process_traces(b"right") == b"right"
    with pytest.raises(TelemetryError) as caught:
        processor.process_traces(bad)
    assert processor.process_traces(b"right again") == b"right again"
    with pytest.raises(TelemetryError) as second:
        processor.process_traces(bad)
    assert str(second.value) == str(caught.value)
    assert processor.process_traces(b"r") == b"r"
    found = processor.counters("traces")
    assert (found.accepted_batches, found.succeeded_batches, found.failed_batches) == (5, 3, 2)
    return caught.value


processor: Any = type("Consumer", (), {f"consume_{signal}": print for signal in ("traces", "metrics", "logs")})()
