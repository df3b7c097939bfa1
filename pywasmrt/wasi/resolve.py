"""Finding a guest's path beneath a directory of the host, without ever leaving it.

Two ways, which the same tests hold to the same answers. Where the kernel can do it itself (`openat2` with
RESOLVE_BENEATH), it does. Elsewhere the path is walked one component at a time: each directory is opened with
O_NOFOLLOW from the one before, `..` goes back to a directory that is open already, and symbolic links are read and
walked likewise. Neither ever hands the host a path of more than one component that it could resolve elsewhere, so links
that are swapped meanwhile lead nowhere else.

`EPERM` is the answer to a path that would leave: an absolute one, too many `..`, or a link of either kind. Everything
else answers as Linux does, and a property test compares the two.
"""

from __future__ import annotations

import errno as host
import os
from collections import deque
from typing import NamedTuple, Union

from . import handles
from .errno import Errno, WasiError
from .handles import Handle

__all__ = ["DOTS", "MAX_LINKS", "Path", "Place", "followed", "open_beneath", "parent", "split"]

MAX_LINKS = 40
MAX_DEPTH = 256

_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY)
_DIRECTORY = _PATH_ONLY | os.O_DIRECTORY
_STEP = _DIRECTORY | os.O_NOFOLLOW
_RACES = 64
DOTS = frozenset((b".", b".."))
"""The names that every directory has."""


class Path(NamedTuple):
    """A path taken apart as the kernel does it: the directories on the way, the last component as it is written, `.`
    and `..` included, and whether slashes follow it.
    """

    folders: list[bytes]
    name: bytes
    slash: bool


class Place(NamedTuple):
    """A directory of the host and a name in it, which is not to be followed any more. What was opened on the way is
    held by `directory`, and closed when the last place in it is dropped.

    `slash`: slashes followed the name, so it can only be a directory's. Functions that make, remove or rename a name
    get it as the path says, `.` and `..` included, and the host refuses those; `followed` gives `.` for a directory
    that a path leads to in such a way.
    """

    directory: Union[Handle, int]
    name: bytes
    slash: bool


def split(path: bytes) -> Path:
    """Take a path apart. `ENOENT` for the empty path, `EPERM` for an absolute one."""
    if not path:
        raise WasiError(Errno.NOENT)
    if path[:1] == b"/":
        raise WasiError(Errno.PERM)
    bare = path.rstrip(b"/")
    way, _, name = bare.rpartition(b"/")
    return Path([each for each in way.split(b"/") if each not in (b"", b".")], name, len(bare) < len(path))


class _Walk:
    """A path on its way down from `root`, one component at a time."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._opened: list[Handle] = []
        self._links = 0

    @property
    def top(self) -> Handle | int:
        return self._opened[-1] if self._opened else self._root

    def up(self) -> None:
        if not self._opened:
            raise WasiError(Errno.PERM)
        self._opened.pop()

    def down(self, folders: list[bytes]) -> None:
        """Go through directories, links followed."""
        pending = deque(folders)
        while pending:
            name = pending.popleft()
            if name == b"..":
                self.up()
                continue
            try:
                self._opened.append(handles.open_at(self.top, name, _STEP, 0))
            except OSError as error:
                if error.errno not in (host.ELOOP, host.ENOTDIR, host.EMLINK):
                    raise
            else:
                if len(self._opened) > MAX_DEPTH:
                    raise WasiError(Errno.NAMETOOLONG)
                continue
            target = self.link(name)
            if target is None:
                raise WasiError(Errno.NOTDIR)
            if target.name != b".":
                pending.appendleft(target.name)
            pending.extendleft(reversed(target.folders))

    def link(self, name: bytes) -> Path | None:
        """What the link of that name says, counted against `ELOOP`; None where there is no link."""
        target = _link_target(name, self.top)
        if target is None:
            return None
        self._links += 1
        if self._links > MAX_LINKS:
            raise WasiError(Errno.LOOP)
        return split(target)

    def end(self, path: Path) -> Place:
        """Where `path` leads, once `down` went through its folders, a link at its end followed."""
        name, slash = path.name, path.slash
        while name not in DOTS:
            target = self.link(name)
            if target is None:
                return Place(self.top, name, slash)
            self.down(target.folders)
            name, slash = target.name, slash or target.slash
        if name == b"..":
            self.up()
        return Place(self.top, b".", slash)


def _link_target(name: bytes, directory: Handle | int) -> bytes | None:
    """What the link of that name says, or None where there is no link."""
    try:
        return os.readlink(name, dir_fd=directory)  # type: ignore[arg-type]  # whatever has __index__ serves
    except OSError as error:
        if error.errno in (host.EINVAL, host.ENOENT):
            return None
        raise


def _find_openat2() -> bool:
    try:
        handles.open_beneath(handles.HERE, b".", _PATH_ONLY, 0)
    except OSError:  # an old kernel, or a filter that forbids it
        return False
    return True


kernel_resolves = _find_openat2()
"""Whether the kernel is asked to resolve paths; tests turn it off."""


def _openat2(directory: int, path: bytes, flags: int, mode: int) -> Handle:
    try:
        return handles.open_beneath(directory, path, flags, mode)
    except OSError as error:
        if error.errno == host.EXDEV:  # the kernel's error for a path that leads out
            raise WasiError(Errno.PERM) from None
        raise


def parent(root: int, path: bytes) -> Place:
    """The place that a path names, its last component as it is written and not followed."""
    parts = split(path)
    if kernel_resolves:
        place = Place(_folder(root, parts.folders), parts.name, parts.slash)
        if parts.name == b"..":  # beyond the top, it would be answered from outside
            _openat2(root, path, _DIRECTORY, 0)
        return place
    walk = _Walk(root)
    walk.down(parts.folders)
    place = Place(walk.top, parts.name, parts.slash)
    if parts.name == b"..":
        walk.up()
    return place


def _folder(root: int, folders: list[bytes]) -> Handle | int:
    return _openat2(root, b"/".join(folders), _DIRECTORY, 0) if folders else root


def followed(root: int, path: bytes) -> Place:
    """The place that a path leads to, with a link at its end followed."""
    parts = split(path)
    if kernel_resolves and parts.name not in DOTS:
        folder = _folder(root, parts.folders)
        if _link_target(parts.name, folder) is None:
            return Place(folder, parts.name, parts.slash)
    walk = _Walk(root)
    walk.down(parts.folders)
    return walk.end(parts)


def open_beneath(root: int, path: bytes, follow: bool, flags: int, mode: int = 0o666) -> Handle:
    """Open the file that a path names.

    A trailing slash asks for a directory. With `follow` a link at the end is followed; without, it is `ELOOP`.
    """
    if path[:1] == b"/":
        raise WasiError(Errno.PERM)
    if kernel_resolves:
        return _openat2(root, path, flags if follow else flags | os.O_NOFOLLOW, mode)
    parts = split(path)
    for _ in range(_RACES):
        walk = _Walk(root)
        walk.down(parts.folders)
        creates = flags & os.O_CREAT
        dots = parts.name in DOTS
        ends = follow or parts.slash or dots
        if parts.slash and creates and not dots:  # directories are not created by opening
            raise WasiError(Errno.ISDIR)
        place = walk.end(parts) if ends else Place(walk.top, parts.name, False)
        if place.slash and creates and place.name != b".":
            raise WasiError(Errno.ISDIR)
        these = flags | os.O_DIRECTORY if place.slash and not creates else flags
        try:
            return handles.open_at(place.directory, place.name, these | os.O_NOFOLLOW, mode)
        except OSError as error:
            # A link where there was none when it was looked at: look again.
            if not ends or error.errno not in (host.ELOOP, host.EMLINK):
                raise
    raise WasiError(Errno.LOOP)
