"""Sockets: those of preview 1, and WasmEdge's in both versions, between a guest and the host."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pywasmrt import wasi
from pywasmrt.wasi import wasmedge
from pywasmrt.wasi.abi import FileType
from pywasmrt.wasi.errno import Errno
from pywasmrt.wasi.handles import Handle

from .guest import Raw, clock, readable, writable

Make = Callable[..., Raw]
LOCAL = wasi.Network(connect=["127.0.0.0/8:*", "[::1]:*"], listen=["127.0.0.1:*", "[::1]:*"], resolve=True)
INET, INET6, UNIX = 1, 2, 3
DGRAM, STREAM = 1, 2


class Net:
    """A guest's sockets, by the calls of WasmEdge's extension."""

    def __init__(self, guest: Raw) -> None:
        self.guest = guest

    def open(self, family: int = INET, kind: int = STREAM) -> int:
        out = self.guest.alloc(4)
        self.guest.do("sock_open", family, kind, out)
        return self.guest.u32(out)

    def address(self, host: str, *, storage: bool = False) -> int:
        guest = self.guest
        if host.startswith("/") or host == "":
            data = (UNIX.to_bytes(2, "little") + host.encode()).ljust(128, b"\0")
        elif ":" in host:
            data = socket.inet_pton(socket.AF_INET6, host)
        else:
            data = socket.inet_aton(host)
        if storage and len(data) < 128:
            family = INET if len(data) == 4 else INET6
            data = (family.to_bytes(2, "little") + data).ljust(128, b"\0")
        return guest.put(struct.pack("<II", guest.put(data), len(data)))

    def buffer(self, size: int = 128) -> tuple[int, int]:
        """Room for an address: what to pass, and where the bytes will be."""
        at = self.guest.alloc(size)
        return self.guest.put(struct.pack("<II", at, size)), at

    def found(self, at: int) -> tuple[int, str]:
        data = self.guest.memory.read(at, 128)
        family = int.from_bytes(data[:2], "little")
        if family == INET:
            return family, socket.inet_ntoa(data[2:6])
        if family == INET6:
            return family, socket.inet_ntop(socket.AF_INET6, data[2:18])
        return family, data[2:].partition(b"\0")[0].decode()

    def named(self, name: str, fd: int) -> tuple[int, str, int]:
        address, at = self.buffer()
        port = self.guest.alloc(4)
        self.guest.do(name, fd, address, port)
        return (*self.found(at), self.guest.u32(port))

    def listening(self, host: str = "127.0.0.1", family: int = INET) -> tuple[int, int]:
        fd = self.open(family)
        self.guest.do("sock_bind", fd, self.address(host), 0)
        self.guest.do("sock_listen", fd, 5)
        return fd, self.named("sock_getlocaladdr", fd)[2]

    def accept(self, fd: int, flags: int = 0) -> int:
        out = self.guest.alloc(4)
        self.guest.do("sock_accept", fd, flags, out)
        return self.guest.u32(out)


@pytest.fixture
def net(raw: Make) -> Net:
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


@pytest.mark.parametrize("storage", [False, True])
def test_a_client(net: Net, echo: int, storage: bool) -> None:
    guest = net.guest
    fd = net.open()
    guest.do("sock_connect", fd, net.address("127.0.0.1", storage=storage), echo)
    assert net.named("sock_getpeeraddr", fd) == (INET, "127.0.0.1", echo)
    assert net.named("sock_getlocaladdr", fd)[:2] == (INET, "127.0.0.1")
    assert guest.fdstat(fd)[0] == FileType.SOCKET_STREAM
    assert guest.stat(fd).filetype == FileType.SOCKET_STREAM
    assert guest.write(fd, b"by fd_write") == 11
    assert guest.poll(readable(1, fd), clock(2, 10**10))[0][:3] == (1, Errno.SUCCESS, 1)
    assert guest.read(fd) == b"by fd_write"
    assert guest.read(fd) == b""
    guest.do("fd_close", fd)
    assert guest.try_read(fd, 1)[0] is Errno.BADF


def test_a_client_that_does_not_block(net: Net, echo: int) -> None:
    guest = net.guest
    fd = net.open()
    guest.do("fd_fdstat_set_flags", fd, 4)
    assert guest.call("sock_connect", fd, net.address("127.0.0.1"), echo) in (Errno.INPROGRESS, Errno.SUCCESS)
    assert guest.poll(writable(1, fd), clock(2, 10**10))[0][:3] == (1, Errno.SUCCESS, 2)
    value = guest.alloc(4)
    guest.do("sock_getsockopt", fd, 0, 2, value, 4)
    assert guest.u32(value) == 0
    assert guest.try_read(fd, 10)[0] is Errno.AGAIN
    guest.write(fd, b"hello")
    guest.poll(readable(1, fd))
    assert guest.read(fd) == b"hello"


def test_nobody_there(net: Net) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        guest = net.guest
        assert guest.call("sock_connect", net.open(), net.address("127.0.0.1"), port) is Errno.CONNREFUSED
        fd = net.open()
        guest.do("fd_fdstat_set_flags", fd, 4)
        errno = guest.call("sock_connect", fd, net.address("127.0.0.1"), port)
        if errno is Errno.INPROGRESS:
            guest.poll(writable(1, fd))
            value = guest.alloc(4)
            guest.do("sock_getsockopt", fd, 0, 2, value, 4)
            assert guest.u32(value) == Errno.CONNREFUSED
        else:
            assert errno is Errno.CONNREFUSED


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", INET), ("::1", INET6)])
def test_a_server(net: Net, host: str, family: int) -> None:
    guest = net.guest
    fd, port = net.listening(host, family)
    value = guest.alloc(4)
    guest.do("sock_getsockopt", fd, 0, 13, value, 4)
    assert guest.u32(value) == 1
    guest.do("fd_fdstat_set_flags", fd, 4)
    assert guest.call("sock_accept", fd, 0, value) is Errno.AGAIN
    with socket.create_connection((host, port), timeout=10) as client:
        assert guest.poll(readable(1, fd), clock(2, 10**10))[0][:3] == (1, Errno.SUCCESS, 1)
        sock = net.accept(fd, 4)
        assert net.named("sock_getpeeraddr", sock) == (family, host, client.getsockname()[1])
        assert guest.fdstat(sock)[1] == 4
        assert guest.try_read(sock, 5)[0] is Errno.AGAIN
        client.sendall(b"hello guest")
        guest.poll(readable(1, sock))
        iovs, count, buffers = guest.iovs(5)
        got, flags = guest.alloc(4), guest.alloc(2)
        guest.do("sock_recv", sock, iovs, count, 1, got, flags)  # a peek
        guest.do("sock_recv", sock, iovs, count, 0, got, flags)
        assert guest.memory.read(buffers[0], guest.u32(got)) == b"hello"
        assert guest.read(sock) == b" guest"
        iovs, count, buffers = guest.iovs(6)
        guest.memory.write(buffers[0], b"thanks")
        guest.do("sock_send", sock, iovs, count, 0, got)
        guest.do("sock_shutdown", sock, 2)
        assert client.recv(100) == b"thanks"
        assert client.recv(100) == b""
        assert guest.try_write(sock, b"x")[0] is Errno.PIPE
        client.close()
        event = guest.poll(readable(1, sock))[0]
        assert event[:3] == (1, Errno.SUCCESS, 1)
        assert event[4] == 1  # both directions are shut: a hang-up
        assert guest.read(sock) == b""
    assert guest.call("sock_shutdown", sock, 0) is Errno.INVAL
    assert guest.call("sock_accept", fd, 1, value) is Errno.INVAL


def test_all_of_it(net: Net) -> None:
    """WAITALL waits until the buffer is full."""
    guest = net.guest
    fd, port = net.listening()
    with socket.create_connection(("127.0.0.1", port)) as client:
        sock = net.accept(fd)

        def send() -> None:
            for byte in b"slowly":
                client.sendall(bytes([byte]))

        thread = threading.Thread(target=send)
        thread.start()
        iovs, count, buffers = guest.iovs(6)
        got, flags = guest.alloc(4), guest.alloc(2)
        guest.do("sock_recv", sock, iovs, count, 2, got, flags)
        thread.join()
        assert guest.memory.read(buffers[0], guest.u32(got)) == b"slowly"
        assert guest.call("sock_recv", sock, iovs, count, 8, got, flags) is Errno.INVAL


def receive_from(net: Net, fd: int, size: int) -> tuple[bytes, int, str, int]:
    """The data, the flags, and where it came from."""
    guest = net.guest
    iovs, count, buffers = guest.iovs(size)
    address, at = net.buffer()
    port, got, flags = guest.alloc(4), guest.alloc(4), guest.alloc(4)
    guest.do("sock_recv_from", fd, iovs, count, address, 0, port, got, flags)
    data = guest.memory.read(buffers[0], guest.u32(got))
    return data, int.from_bytes(guest.memory.read(flags, 2), "little"), net.found(at)[1], guest.u32(port)


def send_to(net: Net, fd: int, data: bytes, host: str, port: int) -> Errno:
    guest = net.guest
    iovs, count, buffers = guest.iovs(len(data))
    guest.memory.write(buffers[0], data)
    return guest.call("sock_send_to", fd, iovs, count, net.address(host), port, 0, guest.alloc(4))


def test_datagrams(net: Net) -> None:
    guest = net.guest
    fd = net.open(INET, DGRAM)
    assert guest.fdstat(fd)[0] == FileType.SOCKET_DGRAM
    guest.do("sock_bind", fd, net.address("127.0.0.1"), 0)
    port = net.named("sock_getlocaladdr", fd)[2]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        own = peer.getsockname()[1]
        assert send_to(net, fd, b"to the host", "127.0.0.1", own) is Errno.SUCCESS
        data, sender = peer.recvfrom(100)
        assert (data, sender) == (b"to the host", ("127.0.0.1", port))
        peer.sendto(b"to the guest", sender)
        assert receive_from(net, fd, 100) == (b"to the guest", 0, "127.0.0.1", own)
        peer.sendto(b"cut off", sender)
        assert receive_from(net, fd, 3) == (b"cut", 1, "127.0.0.1", own)
        guest.do("sock_connect", fd, net.address("127.0.0.1"), own)
        assert send_to(net, fd, b"x", "127.0.0.1", own) is Errno.ISCONN
        guest.write(fd, b"connected")
        assert peer.recv(100) == b"connected"


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


def test_an_address_that_a_failed_connection_left_is_no_leave_to_listen(raw: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    net = Net(raw(network=wasi.Network(connect=["127.0.0.1:*"])))
    guest = net.guest
    fd = net.open()
    guest.do("fd_fdstat_set_flags", fd, 4)
    for _ in range(2):
        assert guest.call("sock_connect", fd, net.address("127.0.0.1"), port) in (
            Errno.INPROGRESS,
            Errno.CONNREFUSED,
        )
        guest.poll(writable(1, fd))
        assert guest.call("sock_listen", fd, 1) is Errno.ACCES


def test_a_socket_of_the_host_keeps_its_mode(raw: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(5)
        try:
            raw(sockets=[server])
        finally:
            socket.setdefaulttimeout(before)
        assert os.get_blocking(server.fileno())


def test_a_listening_socket_of_the_host(raw: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        net = Net(raw(sockets=[server], preopens={"/": wasi.MemoryTree()}))
        guest = net.guest
        assert guest.call("fd_prestat_get", 4, 0) is Errno.BADF
        with socket.create_connection(server.getsockname()) as client:
            sock = net.accept(4)
            client.sendall(b"hi")
            assert guest.read(sock) == b"hi"
        guest.do("fd_fdstat_set_flags", 4, 4)
        assert guest.call("sock_accept", 4, 0, 64) is Errno.AGAIN
        guest.close()
        assert server.getblocking()
        with socket.create_connection(server.getsockname()):
            server.accept()[0].close()


def test_what_is_not_listed_is_refused(raw: Make, echo: int) -> None:
    net = Net(raw(network=wasi.Network(connect=[f"127.0.0.1:{echo}"])))
    guest = net.guest
    assert guest.call("sock_connect", net.open(), net.address("127.0.0.1"), echo) is Errno.SUCCESS
    mapped = net.address("::ffff:127.0.0.1")
    for fd, address, port in (
        (net.open(), net.address("127.0.0.1"), echo + 1 & 0xFFFF),
        (net.open(), net.address("127.0.0.2"), echo),
        (net.open(), net.address("0.0.0.0"), echo),
        (net.open(INET6), net.address("::1"), echo),
        (net.open(INET6), mapped, echo + 1 & 0xFFFF),
        (net.open(INET, DGRAM), net.address("127.0.0.1"), 9),
        (net.open(UNIX), net.address("/run/docker.sock"), 0),
    ):
        assert guest.call("sock_connect", fd, address, port) is Errno.ACCES
    assert guest.call("sock_bind", net.open(), net.address("127.0.0.1"), 0) is Errno.ACCES
    assert guest.call("sock_listen", net.open(), 1) is Errno.ACCES
    assert send_to(net, net.open(INET, DGRAM), b"x", "127.0.0.1", 9) is Errno.ACCES
    guest.close()


def test_policies() -> None:
    network = wasi.Network(connect=["10.0.0.0/8:*", "*:443", "[::1]:80-90", "unix:/run/a/*", "unix:/run/b"])
    for address in (("10.1.2.3", 5), ("8.8.8.8", 443), ("::2", 443), ("::1", 80), ("::1", 90), "/run/a/x", "/run/b"):
        assert network.may_connect(address)
    for address in (("11.1.2.3", 5), ("::1", 91), ("::ffff:11.0.0.1", 5), "/run/a/x/y", "/run/bb", "/run/a/"[:-1]):
        assert not network.may_connect(address)
    assert network.may_connect(("::ffff:10.0.0.1", 5))
    assert not network.may_listen(("10.1.2.3", 5))
    assert wasi.Network(listen=["*"]).may_listen("/anything")


def test_options(net: Net) -> None:
    guest = net.guest
    fd, value = net.open(), guest.alloc(4)

    def get(level: int, name: int, size: int = 4) -> int | Errno:
        errno = guest.call("sock_getsockopt", fd, level, name, value, size)
        return guest.u32(value) if errno is Errno.SUCCESS else errno

    def set_(level: int, name: int, number: int, size: int = 4) -> Errno:
        guest.memory.write(value, number.to_bytes(4, "little"))
        return guest.call("sock_setsockopt", fd, level, name, value, size)

    assert get(0, 1) == STREAM
    for level, name in ((0, 0), (0, 4), (0, 7), (6, 15)):
        assert get(level, name) == 0
        assert set_(level, name, 1) is Errno.SUCCESS
        assert get(level, name) == 1
    assert set_(0, 5, 10000) is Errno.SUCCESS
    assert isinstance(get(0, 5), int)
    for name in (9, 11, 12, 14):
        assert get(0, name) is set_(0, name, 1) is Errno.NOTSUP
    for name in (1, 2, 13):
        assert set_(0, name, 1) is Errno.NOTSUP
    for level, name in ((0, 99), (6, 1), (1, 1), (-1, 0)):
        assert get(level, name) is set_(level, name, 1) is Errno.INVAL
    assert get(0, 0, 8) is set_(0, 0, 1, 8) is Errno.INVAL


def test_wrong_arguments(net: Net) -> None:
    guest = net.guest
    out = guest.alloc(4)
    for family, kind in ((0, 2), (4, 2), (1, 0), (2, 0), (1, 3), (-1, 2)):
        assert guest.call("sock_open", family, kind, out) is Errno.INVAL
    fd = net.open()
    short = guest.put(struct.pack("<II", guest.alloc(8), 8))
    assert guest.call("sock_bind", fd, short, 0) is Errno.INVAL
    assert guest.call("sock_connect", fd, net.address("::1"), 1) is Errno.AFNOSUPPORT
    assert guest.call("sock_connect", fd, net.address("127.0.0.1"), 1 << 16) is Errno.INVAL
    assert guest.call("sock_getlocaladdr", fd, short, out) is Errno.INVAL
    assert guest.call("sock_getpeeraddr", fd, net.buffer()[0], out) is Errno.NOTCONN
    for name, count in (("sock_bind", 3), ("sock_listen", 2), ("sock_connect", 3), ("sock_shutdown", 2)):
        assert guest.call(name, 1, *[0] * (count - 1)) is Errno.NOTSOCK
        assert guest.call(name, 99, *[0] * (count - 1)) is Errno.BADF
    assert guest.call("sock_accept", 0, 0, out) is Errno.NOTSOCK


def look_up(
    net: Net,
    host: str,
    service: str,
    *,
    flags: int = 0,
    family: int = 0,
    kind: int = 2,
    protocol: int = 0,
    most: int = 4,
    room: int = 14,
) -> list[tuple[int, int, int, str]] | Errno:
    """What sock_getaddrinfo gives: each (family, type, port, address)."""
    guest = net.guest
    node = 0
    for _ in range(most):
        sockaddr = guest.put(struct.pack("<III", 0, room, guest.alloc(26)))
        node = guest.put(struct.pack("<HBBIIIIII", 0, 0, 0, 0, 0, sockaddr, 0, 0, node))
    hints = guest.put(struct.pack("<HBBIIIIII", flags, family, kind, protocol, 0, 0, 0, 0, 0))
    results, count = guest.put(node.to_bytes(4, "little")), guest.alloc(4)
    errno = guest.call("sock_getaddrinfo", *guest.text(host), *guest.text(service), hints, results, most, count)
    if errno is not Errno.SUCCESS:
        return errno
    found = []
    for _ in range(guest.u32(count)):
        _, family, type_, protocol, length, sockaddr, _, canonical, node = struct.unpack(
            "<HBBIIIIII", guest.memory.read(node, 28)
        )
        assert (length, canonical) == (16, 0)
        assert protocol == {STREAM: 1, DGRAM: 2}[type_]  # WasmEdge's numbers
        kind_, _, data = struct.unpack("<III", guest.memory.read(sockaddr, 12))
        assert kind_ == family
        port = int.from_bytes(guest.memory.read(data, 2), "big")
        size, host_family = (4, socket.AF_INET) if family == INET else (16, socket.AF_INET6)
        found.append((family, type_, port, socket.inet_ntop(host_family, guest.memory.read(data + 2, size))))
    return found


def test_looking_names_up(net: Net, raw: Make) -> None:
    assert look_up(net, "127.0.0.1", "80") == [(INET, STREAM, 80, "127.0.0.1")]
    assert look_up(net, "127.0.0.1\0", "80\0") == [(INET, STREAM, 80, "127.0.0.1")]
    assert look_up(net, "::1", "80", kind=DGRAM) == [(INET6, DGRAM, 80, "::1")]
    for protocol in (1, 6):  # WasmEdge's number, which guests in Go give, and that of the internet
        assert look_up(net, "127.0.0.1", "80", protocol=protocol) == [(INET, STREAM, 80, "127.0.0.1")]
    for protocol in (2, 17):
        assert look_up(net, "::1", "80", kind=DGRAM, protocol=protocol) == [(INET6, DGRAM, 80, "::1")]
    assert look_up(net, "127.0.0.1", "80", protocol=3) is Errno.INVAL
    found = look_up(net, "localhost", "443")
    assert isinstance(found, list)
    assert (INET, STREAM, 443, "127.0.0.1") in found
    assert [each[0] for each in found] == sorted(each[0] for each in found)
    assert look_up(net, "", "80", family=INET) == [(INET, STREAM, 80, "127.0.0.1")]
    assert look_up(net, "", "80", family=INET, flags=1) == [(INET, STREAM, 80, "0.0.0.0")]
    assert look_up(net, "no-such-host.invalid", "80", flags=4) is Errno.CANCELED
    assert look_up(net, "", "") is look_up(net, "127.0.0.1", "1", most=1) is Errno.INVAL
    assert look_up(net, "127.0.0.1", "1", room=4) is Errno.INVAL
    assert look_up(net, "127.0.0.1", "1", family=7) is Errno.INVAL
    strict = Net(raw(network=wasi.Network(connect=["*:*"])))
    assert look_up(strict, "localhost", "80") is Errno.CANCELED
    assert look_up(strict, "127.0.0.1", "80") == [(INET, STREAM, 80, "127.0.0.1")]


def test_version_1(raw: Make) -> None:
    guest = raw(network=LOCAL, version=1)
    net = Net(guest)
    fd = net.open()
    guest.do("sock_bind", fd, net.address("127.0.0.1"), 0)
    guest.do("sock_listen", fd, 5)

    def named(name: str, fd: int) -> tuple[bytes, int, int]:
        address, at = net.buffer(16)
        kind, port = guest.alloc(4), guest.alloc(4)
        guest.do(name, fd, address, kind, port)
        return guest.memory.read(at, 4), guest.u32(kind), guest.u32(port)

    data, kind, port = named("sock_getlocaladdr", fd)
    assert (data, kind) == (b"\x7f\0\0\1", 4)
    with socket.create_connection(("127.0.0.1", port)) as client:
        out = guest.alloc(4)
        guest.do("sock_accept", fd, out)
        sock = guest.u32(out)
        assert named("sock_getpeeraddr", sock) == (b"\x7f\0\0\1", 4, client.getsockname()[1])
        client.sendall(b"one")
        assert guest.read(sock) == b"one"
    datagram = net.open(INET, DGRAM)
    guest.do("sock_bind", datagram, net.address("127.0.0.1"), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"data", ("127.0.0.1", named("sock_getlocaladdr", datagram)[2]))
        iovs, count, buffers = guest.iovs(10)
        address, at = net.buffer(4)
        got, flags = guest.alloc(4), guest.alloc(4)
        guest.do("sock_recv_from", datagram, iovs, count, address, 0, got, flags)
        assert guest.memory.read(buffers[0], guest.u32(got)) == b"data"
        assert guest.memory.read(at, 4) == b"\x7f\0\0\1"
