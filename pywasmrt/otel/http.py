"""Sending OTLP payloads over HTTP, with the OpenTelemetry SDK's habits; standard library only."""

from __future__ import annotations

import gzip
import http.client
import logging
import math
import os
import random
import re
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from ..errors import InvalidConfigurationError
from ..plugin.abi import SIGNALS
from ..plugin.forking import renew_after_fork
from ..types import expect, printable
from ..values import can_be_a_path, did_you_mean, shown
from .connection import Connection
from .endpoints import Url, url_of_signal
from .errors import TelemetryError
from .wire_python import BYTES, VARINT, fields, inside, varint

__all__ = ["DEFAULT_ENDPOINT", "OtlpHttpSender"]

_log = logging.getLogger("pywasmrt.otel.http")
DEFAULT_ENDPOINT = "http://localhost:4318"
_ATTEMPTS = 6
_RETRYABLE = frozenset({429, 502, 503, 504})  # OTLP specification, "Retryable Response Codes"
_MAX_ANSWER = 64 * 1024
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, sections 5.1 and 5.5
_HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*")


class OtlpHttpSender:
    """Sends OTLP payloads to an endpoint over HTTP. It is a `Consumer`; payloads are sent as they are.

    `endpoint` is the base URL, to which `/v1/traces` and so on are added, or a mapping of signal to full URL, which may
    have a query. A user and a password in a URL are sent as Basic authorization.
    `timeout`, in seconds, bounds a payload's sending with all its attempts: up to six, with pauses of 1, 2, 4, ...
    seconds that vary by a fifth, or as long as the endpoint's Retry-After says. Only 429, 502, 503, 504 and failures of
    the connection are tried again. `compression` is "none", "gzip" or "deflate". For https, `certificate` is a file of
    the authorities to trust instead of the system's, `client_certificate` and `client_key` what the client shows. May
    be used from any thread; payloads wait for each other.

    Raises `TelemetryError`, whose `status` is the HTTP status, or None where there was no answer, or no URL for the
    signal. If an endpoint accepts a payload but rejects some of its items, that is logged.
    """

    def __init__(
        self,
        endpoint: str | Mapping[str, str] = DEFAULT_ENDPOINT,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        compression: str = "none",
        certificate: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
    ) -> None:
        if isinstance(endpoint, str):
            endpoint = {signal: url_of_signal(endpoint, signal) for signal in SIGNALS}
        maybe = (str, os.PathLike, type(None))
        expect("an OTLP endpoint", "a URL or a mapping of signals to URLs", (str, Mapping), endpoint=endpoint)
        expect("an OTLP endpoint", "a mapping of names to values, or None", (Mapping, type(None)), headers=headers)
        files = {"certificate": certificate, "client_certificate": client_certificate, "client_key": client_key}
        expect("an OTLP endpoint", "a path or None", maybe, **files)
        for name, file in files.items():
            if file is not None and not can_be_a_path(file):
                raise InvalidConfigurationError(
                    f"{name} is a path or None, and no file can have the name {shown(file)}"
                )
        for signal in endpoint:
            if signal not in SIGNALS:
                hint = did_you_mean(signal, SIGNALS) if isinstance(signal, str) else ""
                raise InvalidConfigurationError(
                    f"an OTLP endpoint has a URL for each of {', '.join(SIGNALS)}, not for {shown(signal)}{hint}"
                )
        self._urls = {signal: Url(url) for signal, url in endpoint.items()}
        self._tls: ssl.SSLContext | None = None
        if any(url.secure for url in self._urls.values()):
            try:
                self._tls = ssl.create_default_context(cafile=certificate)
                if client_certificate is not None:
                    self._tls.load_cert_chain(client_certificate, client_key)
            except (OSError, ValueError) as error:  # the second for paths that no file can have
                raise InvalidConfigurationError(
                    f"the certificates of an OTLP endpoint cannot be used: {error}"
                ) from None
        if compression not in ("none", "gzip", "deflate"):
            raise InvalidConfigurationError(f"compression is one of none, gzip, deflate; not {shown(compression)}")
        if (
            not isinstance(timeout, (int, float))
            or isinstance(timeout, bool)
            or not 0 < timeout <= threading.TIMEOUT_MAX
        ):
            raise InvalidConfigurationError(
                f"the timeout of an OTLP endpoint is a number of seconds above 0, not {shown(timeout)}"
            )
        for name, value in (headers or {}).items():
            expect("an OTLP endpoint", "a mapping of names to values", str, headers=name)
            expect("an OTLP endpoint", "a mapping of names to values", str, headers=value)
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise InvalidConfigurationError(
                    f"headers: {name!r} cannot be a header of HTTP with the value that it is given"
                )
        if any(name.lower() == "authorization" for name in headers or {}):
            for url in self._urls.values():
                if url.headers:
                    raise InvalidConfigurationError(
                        f"the user in the URL for {url.shown} and the header Authorization say the same thing: give one"
                        " of them"
                    )
        self._timeout = timeout
        self._compression = compression
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": "pywasmrt", **(headers or {})}
        if compression != "none":
            self._headers["Content-Encoding"] = compression
        self._connections: dict[str, Connection] = {}
        self._lock = threading.RLock()  # re-entrant: a signal handler is told by `_owner`, and never waits for itself
        self._owner = 0  # the thread that sends
        self._stopped = threading.Event()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the connections to the parent, and renew the locks: a thread of the parent may have held them."""
        for connection in self._connections.values():
            connection.close()  # this process's end of it alone
        self._connections = {}
        self._lock = threading.RLock()
        self._owner = 0
        stopped, self._stopped = self._stopped.is_set(), threading.Event()
        if stopped:
            self._stopped.set()

    def consume_traces(self, data: bytes) -> None:
        """Send a batch of traces."""
        self.send("traces", data)

    def consume_metrics(self, data: bytes) -> None:
        """Send a batch of metrics."""
        self.send("metrics", data)

    def consume_logs(self, data: bytes) -> None:
        """Send a batch of logs."""
        self.send("logs", data)

    def send(self, signal: str, data: bytes) -> None:
        """Send one payload, as often as it takes. Raises `TelemetryError`."""
        url = self._urls.get(signal)
        if url is None:
            reason = f"there is no URL for it, only for {', '.join(self._urls) or 'nothing'}"
            raise TelemetryError("an OTLP endpoint", str(signal), None, reason, True)
        if self._owner == threading.get_ident():  # a signal handler or a destructor
            raise TelemetryError(url.shown, signal, None, "a batch is being sent on this very thread", False)
        if self._compression == "gzip":
            data = gzip.compress(data, 6)
        elif self._compression == "deflate":
            data = zlib.compress(data)
        deadline = time.monotonic() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            raise TelemetryError(url.shown, signal, None, "another payload took all the time", False)
        try:
            self._owner = threading.get_ident()
            for attempt in range(_ATTEMPTS):
                status, reason, after, answer = self._attempt(signal, url, data, deadline)
                if status is not None and 200 <= status < 300:
                    _warn_of_rejections(url.shown, signal, answer)
                    return
                permanent = status not in (None, *_RETRYABLE)
                error = TelemetryError(url.shown, signal, status, reason, permanent, status_name="HTTP {}".format)
                pause = 2**attempt * random.uniform(0.8, 1.2) if after is None else after
                if error.permanent or attempt + 1 == _ATTEMPTS or time.monotonic() + pause > deadline:
                    raise error
                _log.warning("%s; trying again in %.2f s", error, pause)
                if self._stopped.wait(pause):
                    raise error
        finally:
            self._owner = 0
            self._lock.release()

    def _attempt(
        self, signal: str, url: Url, data: bytes, deadline: float
    ) -> tuple[int | None, str, float | None, bytes]:
        """The status, its reason, the pause that the endpoint asks for, and its answer; None for no status."""
        for fresh in (False, True):
            if time.monotonic() >= deadline:
                return None, "there was no answer in time", None, b""
            kept = self._connections.pop(signal, None)
            connection = url.connect(self._tls) if kept is None or fresh else kept
            if kept is not None and kept is not connection:
                kept.close()
            connection.until(deadline)
            try:
                connection.request("POST", url.path, data, {**self._headers, **url.headers})
                response = connection.getresponse()
                answer = response.read(_MAX_ANSWER + 1)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if kept is not None and not fresh and not isinstance(error, TimeoutError):
                    continue  # the endpoint closed a connection that was kept: try with a new one at once
                return None, f"{type(error).__name__}: {error}", None, b""
            if response.will_close or len(answer) > _MAX_ANSWER:
                connection.close()
            else:
                self._connections[signal] = connection
            return response.status, response.reason or "", _retry_after(response.getheader("Retry-After")), answer
        raise AssertionError("the second attempt returns")

    def shutdown(self) -> None:
        """Stop trying again, and close the connections. Idempotent."""
        self._stopped.set()
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()


def _warn_of_rejections(url: str, signal: str, answer: bytes) -> None:
    """Log what an endpoint says of a payload that it took: how many items it rejected (OTLP, "Partial Success")."""
    rejected, message = 0, ""
    try:
        for begin, end in inside(answer, 0, len(answer), 1):
            for number, wire, _, start, after in fields(answer, begin, end):
                if number == 1 and wire == VARINT:
                    rejected = varint(answer, start, after)[0]
                elif number == 2 and wire == BYTES:
                    message = answer[start:after].decode("utf-8", "replace")
    except ValueError:  # not every endpoint answers in OTLP
        return
    if rejected or message:
        _log.warning("%s rejected %d items (%s): %s", url, rejected, signal, printable(message) or "it gave no reason")


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number or a date (RFC 9110, section 10.2.3); None if it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(date.timestamp() - time.time(), 0.0)
