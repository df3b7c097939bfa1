"""The functions of WASI preview 1 as a trace shows them: paths and data as text, flags by their names, errnos by name.

Each function is described by the kinds of its parameters, in their order, and behind `>` by what it leaves in memory
when it succeeds. A kind stands for as many parameters as it needs. (Preview 1 of WASI, and the sockets of WasmEdge.)
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from ..wasi.abi import CIOVEC, SIZE, TIMESTAMP, ClockId, FdFlags, OFlags, Whence
from ..wasi.errno import Errno

__all__ = ["MODULES", "WasiCall", "wasi_call"]

MODULES = frozenset({"wasi_snapshot_preview1", "wasi_unstable"})

_CALLS = {
    "args_get": "pointer pointer",
    "args_sizes_get": "out-size out-size",
    "environ_get": "pointer pointer",
    "environ_sizes_get": "out-size out-size",
    "clock_res_get": "clock out-time",
    "clock_time_get": "clock number out-time",
    "fd_advise": "fd number number number",
    "fd_allocate": "fd number number",
    "fd_close": "fd",
    "fd_datasync": "fd",
    "fd_fdstat_get": "fd pointer",
    "fd_fdstat_set_flags": "fd fdflags",
    "fd_fdstat_set_rights": "fd rights rights",
    "fd_filestat_get": "fd pointer",
    "fd_filestat_set_size": "fd number",
    "fd_filestat_set_times": "fd number number number",
    "fd_pread": "fd vectors number out-read",
    "fd_prestat_dir_name": "fd filled",
    "fd_prestat_get": "fd pointer",
    "fd_pwrite": "fd data number out-size",
    "fd_read": "fd vectors out-read",
    "fd_readdir": "fd pointer number number out-size",
    "fd_renumber": "fd fd",
    "fd_seek": "fd number whence out-time",
    "fd_sync": "fd",
    "fd_tell": "fd out-time",
    "fd_write": "fd data out-size",
    "path_create_directory": "fd text",
    "path_filestat_get": "fd lookup text pointer",
    "path_filestat_set_times": "fd lookup text number number number",
    "path_link": "fd lookup text fd text",
    "path_open": "fd lookup text oflags rights rights fdflags out-size",
    "path_readlink": "fd text pointer number out-size",
    "path_remove_directory": "fd text",
    "path_rename": "fd text fd text",
    "path_symlink": "text fd text",
    "path_unlink_file": "fd text",
    "poll_oneoff": "pointer pointer number out-size",
    "proc_exit": "number",
    "proc_raise": "number",
    "random_get": "pointer number",
    "sched_yield": "",
    "sock_accept": "fd fdflags out-size",
    "sock_recv": "fd vectors number out-read pointer",
    "sock_send": "fd data number out-size",
    "sock_shutdown": "fd number",
}

_MOST_VECTORS = 64
"""How many buffers of one call are looked at."""


def _constants(of: type) -> dict[int, str]:
    return {value: name for name, value in vars(of).items() if name.isupper() and isinstance(value, int)}


_CLOCKS, _WHENCE = _constants(ClockId), _constants(Whence)
_FLAGS = {
    "oflags": {bit: name for bit, name in _constants(OFlags).items() if name != "ALL"},
    "fdflags": {bit: name for bit, name in _constants(FdFlags).items() if name != "ALL"},
    "lookup": {1: "SYMLINK_FOLLOW"},
}
_OUT: dict[str, Struct] = {"out-size": SIZE, "out-time": TIMESTAMP}

Quote = Callable[[bytes, int], str]
"""Gets the first of some bytes, and how many they are, and shows them."""


class WasiCall:
    """One function: shows its arguments before the call, and its results after it."""

    def __init__(self, kinds: list[str]) -> None:
        self._kinds = kinds

    def arguments(self, memory: Any, values: tuple[Any, ...], most: int, quote: Quote) -> list[str]:
        """Each argument, as text; places for results are left out. At most `most` bytes are read for each."""
        given = iter(values)
        shown = []
        for kind in self._kinds:
            value = next(given)
            if kind == "text":
                shown.append(_bytes_at(memory, value, next(given), most, quote))
            elif kind == "data":
                shown.append(_gathered(memory, value, next(given), None, most, quote))
            elif kind == "vectors":
                next(given)
            elif kind == "filled":
                shown.append(str(_unsigned(next(given))))
            elif not kind.startswith("out-"):
                shown.append(_argument(kind, value))
        return shown

    def results(self, memory: Any, values: tuple[Any, ...], most: int, quote: Quote) -> list[str]:
        """What the call has left in memory, as text, after it succeeded."""
        given = iter(values)
        shown = []
        vectors = (0, 0)
        for kind in self._kinds:
            value = next(given)
            if kind == "vectors":
                vectors = value, next(given)
            elif kind in ("text", "data"):
                next(given)
            elif kind == "filled":
                shown.append(_bytes_at(memory, value, next(given), most, quote))
            elif kind == "out-read":
                size = _number_at(memory, value, SIZE)
                if size is not None:
                    shown.append(_gathered(memory, *vectors, size, most, quote))
            elif kind in _OUT:
                number = _number_at(memory, value, _OUT[kind])
                if number is not None:
                    shown.append(str(number))
        return shown


def wasi_call(module: str, name: str, params: int) -> WasiCall | None:
    """The function of that name with that number of parameters, or None if WASI has no such function."""
    described = _CALLS.get(name) if module in MODULES else None
    if described is None:
        return None
    kinds = described.split()
    taken = sum(2 if kind in ("text", "data", "vectors", "filled") else 1 for kind in kinds)
    return WasiCall(kinds) if taken == params else None


def errno_name(value: int) -> str:
    """An errno by its name and number."""
    try:
        return f"{Errno(value).name} ({value})" if value else "SUCCESS"
    except ValueError:
        return str(value)


def _unsigned(value: int) -> int:
    return value & 0xFFFFFFFF


def _argument(kind: str, value: int) -> str:
    if kind == "pointer":
        return f"{_unsigned(value):#x}"
    if kind == "rights":
        return f"{value & 0xFFFFFFFFFFFFFFFF:#x}"
    if kind == "clock":
        return _CLOCKS.get(value, str(value))
    if kind == "whence":
        return _WHENCE.get(value, str(value))
    if kind in _FLAGS:
        return _named_bits(value, _FLAGS[kind])
    return str(value)


def _named_bits(value: int, names: dict[int, str]) -> str:
    named = [name for bit, name in names.items() if value & bit]
    left = _unsigned(value) & ~sum(names)
    return "|".join([*named, *([f"{left:#x}"] if left or not named else [])]) if value else "0"


def _read(memory: Any, at: int, size: int) -> bytes | None:
    try:
        return bytes(memory.read(_unsigned(at), size))
    except Exception:  # out of bounds, or no memory: the guest may pass anything
        return None


def _number_at(memory: Any, at: int, form: Struct) -> int | None:
    data = _read(memory, at, form.size)
    return None if data is None else int(form.unpack(data)[0])


def _bytes_at(memory: Any, at: int, size: int, most: int, quote: Quote) -> str:
    size = _unsigned(size)
    data = _read(memory, at, min(size, most))
    return f"<{size} bytes at {_unsigned(at):#x}, out of bounds>" if data is None else quote(data, size)


def _gathered(memory: Any, at: int, count: int, size: int | None, most: int, quote: Quote) -> str:
    """The first bytes of `count` buffers that are listed at `at`; `size` where fewer were filled."""
    parts: list[bytes] = []
    total = kept = 0
    for n in range(min(_unsigned(count), _MOST_VECTORS)):
        listed = _read(memory, _unsigned(at) + n * CIOVEC.size, CIOVEC.size)
        if listed is None:
            return f"<{_unsigned(count)} buffers at {_unsigned(at):#x}, out of bounds>"
        place, length = CIOVEC.unpack(listed)
        total += length
        part = _read(memory, place, min(length, most - kept)) if kept < most else b""
        if part is None:
            return f"<{length} bytes at {place:#x}, out of bounds>"
        parts.append(part)
        kept += len(part)
    wanted = total if size is None else size
    return quote(b"".join(parts)[:wanted], wanted)
