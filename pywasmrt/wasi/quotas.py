"""Directories of the host with a bound on what a guest adds to them: `Preopen(limit=...)`.

What counts is how much larger files become, with a charge for each name. Every operation that can add something looks
at the sizes before and after, under the lock of the one account that a preopened directory has.
"""

from __future__ import annotations

import os
import stat as modes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakSet

from . import resolve
from .abi import FdFlags, OFlags
from .descriptors import Descriptor, Directory
from .errno import Errno, WasiError
from .handles import open_at
from .host_files import HostDirectory, HostFile

if TYPE_CHECKING:
    from .handles import Handle
    from .waiting import Waiter

__all__ = ["NAME_COST", "BoundedDirectory", "Quota"]

_LOOK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW
NAME_COST = 640
"""What a name in a directory counts for, as in a `MemoryTree`."""


class Quota:
    """The account of one preopened directory of one instance."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.lock = threading.RLock()
        self.open: WeakSet[HostFile] = WeakSet()

    def check(self, size: int) -> None:
        """Raise `ENOSPC` unless `size` more bytes fit."""
        if size > 0 and self.used + size > self.limit:
            raise WasiError(Errno.NOSPC)

    def add(self, size: int) -> None:
        """Account for `size` more bytes, or less. What was there before the guest came gives no credit."""
        self.used = max(0, self.used + size)

    @contextmanager
    def freeing(self, place: resolve.Place) -> Iterator[None]:
        """Wraps an operation that removes the name at `place`. The freed size is asked of the file itself, which is
        held open meanwhile, since others may put another file under the name. Its bytes are given back if that was its
        last name, unless this guest has it open and could go on filling it.
        """
        try:
            held = open_at(place.directory, place.name, _LOOK, 0)
        except OSError:  # there is nothing; the operation itself will report that
            held = None
        before = None if held is None else os.fstat(held.fd)
        yield
        if held is None or before is None:
            return
        after = os.fstat(held.fd)
        if after.st_nlink >= before.st_nlink:
            return
        self.add(-NAME_COST)
        if modes.S_ISREG(after.st_mode) and after.st_nlink == 0 and not self._has_open(after):
            self.add(-after.st_size)

    def _has_open(self, about: os.stat_result) -> bool:
        for file in self.open:
            found = os.fstat(file.fd)
            if (found.st_dev, found.st_ino) == (about.st_dev, about.st_ino):
                return True
        return False


class BoundedFile(HostFile):
    """A file whose growth is counted."""

    __slots__ = ("_quota",)

    def __init__(self, fd: Handle | int, flags: int, quota: Quota) -> None:
        super().__init__(fd, flags)
        self._quota = quota
        quota.open.add(self)

    @contextmanager
    def _growing(self, end: int) -> Iterator[None]:
        """Wraps an operation after which the file ends at `end`, or later if it already did."""
        with self._quota.lock:
            before = os.fstat(self.fd).st_size
            self._quota.check(end - before)
            try:
                yield
            finally:
                self._quota.add(os.fstat(self.fd).st_size - before)

    def _size(self) -> int:
        return os.fstat(self.fd).st_size

    def write(self, data: bytes) -> int:
        with self._quota.lock:
            at = self._size() if self.flags & FdFlags.APPEND else os.lseek(self.fd, 0, os.SEEK_CUR)
            with self._growing(at + len(data)):
                return super().write(data)

    def write_at(self, data: bytes, offset: int) -> int:
        with self._quota.lock:
            at = self._size() if self.flags & FdFlags.APPEND else offset  # so Linux takes an offset where APPEND is set
            with self._growing(at + len(data)):
                return super().write_at(data, offset)

    def set_size(self, size: int) -> None:
        with self._growing(size):
            super().set_size(size)

    def allocate(self, offset: int, size: int, check: Callable[[], None]) -> None:
        with self._growing(offset + size):
            super().allocate(offset, size, check)


class BoundedDirectory(HostDirectory):
    """A directory of the host and everything below it. A guest may add only as much as the account has left."""

    __slots__ = ("_quota", "account")

    def __init__(self, fd: Handle | int, waiter: Waiter, quota: Quota) -> None:
        super().__init__(fd, waiter)
        self.account = self._quota = quota

    def _directory(self, handle: Handle) -> HostDirectory:
        return BoundedDirectory(handle, self._waiter, self._quota)

    def _file(self, handle: Handle, fdflags: int) -> HostFile:
        return BoundedFile(handle, fdflags, self._quota)

    @contextmanager
    def _adding(self, size: int) -> Iterator[None]:
        """Wraps an operation that adds `size` if it succeeds."""
        with self._quota.lock:
            self._quota.check(size)
            yield
            self._quota.add(size)

    def open(self, path: bytes, follow: bool, oflags: int, fdflags: int, read: bool, write: bool) -> Descriptor:
        cuts = oflags & OFlags.TRUNC
        if not oflags & (OFlags.CREAT | OFlags.TRUNC):
            return super().open(path, follow, oflags, fdflags, read, write)
        creates = oflags & OFlags.CREAT and not self._exists(path, follow and not oflags & OFlags.EXCL)
        with self._adding(NAME_COST if creates else 0):
            # Cut off afterwards, when it is known how large the file was; which needs the right to write.
            file = super().open(path, follow, oflags & ~OFlags.TRUNC, fdflags, read, write or bool(cuts))
        if cuts and isinstance(file, HostFile):
            file.set_size(0)
        return file

    def _exists(self, path: bytes, follow: bool) -> bool:
        try:
            self.stat_at(path, follow)
        except (OSError, WasiError):  # opening the path will report what is wrong with it
            return False
        return True

    def create_directory(self, path: bytes) -> None:
        with self._adding(NAME_COST):
            super().create_directory(path)

    def symlink(self, target: bytes, path: bytes) -> None:
        with self._adding(NAME_COST + len(target)):
            super().symlink(target, path)

    def link(self, path: bytes, to: Directory, to_path: bytes) -> None:
        with self._adding(NAME_COST):
            super().link(path, to, to_path)

    def remove_directory(self, path: bytes) -> None:
        with self._quota.lock, self._quota.freeing(resolve.parent(self.fd, path)):
            super().remove_directory(path)

    def unlink(self, path: bytes) -> None:
        with self._quota.lock, self._quota.freeing(resolve.parent(self.fd, path)):
            super().unlink(path)

    def rename(self, path: bytes, to: Directory, to_path: bytes) -> None:
        other = self._same_kind(to)
        with self._quota.lock:
            resolve.parent(self.fd, path)  # whose errors come first
            with self._quota.freeing(resolve.parent(other.fd, to_path)):
                super().rename(path, to, to_path)
