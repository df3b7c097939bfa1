"""What guests do with open descriptors: the functions `fd_*`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .abi import (
    ADVICE_COUNT,
    CIOVEC,
    DIRENT,
    FDSTAT,
    FILESTAT,
    PRESTAT,
    SIZE,
    TIMESTAMP,
    FdFlags,
    FileType,
    FstFlags,
    Rights,
)
from .binding import Functions, function
from .errno import Errno, WasiError
from .host_files import HostFile
from .memory import MAX_TRANSFER, U32, check, gather, put_size, room, scatter, write

if TYPE_CHECKING:
    from ..protocols import Memory
    from .context import WasiContext
    from .descriptors import Descriptor

__all__ = ["FUNCTIONS", "times"]

FUNCTIONS: Functions = {}

_U64 = (1 << 64) - 1
_READ = Rights.FD_READ
_WRITE = Rights.FD_WRITE
_SEEK = Rights.FD_SEEK
_TELL = Rights.FD_TELL


def _offset(value: int) -> int:
    """An offset or size of 64 bits, unsigned. `EINVAL` beyond what hosts take."""
    if value < 0:
        raise WasiError(Errno.INVAL)
    return value


@function(FUNCTIONS, "iiii")
def fd_write(context: WasiContext, memory: Memory, fd: int, iovs: int, count: int, result: int) -> None:
    # The most frequent of all, so what others leave to helpers is written out.
    file = context.files.get(fd)
    if file is None or not file.rights & _WRITE:
        file = context.table.get(fd, _WRITE)
    if count == 1:
        pointer, size = CIOVEC.unpack(memory.read(iovs & U32, 8))
        data = memory.read(pointer, size) if size <= MAX_TRANSFER else gather(memory, iovs, count)
    else:
        data = gather(memory, iovs, count)
    written = file.write(data)
    if written is None:
        written = len(data)
    memory.write(result & U32, SIZE.pack(written))


@function(FUNCTIONS, "iiii")
def fd_read(context: WasiContext, memory: Memory, fd: int, iovs: int, count: int, result: int) -> None:
    file = context.table.get(fd, _READ)
    if count == 1 and context.views and isinstance(file, HostFile):
        read = _read_directly(memory, file, iovs)
    else:
        into, size = room(memory, iovs, count)
        data = file.read(size)
        scatter(memory, into, data)
        read = len(data)
    memory.write(result & U32, SIZE.pack(read))


def _read_directly(memory: Any, file: HostFile, iovs: int) -> int:
    """Let the host put a file's bytes into the one buffer where they belong. The view lives for as long as that takes:
    the memory is not freed under it, and does not grow, since no guest runs.
    """
    pointer, size = CIOVEC.unpack(memory.read(iovs & U32, 8))
    check(memory, pointer, size)
    size = min(size, MAX_TRANSFER)
    with memoryview(memory) as view, view[pointer : pointer + size] as place:
        return os.readv(file.fd, (place,))


@function(FUNCTIONS, "iiiIi")
def fd_pread(context: WasiContext, memory: Memory, fd: int, iovs: int, count: int, offset: int, result: int) -> None:
    file = context.table.get(fd, _READ | _SEEK)
    into, size = room(memory, iovs, count)
    data = file.read_at(size, _offset(offset))
    scatter(memory, into, data)
    put_size(memory, result, len(data))


@function(FUNCTIONS, "iiiIi")
def fd_pwrite(context: WasiContext, memory: Memory, fd: int, iovs: int, count: int, offset: int, result: int) -> None:
    file = context.table.get(fd, _WRITE | _SEEK)
    put_size(memory, result, file.write_at(gather(memory, iovs, count), _offset(offset)))


def _no_position(file: Descriptor) -> Errno:
    """Why there is no position to ask for or to set."""
    if file.filetype == FileType.DIRECTORY:
        return Errno.BADF
    return Errno.NOTCAPABLE if file.most_rights & _SEEK else Errno.SPIPE


@function(FUNCTIONS, "iIii")
def fd_seek(context: WasiContext, memory: Memory, fd: int, offset: int, whence: int, result: int) -> None:
    file = context.table.get(fd)
    if not file.rights & _SEEK and not (offset == 0 and whence == 1 and file.rights & _TELL):
        raise WasiError(_no_position(file))
    if not 0 <= whence <= 2:
        raise WasiError(Errno.INVAL)
    memory.write(result & U32, TIMESTAMP.pack(file.seek(offset, whence)))


@function(FUNCTIONS, "ii")
def fd_tell(context: WasiContext, memory: Memory, fd: int, result: int) -> None:
    file = context.table.get(fd)
    if not file.rights & (_TELL | _SEEK):  # the right to seek implies it
        raise WasiError(_no_position(file))
    memory.write(result & U32, TIMESTAMP.pack(file.seek(0, 1)))


@function(FUNCTIONS, "i")
def fd_close(context: WasiContext, memory: Memory, fd: int) -> None:
    context.table.remove(fd)


@function(FUNCTIONS, "ii")
def fd_renumber(context: WasiContext, memory: Memory, fd: int, to: int) -> None:
    context.table.renumber(fd, to)


@function(FUNCTIONS, "i")
def fd_sync(context: WasiContext, memory: Memory, fd: int) -> None:
    context.table.get(fd, Rights.FD_SYNC).sync(data_only=False)


@function(FUNCTIONS, "i")
def fd_datasync(context: WasiContext, memory: Memory, fd: int) -> None:
    context.table.get(fd, Rights.FD_DATASYNC).sync(data_only=True)


@function(FUNCTIONS, "iIIi")
def fd_advise(context: WasiContext, memory: Memory, fd: int, offset: int, size: int, advice: int) -> None:
    file = context.table.get(fd)
    if file.filetype == FileType.DIRECTORY:
        raise WasiError(Errno.BADF)
    file = context.table.get(fd, Rights.FD_ADVISE)
    if not 0 <= advice < ADVICE_COUNT:
        raise WasiError(Errno.INVAL)
    file.advise(_offset(offset), _offset(size), advice)


@function(FUNCTIONS, "iII")
def fd_allocate(context: WasiContext, memory: Memory, fd: int, offset: int, size: int) -> None:
    file = context.table.get(fd, Rights.FD_ALLOCATE)
    file.allocate(_offset(offset), _offset(size), context.waiter.check)


@function(FUNCTIONS, "ii")
def fd_fdstat_get(context: WasiContext, memory: Memory, fd: int, result: int) -> None:
    file = context.table.get(fd)
    write(memory, result, FDSTAT.pack(file.filetype, file.flags, file.rights, file.inheriting))


@function(FUNCTIONS, "ii")
def fd_fdstat_set_flags(context: WasiContext, memory: Memory, fd: int, flags: int) -> None:
    file = context.table.get(fd, Rights.FD_FDSTAT_SET_FLAGS)
    if flags & ~FdFlags.ALL:
        raise WasiError(Errno.INVAL)
    file.set_flags(flags)


@function(FUNCTIONS, "iII")
def fd_fdstat_set_rights(context: WasiContext, memory: Memory, fd: int, base: int, inheriting: int) -> None:
    file = context.table.get(fd)
    base, inheriting = base & _U64, inheriting & _U64
    if base & ~file.rights or inheriting & ~file.inheriting:
        raise WasiError(Errno.NOTCAPABLE)
    file.rights, file.inheriting = base, inheriting


@function(FUNCTIONS, "ii")
def fd_filestat_get(context: WasiContext, memory: Memory, fd: int, result: int) -> None:
    write(memory, result, FILESTAT.pack(*context.table.get(fd, Rights.FD_FILESTAT_GET).stat()))


@function(FUNCTIONS, "iI")
def fd_filestat_set_size(context: WasiContext, memory: Memory, fd: int, size: int) -> None:
    file = context.table.get(fd, Rights.FD_FILESTAT_SET_SIZE)
    file.set_size(_offset(size))


def times(context: WasiContext, atim: int, mtim: int, flags: int) -> tuple[int | None, int | None]:
    """The times to set, None for what is to be kept. `EINVAL` for flags that contradict each other."""
    both = FstFlags.ATIM | FstFlags.ATIM_NOW, FstFlags.MTIM | FstFlags.MTIM_NOW
    if flags & ~(both[0] | both[1]) or any(flags & each == each for each in both):
        raise WasiError(Errno.INVAL)
    now = context.clock.realtime() if flags & (FstFlags.ATIM_NOW | FstFlags.MTIM_NOW) else None
    new_atim = _offset(atim) if flags & FstFlags.ATIM else now if flags & FstFlags.ATIM_NOW else None
    new_mtim = _offset(mtim) if flags & FstFlags.MTIM else now if flags & FstFlags.MTIM_NOW else None
    return new_atim, new_mtim


@function(FUNCTIONS, "iIIi")
def fd_filestat_set_times(context: WasiContext, memory: Memory, fd: int, atim: int, mtim: int, flags: int) -> None:
    file = context.table.get(fd, Rights.FD_FILESTAT_SET_TIMES)
    file.set_times(*times(context, atim, mtim, flags))


@function(FUNCTIONS, "ii")
def fd_prestat_get(context: WasiContext, memory: Memory, fd: int, result: int) -> None:
    write(memory, result, PRESTAT.pack(0, len(_preopen(context, fd))))


@function(FUNCTIONS, "iii")
def fd_prestat_dir_name(context: WasiContext, memory: Memory, fd: int, path: int, size: int) -> None:
    name = _preopen(context, fd)
    if size & U32 < len(name):
        raise WasiError(Errno.NAMETOOLONG)
    write(memory, path, name)


def _preopen(context: WasiContext, fd: int) -> bytes:
    name = context.table.get(fd).preopen
    if name is None:  # libraries count the preopened directories up to the first EBADF
        raise WasiError(Errno.BADF)
    return name


@function(FUNCTIONS, "iiiIi")
def fd_readdir(context: WasiContext, memory: Memory, fd: int, buffer: int, size: int, cookie: int, result: int) -> None:
    """The cookie of an entry is its place in the listing. The listing is taken anew when a guest begins at 0, when it
    continues with a descriptor that it opened for that, and when the listing was forgotten.
    """
    file = context.table.directory(fd, Rights.FD_READDIR)
    size &= U32
    check(memory, buffer, size)
    size = min(size, MAX_TRANSFER)
    if cookie == 0 or not file.listing:
        # `..` gets the inode number of `.`: the guest must not learn that of a directory outside.
        own = file.stat().ino
        dots = (b".", own, FileType.DIRECTORY), (b"..", own, FileType.DIRECTORY)
        context.table.keep_listing(file, (*dots, *file.entries(context.waiter.check)))
    pieces = []
    used = 0
    for at in range(cookie & _U64, len(file.listing)):
        name, ino, filetype = file.listing[at]
        pieces.append(DIRENT.pack(at + 1, ino, len(name), filetype) + name)
        used += len(pieces[-1])
        if used >= size:
            break
    data = b"".join(pieces)[:size]
    write(memory, buffer, data)
    put_size(memory, result, len(data))
