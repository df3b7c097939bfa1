"""Descriptors of the host, each owned by an object from its first moment to its last.

A signal handler may raise between any two instructions of Python, and so between a system call that opens and the
assignment of what it gave; then nobody would close the descriptor. The native part makes the object first and stores
the number in C, and closes in C. Where the native part is missing this module does the same in Python, as well as that
can be done: there such an exception may leave a descriptor open.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno as host
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, SupportsIndex

__all__ = ["HERE", "Handle", "accept", "duplicate", "native", "open_at", "open_beneath", "pipe"]

HERE = -100
"""The working directory, as a directory to open paths from (AT_FDCWD)."""

if TYPE_CHECKING:
    from .._shim._files import Handle, accept, duplicate, open_at, open_beneath, pipe

    native: bool
else:
    try:
        from .._shim._files import Handle, accept, duplicate, open_at, open_beneath, pipe

        native = True
    except ImportError:
        native = False

        class Handle:
            """A descriptor of this process, closed when the object is dropped."""

            __slots__ = ("fd",)

            def __init__(self, fd: int) -> None:
                self.fd = fd

            def close(self) -> None:
                """Close the descriptor. Idempotent."""
                fd, self.fd = self.fd, -1
                if fd >= 0:
                    os.close(fd)

            def fileno(self) -> int:
                """The descriptor's number; -1 once it is closed."""
                return self.fd

            def __index__(self) -> int:
                return self.fd

            def __repr__(self) -> str:
                return f"<Handle {self.fd}>"

            def __del__(self) -> None:
                if getattr(self, "fd", -1) >= 0:
                    with contextlib.suppress(OSError):
                        os.close(self.fd)

        def open_at(directory: SupportsIndex, path: bytes, flags: int, mode: int) -> Handle:
            """openat(2). Raises OSError."""
            where = None if directory == HERE else int(directory)
            return Handle(os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=where))

        class _How(ctypes.Structure):
            """`struct open_how` of openat2."""

            _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))

        _OPENAT2 = 437  # the same on every architecture
        _RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH, _RACES = 0x02, 0x08, 64
        _syscall: Any = None
        if sys.platform.startswith("linux"):
            _syscall = ctypes.CDLL(None, use_errno=True).syscall
            _syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
            _syscall.restype = ctypes.c_long

        def open_beneath(directory: SupportsIndex, path: bytes, flags: int, mode: int) -> Handle:
            """openat2(2), never out of `directory`. Raises OSError: EXDEV for a path that leads out."""
            how = _How(
                flags | os.O_CLOEXEC, mode if flags & os.O_CREAT else 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS
            )
            code = host.ENOSYS
            for _ in range(0 if _syscall is None else _RACES):
                fd = _syscall(_OPENAT2, int(directory), path, ctypes.byref(how), ctypes.sizeof(how))
                if fd >= 0:
                    return Handle(fd)
                code = ctypes.get_errno()
                if code not in (host.EAGAIN, host.EINTR):
                    break
            raise OSError(code, os.strerror(code))

        def duplicate(fd: SupportsIndex) -> Handle:
            """A second descriptor of the same file."""
            return Handle(os.dup(int(fd)))

        def accept(fd: SupportsIndex) -> Handle:
            """The next connection of a listening socket, which does not block. Raises OSError."""
            listener = socket.socket(fileno=int(fd))
            try:
                sock, _ = listener.accept()
            finally:
                listener.detach()
            sock.setblocking(False)
            return Handle(sock.detach())

        def pipe() -> tuple[Handle, Handle]:
            """The reading and the writing end of a pipe; neither blocks."""
            ends = os.pipe()
            for fd in ends:
                os.set_blocking(fd, False)
            return Handle(ends[0]), Handle(ends[1])
