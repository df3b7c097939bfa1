"""The four socket functions of preview 1."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .abi import FdFlags, Rights
from .binding import Functions, function
from .errno import Errno, WasiError
from .memory import U32, check, gather, put_size, room, scatter
from .socket_files import Socket

if TYPE_CHECKING:
    from ..protocols import Memory
    from .context import WasiContext

__all__ = ["FUNCTIONS", "PEEK", "WAITALL", "accept", "put_flags", "socket_of"]

FUNCTIONS: Functions = {}

PEEK = 1
WAITALL = 2
_HOW = {1: socket.SHUT_RD, 2: socket.SHUT_WR, 3: socket.SHUT_RDWR}


def socket_of(context: WasiContext, fd: int, rights: int = 0) -> Socket:
    """The socket of a number. `ENOTSOCK` for anything else."""
    file = context.table.get(fd)
    if not isinstance(file, Socket):
        raise WasiError(Errno.NOTSOCK)
    context.table.get(fd, rights)
    return file


def put_flags(memory: Memory, pointer: int, truncated: bool) -> None:
    """Store `roflags`."""
    memory.write(pointer & U32, b"\1\0" if truncated else b"\0\0")


def accept(context: WasiContext, memory: Memory, fd: int, flags: int, result: int) -> None:
    """Accept a connection, and store the number of its descriptor."""
    sock = socket_of(context, fd, Rights.SOCK_ACCEPT)
    if flags & ~FdFlags.NONBLOCK:
        raise WasiError(Errno.INVAL)
    check(memory, result, 4)
    context.table.check_room()
    accepted = sock.accept(flags)
    accepted.rights &= sock.inheriting
    accepted.inheriting &= sock.inheriting
    put_size(memory, result, context.table.add(accepted))


@function(FUNCTIONS, "iii")
def sock_accept(context: WasiContext, memory: Memory, fd: int, flags: int, result: int) -> None:
    accept(context, memory, fd, flags, result)


@function(FUNCTIONS, "iiiiii")
def sock_recv(
    context: WasiContext, memory: Memory, fd: int, iovs: int, count: int, flags: int, result: int, out_flags: int
) -> None:
    sock = socket_of(context, fd, Rights.FD_READ)
    if flags & ~(PEEK | WAITALL):
        raise WasiError(Errno.INVAL)
    into, size = room(memory, iovs, count)
    check(memory, result, 4)
    check(memory, out_flags, 2)
    data, truncated, _ = sock.receive(size, bool(flags & PEEK), bool(flags & WAITALL))
    scatter(memory, into, data)
    put_size(memory, result, len(data))
    put_flags(memory, out_flags, truncated)


@function(FUNCTIONS, "iiiii")
def sock_send(context: WasiContext, memory: Memory, fd: int, iovs: int, count: int, flags: int, result: int) -> None:
    sock = socket_of(context, fd, Rights.FD_WRITE)
    if flags:
        raise WasiError(Errno.INVAL)
    check(memory, result, 4)
    put_size(memory, result, sock.write(gather(memory, iovs, count)))


@function(FUNCTIONS, "ii")
def sock_shutdown(context: WasiContext, memory: Memory, fd: int, how: int) -> None:
    sock = socket_of(context, fd, Rights.SOCK_SHUTDOWN)
    if how not in _HOW:
        raise WasiError(Errno.INVAL)
    sock.sock.shutdown(_HOW[how])
