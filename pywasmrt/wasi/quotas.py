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
from .host_files import HostDirectory, HostFile

if TYPE_CHECKING:
    from .handles import Handle
    from .waiting import Waiter

__all__ = ["NAME_COST", "BoundedDirectory", "Quota"]

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

    def freed_by(self, place: resolve.Place) -> int:
        """What is freed where the name at `place` goes: the file's bytes too if that is its last name, unless this
        guest has it open and could go on filling it.
        """
        directory = place.directory if isinstance(place.directory, int) else place.directory.fd
        try:
            found = os.stat(place.name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return 0
        if not modes.S_ISREG(found.st_mode) or found.st_nlink > 1:
            return NAME_COST
        for file in self.open:
            about = os.fstat(file.fd)
            if (about.st_dev, about.st_ino) == (found.st_dev, found.st_ino):
                return NAME_COST
        return NAME_COST + found.st_size


class BoundedFile(HostFile):
    """A file whose growth is counted."""

    __slots__ = ("_quota",)

    def __init__(self, fd: Handle | int, flags: int, quota: Quota) -> None:
        super().__init__(fd, flags)
        self._quota = quota
        quota.open.add(self)

    @contextmanager
    def _growing(self, end: int) -> Iterator[None]:
        """Around what makes the file end at `end`, or later where it does already."""
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
    """A directory of the host, and what is below it, that a guest may add no more to than an account has left."""

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
        """Around what adds `size` where it succeeds."""
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
        except (OSError, WasiError):  # what is wrong with the path, opening it tells
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

    @contextmanager
    def _removing(self, path: bytes) -> Iterator[None]:
        """Around what takes the name `path` away where it succeeds."""
        with self._quota.lock:
            freed = self._quota.freed_by(resolve.parent(self.fd, path))
            yield
            self._quota.add(-freed)

    def remove_directory(self, path: bytes) -> None:
        with self._removing(path):
            super().remove_directory(path)

    def unlink(self, path: bytes) -> None:
        with self._removing(path):
            super().unlink(path)

    def rename(self, path: bytes, to: Directory, to_path: bytes) -> None:
        with self._quota.lock:
            source, place = resolve.parent(self.fd, path), resolve.parent(self._same_kind(to).fd, to_path)
            freed = 0 if _same(source, place) else self._quota.freed_by(place)
            super().rename(path, to, to_path)
            self._quota.add(-freed)


def _same(one: resolve.Place, other: resolve.Place) -> bool:
    """Whether two names are one file's, which a rename leaves as they are."""
    found = []
    for place in (one, other):
        directory = place.directory if isinstance(place.directory, int) else place.directory.fd
        try:
            about = os.stat(place.name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        found.append((about.st_dev, about.st_ino))
    return found[0] == found[1]
