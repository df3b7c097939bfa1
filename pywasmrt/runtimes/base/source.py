"""Reads the bytes of a module."""

from __future__ import annotations

import os

from ...errors import ModuleCompileError
from ...values import shown

__all__ = ["check_magic", "check_text", "load", "path_hint"]

_MAGIC = b"\0asm"


def load(source: object) -> bytes | str:
    """Return the module that `source` stands for: `bytes` for the binary format, `str` for the text format.

    A path is read from disk (a `.wat` file as text), which may raise `OSError`. An object with the buffer protocol is
    copied, one of a subclass of `bytes` or `str` too: its length may not be that of its contents. Anything else raises
    `TypeError`.
    """
    if type(source) is bytes:
        return source
    if isinstance(source, str):
        text = str.__str__(source)
        check_text(text)
        return text
    if isinstance(source, os.PathLike):
        with open(source, "rb") as file:
            data = file.read()
        if os.fspath(source)[-4:] in (".wat", b".wat") and not data.startswith(_MAGIC):
            try:
                return data.decode("utf-8-sig")  # some editors begin a file with a mark of the byte order
            except UnicodeDecodeError as error:
                raise ModuleCompileError(f"{os.fspath(source)!r} is not text in UTF-8: {error}") from None
        return data
    try:
        return memoryview(source).tobytes()  # type: ignore[arg-type]
    except ValueError:
        raise ValueError(f"a module is bytes, and {shown(source)} was released or closed") from None
    except TypeError:
        raise TypeError(
            "a module is bytes, a pathlib.Path to a file, or a str that holds its text format (WAT); not"
            f" {shown(source)}"
        ) from None


def check_text(text: str) -> None:
    """Raise `ModuleCompileError` where a text cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ModuleCompileError(
            f"the text format is in UTF-8, which has no {text[error.start]!r}, the character {error.start} of this text"
        ) from None


def check_magic(data: bytes) -> None:
    """Raise `ModuleCompileError` unless `data` begins as a binary module does."""
    if data[:4] == _MAGIC:
        if data[6:8] == b"\1\0":  # the field `layer`: a component
            raise ModuleCompileError("this is a component, not a module; use compile_component")
        return
    if not data:
        raise ModuleCompileError("not a WebAssembly module: there are no bytes")
    hint = "; pass the text format as a str, or in a file named .wat" if data.lstrip()[:1] in (b"(", b";") else ""
    raise ModuleCompileError(f"not a WebAssembly module: it begins with {data[:4]!r} instead of {_MAGIC!r}{hint}")


def path_hint(text: str) -> str:
    """What to add to the error of a text that did not parse: a hint if it looks like the name of a file."""
    if len(text) > 4096 or any(mark in text for mark in "\n\0("):
        return ""
    if text.endswith((".wasm", ".wat", ".cwasm")) or os.path.exists(text):
        return "; a str holds the text format: to read a file, pass pathlib.Path(...)"
    return ""
