"""What a component may access through the engine's own WASI 0.2, as runtimes take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["INHERITED", "ComponentWasi"]

INHERITED = object()
"""Stands for the process's own stream."""


@dataclass(frozen=True)
class ComponentWasi:
    """`stdin` is bytes, None or `INHERITED`; `stdout` and `stderr` take what is written, or are None or `INHERITED`.
    `directories` are (path of the host, path of the guest, writable). `network` is every address or none.
    """

    args: Sequence[str]
    env: Sequence[tuple[str, str]]
    stdin: Any
    stdout: Callable[[bytes], object] | Any
    stderr: Callable[[bytes], object] | Any
    directories: Sequence[tuple[str, str, bool]]
    network: bool
    http: bool
    on_exit: Callable[[int], object] | None = None
