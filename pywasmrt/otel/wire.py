"""Tools for OTLP payloads in their wire format, without protobuf: count, split, concatenate, validate.

A payload is the protobuf encoding of `TracesData`, `MetricsData` or `LogsData`, which is also that of the matching
export request. Its items are spans, metrics or log records. The tools look at the bytes alone and take hostile ones: a
payload that is malformed where a tool looks raises `ValueError`, which tells the byte's offset. They run in C where the
native parts are built, and may be used from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from ..values import late, shown
from . import wire_python

__all__ = ["concatenate", "count", "count_data_points", "items_in", "native", "split", "validate"]

_wire: Any
try:
    from .._shim import _wire
except ImportError:
    _wire = wire_python

native: bool = _wire is not wire_python
"""Whether the tools run in C."""

items_in: Callable[[Any], int] = _wire.count
"""What `count` does, without a word about what are no bytes: for a payload's way through a component."""

Buffer = bytes | bytearray | memoryview


def _bytes(data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"a payload is bytes, not {shown(data)}")


def count(data: Buffer) -> int:
    """How many items (spans, metrics or log records) the payload holds."""
    return items_in(_bytes(data))


def count_data_points(data: Buffer) -> int:
    """How many data points a payload of metrics holds."""
    points: int = _wire.count_data_points(_bytes(data))
    return points


def split(data: Buffer, max_items: int) -> list[bytes]:
    """Split a payload into payloads of up to `max_items` items each, in order; resources and scopes are repeated as
    needed. A payload that is small enough comes back as the only one, unchanged. Raises `ValueError` for a `max_items`
    below 1.
    """
    payload = _bytes(data)
    if not isinstance(max_items, int) or max_items < 1:
        raise ValueError(f"max_items is an int of 1 or more, not {shown(max_items)}")
    if count(payload) <= max_items:
        return [payload]
    pieces: list[bytes] = _wire.split(payload, max_items)
    return pieces


def concatenate(payloads: Iterable[Buffer]) -> bytes:
    """Make one payload of several, of the same signal. Raises `ValueError` where one of them is malformed, since it
    would swallow what follows.
    """
    parts = [_bytes(payload) for payload in payloads]
    for n, part in enumerate(parts):
        try:
            count(part)
        except ValueError as error:
            raise ValueError(f"payload {n}: {error}") from None
    return b"".join(parts)


def validate(signal: str, data: Buffer) -> None:
    """Raise `ValueError` unless `data` is what a protobuf parser accepts for `signal`: "traces", "metrics" or
    "logs".
    """
    ROOTS = late(f"{__package__}.wire_schema").ROOTS
    root = ROOTS.get(signal)
    if root is None:
        raise ValueError(f"a signal is one of {', '.join(ROOTS)}, not {shown(signal)}")
    _wire.validate(_bytes(data), _table(), root)


@cache
def _table() -> bytes:
    table: bytes = late(f"{__package__}.wire_schema").table()
    return table
