"""Socket options, by the numbers of WasmEdge: `sock_getsockopt` and `sock_setsockopt`."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .abi import FileType
from .binding import Functions, function
from .errno import Errno, WasiError, from_os_error
from .memory import U32, check
from .sockets import socket_of

if TYPE_CHECKING:
    from ..protocols import Memory
    from .context import WasiContext
    from .socket_files import Socket

__all__ = ["FUNCTIONS"]

FUNCTIONS: Functions = {}

_SOL_SOCKET, _SOL_TCP = 0, 6
_TYPE, _ERROR, _ACCEPTCONN = 1, 2, 13
_OPTIONS = {
    (_SOL_SOCKET, 0): (socket.SOL_SOCKET, socket.SO_REUSEADDR),
    (_SOL_SOCKET, 3): (socket.SOL_SOCKET, socket.SO_DONTROUTE),
    (_SOL_SOCKET, 4): (socket.SOL_SOCKET, socket.SO_BROADCAST),
    (_SOL_SOCKET, 5): (socket.SOL_SOCKET, socket.SO_SNDBUF),
    (_SOL_SOCKET, 6): (socket.SOL_SOCKET, socket.SO_RCVBUF),
    (_SOL_SOCKET, 7): (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (_SOL_SOCKET, 8): (socket.SOL_SOCKET, socket.SO_OOBINLINE),
    (_SOL_SOCKET, 10): (socket.SOL_SOCKET, socket.SO_RCVLOWAT),
    (_SOL_SOCKET, _ACCEPTCONN): (socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
    (_SOL_TCP, 15): (socket.IPPROTO_TCP, socket.TCP_NODELAY),
}
_NOT_SUPPORTED = {(_SOL_SOCKET, number) for number in (9, 11, 12, 14)}  # linger, timeouts, bindtodevice
_READ_ONLY = {(_SOL_SOCKET, number) for number in (_TYPE, _ERROR, _ACCEPTCONN)}


@function(FUNCTIONS, "iiiii")
def sock_getsockopt(
    context: WasiContext, memory: Memory, fd: int, level: int, name: int, pointer: int, size: int
) -> None:
    sock = socket_of(context, fd)
    if size != 4:
        raise WasiError(Errno.INVAL)
    check(memory, pointer, 4)
    value = _get(sock, (level, name))
    memory.write(pointer & U32, (value & U32).to_bytes(4, "little"))


def _get(sock: Socket, option: tuple[int, int]) -> int:
    if option in _NOT_SUPPORTED:
        raise WasiError(Errno.NOTSUP)
    if option == (_SOL_SOCKET, _TYPE):
        return 1 if sock.filetype == FileType.SOCKET_DGRAM else 2
    if option == (_SOL_SOCKET, _ERROR):
        code = sock.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return from_os_error(OSError(code, "")) if code else 0
    if option not in _OPTIONS:
        raise WasiError(Errno.INVAL)
    return sock.sock.getsockopt(*_OPTIONS[option])


@function(FUNCTIONS, "iiiii")
def sock_setsockopt(
    context: WasiContext, memory: Memory, fd: int, level: int, name: int, pointer: int, size: int
) -> None:
    sock = socket_of(context, fd)
    if size != 4:
        raise WasiError(Errno.INVAL)
    value = int.from_bytes(memory.read(pointer & U32, 4), "little", signed=True)
    option = level, name
    if option in _NOT_SUPPORTED or option in _READ_ONLY:
        raise WasiError(Errno.NOTSUP)
    if option not in _OPTIONS:
        raise WasiError(Errno.INVAL)
    if sock.lent:
        raise WasiError(Errno.NOTCAPABLE)
    sock.sock.setsockopt(*_OPTIONS[option], value)
