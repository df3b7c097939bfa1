"""Looking names up, in the form that WasmEdge gave it: `sock_getaddrinfo`."""

from __future__ import annotations

import ipaddress
import socket
from struct import Struct
from typing import TYPE_CHECKING, Any

from .binding import Functions, function
from .errno import Errno, WasiError
from .lookup import Lookup
from .memory import U32, check, put_size, read_bytes
from .waiting import POLL_IN, WouldWait

if TYPE_CHECKING:
    from ..protocols import Memory
    from .context import WasiContext

__all__ = ["FUNCTIONS"]

FUNCTIONS: Functions = {}

_INFO = Struct("<HBBIIIIII")  # flags, family, socktype, proto, addrlen, addr, canonname, canonlen, next
_PASSIVE, _NUMERICHOST, _NUMERICSERV = 1, 4, 8
_FAMILIES = {0: socket.AF_UNSPEC, 1: socket.AF_INET, 2: socket.AF_INET6}
_TYPES = {0: 0, 1: socket.SOCK_DGRAM, 2: socket.SOCK_STREAM}
_PROTOCOLS = {0: 0, 1: socket.IPPROTO_TCP, 2: socket.IPPROTO_UDP, 6: socket.IPPROTO_TCP, 17: socket.IPPROTO_UDP}
"""WasmEdge counts protocols, as guests in Go and Rust do; those in C may give the numbers of the internet."""
_MAX_NAME = 1024
_PAUSE = 10_000_000
"""Nanoseconds between attempts to begin, where too many names are being looked up."""
_MAX_RESULTS = 1024
_DATA = 26
"""Bytes for an address and its port; where the guest says 14, as libraries do, it has these."""


@function(FUNCTIONS, "iiiiiiii")
def sock_getaddrinfo(
    context: WasiContext,
    memory: Memory,
    name: int,
    name_size: int,
    service: int,
    service_size: int,
    hints: int,
    results: int,
    most: int,
    count: int,
) -> None:
    """The guest has linked `most` records beforehand; the first of them are filled."""
    host = _text(memory, name, name_size)
    port = _text(memory, service, service_size)
    flags, family, kind, protocol, *_ = _INFO.unpack(memory.read(hints & U32, _INFO.size))
    most &= U32
    known = family in _FAMILIES and kind in _TYPES and protocol in _PROTOCOLS
    if not (host or port) or most <= 1 or not known:
        raise WasiError(Errno.INVAL)
    check(memory, count, 4)
    node = int.from_bytes(memory.read(results & U32, 4), "little")
    found = _look_up(context, host, port, flags, family, kind, protocol)
    for at, record in enumerate(found[: min(most, _MAX_RESULTS)]):
        if not node:
            found = found[:at]
            break
        node = _put(memory, node, *record)
    put_size(memory, count, min(len(found), most, _MAX_RESULTS))


def _text(memory: Memory, pointer: int, size: int) -> str:
    data = read_bytes(memory, pointer, size, _MAX_NAME).partition(b"\0")[0]
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise WasiError(Errno.CANCELED) from None


_Record = tuple[int, int, int, bytes]  # family, socktype, protocol, port and address


def _look_up(
    context: WasiContext, host: str, port: str, flags: int, family: int, kind: int, protocol: int
) -> list[_Record]:
    if not context.network.resolve and not (not host or _is_address(host)):
        raise WasiError(Errno.CANCELED)
    wanted = 0
    if flags & _PASSIVE:
        wanted |= socket.AI_PASSIVE
    if flags & _NUMERICHOST or not context.network.resolve:
        wanted |= socket.AI_NUMERICHOST
    if flags & _NUMERICSERV:
        wanted |= socket.AI_NUMERICSERV
    hints = (_FAMILIES[family], _TYPES[kind], _PROTOCOLS[protocol])
    try:
        found = _found(context, host or None, port or None, *hints, wanted)
    except (OSError, UnicodeError):
        raise WasiError(Errno.CANCELED) from None
    records = []
    for of_host, type_, _, _, address in sorted(found, key=lambda each: each[0] != socket.AF_INET):
        if of_host in (socket.AF_INET, socket.AF_INET6) and type_ in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            packed = ipaddress.ip_address(str(address[0]).partition("%")[0]).packed
            data = int(address[1]).to_bytes(2, "big") + packed
            datagrams = type_ == socket.SOCK_DGRAM
            records.append((1 if len(packed) == 4 else 2, 1 if datagrams else 2, 2 if datagrams else 1, data))
    return records


def _found(context: WasiContext, *arguments: Any) -> list[Any]:
    """What the host's resolver finds; left behind when the running call is to end."""
    if arguments[-1] & socket.AI_NUMERICHOST and arguments[-1] & socket.AI_NUMERICSERV:
        return socket.getaddrinfo(*arguments)  # which waits for nothing
    lookup: Lookup | None = context.lookups.pop(arguments, None)
    if lookup is None:
        lookup = Lookup(*arguments)
        while not lookup.start():
            context.waiter.wait({}, _PAUSE)
    try:
        context.waiter.wait({lookup.fileno(): POLL_IN}, None)
    except WouldWait:
        context.lookups[arguments] = lookup  # to be asked for again
        raise
    return lookup.result()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _put(memory: Memory, node: int, family: int, kind: int, protocol: int, data: bytes) -> int:
    """Fill one record, and return the next."""
    flags, _, _, _, _, sockaddr, canonical, _, following = _INFO.unpack(memory.read(node, _INFO.size))
    _, size, buffer = (int.from_bytes(memory.read(sockaddr + at, 4), "little") for at in (0, 4, 8))
    if (_DATA if size == 14 else size) < len(data):
        raise WasiError(Errno.INVAL)
    memory.write(buffer, data)
    memory.write(sockaddr, family.to_bytes(1, "little"))
    memory.write(node, _INFO.pack(flags, family, kind, protocol, 16, sockaddr, canonical, 0, following))
    return int(following)
