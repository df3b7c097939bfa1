"""Reading and writing through guests' pointers. A pointer beyond the memory raises `MemoryAccessError`, which
`context.py` turns into `EFAULT`.

Pointers and sizes arrive as signed i32 and are taken for unsigned here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .abi import CIOVEC, SIZE
from .errno import Errno, WasiError

if TYPE_CHECKING:
    from ..protocols import Memory

__all__ = [
    "CHUNK",
    "MAX_IOVECS",
    "MAX_PATH",
    "MAX_TRANSFER",
    "U32",
    "buffers",
    "check",
    "gather",
    "put_size",
    "read_bytes",
    "read_path",
    "read_struct_bytes",
    "room",
    "scatter",
    "write",
]

U32 = 0xFFFFFFFF
MAX_IOVECS = 1024
"""As many buffers as Linux takes in one call."""
MAX_TRANSFER = 1 << 24
"""Bytes that one call reads or writes at most; guests take a short count for what it is and go on."""
MAX_PATH = 4095
"""Bytes in a path: one less than PATH_MAX of Linux, which counts the NUL."""
CHUNK = 1 << 16
"""Bytes that are made at a time where a guest asks for many."""


def read_bytes(memory: Memory, pointer: int, size: int, limit: int = MAX_TRANSFER) -> bytes:
    """`size` bytes that the guest points at. `E2BIG` beyond `limit`."""
    size &= U32
    if size > limit:
        check(memory, pointer, size)
        raise WasiError(Errno.TOOBIG)
    return memory.read(pointer & U32, size)


def read_struct_bytes(memory: Memory, pointer: int, count: int, size: int, limit: int) -> bytes:
    """An array of `count` records of `size` bytes. `EINVAL` for more than `limit` records."""
    count &= U32
    if count > limit:
        raise WasiError(Errno.INVAL)
    return memory.read(pointer & U32, count * size)


def read_path(memory: Memory, pointer: int, size: int) -> bytes:
    """A path, as bytes. `ENAMETOOLONG`, `EILSEQ` for what is not UTF-8, and `EINVAL` for a NUL in it."""
    size &= U32
    if size > MAX_PATH:
        check(memory, pointer, size)
        raise WasiError(Errno.NAMETOOLONG)
    path = memory.read(pointer & U32, size)
    if b"\0" in path:
        raise WasiError(Errno.INVAL)
    try:
        path.decode()
    except UnicodeDecodeError:
        raise WasiError(Errno.ILSEQ) from None
    return path


def write(memory: Memory, pointer: int, data: bytes) -> None:
    """Store `data` where the guest points."""
    memory.write(pointer & U32, data)


def put_size(memory: Memory, pointer: int, value: int) -> None:
    """Store a `size`."""
    memory.write(pointer & U32, SIZE.pack(value))


def check(memory: Memory, pointer: int, size: int) -> None:
    """Raise `MemoryAccessError` unless `size` bytes at `pointer` are the guest's."""
    end = (pointer & U32) + (size & U32)
    if end > memory.size:
        memory.read(end, 1)  # which says so


def gather(memory: Memory, iovs: int, count: int) -> bytes:
    """The bytes that a guest wants written, `MAX_TRANSFER` at most."""
    pieces = []
    left = MAX_TRANSFER
    for pointer, size in buffers(memory, iovs, count):
        if size > left:
            check(memory, pointer, size)
            pieces.append(memory.read(pointer, left))
            break
        pieces.append(memory.read(pointer, size))
        left -= size
    return b"".join(pieces)


def buffers(memory: Memory, iovs: int, count: int) -> list[tuple[int, int]]:
    """The buffers of an iovec array, each (pointer, size). `EINVAL` for more than `MAX_IOVECS`."""
    return list(CIOVEC.iter_unpack(read_struct_bytes(memory, iovs, count, CIOVEC.size, MAX_IOVECS)))


def room(memory: Memory, iovs: int, count: int) -> tuple[list[tuple[int, int]], int]:
    """The buffers of an iovec array, all of them checked, and how much to read into them. Checked first, so that what
    is read from a pipe or socket cannot get lost.
    """
    into = buffers(memory, iovs, count)
    end = memory.size
    total = 0
    for pointer, size in into:
        if pointer + size > end:
            check(memory, pointer, size)
        total += size
    return into, min(total, MAX_TRANSFER)


def scatter(memory: Memory, into: Sequence[tuple[int, int]], data: bytes) -> None:
    """Fill buffers with what was read for them."""
    if len(into) == 1 or (into and len(data) <= into[0][1]):
        memory.write(into[0][0], data)
        return
    at = 0
    for pointer, size in into:
        if at >= len(data):
            break
        memory.write(pointer, data[at : at + size])
        at += size
