"""Standard input, output and error as Python objects."""

from __future__ import annotations

import codecs
import io
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..errors import InvalidConfigurationError
from ..values import copied_buffer, shown
from .abi import STREAM_RIGHTS, FileType, Rights
from .descriptors import Descriptor
from .errno import Errno, WasiError
from .handles import HERE, open_at
from .host_files import StandardStream
from .waiting import POLL_IN

if TYPE_CHECKING:
    from .waiting import Waiter

__all__ = [
    "INHERIT",
    "Inherit",
    "Input",
    "Output",
    "bytes_from",
    "open_input",
    "open_output",
    "text_writer",
    "wants_text",
]


class Inherit:
    """The type of `INHERIT`."""

    def __repr__(self) -> str:
        return "wasi.INHERIT"


INHERIT: Final = Inherit()
"""The standard stream of this process: its descriptor 0, 1 or 2, whatever `sys.stdin` and the others are."""

_NOT_READABLE = ~Rights.FD_READ
_NOT_WRITABLE = ~Rights.FD_WRITE


class Input(Descriptor):
    """A stream that is read from a callable `(size) -> bytes or str`; nothing is the end.

    What the callable raises comes out of the guest's call as it is, but for `OSError`, which the guest sees as an
    errno.
    """

    __slots__ = ("_ahead", "_fd", "_left", "_source", "_waiter")

    filetype = FileType.UNKNOWN
    most_rights = STREAM_RIGHTS & _NOT_WRITABLE

    def __init__(self, source: Callable[[int], Any], waiter: Waiter, fd: int | None = None, ahead: int = 0) -> None:
        """`fd`: what to wait for before `source` is called, where it would block; not for the first `ahead` bytes."""
        super().__init__()
        self._source = source
        self._waiter = waiter
        self._fd = fd
        self._ahead = ahead
        self._left = b""

    def read(self, size: int) -> bytes:
        data = self._left
        if not data:
            if size == 0:
                return b""
            if self._fd is not None and not self._ahead:
                self._waiter.ready(self._fd, POLL_IN, self.flags)
            found = self._source(size)
            if found is None:  # a raw file that has nothing yet
                raise WasiError(Errno.AGAIN)
            data = _encoded(found) if isinstance(found, str) else bytes_from("WasiConfig.stdin", found)
            self._ahead = max(0, self._ahead - len(data))
        self._left = data[size:]
        return data[:size]

    def host_fd(self) -> int | None:
        return None if self._left or self._ahead else self._fd

    def readable_bytes(self) -> int:
        return len(self._left) or self._ahead or 1


class Output(Descriptor):
    """A stream that is written to a callable `(bytes) -> count or None`, where None stands for all of them."""

    __slots__ = ("write",)

    filetype = FileType.UNKNOWN
    most_rights = STREAM_RIGHTS & _NOT_READABLE

    def __init__(self, sink: Callable[[bytes], Any]) -> None:
        super().__init__()
        self.write = sink  # type: ignore[method-assign, assignment]  # an attribute: the shortest way to the sink


def bytes_from(where: str, data: Any) -> bytes:
    """The bytes that a callable or file of the host returned. `TypeError` for anything not bytes-like: `bytes` would
    turn an int into that many zeros, and a list into its items.
    """
    if type(data) is bytes:
        return data
    try:
        return copied_buffer(data)
    except TypeError:
        raise TypeError(f"{where} gave {shown(data)} where bytes were asked for") from None


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"WasiConfig.stdin gave text that has no UTF-8, {shown(text)}; give bytes") from None


def open_input(source: Any, waiter: Waiter) -> Descriptor:
    """The descriptor for `WasiConfig.stdin`."""
    if source is None:
        return Input(lambda size: b"", waiter)
    if source is INHERIT:
        return _limited(StandardStream(0, waiter), _NOT_WRITABLE)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Input(io.BytesIO(copied_buffer(source)).read, waiter)
    if isinstance(source, os.PathLike):
        handle = open_at(HERE, os.fsencode(source), os.O_RDONLY | os.O_NONBLOCK, 0)
        return _limited(StandardStream(handle, waiter), _NOT_WRITABLE)
    waits_for = _pollable_fd(source)
    if waits_for is not None:
        source = _bytes_below(source)
    read = getattr(source, "read1", None) or getattr(source, "read", None)
    if read is not None:
        return Input(read, waiter, waits_for, 0 if waits_for is None else _read_ahead(source, waits_for))
    if callable(source):
        return Input(source, waiter)
    raise _wrong("stdin", source, "None, wasi.INHERIT, bytes, a file, a callable or a pathlib.Path")


def open_output(name: str, sink: Any, waiter: Waiter) -> Descriptor:
    """The descriptor for `WasiConfig.stdout` or `stderr`."""
    if sink is None:
        return Output(len)
    if sink is INHERIT:
        return _limited(StandardStream(1 if name == "stdout" else 2, waiter), _NOT_READABLE)
    if isinstance(sink, bytearray):
        return Output(sink.extend)
    if isinstance(sink, os.PathLike):
        # Appending: stdout and stderr may be one file, under whatever names, and neither may overwrite the other.
        handle = open_at(HERE, os.fsencode(sink), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        return _limited(StandardStream(handle, waiter), _NOT_READABLE)
    write = getattr(sink, "write", None)
    if write is not None:
        if type(sink) in (io.BytesIO, io.BufferedWriter):  # known to return what an Output is to return
            return Output(write)
        if isinstance(sink, io.RawIOBase):
            return Output(_raw_writer(write))
        return Output(text_writer(write) if wants_text(sink) else _counted(write))
    if callable(sink):
        return Output(_ignoring_result(sink))
    raise _wrong(name, sink, "None, wasi.INHERIT, a bytearray, a file, a callable or a pathlib.Path")


def _limited(file: Descriptor, mask: int) -> Descriptor:
    file.rights &= mask
    return file


def wants_text(file: Any) -> bool:
    """Whether a file takes text."""
    return isinstance(file, io.TextIOBase) or hasattr(file, "encoding")


def text_writer(write: Callable[[str], Any]) -> Callable[[bytes], None]:
    """Writes bytes to a file of text, as UTF-8."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def put(data: bytes) -> None:
        write(decode(data))

    return put


def _counted(write: Callable[[bytes], Any]) -> Callable[[bytes], int | None]:
    """For files of any class, which may return anything: what is no count of bytes says nothing."""

    def put(data: bytes) -> int | None:
        count = write(data)
        return count if type(count) is int and 0 <= count <= len(data) else None

    return put


def _raw_writer(write: Callable[[bytes], Any]) -> Callable[[bytes], int | None]:
    def raw(data: bytes) -> Any:
        count = write(data)
        if count is None:  # a raw file that takes nothing now
            raise WasiError(Errno.AGAIN)
        return count

    return _counted(raw)


def _ignoring_result(sink: Callable[[bytes], Any]) -> Callable[[bytes], None]:
    def put(data: bytes) -> None:
        sink(data)

    return put


def _pollable_fd(file: Any) -> int | None:
    """The host's descriptor behind a file object, if reading it may block."""
    try:
        fd = file.fileno()
        mode = os.fstat(fd).st_mode
    except (AttributeError, OSError, ValueError, TypeError):  # io.UnsupportedOperation is both of the middle
        return None
    return None if stat.S_ISREG(mode) else fd


def _bytes_below(file: Any) -> Any:
    """The binary file below a text file of UTF-8. A text file reads until it has as much as was asked for, and no
    descriptor tells how much it then holds; what it read ahead before is lost to the guest.
    """
    below = getattr(file, "buffer", None)
    if hasattr(below, "read1") and codecs.lookup(getattr(file, "encoding", None) or "ascii").name == "utf-8":
        return below
    return file


def _read_ahead(file: Any, fd: int) -> int:
    """How many bytes of a pipe or socket a buffered file holds already, which waiting for `fd` would not tell.

    Asked by a look ahead that must not block; a terminal, whose mode its other users would see change, is not asked.
    """
    if not isinstance(file, io.BufferedReader) or os.isatty(fd) or not os.get_blocking(fd):
        return 0
    os.set_blocking(fd, False)
    try:
        return len(file.peek())
    finally:
        os.set_blocking(fd, True)


def _wrong(name: str, value: object, wanted: str) -> InvalidConfigurationError:
    hint = "; a file's name is given as a pathlib.Path" if isinstance(value, str) else ""
    return InvalidConfigurationError(f"WasiConfig.{name} is {wanted}, not {shown(value)}{hint}")
