"""Guests that misbehave, and any calls of the host with any arguments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.bad_guests import EXPERIMENTAL, V1, serve_after, write
from helpers.plugin_guests import c_guest, config, runtime_names

import pywasmrt
from pywasmrt.errors import Trap
from pywasmrt.otel import TelemetryError, WasmProcessor
from pywasmrt.plugin import GuestProtocolError


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param("unreachable", "unreachable", id="traps"),
        pytest.param("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "divide by zero", id="divides-by-zero"),
        pytest.param("(drop (i32.load (i32.const -4)))", "out of bounds", id="reads-beyond-its-memory"),
        pytest.param(
            "(call $set (i32.const 65530) (i32.const 10))",
            r"the result \(traces\) that the guest gave is not in its memory: .*65530",
            id="result-beyond-its-memory",
        ),
        pytest.param(
            "(call $set (i32.const 0) (i32.const -1))",
            "not in its memory: .*4294967295",
            id="lies-about-the-size",
        ),
        pytest.param("(call $set (i32.const -1) (i32.const 1))", "not in its memory", id="bad-pointer"),
        pytest.param(
            "(call $reason (i32.const -8) (i32.const 70000))", "a status reason .* not in its memory", id="reason"
        ),
        pytest.param(
            "(drop (call $current (i32.const 65534) (i32.const 1024)))",
            "the guest's buffer for the current traces is not in its memory",
            id="buffer-beyond-its-memory",
        ),
        pytest.param(
            "(drop (call $config (i32.const -2) (i32.const -1)))",
            "the guest's buffer for the plugin's configuration is not in its memory",
            id="buffer-for-the-configuration",
        ),
        pytest.param(
            "(call $set (i32.const 0) (i32.const 1)) (call $set (i32.const 0) (i32.const 1))",
            "the guest set a second result in processTraces",
            id="two-results",
        ),
        pytest.param(
            "(call $set_metrics (i32.const 0) (i32.const 1))",
            "the guest called setResultMetrics during processTraces, where the batch holds traces",
            id="result-of-another-signal",
        ),
        pytest.param(
            "(drop (call $current_logs (i32.const 0) (i32.const 1)))",
            "the guest called currentLogs during processTraces, where there are no current logs",
            id="data-of-another-signal",
        ),
    ],
)
def test_an_experimental_guest_that_misbehaves(tmp_path: Path, name: str, body: str, reason: str) -> None:
    with WasmProcessor(config(write(tmp_path, EXPERIMENTAL % body), name)) as processor:
        error = serve_after(processor)
        assert error.status is None
        assert error.permanent
        assert error.signal == "traces"
        assert re.search(reason, error.reason), error.reason
        assert isinstance(error.__cause__, (Trap, GuestProtocolError))
        assert processor.plugin.restarts == 2


@pytest.mark.parametrize(
    ("body", "reason", "permanent"),
    [
        pytest.param("(return (i32.const 0))", "gave 0 for 4 bytes: no memory", False, id="allocates-nothing"),
        pytest.param("(return (i32.const -2))", "gave what is not its memory", True, id="allocates-elsewhere"),
        pytest.param("(return (i32.const 65535))", "gave what is not its memory", True, id="allocates-too-little"),
        pytest.param("unreachable", "unreachable", True, id="traps"),
        pytest.param(
            "(call $set (i32.const 0) (i32.const 1))",
            "the guest called setResultTraces outside of a call that handles telemetry, where there is no batch",
            True,
            id="sets-a-result-while-allocating",
        ),
    ],
)
def test_a_guest_of_v1_that_misbehaves_while_allocating(
    tmp_path: Path, name: str, body: str, reason: str, permanent: bool
) -> None:
    with WasmProcessor(config(write(tmp_path, V1 % body), name)) as processor:
        error = serve_after(processor)
        assert reason in error.reason
        assert error.permanent is permanent
        assert error.retryable is not permanent


def test_a_guest_that_asks_for_4_gib_gets_a_refusal(tmp_path: Path, name: str) -> None:
    body = "(if (i32.eq (memory.grow (i32.const 65535)) (i32.const -1)) (then (return (i32.const 1))))"
    with WasmProcessor(config(write(tmp_path, EXPERIMENTAL % body), name, memory_bytes=1 << 20)) as processor:
        error = serve_after(processor)
        assert (error.status, error.permanent) == (1, False)
        assert str(error) == "guest answered ERROR (traces): the guest gave no reason"
        assert processor.plugin.restarts == 0  # it answered: it knows what it does


def test_a_module_that_declares_too_much_memory_is_refused(tmp_path: Path, name: str) -> None:
    wat = (EXPERIMENTAL % "nop").replace('(memory (export "memory") 1)', '(memory (export "memory") 100)')
    with pytest.raises(pywasmrt.ModuleInstantiateError):
        WasmProcessor(config(write(tmp_path, wat), name, memory_bytes=1 << 20))


@pytest.mark.parametrize(("status", "text", "permanent"), [(1, "ERROR", False), (2, "INVALID_ARGUMENT", True)])
def test_a_status_comes_with_its_reason(tmp_path: Path, name: str, status: int, text: str, permanent: bool) -> None:
    body = f"(call $reason (i32.const 16) (local.get $size)) (return (i32.const {status}))"
    with WasmProcessor(config(write(tmp_path, EXPERIMENTAL % body), name)) as processor:
        error = serve_after(processor, b"x is wrong \xff")
        assert (error.status, error.reason, error.permanent) == (status, "x is wrong \ufffd", permanent)
        assert str(error) == f"guest answered {text} (traces): x is wrong \ufffd"
        assert error.__cause__ is None


def test_an_unknown_status_is_unsigned(tmp_path: Path, name: str) -> None:
    with WasmProcessor(config(write(tmp_path, EXPERIMENTAL % "(return (i32.const -3))"), name)) as processor:
        error = serve_after(processor)
        assert error.status == 2**32 - 3
        assert "UNKNOWN(4294967293)" in str(error)


def test_data_is_asked_for_outside_of_a_call(tmp_path: Path, name: str) -> None:
    wat = (EXPERIMENTAL % "nop").replace(
        "(result i32) (i32.const 4))", "(result i32) (drop (call $current (i32.const 0) (i32.const 9))) (i32.const 4))"
    )
    with pytest.raises(GuestProtocolError, match=r"called currentTraces outside of a call that handles telemetry"):
        WasmProcessor(config(write(tmp_path, wat), name))


def test_an_endless_recursion_is_a_trap(tmp_path: Path, name: str) -> None:
    wat = (EXPERIMENTAL % "(call $down)")[:-1] + "(func $down (call $down)))"
    with WasmProcessor(config(write(tmp_path, wat), name)) as processor:
        assert "stack" in serve_after(processor).reason


def test_what_was_counted_is_in_items(name: str) -> None:
    def field(number: int, content: bytes) -> bytes:
        return bytes((number << 3 | 2, len(content))) + content

    payload = field(1, field(2, field(2, b"") * 3))
    with WasmProcessor(config(c_guest("echo"), name)) as processor:
        processor.process_metrics(payload)
        processor.process_metrics(b"\xff")  # no OTLP: a batch of no items
        found = processor.counters("metrics")
        assert (found.accepted_items, found.succeeded_items, found.accepted_batches) == (3, 3, 2)
        assert processor.counters("logs").accepted_batches == 0


# Any calls of the host, with any arguments


try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError:  # the rest of this file runs without
    pass
else:
    NUMBERS = st.one_of(
        st.sampled_from([0, 1, 4, 16, 65535, 65536, 65537, 2**31 - 1, -(2**31), -1, -2, -65536]), st.integers(0, 70000)
    )
    FUNCTIONS = {
        "currentTraces": 2,
        "currentMetrics": 2,
        "currentLogs": 2,
        "setResultTraces": 2,
        "setResultMetrics": 2,
        "setResultLogs": 2,
        "getPluginConfig": 2,
        "setResultStatusReason": 2,
        "getShutdownRequested": 0,
        "logMessage": 2,
        "otelwasm_log": 3,
        "otelwasm_set_result_logs": 2,
        "otelwasm_get_plugin_config": 2,
    }
    FILLS = {"currentTraces", "currentMetrics", "currentLogs", "getPluginConfig", "otelwasm_get_plugin_config"}

    @st.composite
    def calls(draw: Any) -> str:
        name = draw(st.sampled_from(sorted(FUNCTIONS)))
        arguments = " ".join(f"(i32.const {draw(NUMBERS)})" for _ in range(FUNCTIONS[name]))
        returns = name in FILLS or name == "getShutdownRequested"
        return f"(drop (call ${name} {arguments}))" if returns else f"(call ${name} {arguments})"

    def hostile(body: list[str], init: list[str], status: int) -> str:
        imports = "".join(
            f'(import "{module}" "{name}" (func ${name} (param {"i32 " * count})'
            f" {'(result i32)' if name in FILLS or not count else ''}))"
            for name, count in FUNCTIONS.items()
            for module in [("otelwasm" if "_" in name else "opentelemetry.io/wasm")]
        )
        return f"""(module {imports} (memory (export "memory") 1)
          (data (i32.const 0) "{{}} not all of it is JSON")
          (func (export "_initialize") {" ".join(init)})
          (func (export "getSupportedTelemetry") (result i32) (i32.const 7))
          (func (export "processTraces") (result i32) {" ".join(body)} (i32.const {status}))
          (func (export "processLogs") (result i32)
            (call $setResultLogs (i32.const 0) (call $currentLogs (i32.const 0) (i32.const 99))) (i32.const 0)))"""

    @settings(max_examples=settings.default.max_examples * 2)
    @given(st.lists(calls(), max_size=5), st.lists(calls(), max_size=1), NUMBERS, st.binary(max_size=80))
    def test_whatever_a_guest_calls_the_next_batch_is_served(
        tmp_path_factory: pytest.TempPathFactory, body: list[str], init: list[str], status: int, payload: bytes
    ) -> None:
        path = write(tmp_path_factory.getbasetemp(), hostile(body, init, status))
        try:
            made = WasmProcessor(config(path, "wasm3" if "wasm3" in runtime_names() else None))
        except (GuestProtocolError, Trap):
            return  # refused while it started
        with made:
            error = None
            try:
                made.process_traces(payload)
            except TelemetryError as raised:
                error = raised
            assert (error is None) <= (status == 0)
            assert error is None or error.reason or error.status
            assert made.process_logs(b"next") == b"next"
