"""Compiled modules on disk, so that a second start skips compiling: `RuntimeConfig(cache=True)`, or a folder.

A file is named by a digest of the module's bytes, the engine, its version, its settings, the machine and this library's
version, and holds what `CompiledModule.serialize` gives. It is machine code that runs unchecked, so folder and files
must belong to the user, and nobody else may write to them. Otherwise they are not read, and the log says why. A file is
written beside its place and moved there, so that concurrent processes see all of it or nothing. Files are opened by a
descriptor of the checked folder, so that nobody can exchange the folder meanwhile.

`PYWASMRT_CACHE=0` turns the user's own folder off, `PYWASMRT_CACHE_DIR` moves it (otherwise it is
`$XDG_CACHE_HOME/pywasmrt`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple, Union

from ..._version import __version__
from ...errors import InvalidConfigurationError
from ...values import shown

__all__ = ["MAX_BYTES", "CachedModule", "ModuleCache", "cache_of", "default_folder"]

MAX_BYTES = 1024 * 1024 * 1024
"""Bytes that the files of a cache may have together; the least recently used are removed first."""

_SUFFIX = ".cwasm"
_TEMPORARY = ".tmp"
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_POSSIBLE = os.open in os.supports_dir_fd  # elsewhere nothing assures that the folder is still the checked one
_log = logging.getLogger("pywasmrt.cache")


def default_folder() -> str | None:
    """Where compiled modules are kept unless a configuration says otherwise; None where the cache is turned off, or
    the user has no home.
    """
    if os.environ.get("PYWASMRT_CACHE", "").lower() in ("0", "off", "false", "no"):
        return None
    chosen = os.environ.get("PYWASMRT_CACHE_DIR")
    if chosen:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification of XDG_CACHE_HOME ignores relative paths
        home = os.path.expanduser("~")
        if not os.path.isabs(home):  # a user without a home, as in containers
            return None
        base = os.path.join(home, ".cache")
    return os.path.join(base, "pywasmrt")


def cache_of(setting: Union[bool, str, os.PathLike[str], None]) -> ModuleCache | None:
    """The cache that `RuntimeConfig.cache` asks for; None for none. Raises `InvalidConfigurationError`."""
    if setting is None or setting is False:
        return None
    if not isinstance(setting, (bool, str, os.PathLike)) or setting == "":
        raise InvalidConfigurationError(f"cache is True, False, None or a folder, not {shown(setting)}")
    folder = default_folder() if isinstance(setting, bool) else os.fspath(setting)
    return None if folder is None else ModuleCache(folder)


class CachedModule(NamedTuple):
    """A file of a cache: its name, its size in bytes, and when it was last used, in seconds since 1970."""

    name: str
    size: int
    used: float


class ModuleCache:
    """A folder of compiled modules. May be used from any thread and process.

    A folder or file that cannot be used is logged, and treated as missing.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> None:
        self.folder = os.fspath(folder)
        self.max_bytes = max_bytes

    @staticmethod
    def key(identity: str, data: bytes) -> str:
        """The name of the file for the module `data`. `identity` names all else that its compiled code depends on."""
        digest = sha256(f"{__version__}\0{identity}\0".encode())
        digest.update(data)
        return digest.hexdigest()

    def read(self, key: str) -> bytes | None:
        """The blob that was kept, or None where there is none that can be trusted."""
        name = key + _SUFFIX
        try:
            with self._inside() as folder, open(os.open(name, os.O_RDONLY | _SAFELY, dir_fd=folder), "rb") as file:
                found = os.fstat(file.fileno())
                _check_private(found, name, regular=True)
                if found.st_size > self.max_bytes:  # damaged: no larger file is ever written
                    raise OSError(f"it has {found.st_size} bytes, more than all of them together may have")
                blob = file.read(found.st_size)
                with contextlib.suppress(OSError):
                    os.utime(file.fileno())  # the time of its last use; the oldest are removed first
                return blob
        except FileNotFoundError:
            return None
        except (OSError, MemoryError) as error:
            self.complain(key, "was not read", error)
            return None

    def write(self, key: str, blob: bytes) -> None:
        """Keep `blob`. Beyond `max_bytes` altogether, the least recently used modules are removed."""
        if len(blob) > self.max_bytes:  # `read` would refuse it
            return
        try:
            if _POSSIBLE:
                os.makedirs(self.folder, mode=0o700, exist_ok=True)
            with self._inside() as folder:
                self._put(folder, key + _SUFFIX, blob)
                self._prune(folder, key + _SUFFIX)
        except OSError as error:
            self.complain(key, "was not kept", error)

    def complain(self, key: str, what: str, error: object) -> None:
        """Log what is wrong with a file."""
        path = os.path.join(self.folder, key + _SUFFIX)
        _log.warning("the compiled module %s %s: %s", path, what, error or "there is not enough memory")

    def modules(self) -> list[CachedModule]:
        """The modules that are kept, the most recently used first. Raises `OSError` where the folder cannot be used."""
        try:
            with self._inside() as folder:
                return [each for each in self._files(folder) if each.name.endswith(_SUFFIX)]
        except FileNotFoundError:
            return []

    def clear(self) -> int:
        """Remove all modules, and return how many there were. Raises `OSError` where the folder cannot be used."""
        removed = 0
        with contextlib.suppress(FileNotFoundError), self._inside() as folder:
            for each in self._files(folder):
                with contextlib.suppress(FileNotFoundError):  # another process may have removed it
                    os.unlink(each.name, dir_fd=folder)
                    removed += each.name.endswith(_SUFFIX)
        return removed

    @contextmanager
    def _inside(self) -> Iterator[int]:
        """The folder, held open and checked."""
        if not _POSSIBLE:
            raise OSError("this system has no descriptors of folders, by which a cache is kept safe")
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check_private(os.fstat(folder), self.folder, regular=False)
            yield folder
        finally:
            os.close(folder)

    @staticmethod
    def _put(folder: int, name: str, blob: bytes) -> None:
        temporary = f"{os.urandom(16).hex()}{_TEMPORARY}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY
        try:
            with open(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
                file.write(blob)
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise

    @staticmethod
    def _files(folder: int) -> list[CachedModule]:
        """The files, the most recently used first; also half-written ones of processes that were ended."""
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith((_SUFFIX, _TEMPORARY)):
                    with contextlib.suppress(OSError):  # another process may have removed it
                        about = entry.stat(follow_symlinks=False)
                        found.append(CachedModule(entry.name, about.st_size, about.st_mtime))
        return sorted(found, key=lambda each: each.used, reverse=True)

    def _prune(self, folder: int, keep: str) -> None:
        left = self.max_bytes
        for each in self._files(folder):
            left -= each.size
            if left < 0 and each.name != keep:
                with contextlib.suppress(OSError):
                    os.unlink(each.name, dir_fd=folder)
                left += each.size


def _check_private(about: os.stat_result, path: str, *, regular: bool) -> None:
    """Raise `PermissionError` unless only this user can have written the file or folder that `about` describes."""
    if not (stat.S_ISREG if regular else stat.S_ISDIR)(about.st_mode):
        raise PermissionError(f"{path} is not of the kind that belongs there")
    if about.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user, who could put code there")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"others than its owner can write to {path}, and so could put code there; chmod go-w")
