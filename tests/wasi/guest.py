"""A guest that does nothing but hand calls of WASI's functions on, for tests to make any call with any arguments."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import pywasmrt
from pywasmrt import wasi
from pywasmrt.types import FunctionType, MemoryType
from pywasmrt.wasi.abi import DIRECTORY_INHERITING, DIRECTORY_RIGHTS, DIRENT, EVENT, FDSTAT, FILESTAT, Rights, Stat
from pywasmrt.wasi.binding import Function
from pywasmrt.wasi.context import PREVIEW1
from pywasmrt.wasi.errno import Errno
from pywasmrt.wasi.wasmedge import functions_for
from pywasmrt.wasm.module import Module

V1_SHOWN_BY = {"sock_accept": FunctionType((pywasmrt.ValueType.I32,) * 2, (pywasmrt.ValueType.I32,))}
ALL_V2: dict[str, Function] = {**PREVIEW1, **functions_for({})}
ALL_V1: dict[str, Function] = {**PREVIEW1, **functions_for(V1_SHOWN_BY)}

PAGES = 4
HEAP = 1024
READ_WRITE = Rights.FD_READ | Rights.FD_WRITE | Rights.FD_SEEK | Rights.FD_TELL | Rights.FD_FILESTAT_GET
FOLLOW = 1


@cache
def forwarding(version: int = 2) -> bytes:
    """A module that exports every function of WASI under its name, around the import, and a memory."""
    guest = Module()
    functions = ALL_V1 if version == 1 else ALL_V2
    imported = {
        name: guest.import_("wasi_snapshot_preview1", name, FunctionType(each.params, each.results))
        for name, each in functions.items()
    }
    guest.memory(MemoryType(PAGES, PAGES * 4), export="memory")
    for name, each in functions.items():
        gets = [("local.get", n) for n in range(len(each.params))]
        guest.function(FunctionType(each.params, each.results), [*gets, ("call", imported[name])], export=name)
    return guest.encode()


_MODULES: WeakKeyDictionary[pywasmrt.Runtime, dict[int, pywasmrt.CompiledModule]] = WeakKeyDictionary()


class Entry(NamedTuple):
    next: int
    ino: int
    type: int
    name: bytes


class Raw:
    """An instance of the forwarding guest. `call` gives the errno; the other methods do one thing and expect success.

    A bump allocator hands out guest memory; it starts again with each top-level method.
    """

    def __init__(self, runtime: pywasmrt.Runtime, config: wasi.WasiConfig, version: int = 2) -> None:
        modules = _MODULES.setdefault(runtime, {})
        if version not in modules:
            modules[version] = runtime.compile(forwarding(version))
        self.instance = runtime.instantiate(modules[version], wasi=config)
        memory = self.instance.memory()
        assert memory is not None
        self.memory = memory
        self._top = HEAP

    def close(self) -> None:
        self.instance.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # Guest memory

    def alloc(self, size: int) -> int:
        at = self._top
        self._top = (at + size + 7) & ~7
        if self._top > PAGES * 65536:
            at, self._top = HEAP, HEAP + size + 7 & ~7
        return at

    def put(self, data: bytes) -> int:
        at = self.alloc(len(data) + 1)
        self.memory.write(at, data)
        return at

    def text(self, data: bytes | str) -> tuple[int, int]:
        encoded = data.encode() if isinstance(data, str) else data
        return self.put(encoded), len(encoded)

    def u32(self, at: int) -> int:
        return int.from_bytes(self.memory.read(at, 4), "little")

    def u64(self, at: int) -> int:
        return int.from_bytes(self.memory.read(at, 8), "little")

    def iovs(self, *sizes: int) -> tuple[int, int, list[int]]:
        """An array of buffers of these sizes: its address, its length, and where each is."""
        buffers = [self.alloc(size) for size in sizes]
        packed = b"".join(struct.pack("<II", at, size) for at, size in zip(buffers, sizes, strict=True))
        return self.put(packed), len(sizes), buffers

    # Calls

    def call(self, name: str, *args: int) -> Errno:
        return Errno(getattr(self.instance.exports, name)(*args))

    def do(self, name: str, *args: int) -> None:
        errno = self.call(name, *args)
        assert errno is Errno.SUCCESS, f"{name}: {errno.name}"

    def with_path(self, name: str, fd: int, path: bytes | str, *more: int, lookup: int | None = None) -> Errno:
        flags = () if lookup is None else (lookup,)
        return self.call(name, fd, *flags, *self.text(path), *more)

    def try_open(
        self,
        path: bytes | str,
        *,
        fd: int = 3,
        follow: bool = False,
        oflags: int = 0,
        rights: int = READ_WRITE,
        inheriting: int = 0,
        fdflags: int = 0,
    ) -> tuple[Errno, int]:
        out = self.alloc(4)
        at, size = self.text(path)
        errno = self.call("path_open", fd, int(follow), at, size, oflags, rights, inheriting, fdflags, out)
        return errno, self.u32(out)

    def open(self, path: bytes | str, **options: Any) -> int:
        errno, fd = self.try_open(path, **options)
        assert errno is Errno.SUCCESS, errno.name
        return fd

    def open_directory(self, path: bytes | str, **options: Any) -> int:
        return self.open(
            path, oflags=2, rights=DIRECTORY_RIGHTS, inheriting=DIRECTORY_INHERITING, follow=True, **options
        )

    def try_read(self, fd: int, size: int, *, at: int | None = None) -> tuple[Errno, bytes]:
        iovs, count, buffers = self.iovs(size)
        out = self.alloc(4)
        if at is None:
            errno = self.call("fd_read", fd, iovs, count, out)
        else:
            errno = self.call("fd_pread", fd, iovs, count, at, out)
        return errno, self.memory.read(buffers[0], self.u32(out)) if errno is Errno.SUCCESS else b""

    def read(self, fd: int, size: int = 4096, *, at: int | None = None) -> bytes:
        errno, data = self.try_read(fd, size, at=at)
        assert errno is Errno.SUCCESS, errno.name
        return data

    def try_write(self, fd: int, data: bytes, *, at: int | None = None) -> tuple[Errno, int]:
        iovs = self.put(struct.pack("<II", self.put(data), len(data)))
        out = self.alloc(4)
        errno = self.call("fd_write", fd, iovs, 1, out) if at is None else self.call("fd_pwrite", fd, iovs, 1, at, out)
        return errno, self.u32(out)

    def write(self, fd: int, data: bytes, *, at: int | None = None) -> int:
        errno, count = self.try_write(fd, data, at=at)
        assert errno is Errno.SUCCESS, errno.name
        return count

    def seek(self, fd: int, offset: int, whence: int = 0) -> int:
        out = self.alloc(8)
        self.do("fd_seek", fd, offset, whence, out)
        return self.u64(out)

    def stat_at(self, path: bytes | str, *, follow: bool = False, fd: int = 3) -> Stat | Errno:
        out = self.alloc(64)
        errno = self.with_path("path_filestat_get", fd, path, out, lookup=int(follow))
        return Stat(*FILESTAT.unpack(self.memory.read(out, 64))) if errno is Errno.SUCCESS else errno

    def stat(self, fd: int) -> Stat:
        out = self.alloc(64)
        self.do("fd_filestat_get", fd, out)
        return Stat(*FILESTAT.unpack(self.memory.read(out, 64)))

    def fdstat(self, fd: int) -> tuple[int, int, int, int]:
        out = self.alloc(24)
        self.do("fd_fdstat_get", fd, out)
        return FDSTAT.unpack(self.memory.read(out, 24))  # type: ignore[return-value]

    def entries(self, fd: int, *, size: int = 4096, cookie: int = 0) -> tuple[list[Entry], bool]:
        """What one call of fd_readdir gives, cut-off entries left out, and whether that was all."""
        buffer, out = self.alloc(size), self.alloc(4)
        self.do("fd_readdir", fd, buffer, size, cookie, out)
        used = self.u32(out)
        data = self.memory.read(buffer, used)
        found = []
        at = 0
        while at + DIRENT.size <= len(data):
            following, ino, length, kind = DIRENT.unpack_from(data, at)
            at += DIRENT.size
            if at + length > len(data):
                break
            found.append(Entry(following, ino, kind, data[at : at + length]))
            at += length
        return found, used < size

    def names(self, fd: int) -> set[bytes]:
        found: list[Entry] = []
        cookie, done = 0, False
        while not done:
            more, done = self.entries(fd, cookie=cookie)
            found += more
            cookie = found[-1].next
        return {entry.name for entry in found} - {b".", b".."}

    def readlink(self, path: bytes | str, size: int = 256) -> bytes | Errno:
        buffer, out = self.alloc(size), self.alloc(4)
        errno = self.with_path("path_readlink", 3, path, buffer, size, out)
        return self.memory.read(buffer, self.u32(out)) if errno is Errno.SUCCESS else errno

    def symlink(self, target: bytes | str, path: bytes | str, fd: int = 3) -> Errno:
        return self.call("path_symlink", *self.text(target), fd, *self.text(path))

    def link(self, old: bytes | str, new: bytes | str, *, fd: int = 3, to: int = 3, lookup: int = 0) -> Errno:
        return self.call("path_link", fd, lookup, *self.text(old), to, *self.text(new))

    def rename(self, old: bytes | str, new: bytes | str, *, fd: int = 3, to: int = 3) -> Errno:
        return self.call("path_rename", fd, *self.text(old), to, *self.text(new))

    def mkdir(self, path: bytes | str, fd: int = 3) -> Errno:
        return self.with_path("path_create_directory", fd, path)

    def rmdir(self, path: bytes | str, fd: int = 3) -> Errno:
        return self.with_path("path_remove_directory", fd, path)

    def unlink(self, path: bytes | str, fd: int = 3) -> Errno:
        return self.with_path("path_unlink_file", fd, path)

    def create(self, path: bytes | str, data: bytes = b"") -> None:
        fd = self.open(path, oflags=1 | 8)
        if data:
            self.write(fd, data)
        self.do("fd_close", fd)

    def poll(self, *subscriptions: bytes) -> list[tuple[int, Errno, int, int, int]]:
        """The events, each (userdata, error, type, nbytes, flags)."""
        given = self.put(b"".join(subscriptions))
        events, out = self.alloc(32 * len(subscriptions)), self.alloc(4)
        self.do("poll_oneoff", given, events, len(subscriptions), out)
        data = self.memory.read(events, 32 * self.u32(out))
        return [(user, Errno(error), kind, size, flags) for user, error, kind, size, flags in EVENT.iter_unpack(data)]


def clock(userdata: int, timeout: int, *, clock_id: int = 1, absolute: bool = False) -> bytes:
    return struct.pack("<QBxxxxxxxIxxxxQQHxxxxxx", userdata, 0, clock_id, timeout, 0, int(absolute))


def readable(userdata: int, fd: int) -> bytes:
    return struct.pack("<QBxxxxxxxI28x", userdata, 1, fd)


def writable(userdata: int, fd: int) -> bytes:
    return struct.pack("<QBxxxxxxxI28x", userdata, 2, fd)


Opener = Callable[..., Raw]
