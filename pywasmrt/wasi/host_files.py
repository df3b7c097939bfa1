"""Files, directories and streams of the host, by its file descriptors."""

from __future__ import annotations

import contextlib
import errno as host
import os
import stat as modes
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from ..values import late
from . import resolve
from .abi import (
    DIRECTORY_INHERITING,
    DIRECTORY_RIGHTS,
    FILE_RIGHTS,
    STREAM_RIGHTS,
    WRITING_RIGHTS,
    FdFlags,
    FileType,
    OFlags,
    Stat,
)
from .descriptors import Descriptor, Directory, Entry
from .errno import Errno, WasiError
from .waiting import POLL_IN, POLL_OUT

if TYPE_CHECKING:
    from .handles import Handle
    from .waiting import Waiter

__all__ = ["HostDirectory", "HostFile", "HostStream", "StandardStream", "file_type", "stat_of"]

_I64 = 1 << 63
_U64 = (1 << 64) - 1
_TYPES = {
    modes.S_IFREG: FileType.REGULAR_FILE,
    modes.S_IFDIR: FileType.DIRECTORY,
    modes.S_IFLNK: FileType.SYMBOLIC_LINK,
    modes.S_IFCHR: FileType.CHARACTER_DEVICE,
    modes.S_IFBLK: FileType.BLOCK_DEVICE,
    modes.S_IFSOCK: FileType.SOCKET_STREAM,
}
_WHENCE = (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END)
_SYNC_FLAGS = (
    (FdFlags.DSYNC, os.O_DSYNC),
    (FdFlags.RSYNC, getattr(os, "O_RSYNC", os.O_SYNC)),
    (FdFlags.SYNC, os.O_SYNC),
)
_ALLOCATED_PIECE = 1 << 26
_LISTED_PIECE = 1 << 10
_STREAM_PIECE = 1 << 16
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_CANNOT = (host.EOPNOTSUPP, host.ENOTSUP, host.EINVAL, host.ENOSYS, host.ESPIPE)
_PIPE_PIECE = 4096
"""What a pipe that is ready for writing takes without blocking (PIPE_BUF)."""


def file_type(mode: int) -> int:
    """The `filetype` for a mode of the host."""
    return _TYPES.get(modes.S_IFMT(mode), FileType.UNKNOWN)


def stat_of(found: os.stat_result) -> Stat:
    """The `filestat` for the host's stat result."""
    times = (min(max(0, ns), _U64) for ns in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns))
    return Stat(found.st_dev % _I64, found.st_ino, file_type(found.st_mode), found.st_nlink, found.st_size, *times)


def times_for(found: os.stat_result, atim: int | None, mtim: int | None) -> tuple[int, int]:
    """Both times, where None keeps the one that was found."""
    return (found.st_atime_ns if atim is None else atim), (found.st_mtime_ns if mtim is None else mtim)


class _Held(Descriptor):
    """A descriptor of the host. Given as a `Handle` it is closed when this is dropped; given as a number, it is only
    borrowed.
    """

    __slots__ = ("_handle", "fd")

    def __init__(self, fd: Handle | int, flags: int = 0) -> None:
        self._handle = fd
        self.fd: int = fd if isinstance(fd, int) else fd.fd
        super().__init__(flags)

    def stat(self) -> Stat:
        return stat_of(os.fstat(self.fd))

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        os.utime(self.fd, ns=times_for(os.fstat(self.fd), atim, mtim))

    def sync(self, data_only: bool) -> None:
        (os.fdatasync if data_only else os.fsync)(self.fd)


class HostFile(_Held):
    """A regular file. The position, and `APPEND`, are the host's."""

    __slots__ = ()

    filetype = FileType.REGULAR_FILE
    most_rights = FILE_RIGHTS

    def read(self, size: int) -> bytes:
        return os.read(self.fd, size)

    def write(self, data: bytes) -> int:
        return os.write(self.fd, data)

    def read_at(self, size: int, offset: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def write_at(self, data: bytes, offset: int) -> int:
        return os.pwrite(self.fd, data, offset)

    def seek(self, offset: int, whence: int) -> int:
        return os.lseek(self.fd, offset, _WHENCE[whence])

    def set_flags(self, flags: int) -> None:
        if (flags ^ self.flags) & FdFlags.APPEND:
            fcntl = late("fcntl")
            now = fcntl.fcntl(self.fd, fcntl.F_GETFL)
            wanted = now | os.O_APPEND if flags & FdFlags.APPEND else now & ~os.O_APPEND
            super().set_flags(flags)
            fcntl.fcntl(self.fd, fcntl.F_SETFL, wanted)
        else:
            super().set_flags(flags)

    def set_size(self, size: int) -> None:
        os.ftruncate(self.fd, size)

    def advise(self, offset: int, size: int, advice: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fd, offset, size, advice)

    def allocate(self, offset: int, size: int, check: Callable[[], None]) -> None:
        if not hasattr(os, "posix_fallocate"):
            raise WasiError(Errno.NOTSUP)
        if not size:
            raise WasiError(Errno.INVAL)
        before = os.fstat(self.fd).st_size
        try:
            # In pieces, since a guest may ask for terabytes, and where the file system cannot do it the libc writes
            # into each block.
            for at in range(offset, offset + size, _ALLOCATED_PIECE):
                check()
                os.posix_fallocate(self.fd, at, min(_ALLOCATED_PIECE, offset + size - at))
        except BaseException:
            if os.fstat(self.fd).st_size > before:
                os.ftruncate(self.fd, before)
            raise

    def readable_bytes(self) -> int:
        return max(0, os.fstat(self.fd).st_size - os.lseek(self.fd, 0, os.SEEK_CUR))


class HostStream(_Held):
    """A terminal, pipe, or other device. Before each use the host is asked whether it is ready, since its descriptor
    may be shared with others who want it to block. Where others were quicker it is waited for again: pipes are asked
    not to block (RWF_NOWAIT); a terminal, which cannot be, may then keep the guest beyond its deadline.
    """

    __slots__ = ("_nowait", "_waiter", "filetype")

    most_rights = STREAM_RIGHTS

    def __init__(self, fd: Handle | int, filetype: int, waiter: Waiter, flags: int = 0) -> None:
        self._waiter = waiter
        self.filetype = filetype
        super().__init__(fd, flags)
        # For a file that is not in memory yet, such a call would answer "not now" again and again.
        mode = os.fstat(self.fd).st_mode
        self._nowait = _NOWAIT if modes.S_ISFIFO(mode) or modes.S_ISSOCK(mode) else 0

    def read(self, size: int) -> bytes:
        while True:
            self._waiter.ready(self.fd, POLL_IN, self.flags)
            with contextlib.suppress(BlockingIOError):
                return self._read_now(size)

    def _read_now(self, size: int) -> bytes:
        if self._nowait:
            into = bytearray(min(size, _STREAM_PIECE))
            try:
                return bytes(into[: os.preadv(self.fd, (into,), -1, self._nowait)])
            except OSError as error:
                self._may_wait(error)
        return os.read(self.fd, size)

    def write(self, data: bytes) -> int:
        piece = data[:_PIPE_PIECE]
        while True:
            self._waiter.ready(self.fd, POLL_OUT, self.flags)
            with contextlib.suppress(BlockingIOError):
                return self._write_now(piece)

    def _write_now(self, piece: bytes) -> int:
        if self._nowait:
            try:
                return os.pwritev(self.fd, (piece,), -1, self._nowait)
            except OSError as error:
                self._may_wait(error)
        return os.write(self.fd, piece)

    def _may_wait(self, error: OSError) -> None:
        """Do without asking not to block, where the host cannot do it with this kind of file; else raise `error`."""
        if error.errno not in _CANNOT:
            raise error
        self._nowait = 0

    def sync(self, data_only: bool) -> None:
        with contextlib.suppress(OSError):  # a pipe cannot be synchronised, and need not be
            super().sync(data_only)

    def host_fd(self) -> int:
        return self.fd


class StandardStream(HostStream):
    """A standard stream of the host, or one that goes to a file. Whatever it is on the host's side, a regular file
    included, the guest reads or writes it and no more: the position, the flags, the size and the times of the file may
    be shared with the host and with others.
    """

    __slots__ = ("_regular",)

    def __init__(self, fd: Handle | int, waiter: Waiter) -> None:
        number = fd if isinstance(fd, int) else fd.fd
        kind = FileType.CHARACTER_DEVICE if os.isatty(number) else FileType.UNKNOWN  # a pipe has no type in WASI
        self._regular = modes.S_ISREG(os.fstat(number).st_mode)
        super().__init__(fd, kind, waiter)

    def write(self, data: bytes) -> int:
        return os.write(self.fd, data) if self._regular else super().write(data)

    def stat(self) -> Stat:
        return Stat(0, 0, self.filetype, 1, 0, 0, 0, 0)


class HostDirectory(_Held, Directory):
    """A directory of the host. `read_only` holds for everything below."""

    __slots__ = ("_read_only", "_waiter")

    most_rights = DIRECTORY_RIGHTS
    most_inheriting = DIRECTORY_INHERITING
    account: object = None
    """What counts what is added here. Names move within an account only; `EXDEV` lets programs copy instead."""

    def __init__(self, fd: Handle | int, waiter: Waiter, read_only: bool = False) -> None:
        super().__init__(fd)
        self._waiter = waiter
        self._read_only = read_only

    def open(self, path: bytes, follow: bool, oflags: int, fdflags: int, read: bool, write: bool) -> Descriptor:
        changes = write or oflags & (OFlags.CREAT | OFlags.TRUNC)
        if changes and self._read_only:
            raise WasiError(Errno.ROFS)
        # O_NONBLOCK: opening a pipe must not wait for its other end.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        if write:
            flags |= os.O_RDWR if read else os.O_WRONLY
        if oflags & OFlags.CREAT:
            flags |= os.O_CREAT
        if oflags & OFlags.EXCL:
            flags |= os.O_EXCL
            follow = follow and not oflags & OFlags.CREAT
        if oflags & OFlags.TRUNC:
            flags |= os.O_TRUNC
        if oflags & OFlags.DIRECTORY:
            flags |= os.O_DIRECTORY
        if fdflags & FdFlags.APPEND:
            flags |= os.O_APPEND
        for flag, of_host in _SYNC_FLAGS:
            if fdflags & flag:
                flags |= of_host
        handle = resolve.open_beneath(self.fd, path, follow, flags)
        mode = os.fstat(handle.fd).st_mode
        if modes.S_ISDIR(mode):
            return self._directory(handle)
        file: Descriptor
        if modes.S_ISREG(mode):
            file = self._file(handle, fdflags)
        else:
            file = HostStream(handle, file_type(mode), self._waiter, fdflags)
        if self._read_only:
            file.rights &= ~WRITING_RIGHTS
        return file

    def _directory(self, handle: Handle) -> HostDirectory:
        return HostDirectory(handle, self._waiter, self._read_only)

    def _file(self, handle: Handle, fdflags: int) -> HostFile:
        return HostFile(handle, fdflags)

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        self._check_writable()
        super().set_times(atim, mtim)

    def _check_writable(self) -> None:
        if self._read_only:
            raise WasiError(Errno.ROFS)

    def _place(self, path: bytes, follow: bool) -> resolve.Place:
        """Where to look at what a path names, or leads to. A slash at the end follows a link in any case."""
        if follow or path[-1:] == b"/":
            return resolve.followed(self.fd, path)
        return resolve.parent(self.fd, path)

    def stat_at(self, path: bytes, follow: bool) -> Stat:
        return stat_of(_found(self._place(path, follow)))

    def set_times_at(self, path: bytes, follow: bool, atim: int | None, mtim: int | None) -> None:
        self._check_writable()
        place = self._place(path, follow)
        found = _found(place)
        os.utime(place.name, ns=times_for(found, atim, mtim), dir_fd=_number(place), follow_symlinks=False)

    def create_directory(self, path: bytes) -> None:
        self._check_writable()
        place = resolve.parent(self.fd, path)
        os.mkdir(place.name, dir_fd=_number(place))

    def remove_directory(self, path: bytes) -> None:
        self._check_writable()
        place = resolve.parent(self.fd, path)
        os.rmdir(place.name, dir_fd=_number(place))

    def unlink(self, path: bytes) -> None:
        self._check_writable()
        place = resolve.parent(self.fd, path)
        if place.slash and not modes.S_ISDIR(_mode(place)):  # never a file's name, whatever is there
            raise WasiError(Errno.NOTDIR)
        os.unlink(place.name, dir_fd=_number(place))

    def readlink(self, path: bytes) -> bytes:
        place = self._place(path, False)
        if place.slash:
            _found(place)
        return os.readlink(place.name, dir_fd=_number(place))

    def symlink(self, target: bytes, path: bytes) -> None:
        self._check_writable()
        place = resolve.parent(self.fd, path)
        if place.slash:
            _refuse_new(place)
        os.symlink(target, place.name, dir_fd=_number(place))

    def link(self, path: bytes, to: Directory, to_path: bytes) -> None:
        other = self._same_kind(to)
        # Both parents first, as Wasmtime does it.
        source, place = self._place(path, False), resolve.parent(other.fd, to_path)
        _found(source)
        if place.slash:
            _refuse_new(place)
        os.link(source.name, place.name, src_dir_fd=_number(source), dst_dir_fd=_number(place), follow_symlinks=False)

    def rename(self, path: bytes, to: Directory, to_path: bytes) -> None:
        other = self._same_kind(to)
        source, place = resolve.parent(self.fd, path), resolve.parent(other.fd, to_path)
        if (
            (source.slash or place.slash)
            and not {source.name, place.name} & resolve.DOTS
            and not modes.S_ISDIR(_mode(source))
        ):
            with contextlib.suppress(FileNotFoundError):
                _mode(place)  # whose own errors come first
            raise WasiError(Errno.NOTDIR)
        os.rename(source.name, place.name, src_dir_fd=_number(source), dst_dir_fd=_number(place))

    def _same_kind(self, to: Directory) -> HostDirectory:
        self._check_writable()
        if not isinstance(to, HostDirectory) or to.account is not self.account:
            raise WasiError(Errno.XDEV)
        to._check_writable()
        return to

    def entries(self, check: Callable[[], None]) -> list[Entry]:
        listed: list[Entry] = []
        with os.scandir(self.fd) as found:
            for each in found:
                listed.append((os.fsencode(each.name), each.inode(), _entry_type(each)))
                if not len(listed) % _LISTED_PIECE:
                    check()
        return listed


def _number(place: resolve.Place) -> int:
    """The descriptor of a place's directory, for a call that is over before the place is dropped."""
    directory = place.directory
    return directory if isinstance(directory, int) else directory.fd


def _found(place: resolve.Place) -> os.stat_result:
    """What is there, a link not followed. `ENOTDIR` where a slash asks for a directory and it is none."""
    found = os.stat(place.name, dir_fd=_number(place), follow_symlinks=False)
    if place.slash and not modes.S_ISDIR(found.st_mode):
        raise WasiError(Errno.NOTDIR)
    return found


def _mode(place: resolve.Place) -> int:
    """The mode of what is there, a link not followed."""
    return os.stat(place.name, dir_fd=_number(place), follow_symlinks=False).st_mode


def _refuse_new(place: resolve.Place) -> NoReturn:
    """Refuse a new name that ends in a slash, for what is no directory. Linux says `EEXIST` of a file that is there,
    other systems and the official tests `ENOTDIR`.
    """
    raise WasiError(Errno.EXIST if modes.S_ISDIR(_mode(place)) else Errno.NOTDIR)  # ENOENT where there is nothing


def _entry_type(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return FileType.SYMBOLIC_LINK
    if entry.is_dir(follow_symlinks=False):
        return FileType.DIRECTORY
    if entry.is_file(follow_symlinks=False):
        return FileType.REGULAR_FILE
    try:
        return file_type(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return FileType.UNKNOWN
