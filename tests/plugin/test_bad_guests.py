"""Guests that misbehave: the component tells why, counts the batch as failed, and goes on with the next."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.plugin_guests import binary, c_guest, config, runtime_names

import pywasmrt
from pywasmrt.errors import BusyError, Trap
from pywasmrt.otel import TelemetryError, WasmExporter, WasmProcessor, WasmReceiver
from pywasmrt.plugin import GuestProtocolError, Stack, WasmPlugin

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


@pytest.fixture
def name(runtime: pywasmrt.Runtime) -> str:
    return runtime.info.name


def serve_after(processor: WasmProcessor, bad: bytes = b"xbad") -> TelemetryError:
    """Two bad batches between good ones: the error of the first."""
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


# Several threads, and calls from within


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
    while not processor.plugin._ending:
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
        before, processor.plugin._host.config_json = processor.plugin._host.config_json, b"{...}"
        for _ in range(2):
            with pytest.raises(TelemetryError, match=r"otelwasm_start answered ERROR"):
                processor.process_traces(b"a")
        processor.plugin._host.config_json = before
        with pytest.raises(TelemetryError, match=r"unreachable"):
            processor.process_traces(b"a")
        assert processor.counters("traces").failed_batches == 4


# Guests that do not end


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


processor: Any = type("Consumer", (), {f"consume_{signal}": print for signal in ("traces", "metrics", "logs")})()

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
