"""How long sending a payload may take: every wait gets what is left, however many there are."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers.plugin_endpoint import Endpoint, otlp_endpoint

from pywasmrt.otel import TelemetryError, connection
from pywasmrt.otel.http import OtlpHttpSender


class Clock:
    """A time that passes where a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("pywasmrt.otel.connection.time", clock)
    monkeypatch.setattr("pywasmrt.otel.http.time", clock)
    return clock


@pytest.mark.parametrize("addresses", [1, 4, 50])
def test_addresses_that_do_not_answer_share_the_time(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, addresses: int
) -> None:
    waits: list[float] = []

    class Silent(socket.socket):
        def connect(self, address: Any) -> None:
            timeout = self.gettimeout()
            assert timeout is not None
            waits.append(timeout)
            clock.sleep(timeout)
            raise TimeoutError("timed out")

    answer = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))
    monkeypatch.setattr(connection, "_addresses", lambda *asked: [answer] * addresses)
    monkeypatch.setattr(connection.socket, "socket", Silent)
    sender = OtlpHttpSender("http://collector.example:4318", timeout=1.5)
    begun = clock.now
    with pytest.raises(TelemetryError, match="timed out") as raised:
        sender.consume_traces(b"x")
    assert raised.value.retryable
    assert len(waits) == addresses
    assert sum(waits) == pytest.approx(1.5) == clock.now - begun
    assert min(waits) > 0


def test_the_second_address_serves_where_the_first_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unheard, otlp_endpoint() as endpoint:
        gone = unheard.getsockname()
        unheard.close()
        port = int(endpoint.url.rpartition(":")[2])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in (gone, ("127.0.0.1", port))]
        monkeypatch.setattr(connection, "_addresses", lambda *asked: found)
        sender = OtlpHttpSender("http://collector.example:4318")
        sender.consume_traces(b"")
        sender.shutdown()
        assert len(endpoint.wait("traces")) == 1


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A resolver that never answers, until the test is over."""
    released = threading.Event()

    def getaddrinfo(*asked: Any) -> list[Any]:
        released.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield released.set
    released.set()


def test_a_name_server_that_does_not_answer_is_left(resolver: Callable[[], None]) -> None:
    def told(timeout: float) -> str:
        sender = OtlpHttpSender("http://collector.example:4318", timeout=timeout)
        with pytest.raises(TelemetryError, match=" in time") as raised:
            sender.consume_traces(b"x")
        assert raised.value.retryable
        return str(raised.value)

    # On a busy machine the time may be over before the name is asked for.
    assert any("'collector.example' was not found in time" in told(timeout) for timeout in (0.05, 0.5, 5))


def test_a_payload_waits_for_another_no_longer_than_it_may_take(resolver: Callable[[], None]) -> None:
    sender = OtlpHttpSender("http://collector.example:4318", timeout=0.05)
    with sender._lock:
        done = threading.Event()
        errors: list[TelemetryError] = []

        def send() -> None:
            try:
                sender.consume_traces(b"x")
            except TelemetryError as error:
                errors.append(error)
            done.set()

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        assert done.wait(30)
    assert "another payload" in str(errors[0])
    assert errors[0].retryable


def test_an_endpoint_that_reads_slowly_is_left(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece of a payload is written with what is left."""
    waits: list[float | None] = []

    class Slow:
        timeout: float | None = None

        def settimeout(self, timeout: float | None) -> None:
            self.timeout = timeout

        def sendall(self, data: Any) -> None:
            waits.append(self.timeout)
            clock.sleep(0.4)

        def close(self) -> None:
            pass

    monkeypatch.setattr(connection, "_connected", lambda *asked: Slow())
    sender = OtlpHttpSender("http://collector.example:4318", timeout=1.0)
    with pytest.raises(TelemetryError, match="in time"):
        sender.consume_traces(b"x" * 1_000_000)
    assert waits == pytest.approx([1.0, 0.6, 0.2])


def test_what_a_server_says_steers_no_terminal(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sender = OtlpHttpSender("http://collector.example:4318")
    monkeypatch.setattr(
        OtlpHttpSender, "_attempt", lambda *asked: (400, "\x1b]0;owned\x07\x1b[2J\u202ebad\rfine", None, b"")
    )
    with pytest.raises(TelemetryError) as raised:
        sender.consume_logs(b"")
    text = str(raised.value)
    assert r"\x1b]0;owned\x07\x1b[2J\u202ebad\rfine" in text
    assert text.isprintable()
    assert raised.value.reason.startswith("\x1b")  # which is there as it came
    rejection = bytes([0x0A, 9, 0x08, 1, 0x12, 5]) + b"\x1b[2Jx"
    monkeypatch.setattr(OtlpHttpSender, "_attempt", lambda *asked: (200, "OK", None, rejection))
    with caplog.at_level(logging.WARNING):
        sender.consume_logs(b"")
    assert r"\x1b[2Jx" in caplog.text
