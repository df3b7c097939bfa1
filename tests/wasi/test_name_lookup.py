"""Names and services that a guest looks up."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

import pytest
from helpers.sockets import DGRAM, INET, INET6, STREAM, Net

from pywasmrt import wasi
from pywasmrt.wasi import lookup
from pywasmrt.wasi.errno import Errno

from .guest import Raw

Make = Callable[..., Raw]


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


@pytest.mark.parametrize("begun", [True, False])
def test_an_exception_while_a_look_up_begins_is_counted_once(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    """A signal handler may raise in Thread.start, when the thread has begun; or no thread is to be had."""
    under_way: set[lookup.Lookup] = set()
    monkeypatch.setattr(lookup, "_under_way", under_way)
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *what: answered.wait(60))
    start = threading.Thread.start
    threads: list[threading.Thread] = []

    def interrupted(thread: threading.Thread) -> None:
        if begun:
            start(thread)
            threads.append(thread)
        raise InterruptedError

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(InterruptedError):
        lookup.Lookup("nowhere.example", 80).start()
    assert len(under_way) == begun
    answered.set()
    for thread in threads:
        thread.join(60)
    assert not under_way
