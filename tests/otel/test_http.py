"""Sending OTLP over HTTP."""

from __future__ import annotations

import base64
import contextlib
import logging
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for module in ("opentelemetry.sdk", "opentelemetry.proto", "opentelemetry.exporter.otlp.proto.common"):
    pytest.importorskip(module, reason="needs the extra otel")

from helpers.plugin_endpoint import Endpoint, otlp_endpoint  # noqa: E402

import pywasmrt  # noqa: E402
from pywasmrt import InvalidConfigurationError  # noqa: E402
from pywasmrt.otel import TelemetryError  # noqa: E402
from pywasmrt.otel.environment import otlp_sender  # noqa: E402
from pywasmrt.otel.http import OtlpHttpSender  # noqa: E402


@pytest.fixture
def sending(endpoint: Endpoint) -> Iterator[Any]:
    """Makes senders, and shuts them down in the end."""
    made: list[OtlpHttpSender] = []

    def make(url: str = endpoint.url, **arguments: Any) -> OtlpHttpSender:
        made.append(OtlpHttpSender(url, **arguments))
        return made[-1]

    yield make
    for each in made:
        each.shutdown()


def test_what_may_pass_is_tried_again(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    sender = OtlpHttpSender(endpoint.url)
    monkeypatch.setattr(sender._stopped, "wait", lambda pause: pauses.append(pause))
    monkeypatch.setattr("random.uniform", lambda low, high: (low + high) / 2)
    endpoint.answers += [(503, {}), (429, {"Retry-After": "0.25"}), (502, {}), (504, {"Retry-After": "nonsense"})]
    with caplog.at_level(logging.WARNING):
        sender.consume_logs(b"")
    assert pauses == [1, 0.25, 4, 8]
    assert len(endpoint.wait("logs")) == 1
    assert caplog.text.count("trying again") == 4
    sender.shutdown()


@pytest.mark.parametrize(("status", "permanent", "requests"), [(400, True, 1), (404, True, 1), (503, False, 6)])
def test_what_does_not_pass_is_an_error(
    endpoint: Endpoint,
    sending: Any,
    status: int,
    permanent: bool,
    requests: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender = sending(timeout=1000)
    monkeypatch.setattr(sender._stopped, "wait", lambda pause: None)
    endpoint.answers += [(status, {})] * 10
    with pytest.raises(TelemetryError) as caught:
        sender.consume_traces(b"x")
    assert (caught.value.status, caught.value.permanent) == (status, permanent)
    assert f"answered HTTP {status} (traces)" in str(caught.value)
    assert len(endpoint.raw) == requests
    assert endpoint.raw[0][0] == "/v1/traces"


def test_time_is_bounded(endpoint: Endpoint, sending: Any) -> None:
    sender = sending(timeout=0.3)
    endpoint.answers += [(503, {"Retry-After": "60"})]
    with pytest.raises(TelemetryError) as caught:
        sender.consume_traces(b"x")
    assert caught.value.retryable


def test_time_is_bounded_for_an_answer_that_comes_in_drops(sending: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not done.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(TelemetryError, match="TimeoutError") as caught:
                sending(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.3).consume_traces(b"x")
        finally:
            done.set()
            thread.join(60)
        assert caught.value.retryable


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("http://" + "a" * 70 + ".example", {}),
        ("http://127.0.0.1/a b", {}),
        ("http://127.0.0.1/\u00e9", {}),
        ("http://127.0.0.1", {"headers": {"key": "a\r\nX: y"}}),
        ("http://127.0.0.1", {"headers": {"a key": "x"}}),
        ("http://127.0.0.1", {"headers": {"key": "\u1234"}}),
        ("http://127.0.0.1", {"timeout": float("nan")}),
        ("http://127.0.0.1", {"timeout": float("inf")}),
        ("http://127.0.0.1", {"timeout": 0}),
    ],
)
def test_what_could_never_be_sent_is_refused_at_once(url: str, arguments: Any) -> None:
    with pytest.raises(InvalidConfigurationError):
        OtlpHttpSender(url, **arguments)


@pytest.mark.parametrize("signal", ["trace", "", 1, None])
def test_the_signals_of_a_mapping_are_known(signal: Any) -> None:
    with pytest.raises(InvalidConfigurationError, match="a URL for each of traces, metrics, logs, not for"):
        OtlpHttpSender({signal: "http://127.0.0.1"})


def test_a_signal_without_a_url_is_an_error_that_stays() -> None:
    sender = OtlpHttpSender({"traces": "http://127.0.0.1:1"})
    with pytest.raises(TelemetryError, match=r"\(logs\): there is no URL for it, only for traces") as caught:
        sender.consume_logs(b"")
    assert caught.value.permanent
    assert caught.value.status is None


def test_the_user_of_a_url_is_sent_as_basic_authorization(endpoint: Endpoint, sending: Any) -> None:
    url = endpoint.url.replace("://", "://me%40home:p%3A%C3%A4@")
    sending(url).consume_logs(b"")
    _, headers, _ = endpoint.raw[0]
    assert headers["Authorization"] == "Basic " + base64.b64encode("me@home:p:\u00e4".encode()).decode()
    with pytest.raises(InvalidConfigurationError, match="give one of them") as caught:
        sending(url, headers={"authorization": "Bearer x"})
    assert "home" not in str(caught.value)
    sending(endpoint.url, headers={"authorization": "Bearer x"}).consume_logs(b"")
    assert endpoint.raw[1][1]["authorization"] == "Bearer x"


def test_an_endpoint_that_is_not_there_is_an_error_that_may_pass() -> None:
    with otlp_endpoint() as gone:
        pass
    sender = OtlpHttpSender(gone.url, timeout=0.2)
    with pytest.raises(TelemetryError, match=r"ConnectionRefusedError") as caught:
        sender.consume_traces(b"x")
    assert caught.value.status is None
    assert caught.value.retryable


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_connections_are_kept_and_bodies_compressed(endpoint: Endpoint, sending: Any, compression: str) -> None:
    sender = sending(endpoint.url + "/", compression=compression)
    for _ in range(3):
        sender.consume_metrics(b"")
    assert len(endpoint.wait("metrics", 3)) == 3
    assert len(sender._connections) == 1
    endpoint.answers.append((200, {"Connection": "close"}))
    sender.consume_metrics(b"")
    sender.consume_metrics(b"")
    assert len(endpoint.wait("metrics", 5)) == 5
    sender.shutdown()


def test_https_trusts_the_certificate_that_it_is_told(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl, to make a certificate")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1".split()
    )
    subprocess.run([openssl, *command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with otlp_endpoint(tls) as serving:
        sender = otlp_sender("logs", serving.url, {"OTEL_EXPORTER_OTLP_CERTIFICATE": certificate})
        sender.consume_logs(b"")
        sender.shutdown()
        assert len(serving.wait("logs")) == 1
        strict = OtlpHttpSender(serving.url, timeout=0.2)
        with pytest.raises(TelemetryError, match=r"CERTIFICATE_VERIFY_FAILED"):
            strict.consume_logs(b"")
        strict.shutdown()
    with pytest.raises(
        pywasmrt.InvalidConfigurationError, match=r"the certificates of an OTLP endpoint cannot be used"
    ):
        OtlpHttpSender("https://x", certificate=str(tmp_path / "missing"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "localhost:4318",
        "http://",
        "http://x:99999",
        "http://x:y",
        "http://[::1",
        "http://[::zz]:1",
        "http://a b:1",
    ],
)
def test_an_endpoint_is_a_url(url: str) -> None:
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=r"an OTLP endpoint"):
        OtlpHttpSender(url)


def test_the_senders_settings_come_from_the_sdks_variables() -> None:
    environment = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h/full", "OTEL_EXPORTER_OTLP_TIMEOUT": "3"}
    sender = otlp_sender("traces", None, environment)
    assert sender._urls["traces"].shown == "http://h/full"
    assert sender._timeout == 3
    assert otlp_sender("traces", "http://own", environment)._urls["traces"].shown == "http://own/v1/traces"
    assert otlp_sender("logs", None, {})._urls["logs"].shown == "http://localhost:4318/v1/logs"
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=r"TIMEOUT is a number of seconds"):
        otlp_sender("logs", None, {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"})
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=r"compression is one of"):
        OtlpHttpSender("http://x", compression="zip")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "^OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'.*OTEL_EXPORTER_WASM_ENDPOINT",
        ),
        ({"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json"}, "^OTEL_EXPORTER_OTLP_LOGS_PROTOCOL is"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=b,secret"}, "^OTEL_EXPORTER_OTLP_HEADERS is a list of name=value"),
        ({"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "soon"}, "^OTEL_EXPORTER_OTLP_LOGS_TIMEOUT is a number of seconds"),
    ],
)
def test_what_is_wrong_with_the_sdks_variables_is_told_by_its_name(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=message):
        otlp_sender("logs", None, environment)


def test_the_sdks_variables_are_read_as_the_sdk_reads_them() -> None:
    sender = otlp_sender(
        "logs",
        None,
        {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "GZIP",
            "OTEL_EXPORTER_OTLP_HEADERS": "x%2Dkey = v%3D1 ,, other=",
        },
    )
    assert sender._compression == "gzip"
    assert (sender._headers["x-key"], sender._headers["other"]) == ("v=1", "")
    otlp_sender("logs", "http://127.0.0.1:4318", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})  # that of another exporter


@pytest.mark.parametrize(
    ("rejected", "message", "logged"),
    [
        (3, "too old", "rejected 3 items (logs): too old"),
        (1, "", "rejected 1 items (logs): it gave no reason"),
        (0, "", ""),
    ],
)
def test_what_an_endpoint_rejects_of_a_batch_is_logged(
    endpoint: Endpoint, sending: Any, caplog: pytest.LogCaptureFixture, rejected: int, message: str, logged: str
) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = rejected
    answer.partial_success.error_message = message
    endpoint.body = answer.SerializeToString()
    sending().send("logs", b"")
    assert [each.getMessage().split("/v1/logs ")[-1] for each in caplog.records] == ([logged] if logged else [])


@pytest.mark.parametrize("body", [b"{}", b"<html>", b"\x0a\xff", b"ok"])
def test_an_answer_that_is_no_otlp_is_no_failure(
    endpoint: Endpoint, sending: Any, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    endpoint.body = body
    sending().send("logs", b"")
    assert caplog.records == []
