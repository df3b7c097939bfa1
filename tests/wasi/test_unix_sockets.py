"""Unix sockets between a guest and the host, and what may stand on the way to their paths."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.sockets import UNIX, Net

from pywasmrt import wasi
from pywasmrt.wasi import wasmedge
from pywasmrt.wasi.errno import Errno
from pywasmrt.wasi.handles import Handle

from .guest import Raw

Make = Callable[..., Raw]


def test_unix_sockets(raw: Make, tmp_path: Path) -> None:
    allowed = wasi.Network(connect=[f"unix:{tmp_path}/*"], listen=[f"unix:{tmp_path}/guest"])
    net = Net(raw(network=allowed))
    guest = net.guest
    fd = net.open(UNIX)
    guest.do("sock_bind", fd, net.address(f"{tmp_path}/guest"), 0)
    guest.do("sock_listen", fd, 1)
    assert net.named("sock_getlocaladdr", fd) == (UNIX, f"{tmp_path}/guest", 0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/guest")
        sock = net.accept(fd)
        client.sendall(b"local")
        assert guest.read(sock) == b"local"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/host")
        server.listen()
        sock = net.open(UNIX, 0)
        guest.do("sock_connect", sock, net.address(f"{tmp_path}/host"), 0)
        guest.write(sock, b"hello")
        with server.accept()[0] as accepted:
            assert accepted.recv(10) == b"hello"
        # What is not listed, and a link to what is not.
        os.symlink(f"{tmp_path}/host", f"{tmp_path}/link")
        (tmp_path / "sub").mkdir()
        for path in ("link", "sub/x", "../x", "sub/../host", "/host"):
            errno = guest.call("sock_connect", net.open(UNIX), net.address(f"{tmp_path}/{path}"), 0)
            assert errno in (Errno.ACCES, Errno.LOOP, Errno.CONNREFUSED)
        assert guest.call("sock_bind", net.open(UNIX), net.address(f"{tmp_path}/other"), 0) is Errno.ACCES
        assert guest.call("sock_bind", net.open(UNIX), net.address(""), 0) is Errno.INVAL


def test_a_unix_socket_whose_queue_is_full(raw: Make, tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    net = Net(raw(network=wasi.Network(connect=[f"unix:{path}"])))
    guest = net.guest
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(path)
        server.listen(0)
        first.connect(path)
        fd = net.open(UNIX)
        guest.do("fd_fdstat_set_flags", fd, 4)
        assert guest.call("sock_connect", fd, net.address(path), 0) is Errno.AGAIN
        guest.do("fd_fdstat_set_flags", fd, 0)
        accepted: list[socket.socket] = []
        thread = threading.Timer(0.05, lambda: accepted.extend(server.accept()[0] for _ in range(2)))
        thread.start()
        guest.do("sock_connect", fd, net.address(path), 0)
        assert guest.write(fd, b"x") == 1
        thread.join()
        assert accepted[1].recv(1) == b"x"
        for each in accepted:
            each.close()


def test_links_on_the_way_to_a_unix_socket_lead_nowhere(
    raw: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, outside = tmp_path / "shared", tmp_path / "outside"
    for each in (shared, shared / "sub", outside):
        each.mkdir()
    allowed = [f"unix:{shared}/sub/s"]
    net = Net(raw(preopens={"/": shared}, network=wasi.Network(connect=allowed, listen=allowed)))
    guest = net.guest
    address = f"{shared}/sub/s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{outside}/s")
        server.listen()

        def swap() -> None:
            (shared / "sub").rename(shared / "before")
            (shared / "sub").symlink_to(outside)

        # Swapped at the last moment, when every check of the path's names is past.
        real = wasmedge.open_at

        def opening(*args: Any) -> Handle:
            if (shared / "sub").is_symlink() is False:
                swap()
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(wasmedge, "open_at", opening)
            assert guest.call("sock_connect", net.open(UNIX), net.address(address), 0) is Errno.ACCES
        os.unlink(outside / "s")
        assert guest.call("sock_bind", net.open(UNIX), net.address(address), 0) is Errno.ACCES
        assert list(outside.iterdir()) == []
