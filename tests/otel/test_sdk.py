"""Exporters of the OpenTelemetry SDK through a guest."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

for module in ("opentelemetry.sdk", "opentelemetry.proto", "opentelemetry.exporter.otlp.proto.common"):
    pytest.importorskip(module, reason="needs the extra otel")

from helpers.plugin_endpoint import Endpoint  # noqa: E402
from helpers.plugin_guests import binary, c_guest, config  # noqa: E402
from opentelemetry import context  # noqa: E402
from opentelemetry.sdk._logs import LoggerProvider  # noqa: E402
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor  # noqa: E402
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult  # noqa: E402

import pywasmrt  # noqa: E402
from pywasmrt.otel.environment import settings_from_environment  # noqa: E402
from pywasmrt.otel.sdk import WasmLogRecordExporter, WasmMetricExporter, WasmSpanExporter  # noqa: E402

ADD = {"actions": [{"key": "team", "value": "blue", "action": "insert"}]}
ROOT = Path(__file__).resolve().parents[2]


def attributes() -> dict[str, Any]:
    return config(c_guest("attributesprocessor"), plugin_config=ADD)


def named(item: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value for each in item.attributes}


def a_span(exporter: WasmSpanExporter, name: str = "work") -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span(name, attributes={"own": "yes"}):
        pass


def test_spans_pass_a_processor_on_their_way(endpoint: Endpoint) -> None:
    exporter = WasmSpanExporter(processors=[attributes()], endpoint=endpoint.url)
    a_span(exporter)
    (request,) = endpoint.wait("traces")
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert span.name == "work"
    assert named(span) == {"own": "yes", "team": "blue"}
    assert endpoint.raw[0][1]["Content-Type"] == "application/x-protobuf"
    assert (exporter.counters.succeeded_items, exporter.counters.failed_items) == (1, 0)
    assert exporter.force_flush()
    exporter.shutdown()
    exporter.shutdown()


def test_metrics_pass_a_processor_on_their_way(endpoint: Endpoint) -> None:
    exporter = WasmMetricExporter(processors=[attributes()], endpoint=endpoint.url)
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)])
    provider.get_meter("test").create_counter("hits").add(5, {"own": "yes"})
    assert provider.force_flush()
    (metric,) = endpoint.wait("metrics")[0].resource_metrics[0].scope_metrics[0].metrics
    (point,) = metric.sum.data_points
    assert (metric.name, point.as_int, named(point)) == ("hits", 5, {"own": "yes", "team": "blue"})
    provider.shutdown()


def test_log_records_pass_a_processor_on_their_way(endpoint: Endpoint) -> None:
    exporter = WasmLogRecordExporter(processors=[attributes()], endpoint=endpoint.url)
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    from opentelemetry._logs import LogRecord, SeverityNumber

    provider.get_logger("test").emit(
        LogRecord(
            timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, body="hello", attributes={"own": "yes"}
        )
    )
    (record,) = endpoint.wait("logs")[0].resource_logs[0].scope_logs[0].log_records
    assert record.body.string_value == "hello"
    assert named(record) == {"own": "yes", "team": "blue"}
    provider.shutdown()


FAILING = """(module (memory (export "memory") 1) (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "pushTraces") (result i32) %s))"""


@pytest.mark.parametrize("body", ["unreachable", "(i32.const 1)"])
def test_a_failing_guest_is_logged_and_counted_and_never_raised(
    tmp_path: Path, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "guest.wasm"
    path.write_bytes(binary(FAILING % body))
    exporter = WasmSpanExporter(config(path))
    for _ in range(2):
        a_span(exporter)
    assert exporter.counters.failed_items == 2
    assert exporter.counters.failed_batches == 2
    assert [each.getMessage()[:43] for each in caplog.records if each.levelname == "ERROR"] == [
        "a batch of 1 items (traces) was not exporte"
    ] * 2
    exporter.shutdown()
    assert exporter.export([]) is SpanExportResult.FAILURE
    assert "was shut down" in caplog.text


def test_what_comes_after_the_shutdown_is_counted(endpoint: Endpoint) -> None:
    exporter = WasmSpanExporter(processors=[attributes()], endpoint=endpoint.url)
    exporter.shutdown()
    a_span(exporter)
    assert (exporter.counters.failed_items, exporter.counters.failed_batches) == (1, 1)


LOGGING = """(module
  (import "opentelemetry.io/wasm" "logMessage" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{}")
  (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "pushTraces") (result i32)
    (call $log (i32.const 3) (i32.const 0) (i32.const 2))
    (i32.const %d)))"""


@pytest.mark.parametrize("status", [0, 1])
def test_logging_that_is_exported_itself_does_not_go_round(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An application's logging may end in the exporter, and what guests and exporters log is part of it."""

    class Exporting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            a_span(exporter, "log")

    path = tmp_path / "guest.wasm"
    path.write_bytes(binary(LOGGING % status))
    exporter = WasmSpanExporter(config(path))
    handler = Exporting()
    logging.getLogger("pywasmrt").addHandler(handler)
    try:
        a_span(exporter)
    finally:
        logging.getLogger("pywasmrt").removeHandler(handler)
    logged = [each.name for each in caplog.records if each.levelname == "ERROR"]
    assert logged == ["pywasmrt.guest.guest"] + ["pywasmrt.otel.export"] * status
    assert exporter.counters.failed_items == len(logged) + status  # what came from within, and what failed itself
    assert exporter.counters.succeeded_items == 1 - status
    exporter.shutdown()


def test_instrumentation_is_suppressed_while_a_guest_runs(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = WasmSpanExporter(processors=[attributes()], endpoint=endpoint.url)
    seen: list[object] = []
    original = exporter._chain.last.consume_traces
    monkeypatch.setattr(
        exporter._chain.last,
        "consume_traces",
        lambda data: (seen.append(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY)), original(data)),
    )
    assert exporter.export([]) is SpanExportResult.SUCCESS  # nothing is left to send: an empty payload stops
    a_span(exporter)
    assert seen == [True]
    assert context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY) is None
    exporter.shutdown()


def test_what_is_made_before_a_failure_is_shut_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    original = pywasmrt.otel.chain.WasmProcessor

    def processor(*args: Any) -> Any:
        made.append(original(*args))
        return made[-1]

    monkeypatch.setattr("pywasmrt.otel.chain.WasmProcessor", processor)
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=r"cannot be read"):
        WasmSpanExporter(processors=[attributes(), tmp_path / "missing.wasm"])
    assert [each.closed for each in made] == [True]


def test_the_environment_configures_a_chain(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "attributes.yaml").write_text(
        f"path: {c_guest('attributesprocessor')}\nplugin_config:\n  actions:\n"
        "  - {key: team, value: red, action: insert}\nruntime_config: {type: auto}\n"
    )
    monkeypatch.setenv("OTEL_EXPORTER_WASM_PROCESSORS", f"{tmp_path / 'attributes.yaml'}, {c_guest('echo')}")
    monkeypatch.setenv("OTEL_EXPORTER_WASM_RUNTIME", "auto")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b, other=c")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    exporter = WasmSpanExporter()
    a_span(exporter)
    (span,) = endpoint.wait("traces")[0].resource_spans[0].scope_spans[0].spans
    assert named(span) == {"own": "yes", "team": "red"}
    headers = endpoint.raw[0][1]
    assert (headers["x-key"], headers["other"], headers["Content-Encoding"]) == ("a b", "c", "gzip")
    exporter.shutdown()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "OTEL_EXPORTER_WASM_MODULE or OTEL_EXPORTER_WASM_PROCESSORS is required"),
        ({"OTEL_EXPORTER_WASM_MODULE": "a.wasm", "OTEL_EXPORTER_WASM_CONFIG": "{"}, "OTEL_EXPORTER_WASM_CONFIG is a"),
        ({"OTEL_EXPORTER_WASM_MODULE": "a.wasm", "OTEL_EXPORTER_WASM_CONFIG": "[]"}, "an object; not"),
        (
            {"OTEL_EXPORTER_WASM_TRACES_MODULE": "a.wasm", "OTEL_EXPORTER_WASM_RUNTIME": "wamr"},
            "OTEL_EXPORTER_WASM_TRACES_MODULE: a.wasm: runtime_config.type: the runtime 'wamr' is not installed",
        ),
        (
            {"OTEL_EXPORTER_WASM_MODULE": "a.wasm", "OTEL_EXPORTER_WASM_PROCESORS": "scrub.wasm"},
            "^there is no variable OTEL_EXPORTER_WASM_PROCESORS; did you mean 'OTEL_EXPORTER_WASM_PROCESSORS'",
        ),
        ({"OTEL_EXPORTER_WASM_PROCESSORS": "/no/such.yaml"}, "OTEL_EXPORTER_WASM_PROCESSORS: /no/such.yaml: "),
    ],
)
def test_what_is_wrong_in_the_environment_is_told_by_its_variable(environment: dict[str, str], message: str) -> None:
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=message):
        settings_from_environment("traces", environment)


def test_variables_of_the_signal_come_first() -> None:
    environment = {
        "OTEL_EXPORTER_WASM_MODULE": "a.wasm",
        "OTEL_EXPORTER_WASM_LOGS_MODULE": "b.wasm",
        "OTEL_EXPORTER_WASM_CONFIG": '{"x": 1}',
        "OTEL_EXPORTER_WASM_ENDPOINT": "http://e",
    }
    traces, logs = (settings_from_environment(signal, environment) for signal in ("traces", "logs"))
    assert (traces.module and traces.module.path, logs.module and logs.module.path) == ("a.wasm", "b.wasm")
    assert logs.module is not None
    assert logs.module.plugin_config == {"x": 1}
    assert logs.endpoint == "http://e"


def test_arguments_without_a_guest_are_refused() -> None:
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=r"module or processors is required"):
        WasmSpanExporter(endpoint="http://x")
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=r"a guest is given as a path, a mapping"):
        WasmSpanExporter(3)  # type: ignore[arg-type]


def test_the_entry_points_name_the_exporters() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for signal, exporter in (
        ("traces", WasmSpanExporter),
        ("metrics", WasmMetricExporter),
        ("logs", WasmLogRecordExporter),
    ):
        group = f"[project.entry-points.opentelemetry_{signal}_exporter]"
        assert f'{group}\nwasm = "{exporter.__module__}:{exporter.__name__}"\n' in text


PROGRAM = """
import os
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator()._configure(auto_instrumentation_version="0")
from opentelemetry import trace
with trace.get_tracer("t").start_as_current_span("auto"):
    pass
trace.get_tracer_provider().shutdown()
"""
DISTRIBUTION = """Metadata-Version: 2.1
Name: pywasmrt-entry-points
Version: 0
"""


def test_otel_traces_exporter_wasm_works(endpoint: Endpoint, tmp_path: Path) -> None:
    """The SDK finds the exporter by its entry point, as an installed package has it."""
    import os

    info = tmp_path / "pywasmrt_entry_points-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(DISTRIBUTION)
    (info / "entry_points.txt").write_text(
        "[opentelemetry_traces_exporter]\nwasm = pywasmrt.otel.sdk:WasmSpanExporter\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(pywasmrt.__file__).parent.parent)]),
        "OTEL_TRACES_EXPORTER": "wasm",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_WASM_PROCESSORS": str(c_guest("echo")),
        "OTEL_EXPORTER_WASM_ENDPOINT": endpoint.url,
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (span,) = endpoint.wait("traces")[0].resource_spans[0].scope_spans[0].spans
    assert span.name == "auto"
