"""What the memories of every adapter offer besides bytes: texts, records and typed views."""

from __future__ import annotations

import struct
import sys
from functools import lru_cache
from typing import Any

from ...errors import MemoryAccessError, UnsupportedFeatureError
from ...values import checked_size, memory_access_error, shown

__all__ = ["MemoryHelpers"]

_FIRST_LOOK = 256  # bytes that are searched for a NUL at first; then twice as many each time
_LONGEST_LOOK = 1 << 16
_VIEWS = "bBhHiIqQfd"
# The signs of the module struct whose sizes are the same on every machine.
_SIGNS = frozenset("0123456789 xcbB?hHiIlLqQefdsp")


@lru_cache(maxsize=256)
def _layout(format: str) -> struct.Struct:
    """The layout of a format: little-endian, as in WebAssembly, and without padding."""
    text = format[1:] if format[:1] == "<" else format
    if not _SIGNS.issuperset(text):
        raise ValueError(
            f"{format!r} is no layout for a guest's memory: it is little-endian, without alignment, so a format has no "
            "other first character than '<', and x in place of padding"
        )
    try:
        return struct.Struct("<" + text)
    except struct.error as error:
        raise ValueError(f"{format!r} is no format of the struct module: {error}") from None


class MemoryHelpers:
    """Reads and writes what guests keep in a memory, by `read` and `write`."""

    __slots__ = ()

    read: Any
    write: Any
    size: Any

    def read_cstring(
        self, offset: int, limit: int | None = None, *, encoding: str | None = "utf-8", errors: str = "strict"
    ) -> Any:
        """The text at `offset`, up to the NUL that ends it, decoded; its bytes where `encoding` is None."""
        at = checked_size(offset, "offset")
        most = None if limit is None else checked_size(limit, "limit")
        if encoding is not None and not isinstance(encoding, str):
            raise TypeError(f"encoding is the name of one, or None for bytes; not {shown(encoding)}")
        end = int(self.size)
        if at > end:
            raise memory_access_error("read", at, 1, end)
        stop = end if most is None else min(end, at + most + 1)
        parts: list[bytes] = []
        here, step = at, _FIRST_LOOK
        while here < stop:
            part = self.read(here, min(step, stop - here))
            length = part.find(b"\0")
            if length >= 0:
                found = b"".join([*parts, part[:length]])
                return found if encoding is None else found.decode(encoding, errors)
            parts.append(part)
            here += len(part)
            step = min(2 * step, _LONGEST_LOOK)
        if most is not None and at + most < end:
            raise ValueError(f"the text at offset {at} has no NUL within its first {most} bytes")
        raise MemoryAccessError(f"the text at offset {at} has no NUL before the memory ends at {end}")

    def read_struct(self, format: str, offset: int = 0) -> tuple[Any, ...]:
        """The values at `offset`, as `struct.unpack` gives them; little-endian and without padding."""
        layout = self._checked_layout(format)
        return layout.unpack(self.read(offset, layout.size))

    def write_struct(self, format: str, offset: int, *values: Any) -> None:
        """Write `values` at `offset` as `struct.pack` lays them out; little-endian and without padding."""
        self.write(offset, self._checked_layout(format).pack(*values))

    def view(self, format: str, offset: int = 0, count: int | None = None) -> memoryview:
        """A view of `count` numbers at `offset`, without a copy; up to the end of the memory without `count`."""
        if not isinstance(format, str) or len(format) != 1 or format not in _VIEWS:
            raise ValueError(
                f"the numbers of a view are of one of the formats {', '.join(_VIEWS)}, not {shown(format)}"
            )
        if sys.byteorder != "little":
            raise UnsupportedFeatureError("typed views need a little-endian machine; use read_struct", "buffer")
        try:
            whole = memoryview(self)  # type: ignore[arg-type]
        except TypeError:
            raise UnsupportedFeatureError(
                "this runtime gives no views of memories here; use read or read_struct", "buffer"
            ) from None
        at, each = checked_size(offset, "offset"), struct.calcsize("<" + format)
        number = max(len(whole) - at, 0) // each if count is None else checked_size(count, "count")
        if at > len(whole) or number * each > len(whole) - at:
            raise memory_access_error("view", at, number * each, len(whole))
        part: Any = whole[at : at + number * each]
        view: memoryview = part.cast(format)
        return view

    @staticmethod
    def _checked_layout(format: object) -> struct.Struct:
        if not isinstance(format, str):
            raise TypeError(f"a format is a str such as '<iif', not {shown(format)}")
        return _layout(format)
