"""Shortens Wasmtime's error texts to the essential, for every adapter that reaches Wasmtime."""

from __future__ import annotations

import re
from dataclasses import replace

from ..types import Frame

__all__ = ["compile_error_text", "frame_lines", "trap_text"]

_NUMBERED = re.compile(r"^\d+: ")


def _causes(text: str) -> list[str]:
    """The lines under `Caused by:`, without their numbers."""
    lines = [line.strip() for line in text.partition("Caused by:")[2].splitlines()]
    return [_NUMBERED.sub("", line) if line[0].isdigit() else line for line in lines if line]


def trap_text(text: str) -> str:
    """Why a guest trapped: the engine's text without its backtrace, which is in `Trap.frames`."""
    text = text.strip()
    causes = _causes(text) if text.startswith("error while executing") else []
    return "; ".join(cause.removeprefix("wasm trap: ") for cause in causes) or text.removeprefix("wasm trap: ")


def compile_error_text(text: str) -> str:
    """Why a module was refused. A chain of causes becomes one line; a quoted source text keeps its lines."""
    head, _, _ = text.strip().partition("\n\nCaused by:")
    causes = _causes(text)
    if not causes:
        return head
    return f"{head}: {': '.join(causes)}"


_FRAME = re.compile(r"^ *(\d+): ")
_PLACE = re.compile(r"^ *at (.+):(\d+):(\d+)$")


def frame_lines(text: str, frames: list[Frame]) -> list[Frame]:
    """`frames` with the source lines from the engine's backtrace in `text`, where the module has debug information."""
    complete = list(frames)
    at = -1
    for line in text.partition("Caused by:")[0].splitlines():
        if found := _FRAME.match(line):
            at = int(found[1])
        elif (found := _PLACE.match(line)) and 0 <= at < len(frames) and complete[at].file is None:
            # An inlined function has several places; the first is the innermost.
            complete[at] = replace(complete[at], file=found[1], line=int(found[2]), column=int(found[3]) or None)
    return complete
