"""The wire tools in Python: the twin of csrc/otlp/wire.c, for installs without native parts. Tests hold the two equal.

An OTLP payload nests three deep before the telemetry itself: field 1 of the whole are resources, field 2 of those are
scopes, field 2 of those are items (spans, metrics or log records). A malformed payload raises `ValueError`, which tells
the byte's offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from .wire_schema import FIELDS

__all__ = [
    "BYTES",
    "VARINT",
    "count",
    "count_data_points",
    "fields",
    "inside",
    "split",
    "validate",
    "varint",
]

_MAX_DEPTH = 100
VARINT, _FIXED64, BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
_DATA = (5, 7, 9, 10, 11)  # the fields of a metric that hold data points, in their field 1


def _fail(at: int, why: str) -> NoReturn:
    raise ValueError(f"malformed OTLP at byte {at}: {why}")


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of up to 64 bits, and where it ends."""
    value = 0
    for n in range(10):
        if at + n >= end:
            _fail(at, "the data ends within a number")
        byte = data[at + n]
        value |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            if n == 9 and byte > 1:
                break
            return value, at + n + 1
    _fail(at, "a number has more than 64 bits")


def _tag(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """A field's number and wire type, and where its content begins."""
    value, after = varint(data, at, end)
    if after - at > 5 or value > 0xFFFF_FFFF or value < 8:
        _fail(at, "a field has no valid number")
    return value >> 3, value & 7, after


def _length(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the content of a field with a length begins and ends."""
    size, start = varint(data, at, end)
    if size > end - start:
        _fail(at, "a length reaches beyond the end")
    return start, start + size


def _skip(data: bytes, number: int, wire: int, at: int, end: int, depth: int) -> int:
    """Where a field's content ends, in any wire type."""
    if wire == VARINT:
        return varint(data, at, end)[1]
    if wire == BYTES:
        return _length(data, at, end)[1]
    if wire in (_FIXED64, _FIXED32):
        size = 8 if wire == _FIXED64 else 4
        if size > end - at:
            _fail(at, "the data ends within a number")
        return at + size
    if wire == _GROUP:
        if depth <= 0:
            _fail(at, "nested too deeply")
        while True:
            inner, wire, after = _tag(data, at, end)
            if wire == _END_GROUP:
                if inner != number:
                    _fail(at, "a group ends that did not begin")
                return after
            at = _skip(data, inner, wire, after, end, depth - 1)
    if wire == _END_GROUP:
        _fail(at, "a group ends that did not begin")
    _fail(at, "a wire type that does not exist")


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """For each field: its number, its wire type, where it begins, where its content begins, and where it ends."""
    while at < end:
        begin = at
        number, wire, at = _tag(data, at, end)
        if wire == BYTES:
            start, at = _length(data, at, end)
        else:
            start = at
            at = _skip(data, number, wire, at, end, _MAX_DEPTH)
        yield number, wire, begin, start, at


def inside(data: bytes, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """The content of each field `wanted` that has a length."""
    for number, wire, _, start, after in fields(data, at, end):
        if number == wanted and wire == BYTES:
            yield start, after


def _items(data: bytes) -> Iterator[tuple[int, int]]:
    for resource in inside(data, 0, len(data), 1):
        for scope in inside(data, *resource, 2):
            yield from inside(data, *scope, 2)


def count(data: bytes) -> int:
    """How many items the payload holds."""
    return sum(1 for _ in _items(data))


def count_data_points(data: bytes) -> int:
    """How many data points a payload of metrics holds."""
    points = 0
    for item in _items(data):
        for number, wire, _, start, after in fields(data, *item):
            if number in _DATA and wire == BYTES:
                points += sum(1 for _ in inside(data, start, after, 1))
    return points


# Splitting


class _Shell:
    """A resource or scope without what it holds: its other fields, and how it is tagged (`field` 1 or 2)."""

    def __init__(self, field: int) -> None:
        self.field = field
        self.rest = b""


def _framed(field: int, content: bytes) -> bytes:
    size = len(content)
    length = bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((field << 3 | BYTES,)) + bytes(length) + content


def split(data: bytes, max_items: int) -> list[bytes]:
    """Split a payload into payloads of up to `max_items` items, in their order."""
    # Each entry: its resource, its scope and its bytes with their tag. A resource or scope that holds nothing has an
    # entry too, of no bytes; so have other fields of the whole, which belong to no resource.
    entries: list[tuple[_Shell | None, _Shell | None, bytes]] = []
    for number, wire, begin, start, after in fields(data, 0, len(data)):
        if number != 1 or wire != BYTES:
            entries.append((None, None, data[begin:after]))
            continue
        resource = _Shell(1)
        before = len(entries)
        for number, wire, begin, start_2, after_2 in fields(data, start, after):
            if number == 2 and wire == BYTES:
                scope = _Shell(2)
                held = len(entries)
                for number, wire, begin, _, after_3 in fields(data, start_2, after_2):
                    if number == 2 and wire == BYTES:
                        entries.append((resource, scope, data[begin:after_3]))
                    else:
                        scope.rest += data[begin:after_3]
                if len(entries) == held:
                    entries.append((resource, scope, b""))
            else:
                resource.rest += data[begin:after_2]
        if len(entries) == before:
            entries.append((resource, None, b""))
    pieces: list[list[tuple[_Shell | None, _Shell | None, bytes]]] = [[]]
    items = 0
    for entry in entries:
        if entry[1] is not None and entry[2]:
            if items == max_items:
                pieces.append([])
                items = 0
            items += 1
        pieces[-1].append(entry)
    return [_joined(piece) for piece in pieces]


def _joined(piece: list[tuple[_Shell | None, _Shell | None, bytes]]) -> bytes:
    """One payload of some entries: what has the same resource or scope and comes together goes under one."""
    out = bytearray()
    at = 0
    while at < len(piece):
        resource = piece[at][0]
        if resource is None:
            out += piece[at][2]
            at += 1
            continue
        content = bytearray(resource.rest)
        while at < len(piece) and piece[at][0] is resource:
            scope = piece[at][1]
            if scope is None:
                at += 1
                continue
            inner = bytearray(scope.rest)
            while at < len(piece) and piece[at][1] is scope:
                inner += piece[at][2]
                at += 1
            content += _framed(2, bytes(inner))
        out += _framed(1, bytes(content))
    return bytes(out)


# Validating


def validate(data: bytes, table: bytes, root: int) -> None:
    """Check the whole payload against the message `root` of `table`."""
    _validate(data, 0, len(data), table, root, _MAX_DEPTH)


def _validate(data: bytes, at: int, end: int, table: bytes, message: int, depth: int) -> None:
    while at < end:
        number, wire, at = _tag(data, at, end)
        if wire != BYTES:
            at = _skip(data, number, wire, at, end, depth)
            continue
        start, after = _length(data, at, end)
        if number < FIELDS:
            row = (message * FIELDS + number) * 2
            kind = table[row]
            if kind == 1:
                try:
                    data[start:after].decode("utf-8")
                except UnicodeDecodeError:
                    _fail(start, "a text is not UTF-8")
            elif kind == 2:
                if (after - start) % 8:
                    _fail(start, "packed numbers do not fill their length")
            elif kind == 3:
                number_at = start
                while number_at < after:
                    _, number_at = varint(data, number_at, after)
            elif kind == 4:
                if depth <= 0:
                    _fail(start, "nested too deeply")
                _validate(data, start, after, table, table[row + 1], depth - 1)
        at = after
