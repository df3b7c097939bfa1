"""Wasmtime's error texts, brought to the essential. The same for every adapter that reaches Wasmtime."""

from __future__ import annotations

import re
from dataclasses import replace

from ..types import Frame

__all__ = ["compile_error_text", "frame_lines", "trap_text"]

_NUMBERED = re.compile(r"^\d+: ")


def _causes(text: str) -> list[str]:
    """The lines under `Caused by:`, without their numbers."""
    lines = [_NUMBERED.sub("", line.strip()) for line in text.partition("Caused by:")[2].splitlines()]
    return [line for line in lines if line]


def trap_text(text: str) -> str:
    """Why a guest trapped: what the engine says below its own backtrace, which `Trap.frames` holds."""
    text = text.strip()
    causes = _causes(text) if text.startswith("error while executing") else []
    return "; ".join(cause.removeprefix("wasm trap: ") for cause in causes) or text.removeprefix("wasm trap: ")


def compile_error_text(text: str) -> str:
    """Why a module was refused, on one line where the engine tells a chain of causes; a quoted source text keeps its
    lines.
    """
    head, _, _ = text.strip().partition("\n\nCaused by:")
    causes = _causes(text)
    if not causes:
        return head
    return f"{head}: {': '.join(causes)}"


_FRAME = re.compile(r"^ *(\d+): ")
_PLACE = re.compile(r"^ *at (.+):(\d+):(\d+)$")


def frame_lines(text: str, frames: list[Frame]) -> list[Frame]:
    """`frames` with the source lines that the engine's backtrace in `text` tells, where the module has debug
    information.
    """
    places: dict[int, tuple[str, int, int | None]] = {}
    frame = -1
    for line in text.partition("Caused by:")[0].splitlines():
        if found := _FRAME.match(line):
            frame = int(found[1])
        elif (found := _PLACE.match(line)) and frame not in places:
            places[frame] = (found[1], int(found[2]), int(found[3]) or None)
    known = [dict(zip(("file", "line", "column"), places.get(n, ()))) for n in range(len(frames))]
    return [replace(frame, **place) for frame, place in zip(frames, known)]
