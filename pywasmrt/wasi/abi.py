"""The numbers and layouts of wasi_snapshot_preview1: rights, flags, types and records, as its specification gives
them.

The numbers are plain ints, not enums: they are tested at every call, where an enum takes several times as long.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

__all__ = [
    "ADVICE_COUNT",
    "CIOVEC",
    "DIRECTORY_INHERITING",
    "DIRECTORY_RIGHTS",
    "DIRENT",
    "EVENT",
    "FDSTAT",
    "FILESTAT",
    "FILE_RIGHTS",
    "PRESTAT",
    "SIZE",
    "SOCKET_RIGHTS",
    "STREAM_RIGHTS",
    "SUBSCRIPTION",
    "TIMESTAMP",
    "WRITING_RIGHTS",
    "ClockId",
    "EventType",
    "FdFlags",
    "FileType",
    "FstFlags",
    "OFlags",
    "Rights",
    "Stat",
    "Whence",
]

SIZE = Struct("<I")
TIMESTAMP = Struct("<Q")
CIOVEC = Struct("<II")  # buf, buf_len
FDSTAT = Struct("<BxHxxxxQQ")  # filetype, flags, rights base, rights inheriting
FILESTAT = Struct("<QQBxxxxxxxQQQQQ")  # dev, ino, filetype, nlink, size, atim, mtim, ctim
DIRENT = Struct("<QQIBxxx")  # next, ino, namlen, type
PRESTAT = Struct("<BxxxI")  # tag 0 (a directory), length of the name
SUBSCRIPTION = Struct("<QBxxxxxxxIxxxxQQHxxxxxx")  # userdata, tag, clock or descriptor, timeout, precision, flags
EVENT = Struct("<QHBxxxxxQHxxxxxx")  # userdata, error, type, nbytes, flags


class FileType:
    """`filetype`."""

    UNKNOWN = 0
    BLOCK_DEVICE = 1
    CHARACTER_DEVICE = 2
    DIRECTORY = 3
    REGULAR_FILE = 4
    SOCKET_DGRAM = 5
    SOCKET_STREAM = 6
    SYMBOLIC_LINK = 7


class Rights:
    """`rights`."""

    FD_DATASYNC = 1 << 0
    FD_READ = 1 << 1
    FD_SEEK = 1 << 2
    FD_FDSTAT_SET_FLAGS = 1 << 3
    FD_SYNC = 1 << 4
    FD_TELL = 1 << 5
    FD_WRITE = 1 << 6
    FD_ADVISE = 1 << 7
    FD_ALLOCATE = 1 << 8
    PATH_CREATE_DIRECTORY = 1 << 9
    PATH_CREATE_FILE = 1 << 10
    PATH_LINK_SOURCE = 1 << 11
    PATH_LINK_TARGET = 1 << 12
    PATH_OPEN = 1 << 13
    FD_READDIR = 1 << 14
    PATH_READLINK = 1 << 15
    PATH_RENAME_SOURCE = 1 << 16
    PATH_RENAME_TARGET = 1 << 17
    PATH_FILESTAT_GET = 1 << 18
    PATH_FILESTAT_SET_SIZE = 1 << 19
    PATH_FILESTAT_SET_TIMES = 1 << 20
    FD_FILESTAT_GET = 1 << 21
    FD_FILESTAT_SET_SIZE = 1 << 22
    FD_FILESTAT_SET_TIMES = 1 << 23
    PATH_SYMLINK = 1 << 24
    PATH_REMOVE_DIRECTORY = 1 << 25
    PATH_UNLINK_FILE = 1 << 26
    POLL_FD_READWRITE = 1 << 27
    SOCK_SHUTDOWN = 1 << 28
    SOCK_ACCEPT = 1 << 29


def _sum(*rights: int) -> int:
    return sum(rights)


STREAM_RIGHTS = _sum(
    Rights.FD_READ,
    Rights.FD_WRITE,
    Rights.FD_FDSTAT_SET_FLAGS,
    Rights.FD_FILESTAT_GET,
    Rights.FD_SYNC,
    Rights.FD_DATASYNC,
    Rights.POLL_FD_READWRITE,
)
"""What can be done with a terminal, a pipe, or a Python object."""

FILE_RIGHTS = STREAM_RIGHTS | _sum(
    Rights.FD_SEEK,
    Rights.FD_TELL,
    Rights.FD_ADVISE,
    Rights.FD_ALLOCATE,
    Rights.FD_FILESTAT_SET_SIZE,
    Rights.FD_FILESTAT_SET_TIMES,
)
"""What can be done with a regular file."""

WRITING_RIGHTS = _sum(Rights.FD_WRITE, Rights.FD_ALLOCATE, Rights.FD_FILESTAT_SET_SIZE, Rights.FD_FILESTAT_SET_TIMES)
"""What changes a file."""

SOCKET_RIGHTS = _sum(
    Rights.FD_READ,
    Rights.FD_WRITE,
    Rights.FD_FDSTAT_SET_FLAGS,
    Rights.FD_FILESTAT_GET,
    Rights.POLL_FD_READWRITE,
    Rights.SOCK_SHUTDOWN,
    Rights.SOCK_ACCEPT,
)
"""What can be done with a socket."""

DIRECTORY_RIGHTS = _sum(
    Rights.FD_FDSTAT_SET_FLAGS,
    Rights.FD_SYNC,
    Rights.FD_DATASYNC,
    Rights.FD_READDIR,
    Rights.FD_FILESTAT_GET,
    Rights.FD_FILESTAT_SET_TIMES,
    *(right for name, right in vars(Rights).items() if name.startswith("PATH_")),
)
"""What can be done with a directory."""

DIRECTORY_INHERITING = DIRECTORY_RIGHTS | FILE_RIGHTS | SOCKET_RIGHTS
"""What can be done with what is opened in a directory."""


class FdFlags:
    """`fdflags`."""

    APPEND = 1
    DSYNC = 2
    NONBLOCK = 4
    RSYNC = 8
    SYNC = 16
    ALL = 31


class OFlags:
    """`oflags`."""

    CREAT = 1
    DIRECTORY = 2
    EXCL = 4
    TRUNC = 8
    ALL = 15


class FstFlags:
    """`fstflags`."""

    ATIM = 1
    ATIM_NOW = 2
    MTIM = 4
    MTIM_NOW = 8


class Whence:
    """`whence`."""

    SET = 0
    CUR = 1
    END = 2


class ClockId:
    """`clockid`."""

    REALTIME = 0
    MONOTONIC = 1
    PROCESS_CPUTIME = 2
    THREAD_CPUTIME = 3


class EventType:
    """`eventtype`."""

    CLOCK = 0
    FD_READ = 1
    FD_WRITE = 2


ADVICE_COUNT = 6
"""`advice` goes from 0 (normal) to 5 (noreuse), in the order of POSIX."""


class Stat(NamedTuple):
    """`filestat`; times in nanoseconds since 1970."""

    dev: int
    ino: int
    filetype: int
    nlink: int
    size: int
    atim: int
    mtim: int
    ctim: int
