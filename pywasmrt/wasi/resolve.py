"""Finding a guest's path beneath a directory of the host, without ever leaving it.

Two ways, which the same tests hold to the same answers. Where the kernel can do it itself (`openat2` with
RESOLVE_BENEATH), it does. Elsewhere the path is walked one component at a time: each directory is opened with
O_NOFOLLOW from the one before, `..` goes back to a directory that is open already, and symbolic links are read and
walked likewise. Neither ever hands the host a path of more than one component that it could resolve elsewhere, so links
that are swapped meanwhile lead nowhere else.

`EPERM` is the answer to a path that would leave: an absolute one, too many `..`, or a link of either kind.
"""

from __future__ import annotations

import ctypes
import errno as host
import os
import sys
from collections import deque
from types import TracebackType

from .errno import Errno, WasiError

__all__ = ["Place", "exists", "followed", "open_beneath", "parent", "split", "walk"]

MAX_LINKS = 40
MAX_DEPTH = 256

_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY)
_STEP = _PATH_ONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_OPENAT2 = 437  # the same on every architecture
_RACES = 64


class Place:
    """A directory of the host and a name in it, which is not to be followed any more; `.` is the directory itself.

    `must_be_directory`: the path ended in a slash. To be used in a `with` block, which closes what was opened on the
    way.
    """

    __slots__ = ("_opened", "directory", "must_be_directory", "name")

    def __init__(self, directory: int, name: bytes, opened: list[int], must_be_directory: bool) -> None:
        self.directory = directory
        self.name = name
        self.must_be_directory = must_be_directory
        self._opened = opened

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fd in self._opened:
            os.close(fd)


def split(path: bytes) -> tuple[list[bytes], bool]:
    """The components of a path, `.` left out, and whether it can only be a directory's (`a/`, `a/.`, `a/..`, `.`).

    `ENOENT` for the empty path, `EPERM` for an absolute one.
    """
    if not path:
        raise WasiError(Errno.NOENT)
    if path[:1] == b"/":
        raise WasiError(Errno.PERM)
    pieces = path.split(b"/")
    return [piece for piece in pieces if piece not in (b"", b".")], pieces[-1] in (b"", b".", b"..")


def walk(root: int, path: bytes, follow: bool) -> Place:
    """Find where a path leads, component by component. With `follow`, a link at its end is followed too."""
    components, must_be_directory = split(path)
    pending = deque(components)
    opened: list[int] = []
    links = 0
    try:
        while pending:
            name = pending.popleft()
            top = opened[-1] if opened else root
            if name == b"..":
                if not opened:
                    raise WasiError(Errno.PERM)
                os.close(opened.pop())
                continue
            target = None
            if pending:
                try:
                    opened.append(os.open(name, _STEP, dir_fd=top))
                except OSError as error:
                    if error.errno not in (host.ELOOP, host.ENOTDIR, host.EMLINK):
                        raise
                    target = _link_target(name, top)
                    if target is None:
                        raise WasiError(Errno.NOTDIR) from None
                else:
                    if len(opened) > MAX_DEPTH:
                        raise WasiError(Errno.NAMETOOLONG)
                    continue
            elif follow:
                target = _link_target(name, top)
            if target is None:
                return Place(top, name, opened, must_be_directory)
            links += 1
            if links > MAX_LINKS:
                raise WasiError(Errno.LOOP)
            more, of_directory = split(target)
            if not pending:
                must_be_directory |= of_directory
            pending.extendleft(reversed(more))
        return Place(opened[-1] if opened else root, b".", opened, True)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise


def _link_target(name: bytes, directory: int) -> bytes | None:
    """What the link of that name says, or None where there is no link."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (host.EINVAL, host.ENOENT):
            return None
        raise


class _How(ctypes.Structure):
    """`struct open_how` of openat2."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _openat2(directory: int, path: bytes, flags: int, mode: int) -> int:
    assert _libc is not None
    how = _How(flags | os.O_CLOEXEC, mode if flags & os.O_CREAT else 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_RACES):  # EAGAIN says that a rename happened meanwhile and the kernel could not tell what it meant
        fd: int = _libc.syscall(_OPENAT2, directory, path, ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code not in (host.EAGAIN, host.EINTR):
            break
    if code == host.EXDEV:  # so the kernel calls what leads out
        raise WasiError(Errno.PERM)
    raise OSError(code, os.strerror(code))


def _find_openat2() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    libc.syscall.restype = ctypes.c_long
    how = _How(_PATH_ONLY | os.O_CLOEXEC, 0, _RESOLVE_BENEATH)
    fd = libc.syscall(_OPENAT2, -100, b".", ctypes.byref(how), ctypes.sizeof(how))  # -100: the working directory
    if fd < 0:  # an old kernel, or a filter that forbids it
        return None
    os.close(fd)
    return libc


_libc = _find_openat2()
kernel_resolves = _libc is not None
"""Whether the kernel is asked to resolve paths; tests turn it off."""


def exists(place: Place) -> bool:
    """Whether there is anything of that name."""
    try:
        os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def parent(root: int, path: bytes) -> Place:
    """The place that a path names, its last component not followed."""
    components, must_be_directory = split(path)
    if not kernel_resolves:
        return walk(root, path, False)
    if len(components) == 1 and components[0] != b"..":
        return Place(root, components[0], [], must_be_directory)
    name = components.pop() if components and components[-1] != b".." else b"."
    if not components:
        return Place(root, name, [], must_be_directory)
    fd = _openat2(root, b"/".join(components), _PATH_ONLY | os.O_DIRECTORY, 0)
    return Place(fd, name, [fd], must_be_directory)


def followed(root: int, path: bytes) -> Place:
    """The place that a path names, with a link at its end followed."""
    place = parent(root, path)
    try:
        if _link_target(place.name, place.directory) is None:
            return place
    except BaseException:
        place.__exit__(None, None, None)
        raise
    place.__exit__(None, None, None)
    return walk(root, path, True)


def open_beneath(root: int, path: bytes, follow: bool, flags: int, mode: int = 0o666) -> int:
    """Open the file that a path names, and return the host's descriptor.

    A trailing slash asks for a directory. With `follow` a link at the end is followed; without, it is `ELOOP`.
    """
    components, must_be_directory = split(path)
    if must_be_directory:
        if flags & os.O_CREAT:
            with walk(root, path, True) as place:  # whose own errors come first
                if flags & os.O_EXCL and path[-1:] != b"/" and exists(place):
                    raise WasiError(Errno.EXIST)
        flags = _as_directory(flags)
        follow = True
    if kernel_resolves:
        return _openat2(root, b"/".join(components) or b".", flags if follow else flags | os.O_NOFOLLOW, mode)
    for _ in range(_RACES):
        with walk(root, path, follow) as place:
            these = _as_directory(flags) if place.must_be_directory else flags
            try:
                return os.open(place.name, these | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=place.directory)
            except OSError as error:
                # A link where there was none when it was looked at: look again.
                if not follow or error.errno not in (host.ELOOP, host.EMLINK):
                    raise
    raise WasiError(Errno.LOOP)


def _as_directory(flags: int) -> int:
    if flags & os.O_CREAT:  # directories are not created by opening
        raise WasiError(Errno.ISDIR)
    return flags | os.O_DIRECTORY
