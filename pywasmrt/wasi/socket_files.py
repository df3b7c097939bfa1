"""Sockets of the host as descriptors of a guest."""

from __future__ import annotations

import _socket
import errno as host
import os
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..values import late
from . import handles
from .abi import SOCKET_RIGHTS, FdFlags, FileType, Rights, Stat
from .descriptors import Descriptor
from .errno import Errno, WasiError
from .handles import Handle
from .waiting import POLL_IN, POLL_OUT, WouldWait

if TYPE_CHECKING:
    from .waiting import Waiter

__all__ = ["HostSocket", "Socket", "lent_socket"]

_T = TypeVar("_T")
_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)
_NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
_PAUSE = 5_000_000
"""Nanoseconds between attempts to connect to a unix socket whose queue is full."""


class HostSocket(socket.socket):
    """A socket of the host that closes in silence when it is dropped, which is how a guest's descriptors close. In C,
    so that no signal handler's exception comes in between.
    """

    __del__ = _socket.socket.close


class _View(socket.socket):
    """A socket whose descriptor a `Handle` owns."""

    __del__ = _socket.socket.detach


def view_of(handle: Handle) -> socket.socket:
    """The socket of a descriptor that `handle` goes on owning. Its mode stays what it is, where a default timeout of
    Python's would change it.
    """
    blocking = os.get_blocking(handle.fd)
    sock = _View(fileno=handle.fd)
    os.set_blocking(handle.fd, blocking)
    if not blocking:
        sock.settimeout(0)
    return sock


def lent_socket(sock: socket.socket, waiter: Waiter) -> Socket:
    """The descriptor for a socket of `WasiConfig.sockets`: a duplicate, which shares all but its number."""
    flags = 0 if sock.gettimeout() is None else FdFlags.NONBLOCK
    return Socket(handles.duplicate(sock.fileno()), waiter, flags, lent=True)


class Socket(Descriptor):
    """A socket. Each operation is tried without waiting first; where it would block, the waiter waits, so that a
    blocked guest can be stopped.
    """

    __slots__ = ("_connecting", "_handle", "_taken", "_waiter", "bound", "filetype", "lent", "name", "sock")

    most_rights = SOCKET_RIGHTS
    most_inheriting = SOCKET_RIGHTS

    def __init__(self, sock: HostSocket | Handle, waiter: Waiter, flags: int = 0, lent: bool = False) -> None:
        """Takes over `sock`. `lent`: the host and other guests use the same socket, so nothing about it may change."""
        self._handle = sock
        self.sock: socket.socket = view_of(sock) if isinstance(sock, Handle) else sock
        self.filetype = FileType.SOCKET_DGRAM if self.sock.type == socket.SOCK_DGRAM else FileType.SOCKET_STREAM
        self.bound = lent
        """Whether it has an address that it may listen on."""
        self.lent = lent
        self.name: str | None = None
        """The path of a unix socket that the guest bound: the host only knows by which descriptor it was reached."""
        self._waiter = waiter
        self._connecting = False  # a connect was begun, and the wait for it was given up
        self._taken = b""  # the part that was received before a receive's wait was given up
        super().__init__(flags)
        if lent:
            self.rights &= ~Rights.SOCK_SHUTDOWN

    def _do(self, mask: int, operation: Callable[[], _T]) -> _T:
        while True:
            try:
                return operation()
            except (BlockingIOError, TimeoutError):
                if self.flags & FdFlags.NONBLOCK:
                    raise WasiError(Errno.AGAIN) from None
            self._waiter.ready(self.sock.fileno(), mask, 0)

    def read(self, size: int) -> bytes:
        return self._do(POLL_IN, lambda: self.sock.recv(size, _DONTWAIT))

    def write(self, data: bytes) -> int:
        return self._do(POLL_OUT, lambda: self.sock.send(data, _DONTWAIT | _NOSIGNAL))

    def receive(self, size: int, peek: bool, wait_for_all: bool) -> tuple[bytes, bool, Any]:
        """What `recvfrom` gives: the data, whether a datagram was cut off, and the sender's address."""
        flags = _DONTWAIT | (socket.MSG_PEEK if peek else 0)
        if self._taken and not peek:
            data, state, address = self._taken[:size], 0, None
            self._taken = self._taken[size:]
        else:
            data, _, state, address = self._do(POLL_IN, lambda: self.sock.recvmsg(size, 0, flags))
        if wait_for_all and not peek and data and self.filetype == FileType.SOCKET_STREAM:
            whole = bytearray(data)  # which a peer may fill one byte at a time
            while len(whole) < size:
                try:
                    more = self.read(size - len(whole))
                except (WasiError, OSError):  # what there is so far must not get lost
                    break
                except WouldWait:
                    self._taken = bytes(whole)
                    raise
                if not more:
                    break
                whole += more
            data = bytes(whole)
        return data, bool(state & socket.MSG_TRUNC), address

    def send_to(self, data: bytes, address: Any) -> int:
        return self._do(POLL_OUT, lambda: self.sock.sendto(data, _DONTWAIT | _NOSIGNAL, address))

    def accept(self, flags: int) -> Socket:
        def accept() -> Handle:
            # Asked first, since a socket that was handed in by the host may be one that blocks.
            if self.sock.gettimeout() != 0 and not self._waiter.wait({self.sock.fileno(): POLL_IN}, 0):
                raise BlockingIOError
            return handles.accept(self.sock.fileno())

        return Socket(self._do(POLL_IN, accept), self._waiter, flags)

    def connect(self, address: Any) -> None:
        code = host.EINPROGRESS if self._connecting else self.sock.connect_ex(address)
        while code == host.EAGAIN and self.sock.family == socket.AF_UNIX:
            # The listener's queue is full. Nothing was begun, so there is nothing to wait for but time.
            if self.flags & FdFlags.NONBLOCK:
                raise WasiError(Errno.AGAIN)
            self._waiter.wait({}, _PAUSE)
            code = self.sock.connect_ex(address)
        if code in (host.EINPROGRESS, host.EINTR):
            if self.flags & FdFlags.NONBLOCK:
                raise WasiError(Errno.INPROGRESS)
            self._connecting = True
            self._waiter.ready(self.sock.fileno(), POLL_OUT, 0)
            self._connecting = False
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def stat(self) -> Stat:
        return Stat(0, 0, self.filetype, 1, 0, 0, 0, 0)

    def host_fd(self) -> int | None:
        return None if self._taken else self.sock.fileno()

    def readable_bytes(self) -> int:
        fcntl, termios = late("fcntl"), late("termios")
        try:
            count = fcntl.ioctl(self.sock.fileno(), termios.FIONREAD, bytes(4))
        except OSError:  # a socket that listens has no bytes to read
            return 1
        return max(1, int.from_bytes(count, sys.byteorder))
