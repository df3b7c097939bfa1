"""A guest's sockets, by the calls of WasmEdge's extension."""

from __future__ import annotations

import socket
import struct

from wasi.guest import Raw

from pywasmrt import wasi
from pywasmrt.wasi.errno import Errno

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


def send_to(net: Net, fd: int, data: bytes, host: str, port: int) -> Errno:
    guest = net.guest
    iovs, count, buffers = guest.iovs(len(data))
    guest.memory.write(buffers[0], data)
    return guest.call("sock_send_to", fd, iovs, count, net.address(host), port, 0, guest.alloc(4))
