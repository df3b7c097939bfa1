"""An OTLP/HTTP endpoint on loopback that parses what it gets with opentelemetry-proto and keeps it."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def requests_by_signal() -> dict[str, Any]:
    """The message of each signal's export request."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return {
        "traces": ExportTraceServiceRequest,
        "metrics": ExportMetricsServiceRequest,
        "logs": ExportLogsServiceRequest,
    }


class Endpoint:
    """What came in: `received[signal]` are parsed requests, `raw` the bodies with their headers."""

    def __init__(self) -> None:
        self.received: dict[str, list[Any]] = {"traces": [], "metrics": [], "logs": []}
        self.raw: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []  # to give before the usual 200
        self.body = b""  # of each answer
        self.url = ""
        self.port = 0

    def wait(self, signal: str, count: int = 1, seconds: float = 20) -> list[Any]:
        """The requests of one signal, once there are `count`."""
        end = time.monotonic() + seconds
        while len(self.received[signal]) < count and time.monotonic() < end:
            time.sleep(0.005)
        assert len(self.received[signal]) >= count, f"{len(self.received[signal])} of {count} requests ({signal}) came"
        return self.received[signal]


@contextmanager
def otlp_endpoint(tls: ssl.SSLContext | None = None) -> Iterator[Endpoint]:
    """Serve on a free port of loopback, over HTTPS where `tls` is given."""
    endpoint = Endpoint()
    messages = requests_by_signal()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            endpoint.raw.append((self.path, dict(self.headers), body))
            status, headers = endpoint.answers.pop(0) if endpoint.answers else (200, {})
            if status == 200:
                encoding = self.headers.get("Content-Encoding")
                body = gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body) if encoding else body
                signal = self.path.rsplit("/", 1)[-1]
                endpoint.received[signal].append(messages[signal].FromString(body))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(endpoint.body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(endpoint.body)

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    endpoint.port = server.server_address[1]
    endpoint.url = f"http{'s' if tls else ''}://127.0.0.1:{endpoint.port}"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
