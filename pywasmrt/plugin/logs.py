"""What guests log, handed to `logging` under `pywasmrt.guest.<name>` with its fields."""

from __future__ import annotations

import json
import logging
from typing import Any

from ..types import printable

__all__ = ["MAX_LOG_BYTES", "GuestLog"]

MAX_LOG_BYTES = 1024 * 1024
"""The longest message that is taken from a guest; of a longer one the beginning."""

TRACE = 5
_V1_LEVELS = (TRACE, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_JSON_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


def _level_of_slog(level: object) -> int:
    """The level of a message that carries Go's: -4 debug, 0 info, 4 warning, 8 error, 9 to 11 beyond."""
    if not isinstance(level, (int, float)):
        return logging.INFO
    if level > 8:
        return logging.CRITICAL
    if level >= 8:
        return logging.ERROR
    if level >= 4:
        return logging.WARNING
    return logging.INFO if level >= 0 else logging.DEBUG


class GuestLog:
    """The log of one guest. A record's `fields` is a dictionary of what the guest gave beside the message.

    Nothing that a guest sends makes logging fail: a message that is not JSON is logged as it is.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"pywasmrt.guest.{name}")

    def text(self, level: int, data: bytes) -> None:
        """A plain message, with a level of v1: 0 trace to 4 error."""
        self._emit(_V1_LEVELS[level] if 0 <= level < len(_V1_LEVELS) else logging.INFO, _text(data), {})

    def json(self, level: int | None, data: bytes) -> None:
        """A message in JSON, `{message, fields}`, with a level of 0 debug to 3 error; None where JSON holds it too."""
        try:
            entry: Any = json.loads(data)
            if b"\\ud" in data.lower():  # half of a surrogate pair is valid JSON, but a handler could not write it
                entry = json.loads(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            entry = {"message": _text(data)}
        if level is None:
            number = _level_of_slog(entry.get("level"))
        else:
            number = _JSON_LEVELS[level] if 0 <= level < len(_JSON_LEVELS) else logging.INFO
        fields = entry.get("fields")
        message = entry.get("message", "")
        self._emit(
            number, message if isinstance(message, str) else str(message), fields if isinstance(fields, dict) else {}
        )

    def _emit(self, level: int, message: str, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            message = _safe(message)
            if fields:
                listed = _safe(" ".join(f"{key}={value}" for key, value in fields.items()))
                self._logger.log(level, "%s %s", message, listed, extra={"fields": fields})
            else:
                self._logger.log(level, "%s", message, extra={"fields": fields})


def _safe(text: str) -> str:
    """`text` as a log may show it: nothing in it steers a terminal, and its second line cannot pass for a record."""
    return printable(text, keep="\n\t").replace("\n", "\n\t")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
