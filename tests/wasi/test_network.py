"""What a `Network` lets a guest connect to and listen on."""

from __future__ import annotations

import socket
from collections.abc import Callable

from helpers.sockets import DGRAM, INET, INET6, UNIX, Net, send_to

from pywasmrt import wasi
from pywasmrt.wasi.errno import Errno

from .guest import Raw, writable

Make = Callable[..., Raw]


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
