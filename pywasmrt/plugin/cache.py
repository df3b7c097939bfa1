"""Compiled modules on disk, so that a plugin's second start skips compiling.

A file is named by a digest of the module's bytes, the runtime's name, version and features, its settings and this
library's version, and holds what `CompiledModule.serialize` gave. It is machine code that runs unchecked, so the folder
must belong to the user alone: one that others can write to is refused, and so is a file that is not the user's own. A
file is written beside its place and moved there, so that concurrent processes see all of it or nothing.

`PYWASMRT_CACHE=0` turns the cache off, `PYWASMRT_CACHE_DIR` moves it (otherwise `$XDG_CACHE_HOME/pywasmrt`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import tempfile
from hashlib import sha256
from typing import TYPE_CHECKING

from .._version import __version__
from ..errors import WasmError
from ..runtimes.base.source import load

if TYPE_CHECKING:
    from ..protocols import CompiledModule, ModuleSource, Runtime
    from ..types import RuntimeConfig

__all__ = ["MAX_BYTES", "ModuleCache", "default_folder"]

MAX_BYTES = 1024 * 1024 * 1024
"""What the files of a cache may take up together; the least recently used go first."""

_SUFFIX = ".cwasm"
_log = logging.getLogger("pywasmrt.plugin.cache")


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
    if not os.path.isabs(base):  # the specification of XDG_CACHE_HOME: a relative path is ignored
        home = os.path.expanduser("~")
        if not os.path.isabs(home):  # a user without a home, as in containers
            return None
        base = os.path.join(home, ".cache")
    return os.path.join(base, "pywasmrt")


class ModuleCache:
    """A folder of compiled modules; None for a cache that keeps nothing. May be used from any thread and process.

    What goes wrong with the folder or a file is logged, and the module compiled as if there were no cache.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, max_bytes: int = MAX_BYTES) -> None:
        self.folder = None if folder is None else os.fspath(folder)
        self._max_bytes = max_bytes

    def compile(self, runtime: Runtime, config: RuntimeConfig, source: ModuleSource) -> CompiledModule:
        """Compile `source`, or load what an earlier compilation with the same runtime and settings left.

        `config` is what `runtime` was made with. Raises as `Runtime.compile` does.
        """
        data = load(source)
        if self.folder is None or isinstance(data, str) or "serialize" not in runtime.info.features:
            return runtime.compile(data)
        path = os.path.join(self.folder, self.key(runtime, config, data) + _SUFFIX)
        blob = self._read(path)
        if blob is not None:
            try:
                return runtime.deserialize(blob)
            except WasmError as error:
                _log.warning("the compiled module %s cannot be used and is made again: %s", path, error)
        module = runtime.compile(data)
        try:
            blob = module.serialize()
        except WasmError as error:  # not every module can be
            _log.debug("a module of %d bytes was not kept: %s", len(data), error)
        else:
            self._write(path, blob)
        return module

    def key(self, runtime: Runtime, config: RuntimeConfig, data: bytes) -> str:
        """The name of a module's file, without its suffix."""
        info = runtime.info
        settings = sorted((name, repr(value)) for name, value in config.options.items())
        asked = None if config.features is None else sorted(config.features)
        others = {name: value for name, value in sorted(vars(config).items()) if name not in ("options", "features")}
        about = repr((__version__, info.name, info.version, sorted(info.features), settings, asked, others))
        digest = sha256(about.encode())
        digest.update(b"\0")
        digest.update(data)
        return digest.hexdigest()

    def _read(self, path: str) -> bytes | None:
        """The file's content, or None where there is none to be trusted."""
        try:
            self._check_folder()
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | _SAFELY), "rb") as file:
                found = os.fstat(file.fileno())
                _check_private(found, path, stat.S_ISREG)
                if found.st_size > self._max_bytes:  # damaged: no such file was kept
                    raise OSError(f"it has {found.st_size} bytes, more than all of them together may have")
                blob = file.read(found.st_size)
                with contextlib.suppress(OSError):
                    os.utime(file.fileno())  # it was used: what was not goes first
                return blob
        except FileNotFoundError:
            return None
        except (OSError, MemoryError) as error:
            _log.warning("the compiled module %s was not read: %s", path, error or "there is not enough memory")
            return None

    def _check_folder(self) -> None:
        assert self.folder is not None
        _check_private(os.stat(self.folder), self.folder, stat.S_ISDIR)

    def _write(self, path: str, blob: bytes) -> None:
        assert self.folder is not None
        if len(blob) > self._max_bytes:  # which no later start would read
            return
        temporary = None
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._check_folder()
            handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=self.folder)  # of mode 0600
            with open(handle, "wb") as file:
                file.write(blob)
            os.replace(temporary, path)
            temporary = None
            self._prune(path)
        except OSError as error:
            _log.warning("the compiled module %s was not kept: %s", path, error)
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    def _prune(self, keep: str) -> None:
        """Remove the files that were not used for the longest time, until the rest fits."""
        assert self.folder is not None
        found = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith((_SUFFIX, ".tmp")):
                with contextlib.suppress(OSError):  # another process may have removed it
                    about = entry.stat(follow_symlinks=False)
                    found.append((about.st_mtime, about.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._max_bytes:
                break
            if path != keep:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                total -= size


_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # not through a link, not waiting for a pipe


def _check_private(about: os.stat_result, path: str, kind: object) -> None:
    """Raise `PermissionError` unless only this user can have put there what `about` describes."""
    assert callable(kind)
    if not kind(about.st_mode):
        raise PermissionError(f"{path} is not of the kind that belongs there")
    if hasattr(os, "getuid") and about.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user, who could put code there")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"others than its owner can write to {path}; chmod go-w")
