"""The socket functions that WasmEdge added to preview 1, in version 2 and in version 1 before it.

A guest's version shows in the number of parameters it imports `sock_accept`, `sock_recv_from` or `sock_get*addr`
with. An address is a pointer to `{u32 buffer, u32 length}`; the length tells the kind: 4 IPv4, 16 IPv6, 128 a `u16`
family and 126 bytes. In version 1, results go into buffers of 4 or 16 bytes.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat as modes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..types import FunctionType
from . import wasmedge_names, wasmedge_options
from .abi import CIOVEC, Rights
from .binding import Functions, function
from .errno import Errno, WasiError
from .handles import HERE, Handle, open_at
from .memory import U32, check, gather, put_size, room, scatter
from .socket_files import HostSocket, Socket
from .sockets import PEEK, WAITALL, accept, put_flags, socket_of

if TYPE_CHECKING:
    from ..protocols import Memory
    from ..types import ExternType
    from .context import WasiContext

__all__ = ["functions_for"]

_V2: Functions = {}
_V1: Functions = {}

_INET, _INET6, _UNIX = 1, 2, 3
_DGRAM, _STREAM = 1, 2
_FAMILIES = {_INET: socket.AF_INET, _INET6: socket.AF_INET6, _UNIX: socket.AF_UNIX}
_FAMILY_OF = {int(family): number for number, family in _FAMILIES.items()}
_TYPES = {_DGRAM: socket.SOCK_DGRAM, _STREAM: socket.SOCK_STREAM}
_STORAGE = 128
_MAX_UNIX_PATH = 107  # of a host's address, NUL excluded


def functions_for(imports: Mapping[str, ExternType]) -> Functions:
    """The functions of the version that a guest imports."""

    def count(name: str) -> int:
        type = imports.get(name)
        return len(type.params) if isinstance(type, FunctionType) else -1

    known = {**_V2, **wasmedge_options.FUNCTIONS, **wasmedge_names.FUNCTIONS}
    if (
        count("sock_accept") == 2
        or count("sock_getlocaladdr") == 4
        or count("sock_getpeeraddr") == 4
        or count("sock_recv_from") == 7
    ):
        return {**known, **_V1}
    return known


class _Address(NamedTuple):
    family: int
    host: str  # or the path of a unix socket
    port: int

    def policy(self) -> tuple[str, int] | str:
        return self.host if self.family == _UNIX else (self.host, self.port)

    def of_host(self) -> Any:
        return self.host if self.family == _UNIX else (self.host, self.port)


def _read_address(memory: Memory, pointer: int, port: int) -> _Address:
    buffer, size = CIOVEC.unpack(memory.read(pointer & U32, 8))
    if size not in (4, 16, _STORAGE):
        raise WasiError(Errno.INVAL)
    data = memory.read(buffer, size)
    family = {4: _INET, 16: _INET6}.get(size) or int.from_bytes(data[:2], "little")
    if size == _STORAGE:
        data = data[2:]
    if family == _UNIX:
        path = data.partition(b"\0")[0]
        if not path or len(path) > _MAX_UNIX_PATH:
            raise WasiError(Errno.INVAL)
        name = os.fsdecode(path)
        if not name.startswith("/") or os.path.normpath(name) != name:
            raise WasiError(Errno.ACCES)  # the network policy is about absolute paths, written in one way
        return _Address(_UNIX, name, 0)
    if not 0 <= port < 1 << 16:
        raise WasiError(Errno.INVAL)
    if family == _INET:
        return _Address(_INET, str(ipaddress.IPv4Address(data[:4])), port)
    if family == _INET6:
        return _Address(_INET6, str(ipaddress.IPv6Address(data[:16])), port)
    raise WasiError(Errno.INVAL)


def _packed(sock: Socket, address: Any) -> tuple[int, bytes, int]:
    """The family, bytes and port of an address as Python gives it."""
    family = _FAMILY_OF.get(sock.sock.family, 0)
    if family == _UNIX:
        path = os.fsencode(address) if isinstance(address, str) else bytes(address or b"")
        return family, path[: _STORAGE - 3], 0
    if not address:
        return family, bytes(4 if family == _INET else 16), 0
    return family, ipaddress.ip_address(address[0].partition("%")[0]).packed, address[1]


def _own_address(sock: Socket) -> Any:
    return sock.name if sock.name is not None else sock.sock.getsockname()


def _storage_buffer(memory: Memory, pointer: int) -> int:
    """Where a result goes: a checked buffer of 128 bytes."""
    buffer, size = CIOVEC.unpack(memory.read(pointer & U32, 8))
    if size != _STORAGE:
        raise WasiError(Errno.INVAL)
    check(memory, buffer, size)
    return int(buffer)


def _put_address(memory: Memory, buffer: int, sock: Socket, address: Any) -> int:
    """Fill a buffer of 128 bytes, and return the port."""
    family, data, port = _packed(sock, address)
    memory.write(buffer, (family.to_bytes(2, "little") + data).ljust(_STORAGE, b"\0"))
    return port


@function(_V2, "iii")
def sock_open(context: WasiContext, memory: Memory, family: int, kind: int, result: int) -> None:
    if family not in _FAMILIES or kind not in (0, _DGRAM, _STREAM) or (kind == 0 and family != _UNIX):
        raise WasiError(Errno.INVAL)
    if not (context.network.connect or context.network.listen):
        raise WasiError(Errno.ACCES)
    check(memory, result, 4)
    context.table.check_room()
    sock = HostSocket(_FAMILIES[family], _TYPES[kind or _STREAM])
    sock.setblocking(False)
    put_size(memory, result, context.table.add(Socket(sock, context.waiter)))


def _address_for(memory: Memory, sock: Socket, pointer: int, port: int) -> _Address:
    address = _read_address(memory, pointer, port)
    if _FAMILIES[address.family] != sock.sock.family:
        raise WasiError(Errno.AFNOSUPPORT)
    return address


@function(_V2, "iii")
def sock_bind(context: WasiContext, memory: Memory, fd: int, pointer: int, port: int) -> None:
    sock = socket_of(context, fd)
    address = _address_for(memory, sock, pointer, port)
    if not context.network.may_listen(address.policy()):
        raise WasiError(Errno.ACCES)
    if sock.lent:
        raise WasiError(Errno.NOTCAPABLE)
    if address.family == _UNIX:
        folder, name = _folder_of(address)
        sock.sock.bind(f"/proc/self/fd/{folder.fd}/{name}")
        sock.name = address.host
    else:
        sock.sock.bind(address.of_host())
    sock.bound = True


@function(_V2, "ii")
def sock_listen(context: WasiContext, memory: Memory, fd: int, backlog: int) -> None:
    sock = socket_of(context, fd)
    if not sock.bound:  # the host would choose a port on every address; what the socket's name says may be stale
        everywhere = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}.get(sock.sock.family)
        if everywhere is None or not context.network.may_listen((everywhere, 0)):
            raise WasiError(Errno.ACCES)
    if sock.lent and sock.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return  # the length of its queue is the host's to choose
    sock.sock.listen(max(0, min(backlog, 4096)))


def _folder_of(address: _Address) -> tuple[Handle, str]:
    """The directory of a unix socket's path, open, and the name in it. It is asked of what was opened whether it is the
    directory that the network policy lists, and used by its descriptor afterwards: links that are swapped meanwhile
    lead nowhere else. Needs /proc.
    """
    folder, name = os.path.split(address.host)
    handle = open_at(HERE, os.fsencode(folder), getattr(os, "O_PATH", 0) | os.O_DIRECTORY, 0)
    if os.readlink(f"/proc/self/fd/{handle.fd}") != folder:  # a link on the way: it may lead out of what is listed
        raise WasiError(Errno.ACCES)
    return handle, name


@contextmanager
def _reached(context: WasiContext, address: _Address) -> Iterator[Any]:
    """The host's form of an address that may be connected to. A unix socket is opened by its path without following
    links, and reached through that.
    """
    if not context.network.may_connect(address.policy()):
        raise WasiError(Errno.ACCES)
    if address.family != _UNIX:
        yield address.of_host()
        return
    folder, name = _folder_of(address)
    handle = open_at(folder, os.fsencode(name), getattr(os, "O_PATH", 0) | os.O_NOFOLLOW, 0)
    if not modes.S_ISSOCK(os.fstat(handle.fd).st_mode):
        raise WasiError(Errno.CONNREFUSED)
    yield f"/proc/self/fd/{handle.fd}"
    handle.close()


@function(_V2, "iii")
def sock_connect(context: WasiContext, memory: Memory, fd: int, pointer: int, port: int) -> None:
    sock = socket_of(context, fd)
    if sock.lent:
        raise WasiError(Errno.NOTCAPABLE)
    with _reached(context, _address_for(memory, sock, pointer, port)) as address:
        sock.connect(address)


@function(_V2, "iiiiiii")
def sock_send_to(
    context: WasiContext,
    memory: Memory,
    fd: int,
    iovs: int,
    count: int,
    pointer: int,
    port: int,
    flags: int,
    result: int,
) -> None:
    sock = socket_of(context, fd, Rights.FD_WRITE)
    if flags:
        raise WasiError(Errno.INVAL)
    wanted = _address_for(memory, sock, pointer, port)
    check(memory, result, 4)
    data = gather(memory, iovs, count)
    if _connected(sock):
        raise WasiError(Errno.ISCONN)
    with _reached(context, wanted) as address:
        put_size(memory, result, sock.send_to(data, address))


def _connected(sock: Socket) -> bool:
    try:
        sock.sock.getpeername()
    except OSError:
        return False
    return True


def _receive(
    context: WasiContext, memory: Memory, fd: int, iovs: int, count: int, flags: int, result: int, out_flags: int
) -> tuple[Socket, list[tuple[int, int]], bytes, bool, Any]:
    sock = socket_of(context, fd, Rights.FD_READ)
    if flags & ~(PEEK | WAITALL):
        raise WasiError(Errno.INVAL)
    into, size = room(memory, iovs, count)
    check(memory, result, 4)
    check(memory, out_flags, 2)
    data, truncated, address = sock.receive(size, bool(flags & PEEK), bool(flags & WAITALL))
    return sock, into, data, truncated, address


@function(_V2, "iiiiiiii")
def sock_recv_from(
    context: WasiContext,
    memory: Memory,
    fd: int,
    iovs: int,
    count: int,
    pointer: int,
    flags: int,
    port: int,
    result: int,
    out_flags: int,
) -> None:
    buffer = _storage_buffer(memory, pointer)
    check(memory, port, 4)
    sock, into, data, truncated, address = _receive(context, memory, fd, iovs, count, flags, result, out_flags)
    scatter(memory, into, data)
    put_size(memory, port, _put_address(memory, buffer, sock, address))
    put_size(memory, result, len(data))
    put_flags(memory, out_flags, truncated)


@function(_V2, "iii")
def sock_getlocaladdr(context: WasiContext, memory: Memory, fd: int, pointer: int, port: int) -> None:
    sock = socket_of(context, fd)
    buffer = _storage_buffer(memory, pointer)
    check(memory, port, 4)
    put_size(memory, port, _put_address(memory, buffer, sock, _own_address(sock)))


@function(_V2, "iii")
def sock_getpeeraddr(context: WasiContext, memory: Memory, fd: int, pointer: int, port: int) -> None:
    sock = socket_of(context, fd)
    buffer = _storage_buffer(memory, pointer)
    check(memory, port, 4)
    put_size(memory, port, _put_address(memory, buffer, sock, sock.sock.getpeername()))


# Version 1


@function(_V1, "ii", name="sock_accept")
def sock_accept_v1(context: WasiContext, memory: Memory, fd: int, result: int) -> None:
    accept(context, memory, fd, 0, result)


def _small_buffer(memory: Memory, pointer: int) -> tuple[int, int]:
    buffer, size = CIOVEC.unpack(memory.read(pointer & U32, 8))
    if size not in (4, 16):
        raise WasiError(Errno.INVAL)
    check(memory, buffer, size)
    return buffer, size


def _put_small_address(memory: Memory, buffer: tuple[int, int], sock: Socket, address: Any) -> tuple[int, int]:
    """Fill a buffer of 4 or 16 bytes, and return the family and the port."""
    family, data, port = _packed(sock, address)
    if family == _UNIX or len(data) > buffer[1]:
        raise WasiError(Errno.INVAL)
    memory.write(buffer[0], data)
    return family, port


def _put_address_v1(memory: Memory, sock: Socket, address: Any, pointer: int, kind: int, port: int) -> None:
    family, number = _put_small_address(memory, _small_buffer(memory, pointer), sock, address)
    put_size(memory, kind, 4 if family == _INET else 6)
    put_size(memory, port, number)


@function(_V1, "iiii", name="sock_getlocaladdr")
def sock_getlocaladdr_v1(context: WasiContext, memory: Memory, fd: int, pointer: int, kind: int, port: int) -> None:
    sock = socket_of(context, fd)
    _put_address_v1(memory, sock, _own_address(sock), pointer, kind, port)


@function(_V1, "iiii", name="sock_getpeeraddr")
def sock_getpeeraddr_v1(context: WasiContext, memory: Memory, fd: int, pointer: int, kind: int, port: int) -> None:
    sock = socket_of(context, fd)
    _put_address_v1(memory, sock, sock.sock.getpeername(), pointer, kind, port)


@function(_V1, "iiiiiii", name="sock_recv_from")
def sock_recv_from_v1(
    context: WasiContext,
    memory: Memory,
    fd: int,
    iovs: int,
    count: int,
    pointer: int,
    flags: int,
    result: int,
    out_flags: int,
) -> None:
    buffer = _small_buffer(memory, pointer)
    sock, into, data, truncated, address = _receive(context, memory, fd, iovs, count, flags, result, out_flags)
    scatter(memory, into, data)
    _put_small_address(memory, buffer, sock, address)
    put_size(memory, result, len(data))
    put_flags(memory, out_flags, truncated)
