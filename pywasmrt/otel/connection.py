"""Connections with one deadline for connecting, writing and reading together, however many steps that takes.

The standard library restarts a time limit for each address of a host, for each piece that arrives and for each piece
of an encrypted payload, and looks names up without a limit. Here every wait is bounded by the time left.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import time
from functools import partial
from typing import Any

from ..wasi.lookup import Lookup

__all__ = ["Connection", "SecureConnection"]

_PIECE = 16 * 1024  # the size of a TLS record: one wait for each
_PAUSE = 0.01


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("there was no answer in time")
    return left


def _addresses(host: str, port: int, deadline: float) -> list[Any]:
    """Look a host up."""
    lookup = Lookup(host, port, 0, socket.SOCK_STREAM)
    while not lookup.start():
        time.sleep(min(_PAUSE, _left(deadline)))
    poller = select.poll()
    poller.register(lookup.fileno(), select.POLLIN)
    if not poller.poll(_left(deadline) * 1000):
        raise TimeoutError(f"the name {host!r} was not found in time")
    return lookup.result()


def _connected(host: str, port: int, deadline: float) -> socket.socket:
    """A connection to the first address that answers. Each has its share of what is left, so that one that does not
    answer leaves time for the others.
    """
    found = _addresses(host, port, deadline)
    failed: OSError = OSError(f"the name {host!r} has no address")
    for n, (family, kind, protocol, _, address) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(deadline) / (len(found) - n))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            failed = error
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failed


class Connection(http.client.HTTPConnection):
    """A connection for requests that each have a deadline, a time of the monotonic clock."""

    def __init__(self, host: str, port: int | None) -> None:
        super().__init__(host, port)
        self.until(time.monotonic())

    def until(self, deadline: float) -> None:
        """Begin a request that ends by `deadline`."""
        self._deadline = deadline
        self.response_class = partial(_Answer, deadline)  # type: ignore[assignment]

    def connect(self) -> None:
        self.sock = _connected(self.host, self.port, self._deadline)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        view = memoryview(data)
        for at in range(0, len(view), _PIECE):
            self.sock.settimeout(_left(self._deadline))
            self.sock.sendall(view[at : at + _PIECE])


class SecureConnection(Connection):
    """The same over TLS."""

    default_port = http.client.HTTPS_PORT

    def __init__(self, host: str, port: int | None, tls: ssl.SSLContext) -> None:
        super().__init__(host, port)
        self._tls = tls

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.settimeout(_left(self._deadline))
        self.sock.do_handshake()  # which counts all its steps together


class _Bounded(io.RawIOBase):
    """A socket's bytes until a deadline, however slowly they come."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """A response that is read until a deadline."""

    def __init__(self, deadline: float, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Bounded(sock, deadline))
