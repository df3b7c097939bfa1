"""The text format to the binary one, by the package `wasmtime`."""

from __future__ import annotations

import pytest


def wat(text: str) -> bytes:
    return bytes(pytest.importorskip("wasmtime").wat2wasm(text))
