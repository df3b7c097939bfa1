"""Sockets: those of preview 1, and WasmEdge's in both versions, between a guest and the host."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable

import pytest
from helpers.sockets import DGRAM, INET, INET6, LOCAL, STREAM, Net, send_to

from pywasmrt import wasi
from pywasmrt.wasi.abi import FileType
from pywasmrt.wasi.errno import Errno

from .guest import Raw, clock, readable, writable

Make = Callable[..., Raw]


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
