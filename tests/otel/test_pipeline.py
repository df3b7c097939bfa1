"""The components together: receiver, processor and exporter guests, with real sockets on loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.plugin_guests import ABIS, c_guest, config, runtime_names

pytest.importorskip("opentelemetry.proto", reason="needs opentelemetry-proto")
pytest.importorskip("pywasmrt.wasi", reason="needs WASI")

from helpers.plugin_endpoint import Endpoint, otlp_endpoint
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

import pywasmrt
from pywasmrt.otel import TelemetryError, WasmExporter, WasmProcessor, WasmReceiver

NAMES = runtime_names()
SIGNALS = ("traces", "metrics", "logs")


@pytest.fixture
def name(runtime: pywasmrt.Runtime) -> str:
    return runtime.info.name


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with otlp_endpoint() as serving:
        yield serving


class Keeper:
    """A consumer that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.came = threading.Condition()

    def _keep(self, signal: str, data: bytes) -> None:
        with self.came:
            self.got.append((signal, data))
            self.came.notify_all()

    def consume_traces(self, data: bytes) -> None:
        self._keep("traces", data)

    def consume_metrics(self, data: bytes) -> None:
        self._keep("metrics", data)

    def consume_logs(self, data: bytes) -> None:
        self._keep("logs", data)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def receiving(port: int, runtime: str | None = None, abi: str = "experimental", **others: Any) -> dict[str, Any]:
    plugin_config = {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}
    return config(c_guest("otlp_receiver", abi), runtime, plugin_config=plugin_config, **others)


def exporting(url: str, runtime: str | None = None, abi: str = "experimental", **others: Any) -> dict[str, Any]:
    return config(c_guest("otlphttp_exporter", abi), runtime, plugin_config={"endpoint": url, **others})


OPENED: list[http.client.HTTPConnection] = []


@pytest.fixture(autouse=True)
def _closed_in_the_end() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def connected(port: int, seconds: float = 20) -> http.client.HTTPConnection:
    """A connection, once somebody listens."""
    end = time.monotonic() + seconds
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        OPENED.append(connection)
        try:
            connection.connect()
            return connection
        except OSError:
            connection.close()
            assert time.monotonic() < end, "nobody listens"
            time.sleep(0.01)


def post(connection: http.client.HTTPConnection, path: str, body: Any, **headers: str) -> int:
    connection.request("POST", path, body, {"Content-Type": "application/x-protobuf", **headers})
    response = connection.getresponse()
    response.read()
    return response.status


# Exporters


@pytest.mark.parametrize("abi", ABIS)
def test_the_exporter_sends_every_signal(abi: str, name: str, endpoint: Endpoint) -> None:
    data = TracesData()
    data.resource_spans.add().scope_spans.add().spans.add(name="x" * 1000)
    with WasmExporter(exporting(endpoint.url, name, abi)) as exporter:
        assert exporter.signals == SIGNALS
        for _ in range(3):
            exporter.push_traces(data.SerializeToString())
        exporter.push_metrics(b"")
        exporter.push_logs(b"")
        assert [each.SerializeToString() for each in endpoint.received["traces"]] == [data.SerializeToString()] * 3
        assert len(endpoint.received["metrics"]) == len(endpoint.received["logs"]) == 1
        assert exporter.counters("traces").succeeded_items == 3
        assert exporter.plugin.restarts == 0


def test_the_exporter_sends_4_mib(name: str, endpoint: Endpoint) -> None:
    data = LogsData()
    data.resource_logs.add().scope_logs.add().log_records.add().body.bytes_value = bytes(4 << 20)
    with WasmExporter(exporting(endpoint.url, name)) as exporter:
        exporter.push_logs(data.SerializeToString())
    assert endpoint.received["logs"][0].SerializeToString() == data.SerializeToString()


@pytest.mark.parametrize(("status", "permanent"), [(503, False), (429, False), (400, True), (404, True)])
def test_what_the_endpoint_refuses_is_an_error(name: str, endpoint: Endpoint, status: int, permanent: bool) -> None:
    endpoint.answers.append((status, {}))
    with WasmExporter(exporting(endpoint.url, name)) as exporter:
        with pytest.raises(TelemetryError, match=rf"the endpoint answered {status}") as caught:
            exporter.push_traces(b"")
        assert caught.value.permanent is permanent
        exporter.push_traces(b"")
        assert len(endpoint.received["traces"]) == 1


def test_an_endpoint_that_closed_the_connection_is_asked_again(name: str, endpoint: Endpoint) -> None:
    with WasmExporter(exporting(endpoint.url, name)) as exporter:
        for _ in range(3):
            endpoint.answers.append((200, {"Connection": "close"}))
            exporter.push_traces(b"")
        assert len(endpoint.received["traces"]) == 3


def test_an_endpoint_that_is_not_there_is_an_error_that_may_pass(name: str) -> None:
    with (
        WasmExporter(exporting(f"http://127.0.0.1:{free_port()}", name)) as exporter,
        pytest.raises(TelemetryError, match=r"the endpoint did not answer") as caught,
    ):
        exporter.push_traces(b"")
    assert caught.value.retryable


def test_the_network_can_be_denied(name: str, endpoint: Endpoint) -> None:
    denied = {**exporting(endpoint.url, name), "wasi": {"network": False}}
    with WasmExporter(denied) as exporter, pytest.raises(TelemetryError, match=r"the endpoint did not answer"):
        exporter.push_traces(b"")
    assert endpoint.raw == []
    listed = {**exporting(endpoint.url, name), "wasi": {"network": {"connect": [f"127.0.0.1:{endpoint.port}"]}}}
    with WasmExporter(listed) as exporter:
        exporter.push_traces(b"")


def test_the_stdout_exporter_writes_lines(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = TracesData()
    span = (
        data.resource_spans.add()
        .scope_spans.add()
        .spans.add(name='a "name"\n', trace_id=b"\x01" * 16, span_id=b"\xab" * 8)
    )
    for key, value in (("s", {"string_value": "ä"}), ("i", {"int_value": -(2**63)}), ("b", {"bool_value": True})):
        attribute = span.attributes.add(key=key)
        for field, content in value.items():
            setattr(attribute.value, field, content)
    lines = bytearray()
    for stdout in ("inherit", lines):
        made = config(c_guest("stdout_exporter"), name, wasi={"stdout": stdout})
        with WasmExporter(made) as exporter:
            exporter.push_traces(data.SerializeToString())
            exporter.push_metrics(b"\x0a\x06\x12\x04\x12\x02\x0a\x00")
    for text in (capfd.readouterr().out, lines.decode()):
        assert [json.loads(line) for line in text.splitlines()] == [
            {
                "signal": "traces",
                "name": 'a "name"\n',
                "trace_id": "01" * 16,
                "span_id": "ab" * 8,
                "attributes": {"s": "ä", "i": -(2**63), "b": True},
            },
            {"signal": "metrics", "name": "", "attributes": {}},
        ]


def test_output_can_be_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    made = config(c_guest("stdout_exporter"), name, wasi={"stdout": "log"}, name="out")
    with caplog.at_level(logging.INFO, "pywasmrt.guest.out"), WasmExporter(made) as exporter:
        exporter.push_metrics(b"\x0a\x0c\x12\x0a\x12\x03\x0a\x01a\x12\x03\x0a\x01b")
    assert [json.loads(each.getMessage())["name"] for each in caplog.records] == ["a", "b"]


# Receivers


@pytest.mark.parametrize("abi", ABIS)
def test_one_receiver_serves_every_signal_on_one_port(abi: str, name: str) -> None:
    keeper = Keeper()
    port = free_port()
    with WasmReceiver(receiving(port, name, abi), keeper) as receiver:
        receiver.start()
        connection = connected(port)
        for signal in SIGNALS:
            for body in (b"", b"\x0a\x00", bytes(100_000), bytes(range(256)) * 100):
                assert post(connection, f"/v1/{signal}", body) == 200
        assert keeper.got == [
            (signal, body) for signal in SIGNALS for body in (b"", b"\x0a\x00", bytes(100_000), bytes(range(256)) * 100)
        ]
        connection.close()
        assert receiver.counters("logs").succeeded_batches == 4
        assert receiver.running
        assert receiver.error is None
    assert not receiver.running
    assert receiver.error is None
    with pytest.raises(OSError, match=r"refused"):
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()


def test_the_receiver_speaks_http(name: str) -> None:
    keeper = Keeper()
    port = free_port()
    with WasmReceiver(receiving(port, name), keeper) as receiver:
        receiver.start()
        assert post(connected(port), "/v1/traces", iter([b"abc", b"", b"d" * 5000])) == 200  # chunked
        assert keeper.got == [("traces", b"abc" + b"d" * 5000)]
        assert post(connected(port), "/v1/spans", b"") == 404
        assert post(connected(port), "/v1/logs", b"x", **{"Content-Encoding": "gzip"}) == 415
        connection = connected(port)
        connection.request("GET", "/v1/logs")
        assert connection.getresponse().status == 405
        connection = connected(port)
        connection.request("POST", "/v1/logs", b"{}", {"Content-Type": "application/json"})
        assert connection.getresponse().status == 415
        with socket.create_connection(("127.0.0.1", port), 20) as raw:  # in pieces, then two requests at once
            request = b"POST /v1/logs HTTP/1.1\r\ncontent-type: application/x-protobuf\r\nContent-Length: 3\r\n\r\nabc"
            for piece in (request[:20], request[20:90], request[90:] + request + request):
                raw.sendall(piece)
                time.sleep(0.01)
            answers = b""
            while answers.count(b"200 OK") < 3:
                answers += raw.recv(4096)
        assert keeper.got[1:] == [("logs", b"abc")] * 3
        for bad in (
            b"\xff\n\r\n\r\n",
            b"POST /v1/logs HTTP/1.1\r\nContent-Type: application/x-protobuf\r\n\r\n",
            b"x" * 20000,
        ):
            with socket.create_connection(("127.0.0.1", port), 20) as raw:
                raw.sendall(bad)
                with contextlib.suppress(ConnectionResetError):  # it hung up with some of it unread
                    assert b"200" not in raw.recv(4096)
        assert post(connected(port), "/v1/metrics", b"still there") == 200
        assert keeper.got[-1] == ("metrics", b"still there")


def test_many_connections(name: str) -> None:
    keeper = Keeper()
    port = free_port()
    with WasmReceiver(receiving(port, name), keeper) as receiver:
        receiver.start()
        connections = [connected(port) for _ in range(20)]
        for n, connection in enumerate(connections):
            connection.request("POST", "/v1/logs", bytes([n]) * 1000, {"Content-Type": "application/x-protobuf"})
        assert [connection.getresponse().status for connection in connections] == [200] * 20
        for connection in connections:
            connection.close()
        assert sorted(data for _, data in keeper.got) == [bytes([n]) * 1000 for n in range(20)]


def test_what_the_consumer_raises_is_counted_and_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    class Picky(Keeper):
        def consume_logs(self, data: bytes) -> None:
            if data == b"bad":
                raise ValueError("no thanks")
            super().consume_logs(data)

    keeper = Picky()
    port = free_port()
    with WasmReceiver(receiving(port, name), keeper) as receiver:
        receiver.start()
        connection = connected(port)
        for body in (b"good", b"bad", b"good"):
            assert post(connection, "/v1/logs", body) == 200
        connection.close()
        found = receiver.counters("logs")
        assert (found.accepted_batches, found.succeeded_batches, found.failed_batches) == (3, 2, 1)
    assert keeper.got == [("logs", b"good")] * 2
    assert "refused 0 items (logs): no thanks" in caplog.text


def test_a_signal_that_nobody_consumes_is_counted_and_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    class OnlyTraces:
        def consume_traces(self, data: bytes) -> None:
            pass

    port = free_port()
    with WasmReceiver(receiving(port, name), OnlyTraces()) as receiver:  # type: ignore[arg-type]
        assert receiver.signals == ("traces",)
        receiver.start()
        connection = connected(port)
        for _ in range(2):
            assert post(connection, "/v1/logs", b"") == 200
        connection.close()
        assert receiver.counters("logs").failed_batches == 2
    assert caplog.text.count("which nobody here consumes") == 1
    with pytest.raises(TypeError, match=r"lacks consume_metrics, consume_logs"):
        WasmReceiver(receiving(port, name), OnlyTraces(), ["traces", "metrics", "logs"])  # type: ignore[arg-type]


def test_a_receiver_that_cannot_start_says_so(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        receiver = WasmReceiver(receiving(taken.getsockname()[1], name, name="late"), Keeper())
        with caplog.at_level(logging.INFO):
            receiver.start()
            assert receiver.wait(20)
        assert isinstance(receiver.error, pywasmrt.Trap)
        assert ("pywasmrt.guest.late", logging.ERROR, "the endpoint cannot be listened on") in caplog.record_tuples
        assert "the receiver late failed" in caplog.text
        receiver.shutdown()
        receiver.shutdown()


def test_a_receiver_starts_once(name: str) -> None:
    receiver = WasmReceiver(receiving(free_port(), name), Keeper())
    receiver.start()
    with pytest.raises(pywasmrt.WasmError, match=r"was started already"):
        receiver.start()
    receiver.shutdown()
    with pytest.raises(pywasmrt.ClosedError, match=r"was shut down"):
        receiver.start()
    never = WasmReceiver(receiving(free_port(), name), Keeper())
    never.shutdown()
    assert never.closed


# All three


def test_three_components_on_three_runtimes(endpoint: Endpoint) -> None:
    runtimes = (NAMES * 3)[:3]
    port = free_port()
    actions = [{"key": "checked", "value": True, "action": "insert"}]
    exporter = WasmExporter(exporting(endpoint.url, runtimes[2], "v1"))
    processor = WasmProcessor(
        config(c_guest("attributesprocessor", "v1-coded"), runtimes[1], plugin_config={"actions": actions}),
        next=exporter,
    )
    receiver = WasmReceiver(receiving(port, runtimes[0]), processor)
    with exporter, processor, receiver:
        receiver.start()
        connection = connected(port)
        for size in (1, 100, 10_000, 4 << 20):
            data = TracesData()
            data.resource_spans.add().scope_spans.add().spans.add(name="n" * size)
            assert post(connection, "/v1/traces", data.SerializeToString()) == 200
            (span,) = endpoint.received["traces"][-1].resource_spans[0].scope_spans[0].spans
            assert span.name == "n" * size
            assert [(each.key, each.value.bool_value) for each in span.attributes] == [("checked", True)]
        connection.close()
        assert [each.counters("traces").succeeded_items for each in (receiver, processor, exporter)] == [4, 4, 4]


@pytest.mark.parametrize("abi", ABIS)
def test_the_sdk_through_receiver_processor_and_exporter(abi: str, endpoint: Endpoint) -> None:
    """The SDK's own HTTP exporters, the receiver, the attributes processor, the exporter, a real endpoint."""
    pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the SDK's exporter over HTTP")
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    port = free_port()
    base = f"http://127.0.0.1:{port}/v1"
    first, second = (NAMES * 2)[:2]
    actions = [
        {"key": "added", "value": "by wasm", "action": "insert"},
        {"key": "secret", "action": "delete"},
        {"key": "kind", "value": "changed", "action": "update"},
    ]
    exporter = WasmExporter(exporting(endpoint.url, first, abi))
    processor = WasmProcessor(
        config(c_guest("attributesprocessor", abi), second, plugin_config={"actions": actions}), next=exporter
    )
    attributes = {"secret": "x", "kind": "original", "n": 7}
    with exporter, processor, WasmReceiver(receiving(port, first, abi), processor) as receiver:
        receiver.start()
        connected(port).close()
        tracing = TracerProvider()
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{base}/traces")))
        for n in range(3):
            with tracing.get_tracer("t").start_as_current_span(f"span {n}", attributes=attributes):
                pass
        tracing.shutdown()
        metering = MeterProvider(
            [PeriodicExportingMetricReader(OTLPMetricExporter(f"{base}/metrics"), export_interval_millis=60_000)]
        )
        metering.get_meter("m").create_histogram("h").record(1.5, attributes)
        metering.shutdown()
        logging_ = LoggerProvider()
        logging_.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{base}/logs")))
        logging_.get_logger("l").emit(
            LogRecord(timestamp=1, severity_number=SeverityNumber.WARN, body="body", attributes=attributes)
        )
        logging_.shutdown()
        spans = [
            span
            for request in endpoint.wait("traces")
            for r in request.resource_spans
            for s in r.scope_spans
            for span in s.spans
        ]
        (metric,) = endpoint.wait("metrics")[0].resource_metrics[0].scope_metrics[0].metrics
        (record,) = endpoint.wait("logs")[0].resource_logs[0].scope_logs[0].log_records
        assert sorted(span.name for span in spans) == ["span 0", "span 1", "span 2"]
        assert (metric.name, metric.histogram.data_points[0].sum) == ("h", 1.5)
        assert (record.body.string_value, record.severity_number) == ("body", 13)
        for item in (*spans, metric.histogram.data_points[0], record):
            found = {each.key: each.value.string_value or each.value.int_value for each in item.attributes}
            assert found == {"kind": "changed", "n": 7, "added": "by wasm"}
        for signal in SIGNALS:
            for component in (receiver, processor, exporter):
                assert component.counters(signal).failed_batches == 0
                assert component.counters(signal).succeeded_batches > 0
