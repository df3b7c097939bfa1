"""Bytes of the host's in a guest's memory, at a place that the guest's own allocator gave: `put` of an instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import ClosedError, FunctionNotExportedError, MemoryAccessError, MemoryExportNotFoundError, WasmError
from ...types import FunctionType, ValueType
from ...values import bytes_of, shown

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["GuestBuffer", "put"]

_I32, _I64 = ValueType.I32, ValueType.I64
_ALIGNMENT = 8  # good for every number
_ARRAY_BUFFER = 1  # AssemblyScript's number of the class of plain bytes

# What toolchains export: to allocate, and to free. In this order.
_KNOWN = (
    ("malloc", "free"),  # C and C++
    ("alloc", "dealloc"),  # many Rust guests
    ("allocate", "deallocate"),
    ("__new", "__unpin"),  # AssemblyScript
    ("__wbindgen_malloc", "__wbindgen_free"),  # wasm-bindgen
    ("cabi_realloc", None),  # the Component Model's ABI, which frees nothing by itself
)


class _Allocator(NamedTuple):
    name: str
    allocate: Callable[[int], int]
    free: Callable[[int, int], object] | None


class GuestBuffer:
    """Bytes in a guest's memory: `pointer` and `size`, which unpack. Freed by `free`, or at the end of a `with` block.

    It belongs to the one who made it, and is good for as long as its instance is. Its size is what was put there.
    """

    __slots__ = ("_free", "_memory", "pointer", "size")

    def __init__(self, memory: Any, pointer: int, size: int, free: Callable[[int, int], object] | None) -> None:
        self._memory = memory
        self._free = free
        self.pointer = pointer
        self.size = size

    def __iter__(self) -> Iterator[int]:
        yield self.pointer
        yield self.size

    def __len__(self) -> int:
        return self.size

    def read(self) -> bytes:
        """What is there now."""
        data: bytes = self._memory.read(self.pointer, self.size)
        return data

    def free(self) -> None:
        """Give the place back to the guest's allocator, if that takes it back. Idempotent. Raises what the guest
        raises; where the instance was closed there is nothing to do.
        """
        free, self._free = self._free, None
        if free is not None:
            with suppress(ClosedError):
                free(self.pointer, max(self.size, 1))

    def __enter__(self) -> GuestBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.free()
        except WasmError:
            if error is None:  # else the one that is under way says more
                raise

    def __repr__(self) -> str:
        return f"<GuestBuffer of {self.size} bytes at {self.pointer}>"


def put(
    find: Callable[[str], Any], memory: Any, data: object, allocator: str | tuple[str, str | None] | None
) -> GuestBuffer:
    """Put `data` where the guest's allocator says. `find` finds a function that it exports; `memory` is the guest's."""
    content = data.encode() if isinstance(data, str) else bytes_of(data)
    if memory is None:
        raise MemoryExportNotFoundError("the guest exports no memory to put bytes into")
    chosen = _chosen(find, allocator)
    size = max(len(content), 1)  # an allocator may give 0 for nothing
    pointer = chosen.allocate(size)
    if pointer == 0:
        raise MemoryAccessError(f"{chosen.name} of the guest gave 0 for {size} bytes: it has no room for them")
    try:
        memory.write(pointer, content)
        memory.read(pointer + len(content), 0)
    except MemoryAccessError as error:
        raise MemoryAccessError(f"{chosen.name} of the guest gave what is not its memory: {error}") from None
    return GuestBuffer(memory, pointer, len(content), chosen.free)


def _chosen(find: Callable[[str], Any], allocator: str | tuple[str, str | None] | None) -> _Allocator:
    if allocator is None:
        for name, free in _KNOWN:
            if find(name) is not None:
                return _made(find, name, free, declared=False)
        raise FunctionNotExportedError(
            f"the guest exports no allocator that is known here ({', '.join(name for name, _ in _KNOWN)}); build it "
            "with one, or name its own: put(data, allocator=('allocate', 'free'))"
        )
    pair = (allocator, None) if isinstance(allocator, str) else allocator
    if not (
        isinstance(pair, (tuple, list))
        and len(pair) == 2
        and isinstance(pair[0], str)
        and (pair[1] is None or isinstance(pair[1], str))
    ):
        raise TypeError(f"an allocator is a pair of names, or one for what is never freed; not {shown(allocator)}")
    return _made(find, pair[0], pair[1], declared=True)


def _made(find: Callable[[str], Any], name: str, free: str | None, *, declared: bool) -> _Allocator:
    allocate = find(name)
    if allocate is None:
        raise FunctionNotExportedError(f"the guest exports no function {name!r} to allocate with")
    release = None if free is None else find(free)
    if release is None and declared and free is not None:
        raise FunctionNotExportedError(f"the guest exports no function {free!r} to free with")
    _check(name, allocate.type, most=4, results=1)
    if release is not None:
        _check(str(free), release.type, most=3, results=0)
    mask = (1 << 64) - 1 if allocate.type.results == (_I64,) else (1 << 32) - 1
    return _Allocator(name, _allocating(name, allocate, find, mask), None if release is None else _freeing(release))


def _allocating(name: str, allocate: Any, find: Callable[[str], Any], mask: int) -> Callable[[int], int]:
    if name == "__new":  # and pinned, or the collector would take it
        pin = find("__pin")

        def new(size: int) -> int:
            pointer = int(allocate(size, _ARRAY_BUFFER)) & mask
            return pointer if pin is None or not pointer else int(pin(pointer)) & mask

        return new
    before = (0, 0) if len(allocate.type.params) == 4 else ()  # no old place of no size: as realloc has it

    def plain(size: int) -> int:
        if before:
            return int(allocate(*before, _ALIGNMENT, size)) & mask
        return int(allocate(size) if len(allocate.type.params) == 1 else allocate(size, _ALIGNMENT)) & mask

    return plain


def _freeing(release: Any) -> Callable[[int, int], object]:
    count = len(release.type.params)
    return lambda pointer, size: release(*(pointer, size, _ALIGNMENT)[:count])


def _check(name: str, type: FunctionType, *, most: int, results: int) -> None:
    sizes = {(_I32,) * count for count in (1, 2, most)} | {(_I64,) * count for count in (1, 2, most)}
    returned = {(_I32,), (_I64,)} if results else {(), (_I32,)}
    if type.params not in sizes or type.results not in returned:
        raise FunctionNotExportedError(
            f"the guest's function {name!r} is {type}, which is no allocator's: that takes a size, and perhaps an "
            "alignment, or frees a pointer, perhaps with its size"
        )
