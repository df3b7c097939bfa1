"""Fixtures of the WASI tests: guests that forward calls, over each kind of directory."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.sockets import LOCAL, Net

import pywasmrt
from pywasmrt import wasi
from pywasmrt.wasi import resolve

from .guest import Raw

KINDS = ["kernel", "walk", "memory"]


@pytest.fixture
def raw(runtime: pywasmrt.Runtime) -> Iterator[Callable[..., Raw]]:
    """`raw(stdin=..., preopens=..., version=1)`: a forwarding guest with a `WasiConfig` of these, closed at the end."""
    made: list[Raw] = []

    def make(*, version: int = 2, **config: Any) -> Raw:
        made.append(Raw(runtime, wasi.WasiConfig(**config), version))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def one_runtime() -> Iterator[pywasmrt.Runtime]:
    """The first runtime there is, for tests that are about the host's side only."""
    with pywasmrt.new_runtime() as runtime:
        yield runtime


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kind of directory: of the host, resolved by the kernel or by walking, or in memory."""
    if request.param == "kernel" and not resolve.kernel_resolves:
        pytest.skip("this kernel has no openat2")
    if request.param == "walk":
        monkeypatch.setattr(resolve, "kernel_resolves", False)
    return str(request.param)


@pytest.fixture
def place(kind: str, tmp_path: Path) -> Any:
    """An empty directory of the kind."""
    if kind == "memory":
        return wasi.MemoryTree()
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def tree(place: Any, one_runtime: pywasmrt.Runtime) -> Iterator[Raw]:
    """A guest with an empty directory of the kind as descriptor 3."""
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": place})) as guest:
        yield guest


@pytest.fixture
def net(raw: Callable[..., Raw]) -> Net:
    return Net(raw(network=LOCAL))


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets, once, and closes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.settimeout(10)
            with connection, contextlib.suppress(OSError):
                connection.sendall(connection.recv(1000))

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
