"""The host's bytes in a guest's memory, where the guest's own allocator gave the place: `put` of an instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import ClosedError, FunctionNotExportedError, MemoryAccessError, MemoryExportNotFoundError, WasmError
from ...types import FunctionType, ValueType
from ...values import bytes_of, shown

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Allocator", "GuestBuffer", "GuestCall", "choose", "put"]

_I32, _I64 = ValueType.I32, ValueType.I64
_ALIGNMENT = 8  # enough for every type of number
_ARRAY_BUFFER = 1  # AssemblyScript's class ID of plain bytes

# The functions that toolchains export to allocate and to free, in the order in which they are looked for.
_KNOWN = (
    ("malloc", "free"),  # C and C++
    ("alloc", "dealloc"),  # many Rust guests
    ("allocate", "deallocate"),
    ("__new", "__unpin"),  # AssemblyScript
    ("__wbindgen_malloc", "__wbindgen_free"),  # wasm-bindgen
    ("cabi_realloc", None),  # the Component Model's ABI, which frees nothing by itself
)


GIVEN_SIZE, GIVEN_POINTER = -1, -2
"""Stand in `GuestCall.numbers` for the size and the pointer of a call, as in csrc/fast/batch_bytes.c."""


class GuestCall(NamedTuple):
    """A call of an allocator's function. Conventions differ in the arguments besides size or pointer."""

    function: Any
    numbers: tuple[int, ...]

    def __call__(self, pointer: int, size: int) -> int:
        given = {GIVEN_SIZE: size, GIVEN_POINTER: pointer}
        result = self.function(*[given.get(number, number) for number in self.numbers])
        if result is None:
            return 0
        mask = (1 << 64) - 1 if self.function.type.results == (_I64,) else (1 << 32) - 1
        return int(result) & mask


class Allocator(NamedTuple):
    """A guest's allocator: `first` gives a pointer, `pin` keeps it from the guest's collector, `release` frees it."""

    name: str
    first: GuestCall
    pin: GuestCall | None
    release: GuestCall | None

    def allocate(self, size: int) -> int:
        """A pointer to `size` bytes. Raises `MemoryAccessError` where there is no room."""
        pointer = self.first(0, size)
        if pointer and self.pin is not None:
            pointer = self.pin(pointer, size)
        if pointer == 0:
            raise MemoryAccessError(f"{self.name} of the guest gave 0 for {size} bytes: it has no room for them")
        return pointer


class GuestBuffer:
    """Bytes in a guest's memory: `pointer` and `size`, which unpack. Freed by `free`, or at the end of a `with` block.

    Whoever called `put` owns it. It is valid as long as its instance is open. `size` is the number of bytes that were
    put there.
    """

    __slots__ = ("_free", "_memory", "pointer", "size")

    def __init__(self, memory: Any, pointer: int, size: int, free: GuestCall | None) -> None:
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
        """The bytes that are there now."""
        data: bytes = self._memory.read(self.pointer, self.size)
        return data

    def free(self) -> None:
        """Give the place back to the guest's allocator, if it has a function to free. Idempotent. Raises what the guest
        raises; does nothing where the instance was closed.
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
            if error is None:  # otherwise the error of the block says more
                raise

    def __repr__(self) -> str:
        return f"<GuestBuffer of {self.size} bytes at {self.pointer}>"


def put(
    find: Callable[[str], Any], memory: Any, data: object, allocator: str | tuple[str, str | None] | None
) -> GuestBuffer:
    """Put `data` where the guest's allocator gives a place. `find` finds the guest's functions; `memory` is its own."""
    content = data.encode() if isinstance(data, str) else bytes_of(data)
    if memory is None:
        raise MemoryExportNotFoundError("the guest exports no memory to put bytes into")
    chosen = choose(find, allocator)
    pointer = chosen.allocate(max(len(content), 1))  # an allocator may give 0 for nothing
    try:
        memory.write(pointer, content)
        memory.read(pointer + len(content), 0)
    except MemoryAccessError as error:
        raise MemoryAccessError(f"{chosen.name} of the guest gave what is not its memory: {error}") from None
    return GuestBuffer(memory, pointer, len(content), chosen.release)


def choose(find: Callable[[str], Any], allocator: str | tuple[str, str | None] | None) -> Allocator:
    """The guest's allocator: the one of the names given, or the first known one that the guest exports."""
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


def _made(find: Callable[[str], Any], name: str, free: str | None, *, declared: bool) -> Allocator:
    allocate = find(name)
    if allocate is None:
        raise FunctionNotExportedError(f"the guest exports no function {name!r} to allocate with")
    release = None if free is None else find(free)
    if release is None and declared and free is not None:
        raise FunctionNotExportedError(f"the guest exports no function {free!r} to free with")
    _check(name, allocate.type, most=4, results=1)
    if release is not None:
        _check(str(free), release.type, most=3, results=0)
    pin = None
    if name == "__new":  # must be pinned, or the collector would free it
        found = find("__pin")
        pin = None if found is None else GuestCall(found, (GIVEN_POINTER,))
        numbers: tuple[int, ...] = (GIVEN_SIZE, _ARRAY_BUFFER)
    elif len(allocate.type.params) == 4:
        numbers = (0, 0, _ALIGNMENT, GIVEN_SIZE)  # as for realloc: no old place, of size 0
    else:
        numbers = (GIVEN_SIZE, _ALIGNMENT)
    freeing = (GIVEN_POINTER, GIVEN_SIZE, _ALIGNMENT)
    return Allocator(
        name,
        GuestCall(allocate, numbers[: len(allocate.type.params)]),
        pin,
        None if release is None else GuestCall(release, freeing[: len(release.type.params)]),
    )


def _check(name: str, type: FunctionType, *, most: int, results: int) -> None:
    sizes = {(_I32,) * count for count in (1, 2, most)} | {(_I64,) * count for count in (1, 2, most)}
    returned = {(_I32,), (_I64,)} if results else {(), (_I32,)}
    if type.params not in sizes or type.results not in returned:
        raise FunctionNotExportedError(
            f"the guest's function {name!r} is {type}, which is no allocator's: that takes a size, and perhaps an "
            "alignment, or frees a pointer, perhaps with its size"
        )
