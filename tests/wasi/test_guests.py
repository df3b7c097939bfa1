"""Real programs: C through its libc, and servers and clients in Go."""

from __future__ import annotations

import http.client
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt import wasi

from .building import c_guest, go_guest

EXPECTED = """\
arg program
arg one
env value
in line 1
in line 2
file hello 42
file more
entry . 3
entry .. 3
entry b.txt 4
entry link 7
stat 0 14
open out -1 Operation not permitted
open out -1 No such file or directory
isatty 0
1
"""


@pytest.mark.parametrize("kind", ["host", "memory"])
def test_a_c_program(runtime: pywasmrt.Runtime, tmp_path: Path, kind: str) -> None:
    tree = wasi.MemoryTree()
    out, err = bytearray(), bytearray()
    config = wasi.WasiConfig(
        args=["program", "one"],
        env={"NAME": "value"},
        stdin=b"line 1\nline 2\n",
        stdout=out,
        stderr=err,
        preopens={"/data": tmp_path if kind == "host" else tree},
    )
    with runtime.instantiate(runtime.compile(c_guest("program")), wasi=config) as instance:
        assert instance.run() == 7
    assert out.decode() == EXPECTED
    assert err == b"to stderr\n"
    made = tree.read("sub/b.txt") if kind == "memory" else (tmp_path / "sub" / "b.txt").read_bytes()
    assert made == b"hello 42\nmore\n"


def test_a_c_server(runtime: pywasmrt.Runtime) -> None:
    out = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = wasi.WasiConfig(stdout=out, sockets=[server])
        instance = runtime.instantiate(runtime.compile(c_guest("server")), wasi=config)
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(instance.run()))
        thread.start()
        with socket.create_connection(server.getsockname(), timeout=30) as client:
            for text in (b"hello", b"world"):
                client.sendall(text)
                assert client.recv(100) == text.upper()
        thread.join(30)
    assert codes == [0]
    assert out == b"done\n"


class Serving:
    """A guest that serves on a thread of its own, until `stop`."""

    def __init__(self, runtime: pywasmrt.Runtime, module: pywasmrt.CompiledModule) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)  # Go waits by poll_oneoff, and lets other goroutines run meanwhile
        self.port = self.socket.getsockname()[1]
        self.ended: list[object] = []
        config = wasi.WasiConfig(args=["server"], sockets=[self.socket])
        self.instance = runtime.instantiate(module, wasi=config)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.ended.append(self.instance.run())
        except BaseException as error:
            self.ended.append(error)

    def stop(self) -> None:
        self.instance.close()
        self.thread.join(30)
        self.socket.close()


@pytest.fixture(scope="module")
def go_server() -> Iterator[Serving]:
    with pywasmrt.new_runtime() as runtime:
        serving = Serving(runtime, runtime.compile(go_guest("go_server")))
        yield serving
        serving.stop()


@pytest.mark.slow
def test_a_go_server(go_server: Serving) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", go_server.port, timeout=30)
    connection.request("GET", "/hello?name=host")
    assert connection.getresponse().read() == b"hello host"
    body = bytes(range(256)) * 1000
    connection.request("POST", "/echo", body)
    assert connection.getresponse().read() == body
    connection.close()
    failures: list[object] = []

    def many() -> None:
        try:
            for n in range(20):
                one = http.client.HTTPConnection("127.0.0.1", go_server.port, timeout=30)
                one.request("GET", f"/hello?name={n}")
                assert one.getresponse().read() == f"hello {n}".encode()
                one.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    go_server.stop()
    assert [type(each) for each in go_server.ended] == [pywasmrt.ClosedError]


@pytest.mark.slow
def test_a_go_client() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"you asked for {self.path}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pywasmrt.new_runtime() as runtime:
            module = runtime.compile(go_guest("go_client"))
            url = f"http://127.0.0.1:{server.server_port}/page"
            for network, code in ((wasi.Network(connect=["127.0.0.1:*"]), 0), (wasi.Network(), 1)):
                out, err = bytearray(), bytearray()
                config = wasi.WasiConfig(args=["client", url], stdout=out, stderr=err, network=network)
                with runtime.instantiate(module, wasi=config) as instance:
                    assert instance.run() == code, err
                assert out == (b"" if code else b"200 you asked for /page\n")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
