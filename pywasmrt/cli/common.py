"""What the commands share: reading the module, failing with a message, and names that are safe to print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtimes.base.serialized import MAGIC as COMPILED
from ..types import printable

if TYPE_CHECKING:
    from ..protocols import CompiledModule, Runtime

__all__ = ["Failure", "counted", "listed", "load_module", "printable", "read", "read_source"]

_MAGIC = b"\0asm"
_LONG = 4 << 20  # bytes: compiling a module of this size or more shows a message on the terminal


class Failure(Exception):
    """Ends the command with a message."""


def load_module(
    runtime: Runtime, path: Path, data: bytes, change: Callable[[bytes], bytes] | None = None
) -> CompiledModule:
    """Load the module in the content of a file: source, or what `pywasmrt compile` wrote. `change` rewrites a binary
    module before it is compiled; a module that is already compiled is loaded unchanged.
    """
    if data.startswith(COMPILED):
        return runtime.deserialize(data)
    source = _source(path, data)
    if change is not None and isinstance(source, bytes):
        runtime.validate(source)  # only valid modules are changed
        source = change(source)
    if len(source) < _LONG or sys.stderr is None or not sys.stderr.isatty():
        return runtime.compile(source)
    message = f"compiling {path.name} ({len(source) / (1 << 20):.0f} MiB); 'pywasmrt compile' does it once"
    print(printable(message), end="", file=sys.stderr, flush=True)
    try:
        return runtime.compile(source)
    finally:
        print(f"\r{' ' * len(message)}\r", end="", file=sys.stderr, flush=True)


def read_source(path: Path) -> bytes | str:
    data = read(path)
    if data.startswith(COMPILED):
        raise Failure(f"{str(path)!r} is compiled already: only 'pywasmrt run' takes it")
    return _source(path, data)


def read(path: Path) -> bytes:
    """The content of a file, or of standard input for `-`."""
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read() if sys.stdin is not None else b""
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {str(path)!r}: {error.strerror}") from None


def _source(path: Path, data: bytes) -> bytes | str:
    if data.startswith(_MAGIC):
        return data
    place = "standard input" if str(path) == "-" else repr(str(path))
    if not data.strip():
        raise Failure(f"{place} is empty: there is no WebAssembly module in it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"{place} is no WebAssembly module, in binary or in text form") from None


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names))
