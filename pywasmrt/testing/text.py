"""Converts the text format to the binary format, for runtimes that read only the latter."""

from __future__ import annotations

from ..errors import ModuleCompileError
from ..runtimes.base.source import check_text
from ..types import expect

__all__ = ["to_binary"]


def to_binary(text: str) -> bytes:
    """The binary form of a module in the text format, by Wasmtime's reader. Raises `ModuleCompileError`."""
    expect("to_binary", "a str", str, text=text)
    check_text(text)
    import wasmtime

    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise ModuleCompileError(str(error)) from None
