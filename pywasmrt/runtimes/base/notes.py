"""Notes on exceptions that have passed through a guest. They show the guest's frames, which tracebacks do not show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import CodeType, FrameType, TracebackType
from typing import Any

from ...types import Frame

__all__ = ["GuestNotes", "add_guest_note"]

_MOST_NOTES = 16
"""The most notes that one exception gets: a guest and its host function may call each other very often."""


def add_guest_note(error: BaseException, frames: Callable[[], list[Frame]], caller: FrameType | None) -> None:
    """Add a note to an exception that a host function has raised, or that stopped the guest. `frames` returns the
    guest's frames, innermost first; `caller` is the Python frame that has called the guest.

    The text is only made when the notes are read, as most exceptions are caught and never shown. Python before 3.11
    shows no notes, but has them in `__notes__` too, as the package exceptiongroup expects.
    """
    notes = getattr(error, "__notes__", None)
    if type(notes) is not GuestNotes:
        notes = GuestNotes(notes if isinstance(notes, (list, tuple)) else ())
        holder: Any = error  # which has no such attribute for type checkers before Python 3.11
        with suppress(Exception):  # a class may not allow this attribute
            holder.__notes__ = notes
    host = _first(error.__traceback__, caller)
    places = [
        None if caller is None else (caller.f_code, caller.f_lineno),
        None if host is None else (host.tb_frame.f_code, host.tb_lineno),
    ]
    notes.guest_note(_Pending(frames, places))


class _Pending:
    """A note whose text was not made yet."""

    __slots__ = ("frames", "places")

    def __init__(self, frames: Callable[[], list[Frame]], places: Sequence[Any]) -> None:
        self.frames = frames
        self.places = places


class GuestNotes(list[Any]):
    """The notes of an exception, which may be without their text yet. To all other code it is a list of str."""

    __slots__ = ()

    def guest_note(self, pending: _Pending) -> None:
        """Add a note, unless there are many already."""
        if len(list(filter(_is_pending, list.__iter__(self)))) < _MOST_NOTES:
            self.append(pending)

    def _write(self) -> None:
        waiting = [(n, each) for n, each in enumerate(list.__iter__(self)) if type(each) is _Pending]
        outer: list[list[Frame]] = []
        for n, each in reversed(waiting):
            frames = each.frames()
            # A call's frames include those of the outer calls, which have notes of their own.
            known = max([len(one) for one in outer if len(one) < len(frames) and frames[-len(one) :] == one], default=0)
            self[n] = _text(frames[: len(frames) - known], *each.places)
            if frames:
                outer.append(frames)

    def __iter__(self) -> Iterator[Any]:
        self._write()
        return list.__iter__(self)

    def __getitem__(self, index: Any) -> Any:
        self._write()
        return list.__getitem__(self, index)

    def __contains__(self, value: object) -> bool:
        self._write()
        return list.__contains__(self, value)

    def __eq__(self, other: object) -> bool:
        self._write()
        return list.__eq__(self, other)

    __hash__ = None

    def __repr__(self) -> str:
        self._write()
        return list.__repr__(self)

    def __reduce__(self) -> Any:
        return list, (list(self),)


def _is_pending(note: object) -> bool:
    return type(note) is _Pending


_BEGIN = "Guest frames"


def _first(at: TracebackType | None, caller: FrameType | None) -> TracebackType | None:
    """The traceback's entry of the host function: the first after the caller's. None where the guest was stopped."""
    while at is not None and at.tb_frame is caller:
        at = at.tb_next
    return at


def _text(frames: Sequence[Frame], caller: Any, host: Any) -> str:
    words = [f"{_BEGIN} (most recent call last)"]
    if caller is not None:
        words.append(f"called by {_place(*caller)}")
    if host is not None:
        words.append(f"calling {_place(*host)}")
    shown = [f"  {frame}" for frame in reversed(frames)]
    return "\n".join([f"{', '.join(words)}:", *shown])


def _place(code: CodeType, line: int | None) -> str:
    return f"{code.co_name} ({code.co_filename}:{line})"
