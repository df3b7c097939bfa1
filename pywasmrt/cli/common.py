"""What the commands share: reading the module, failing with a message, and names that are safe to print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..types import printable

__all__ = ["Failure", "listed", "printable", "read_source"]

_MAGIC = b"\0asm"


class Failure(Exception):
    """Ends the command with a message."""


def read_source(path: Path) -> bytes | str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {str(path)!r}: {error.strerror}") from None
    if data.startswith(_MAGIC):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Failure(f"{str(path)!r} is no WebAssembly module, in binary or in text form") from None


def listed(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names))
