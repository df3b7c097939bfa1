"""What a guest's file descriptors stand for: the operations on one, and the table of all.

A descriptor holds its resource of the host and gives it back when it is dropped (`__del__` of the kinds that need it).
So closing is only forgetting: a call that is still using the descriptor, while another thread closes the instance,
keeps it until it is done, and no number of the host's is ever used after it was closed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from .abi import FdFlags, FileType, Stat
from .errno import Errno, WasiError

__all__ = ["Descriptor", "Directory", "Entry", "Table"]

Entry = tuple[bytes, int, int]
"""What a directory tells of a file in it: name, ino, filetype."""
MAX_LISTED = 1 << 17
"""Entries that the listings of an instance's directories hold together, unless one alone has more."""


def _refuse(errno: Errno) -> NoReturn:
    raise WasiError(errno)


class Descriptor:
    """One open file, directory, stream or socket. An operation that its kind does not know answers as POSIX would.

    `rights` and `inheriting` are what the guest may do with it and with what it opens there; the table's user sets
    them, and the functions of WASI check them before they call anything here.
    """

    __slots__ = ("__weakref__", "flags", "inheriting", "preopen", "rights")

    filetype: int = FileType.UNKNOWN
    most_rights: int = 0
    most_inheriting: int = 0

    def __init__(self, flags: int = 0) -> None:
        self.flags = flags
        self.rights = self.most_rights
        self.inheriting = self.most_inheriting
        self.preopen: bytes | None = None

    # Reading and writing

    def read(self, size: int) -> bytes:
        """Up to `size` bytes from the current position; empty at the end. Blocks unless the flags say `NONBLOCK`."""
        _refuse(Errno.INVAL)

    def write(self, data: bytes) -> int | None:
        """Write at the current position, or at the end with `APPEND`; how much was written, or None for all."""
        _refuse(Errno.INVAL)

    def read_at(self, size: int, offset: int) -> bytes:
        _refuse(Errno.SPIPE)

    def write_at(self, data: bytes, offset: int) -> int:
        _refuse(Errno.SPIPE)

    def seek(self, offset: int, whence: int) -> int:
        _refuse(Errno.SPIPE)

    # Flags, size, times and space

    def set_flags(self, flags: int) -> None:
        """Take new flags. Those of synchronous writing are for opening only: `ENOTSUP`."""
        kept = FdFlags.DSYNC | FdFlags.RSYNC | FdFlags.SYNC
        if (flags ^ self.flags) & kept:
            _refuse(Errno.NOTSUP)
        self.flags = flags

    def stat(self) -> Stat:
        return Stat(0, 0, self.filetype, 1, 0, 0, 0, 0)

    def set_size(self, size: int) -> None:
        _refuse(Errno.INVAL)

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """Set the times, in ns since 1970; None keeps one."""
        _refuse(Errno.INVAL)

    def advise(self, offset: int, size: int, advice: int) -> None:
        _refuse(Errno.SPIPE)

    def allocate(self, offset: int, size: int, check: Callable[[], None]) -> None:
        """Make room; `check` raises when the running call is to end."""
        _refuse(Errno.SPIPE)

    def sync(self, data_only: bool) -> None:
        """Nothing is kept back here, so there is nothing to do."""

    # For poll_oneoff

    def host_fd(self) -> int | None:
        """The host's descriptor to wait for; None for what is always ready."""
        return None

    def readable_bytes(self) -> int:
        """How much can be read without waiting, as far as it is known; at least 1 where it is not."""
        return 1


class Directory(Descriptor):
    """An open directory: the operations on paths beneath it. Paths are bytes without NUL, of UTF-8, not yet resolved;
    every one of these resolves them without ever leaving the preopened directory.
    """

    filetype = FileType.DIRECTORY
    listing: Sequence[Entry] = ()
    """What `fd_readdir` is telling, as `entries` gave it. `Table.keep_listing` sets it."""

    def read(self, size: int) -> bytes:
        _refuse(Errno.ISDIR)

    def write(self, data: bytes) -> int:
        _refuse(Errno.ISDIR)

    def open(self, path: bytes, follow: bool, oflags: int, fdflags: int, read: bool, write: bool) -> Descriptor:
        raise NotImplementedError

    def stat_at(self, path: bytes, follow: bool) -> Stat:
        raise NotImplementedError

    def set_times_at(self, path: bytes, follow: bool, atim: int | None, mtim: int | None) -> None:
        raise NotImplementedError

    def create_directory(self, path: bytes) -> None:
        raise NotImplementedError

    def remove_directory(self, path: bytes) -> None:
        raise NotImplementedError

    def unlink(self, path: bytes) -> None:
        raise NotImplementedError

    def readlink(self, path: bytes) -> bytes:
        raise NotImplementedError

    def symlink(self, target: bytes, path: bytes) -> None:
        raise NotImplementedError

    def link(self, path: bytes, to: Directory, to_path: bytes) -> None:
        raise NotImplementedError

    def rename(self, path: bytes, to: Directory, to_path: bytes) -> None:
        raise NotImplementedError

    def entries(self, check: Callable[[], None]) -> list[Entry]:
        """What is in the directory, without `.` and `..`; `check` raises when the running call is to end."""
        raise NotImplementedError


class Table:
    """The descriptors of one instance, by number."""

    __slots__ = ("_limit", "_listed", "_lock", "files")

    def __init__(self, limit: int) -> None:
        self.files: dict[int, Descriptor] = {}
        self._limit = limit
        self._lock = threading.RLock()  # the threads of a guest have one table in common
        self._listed = 0  # entries in listings, those of closed descriptors included until they are counted anew

    def add(self, file: Descriptor) -> int:
        """Give `file` the lowest number that is free. `EMFILE` where the limit is reached."""
        with self._lock:
            self.check_room()
            fd = next(each for each in range(len(self.files) + 1) if each not in self.files)
            self.files[fd] = file
        return fd

    def check_room(self) -> None:
        """Raise `EMFILE` where `add` would."""
        if len(self.files) >= self._limit:
            _refuse(Errno.MFILE)

    def get(self, fd: int, rights: int = 0) -> Descriptor:
        """The descriptor of that number, if it has `rights`. `EBADF`, `ENOTCAPABLE`."""
        file = self.files.get(fd)
        if file is None:
            _refuse(Errno.BADF)
        if file.rights & rights != rights:
            _refuse(Errno.NOTCAPABLE)
        return file

    def directory(self, fd: int, rights: int) -> Directory:
        """The directory of that number. `ENOTDIR` for anything else."""
        file = self.files.get(fd)
        if file is None:
            _refuse(Errno.BADF)
        if not isinstance(file, Directory):
            _refuse(Errno.NOTDIR)
        if file.rights & rights != rights:
            _refuse(Errno.NOTCAPABLE)
        return file

    def remove(self, fd: int) -> None:
        """Forget a descriptor. `EBADF`."""
        if self.files.pop(fd, None) is None:
            _refuse(Errno.BADF)

    def renumber(self, fd: int, to: int) -> None:
        """Move a descriptor to the number of another, which is closed."""
        with self._lock:
            if fd not in self.files or to not in self.files:
                _refuse(Errno.BADF)
            replaced = self.files[to]
            if fd != to:
                self.files[to] = self.files.pop(fd)
        del replaced  # after the lock: closing may take a while

    def keep_listing(self, directory: Directory, listing: Sequence[Entry]) -> None:
        """Keep `listing` for `directory`. If all listings together would be too large, the others are forgotten: a
        guest may have one directory of a hundred thousand files open a thousand times.
        """
        directory.listing = listing
        self._listed += len(listing)
        if self._listed <= MAX_LISTED:
            return
        others = [file for file in list(self.files.values()) if isinstance(file, Directory) and file is not directory]
        self._listed = len(listing) + sum(len(each.listing) for each in others)
        if self._listed > MAX_LISTED:
            for each in others:
                each.listing = ()
            self._listed = len(listing)

    def clear(self) -> None:
        """Forget all."""
        self.files.clear()
