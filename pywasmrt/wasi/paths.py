"""What guests do with paths beneath their directories: the functions `path_*`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .abi import FILESTAT, FdFlags, OFlags, Rights
from .binding import Functions, function
from .errno import Errno, WasiError
from .files import times
from .memory import U32, check, put_size, read_path, write

if TYPE_CHECKING:
    from ..protocols import Memory
    from .context import WasiContext

__all__ = ["FUNCTIONS"]

FUNCTIONS: Functions = {}

_FOLLOW = 1
_U64 = (1 << 64) - 1
_READING = Rights.FD_READ | Rights.FD_READDIR
_WRITING = Rights.FD_WRITE | Rights.FD_ALLOCATE | Rights.FD_FILESTAT_SET_SIZE


def _follow(flags: int) -> bool:
    if flags & ~_FOLLOW:
        raise WasiError(Errno.INVAL)
    return bool(flags)


@function(FUNCTIONS, "iiiiiIIii")
def path_open(
    context: WasiContext,
    memory: Memory,
    fd: int,
    lookup: int,
    path: int,
    size: int,
    oflags: int,
    base: int,
    inheriting: int,
    fdflags: int,
    result: int,
) -> None:
    base, inheriting = base & _U64, inheriting & _U64
    if oflags & ~OFlags.ALL or fdflags & ~FdFlags.ALL:
        raise WasiError(Errno.INVAL)
    if oflags & OFlags.DIRECTORY and oflags & OFlags.CREAT:
        raise WasiError(Errno.INVAL)
    needed = Rights.PATH_OPEN
    if oflags & OFlags.CREAT:
        needed |= Rights.PATH_CREATE_FILE
    if oflags & OFlags.TRUNC:
        needed |= Rights.PATH_FILESTAT_SET_SIZE
    if fdflags & (FdFlags.SYNC | FdFlags.RSYNC):
        base |= Rights.FD_SYNC
    if fdflags & FdFlags.DSYNC:
        base |= Rights.FD_DATASYNC
    directory = context.table.directory(fd, needed)
    if (base | inheriting) & ~directory.inheriting:
        raise WasiError(Errno.NOTCAPABLE)
    follow = _follow(lookup)
    name = read_path(memory, path, size)
    check(memory, result, 4)
    context.table.check_room()
    file = directory.open(name, follow, oflags, fdflags, bool(base & _READING), bool(base & _WRITING))
    file.rights &= base
    file.inheriting &= inheriting
    put_size(memory, result, context.table.add(file))


@function(FUNCTIONS, "iii")
def path_create_directory(context: WasiContext, memory: Memory, fd: int, path: int, size: int) -> None:
    directory = context.table.directory(fd, Rights.PATH_CREATE_DIRECTORY)
    directory.create_directory(read_path(memory, path, size))


@function(FUNCTIONS, "iii")
def path_remove_directory(context: WasiContext, memory: Memory, fd: int, path: int, size: int) -> None:
    directory = context.table.directory(fd, Rights.PATH_REMOVE_DIRECTORY)
    directory.remove_directory(read_path(memory, path, size))


@function(FUNCTIONS, "iii")
def path_unlink_file(context: WasiContext, memory: Memory, fd: int, path: int, size: int) -> None:
    context.table.directory(fd, Rights.PATH_UNLINK_FILE).unlink(read_path(memory, path, size))


@function(FUNCTIONS, "iiiii")
def path_filestat_get(
    context: WasiContext, memory: Memory, fd: int, lookup: int, path: int, size: int, result: int
) -> None:
    directory = context.table.directory(fd, Rights.PATH_FILESTAT_GET)
    follow = _follow(lookup)
    write(memory, result, FILESTAT.pack(*directory.stat_at(read_path(memory, path, size), follow)))


@function(FUNCTIONS, "iiiiIIi")
def path_filestat_set_times(
    context: WasiContext,
    memory: Memory,
    fd: int,
    lookup: int,
    path: int,
    size: int,
    atim: int,
    mtim: int,
    flags: int,
) -> None:
    directory = context.table.directory(fd, Rights.PATH_FILESTAT_SET_TIMES)
    follow = _follow(lookup)
    directory.set_times_at(read_path(memory, path, size), follow, *times(context, atim, mtim, flags))


@function(FUNCTIONS, "iiiiiii")
def path_link(
    context: WasiContext,
    memory: Memory,
    fd: int,
    lookup: int,
    path: int,
    size: int,
    to_fd: int,
    to_path: int,
    to_size: int,
) -> None:
    directory = context.table.directory(fd, Rights.PATH_LINK_SOURCE)
    to = context.table.directory(to_fd, Rights.PATH_LINK_TARGET)
    if _follow(lookup):  # a link to what a link leads to: hosts do it in ways of their own, so nobody can use it
        raise WasiError(Errno.INVAL)
    directory.link(read_path(memory, path, size), to, read_path(memory, to_path, to_size))


@function(FUNCTIONS, "iiiiii")
def path_rename(
    context: WasiContext, memory: Memory, fd: int, path: int, size: int, to_fd: int, to_path: int, to_size: int
) -> None:
    directory = context.table.directory(fd, Rights.PATH_RENAME_SOURCE)
    to = context.table.directory(to_fd, Rights.PATH_RENAME_TARGET)
    directory.rename(read_path(memory, path, size), to, read_path(memory, to_path, to_size))


@function(FUNCTIONS, "iiiii")
def path_symlink(
    context: WasiContext, memory: Memory, target: int, target_size: int, fd: int, path: int, size: int
) -> None:
    directory = context.table.directory(fd, Rights.PATH_SYMLINK)
    content = read_path(memory, target, target_size)
    if content[:1] == b"/":  # which no guest could follow
        raise WasiError(Errno.PERM)
    if not content:
        raise WasiError(Errno.NOENT)
    directory.symlink(content, read_path(memory, path, size))


@function(FUNCTIONS, "iiiiii")
def path_readlink(
    context: WasiContext, memory: Memory, fd: int, path: int, size: int, buffer: int, buffer_size: int, result: int
) -> None:
    """A target longer than the guest's buffer is cut off."""
    directory = context.table.directory(fd, Rights.PATH_READLINK)
    target = directory.readlink(read_path(memory, path, size))[: buffer_size & U32]
    write(memory, buffer, target)
    put_size(memory, result, len(target))
