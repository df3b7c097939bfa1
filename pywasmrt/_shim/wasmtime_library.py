"""Finds Wasmtime's shared library inside the installed `wasmtime` package, without importing that package.

Wasmtime's C structs changed before and may change again, so only the majors that were checked are accepted; the test
`tests/runtimes/test_wasmtime_abi.py` is the check.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import RuntimeNotFoundError
from ..values import ended

__all__ = ["COMPONENT_MAJOR", "SUPPORTED_MAJORS", "Library", "find", "major", "wasmtime_library_reason"]

SUPPORTED_MAJORS = (48, 49, 50)
"""The major versions of the `wasmtime` package whose C structs are those of `csrc/engines/wasmtime/api.h`."""

COMPONENT_MAJOR = 50
"""The first major version whose C structs for components are those of `csrc/wrt_component.h`."""

_PACKAGE = "wasmtime"
_INSTALL = f"pip install '{_PACKAGE}>={SUPPORTED_MAJORS[0]},<{SUPPORTED_MAJORS[-1] + 1}'"


@dataclass(frozen=True)
class Library:
    """Wasmtime's shared library, and the version of the package that holds it."""

    path: Path
    version: str


_found: list[Library] = []


def find() -> Library:
    """The library to open. Raises `RuntimeNotFoundError`, which says what is missing and which versions can be used.

    Nothing can be found any more while the interpreter ends: then it is the library that was found last.
    """
    if sys.meta_path is None:
        if not _found:
            raise ended("Wasmtime's library")
        return _found[0]
    folder = _package_folder()
    if folder is None:
        raise RuntimeNotFoundError(f"the Python package {_PACKAGE} is not installed; {_INSTALL}")
    version = _package_version(folder)
    if version is None:
        raise RuntimeNotFoundError(f"the version of {_PACKAGE} in {folder} cannot be told; {_INSTALL}")
    if major(version) not in SUPPORTED_MAJORS:
        majors = ", ".join(map(str, SUPPORTED_MAJORS))
        raise RuntimeNotFoundError(f"{_PACKAGE} {version} is installed, but only versions {majors} serve; {_INSTALL}")
    path = folder / _platform_folder() / _file_name()
    if not path.is_file():
        raise RuntimeNotFoundError(f"{_PACKAGE} {version} has no library for this platform: there is no {path}")
    _found[:] = [Library(path, version)]
    return _found[0]


def wasmtime_library_reason() -> str | None:
    """Why there is no library to open, in one sentence; None where there is one."""
    try:
        find()
    except RuntimeNotFoundError as error:
        return str(error)
    return None


def _package_folder() -> Path | None:
    # find_spec imports only the parent packages of a module, and this one has none.
    try:
        spec = importlib.util.find_spec(_PACKAGE)
    except ValueError:  # a module that was put into sys.modules without a spec
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def _package_version(folder: Path) -> str | None:
    """The version of the distribution beside `folder`, so that it is the version of this very library."""
    found = next(iter(metadata.distributions(name=_PACKAGE, path=[str(folder.parent)])), None)
    return None if found is None else found.version


def major(version: str) -> int:
    """The major version; -1 where it cannot be read."""
    head = version.split(".", 1)[0]
    return int(head) if head.isdecimal() else -1


def _platform_folder() -> str:
    system = "android" if hasattr(sys, "getandroidapilevel") else sys.platform
    machine = platform.machine()
    return f"{system}-{ {'AMD64': 'x86_64', 'arm64': 'aarch64', 'ARM64': 'aarch64'}.get(machine, machine) }"


def _file_name() -> str:
    return {"darwin": "_libwasmtime.dylib", "win32": "_wasmtime.dll"}.get(sys.platform, "_libwasmtime.so")
