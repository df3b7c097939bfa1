"""Functions, memories, tables and globals of the `wasmtime-py` adapter."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import count
from operator import attrgetter
from typing import Any
from weakref import ref

import wasmtime

from ..._shim.batch_rows import map_calls
from ..._shim.bridge import raise_asynchronous
from ..._shim.waiting import on_thread
from ...errors import MemoryAccessError, UnsupportedFeatureError
from ...types import ExternKind, FunctionType, GlobalType, MemoryType, TableType, ValueType
from ...values import (
    arity_error,
    as_number,
    bytes_of,
    checked_delta,
    checked_index,
    checked_size,
    from_slots,
    index_of,
    memory_access_error,
    to_slots,
    to_wasm,
)
from ..base.lifetime import Life, stays
from ..base.memory import MemoryHelpers
from ..base.tag import BaseTag
from .contracts import OwningStore
from .ending import unseen
from .facts import NAME
from .greenlets import check, inside
from .signals import KEPT, begin, deliver, end
from .stack import check_for_call

__all__ = [
    "BOUNDS",
    "NEVER",
    "ODD",
    "REFERENCES",
    "Box",
    "Extern",
    "Function",
    "Global",
    "Memory",
    "Objects",
    "SharedMemory",
    "Table",
    "Tag",
    "kind_of",
    "unsupported",
]

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_V128, _FUNCREF, _EXTERNREF = ValueType.V128, ValueType.FUNCREF, ValueType.EXTERNREF
_NUMBERS = frozenset((_I32, _I64, _F32, _F64))
REFERENCES = frozenset((_FUNCREF, _EXTERNREF))
ODD = frozenset((_V128, *filter(attrgetter("judged"), ValueType)))  # types that the package cannot carry

# The values that the package takes unchanged: it wraps unsigned integers and rounds to f32 itself. A NaN fails the
# comparison and takes the slow path, as does everything that `to_wasm` has to check.
_Bound = tuple[Any, Any, Any]
BOUNDS: dict[ValueType, _Bound] = {
    _I32: (int, -0x8000_0000, 0xFFFF_FFFF),
    _I64: (int, -0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF),
    _F32: (float, -math.inf, math.inf),
    _F64: (float, -math.inf, math.inf),
}
NEVER: _Bound = (BOUNDS, 0, 0)  # no value has this class


class Objects(dict[int, Any]):
    """The objects that the guests of a store hold as externrefs, by the numbers of their boxes.

    They belong to the store, where the garbage collector sees a cycle through them. Objects that the guests have
    released wait in `dropped`: the engine releases them while it works in the store, and their destructors may want to
    use the store.
    """

    __slots__ = ("__weakref__", "cell", "dropped", "numbers")

    def __init__(self) -> None:
        super().__init__()
        self.dropped: list[Any] = []
        self.numbers = count()
        self.cell = [ref(self)]  # what boxes find them by, as callbacks find the store


class Box:
    """Stands for an object in the package. The package would keep the object itself in a table as long as the process
    lasts, and would ask it for its truth value.
    """

    __slots__ = ("_cell", "_number")

    def __init__(self, objects: Objects, content: Any) -> None:
        self._cell = objects.cell
        self._number = next(objects.numbers)
        objects[self._number] = content

    @property
    def content(self) -> Any:
        """The object. Its store is alive whenever a guest passes it."""
        objects: Any = self._cell[0]()
        return objects[self._number]

    def __del__(self) -> None:
        objects = self._cell[0]()
        if objects is not None:
            objects.dropped.append(objects.pop(self._number, None))


class Extern:
    __slots__ = ("__weakref__", "handle", "life", "store")

    def __reduce__(self) -> Any:
        stays(type(self).__name__.lower())

    def __init__(self, store: OwningStore, life: Life, handle: Any) -> None:
        self.store = store
        self.life = life
        self.handle = handle

    def __repr__(self) -> str:
        closed = " closed" if self.life.ended_by is not None else ""
        return f"<{type(self).__name__} {self.type} ({NAME}){closed}>"  # type: ignore[attr-defined]


@cache
def _maker(wanted: ValueType) -> Callable[[Any], Any]:
    """The function that makes the package's form of a value within `BOUNDS`.

    The package compares the type of each value that it gets, and asks the engine for a new type to do so. These values
    have their type ready, which saves a third of a call's time.
    """
    make = getattr(wasmtime.Val, wanted.value)
    if wanted not in _NUMBERS:
        return make  # type: ignore[no-any-return]

    class Typed(wasmtime.Val):
        type = unseen(getattr(wasmtime.ValType, wanted.value)())

    def make_typed(value: Any) -> Any:
        made = make(value)
        made.__class__ = Typed
        return made

    return make_typed


def kind_of(extern: Any) -> str:
    return {"SharedMemory": "memory"}.get(type(extern).__name__, type(extern).__name__.lower())


class Function(Extern):
    """A function of a guest."""

    __slots__ = ("_bounds", "_fits", "_makers", "_name", "_type")

    def __init__(self, store: OwningStore, life: Life, handle: Any, type: FunctionType | None, name: str) -> None:
        super().__init__(store, life, handle)
        self._name = name
        self._type = type
        self._bounds: tuple[_Bound, ...] = (NEVER,)  # always the slow path, which asks for the type
        self._makers: tuple[Any, ...] = ()
        self._fits = False  # whether the package's result needs no conversion
        if type is not None:
            self._prepare(type)

    def _prepare(self, type: FunctionType) -> None:
        if not ODD.intersection(type.params + type.results):  # other types take the slow path, which refuses them
            self._bounds = tuple([BOUNDS.get(param, NEVER) for param in type.params])
            self._makers = tuple([_maker(param) for param in type.params])
            self._fits = len(type.results) < 2 and _NUMBERS.issuperset(type.results)

    @property
    def type(self) -> FunctionType:
        """The function's signature."""
        known = self._type
        if known is None:  # the function came out of a table or a call
            store = self.store
            store._enter(self.life, "function")
            try:
                known = store.type_of(self.handle, ExternKind.FUNCTION, None)
            finally:
                store._leave()
            if known is None:
                raise UnsupportedFeatureError(
                    f"{NAME} cannot tell the signature of a funcref where a module in the store has functions with "
                    "v128 or typed references",
                    "simd",
                )
            self._type = known
            self._prepare(known)
        return known

    def __call__(self, *args: Any) -> Any:
        """Call with Python values; one value, a tuple of them, or None comes back."""
        bounds = self._bounds
        if len(args) != len(bounds):
            args = self._lowered(args)
        else:
            for value, (wanted, low, high) in zip(args, bounds):  # noqa: B905
                if type(value) is not wanted or not low <= value <= high:
                    args = self._lowered(args)
                    break
            else:
                # We convert plain values faster than the package finds out how to.
                args = tuple([make(value) for make, value in zip(self._makers, args)])  # noqa: B905
        if inside:
            check()
        # _enter and _leave, inlined for speed: benchmarks compare this with the package's own call.
        store = self.store
        lock = store._lock
        if not lock.acquire(False):
            raise store._refusal(self.life, "function")
        store._depth += 1
        guarded = False
        try:
            if self.life.ended_by is not None:
                raise self.life.error("function")
            if store._depth == 1:
                guarded = begin()
                if store.cell[0]() is None:
                    store.find_again()
                check_for_call(store.stack)
                if store.clock.set:
                    store.clock.start()
            try:
                result = self.handle(store.handle, *args)
            except BaseException as error:
                failure = store.failure(error)
            else:
                if store._life.ended_by is not None:
                    raise store._life.error("function")
                return result if self._fits else self._lifted(result)
            try:  # outside of the handler, so that the exception gets no new context
                raise failure
            finally:
                del failure  # the exception holds this frame, so they would be a cycle
        finally:
            store._depth -= 1
            if not store._depth:
                store.clock.stop()
            lock.release()
            if store._life.ended_by is not None:
                store._release()
            if guarded:
                end()
            elif KEPT:
                deliver()

    def __repr__(self) -> str:
        closed = " closed" if self.life.ended_by is not None else ""
        type = "" if self._type is None else f" {self._type}"
        return f"<Function {self._name}{type} ({NAME}){closed}>"

    def _lowered(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        type = self.type
        name = self._name
        for each in type.params + type.results:
            if each in ODD:
                raise unsupported(each, f"a call: {name}{type}")
        if len(args) != len(type.params):
            raise arity_error(name, type, len(args))
        if self.life.ended_by is not None:
            raise self.life.error("function")
        lower = self.store.lower
        lowered = []
        for n, (value, wanted) in enumerate(zip(args, type.params, strict=True), 1):
            where = f"argument {n} of {name}()"
            lowered.append(lower(to_wasm(value, wanted, where), wanted, where))
        return tuple(lowered)

    def _lifted(self, result: Any) -> Any:
        results = self.type.results
        lift = self.store.lift
        if not results:
            return None
        if len(results) == 1:
            return lift(result, results[0])
        return tuple([lift(value, type) for value, type in zip(result, results, strict=True)])

    def call(self, *slots: int) -> list[int]:
        """Call with raw slots; a list of slots comes back."""
        type = self.type
        values = from_slots(self._name, type, slots)
        result = self(*values)
        if not type.results:
            return []
        return to_slots(type.results, (result,) if len(type.results) == 1 else result)

    def map(self, *columns: Any, out: Any = None, on_error: str = "raise") -> Any:
        """Call once for each row of columns, in a Python loop."""
        return map_calls(self, self._name, self.__call__, columns, out, on_error)

    def raised_by_host(self, error: BaseException) -> bool:
        """Whether `error`, which the latest call to fail has raised, is a host function's own."""
        raised = self.store.host_error
        return raised is not None and raised() is error

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make the calls within the block one use of the store, with one deadline."""
        store = self.store
        store._enter(self.life, "function")
        outermost = store._depth == 1
        try:
            if outermost:
                store.find_again()
                check_for_call(store.stack)
                if store.clock.set:
                    store.clock.start()
            yield
        finally:
            if outermost:
                store.clock.stop()
            store._leave()

    async def call_async(self, *args: Any) -> Any:
        """Await the call, made on a worker thread; cancelling does not stop the guest."""
        return await on_thread(self, args)


class WaitingFunction(Function):
    """A function of an asynchronous store."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        """Refused: the store is entered by `call_async` alone."""
        raise_asynchronous(self._name)

    def call(self, *slots: int) -> list[int]:
        """Refused likewise."""
        raise_asynchronous(self._name)

    def map(self, *columns: Any, out: Any = None, on_error: str = "raise") -> Any:
        """Refused likewise."""
        raise_asynchronous(self._name)

    async def call_async(self, *args: Any) -> Any:
        """Await the call, made on a worker thread; host functions run on the loop's."""
        return await self.store.turns.call(partial(super().__call__, *args))


def unsupported(type: ValueType, what: str) -> UnsupportedFeatureError:
    feature = "simd" if type is _V128 else "gc-references"
    named = "v128" if type is _V128 else "references other than funcref and externref"
    return UnsupportedFeatureError(
        f"{NAME} cannot carry {named} in {what}; the runtime 'wasmtime' can carry v128", feature
    )


# Memories

# Copies bytes from an address. `ctypes.string_at` does so too, but it uses only 32 bits of the size.
_bytes_at = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)


class Memory(Extern, MemoryHelpers):
    """A linear memory."""

    __slots__ = ("_base", "type")

    def __init__(self, store: OwningStore, life: Life, handle: Any, type: MemoryType) -> None:
        super().__init__(store, life, handle)
        self.type = type
        self._base = 0  # its address, once asked for; it never changes (see `memory_may_move`)

    @property
    def size(self) -> int:
        """The current size in bytes."""
        store = self.store
        store._enter(self.life, "memory")
        try:
            size: int = self.handle.data_len(store.handle)
            return size
        finally:
            store._leave()

    def __len__(self) -> int:
        return self.size

    def read(self, offset: int, size: int) -> bytes:
        """Copy `size` bytes out, starting at `offset`. Raises `MemoryAccessError` if any lies beyond the memory."""
        if type(offset) is not int or type(size) is not int:
            offset, size = checked_size(offset, "offset"), checked_size(size, "size")
        # _enter and _leave, inlined as in Function.__call__.
        store = self.store
        lock = store._lock
        if not lock.acquire(False):
            raise store._refusal(self.life, "memory")
        store._depth += 1
        try:
            if self.life.ended_by is not None:
                raise self.life.error("memory")
            address = self._address("read", offset, size)
            copied: bytes = _bytes_at(address, size) if size else b""
            return copied
        finally:
            store._depth -= 1
            lock.release()
            if store._life.ended_by is not None:
                store._release()

    def write(self, offset: int, data: Any) -> None:
        """Copy the bytes-like `data` in. Raises `MemoryAccessError`, writing nothing, if it does not fit."""
        offset, data = checked_size(offset, "offset"), bytes_of(data)
        store = self.store
        store._enter(self.life, "memory")
        try:
            ctypes.memmove(self._address("write", offset, len(data)), data, len(data))
        finally:
            store._leave()

    def _address(self, verb: str, offset: int, size: int) -> int:
        """The address of the `size` bytes at `offset`, which are ints; 0 if `size` is 0."""
        handle, context = self.handle, self.store.handle
        total = handle.data_len(context)
        base = self._base
        if not (size > 0 and 0 <= offset <= total - size):
            offset, size = checked_size(offset, "offset"), checked_size(size, "size")
            if offset + size > total:
                raise memory_access_error(verb, offset, size, total)
            if size == 0:  # an empty memory may have no address
                return 0
        if not base:
            base = self._base = ctypes.addressof(handle.data_ptr(context).contents)
        return base + offset

    def grow(self, pages: int) -> int:
        """Grow by `pages` and return the size before, in pages. Raises `MemoryAccessError` where a limit forbids it."""
        delta = checked_delta(pages, "pages")
        store = self.store
        store._enter(self.life, "memory")
        try:
            before: int = self.handle.grow(store.handle, delta)
            return before
        except wasmtime.WasmtimeError:
            size = self.handle.data_len(store.handle)
            raise MemoryAccessError(
                f"cannot grow the memory of {size} bytes by {delta} pages: a limit forbids it"
            ) from None
        finally:
            store._leave()

    if sys.version_info >= (3, 12):

        def __buffer__(self, flags: int) -> memoryview:
            store = self.store
            store._enter(self.life, "memory")
            try:
                handle, total = self.handle, self.handle.data_len(store.handle)
                address = ctypes.addressof(handle.data_ptr(store.handle).contents)
                view = memoryview((ctypes.c_ubyte * total).from_address(address)).cast("B")
                store.views += 1  # the store's memory stays until the view is released
                return view
            finally:
                store._leave()

        def __release_buffer__(self, view: memoryview) -> None:
            view.release()
            store = self.store
            store.views -= 1
            if store.closed:
                store._release()


class SharedMemory(Memory):
    """A shared memory that a module made. Threads may use it at once, and it outlives its store."""

    __slots__ = ()

    @property
    def size(self) -> int:
        """The current size in bytes."""
        self._check()
        size: int = self.handle.data_len()
        return size

    def _check(self) -> None:
        if self.life.ended_by is not None:
            raise self.life.error("memory")

    def read(self, offset: int, size: int) -> bytes:
        """Copy `size` bytes out, starting at `offset`."""
        offset, size = checked_size(offset, "offset"), checked_size(size, "size")
        self._check()
        copied: bytes = _bytes_at(self._address("read", offset, size), size)
        return copied

    def write(self, offset: int, data: Any) -> None:
        """Copy the bytes-like `data` in, starting at `offset`."""
        offset, data = checked_size(offset, "offset"), bytes_of(data)
        self._check()
        ctypes.memmove(self._address("write", offset, len(data)), data, len(data))

    def _address(self, verb: str, offset: int, size: int) -> int:
        total = self.handle.data_len()
        if offset + size > total:
            raise memory_access_error(verb, offset, size, total)
        return ctypes.addressof(self.handle.data_ptr().contents) + offset if size else 0

    def grow(self, pages: int) -> int:
        """Grow by `pages` and return the size before, in pages."""
        self._check()
        delta = checked_delta(pages, "pages")
        try:
            before: int = self.handle.grow(delta)
            return before
        except wasmtime.WasmtimeError:
            raise MemoryAccessError(f"cannot grow the memory by {delta} pages: a limit forbids it") from None


# Tables and globals


class Table(Extern):
    """A table of references."""

    __slots__ = ("type",)

    def __init__(self, store: OwningStore, life: Life, handle: Any, type: TableType) -> None:
        super().__init__(store, life, handle)
        self.type = type

    def __len__(self) -> int:
        store = self.store
        store._enter(self.life, "table")
        try:
            size: int = self.handle.size(store.handle)
            return size
        finally:
            store._leave()

    def __getitem__(self, index: int) -> Any:
        index, store = index_of(index), self.store
        store._enter(self.life, "table")
        try:
            found = self.handle.get(store.handle, self._checked(index))
            return store.lift(_unwrapped(found), self.type.element)
        finally:
            store._leave()

    def __setitem__(self, index: int, value: Any) -> None:
        index, store = index_of(index), self.store
        store._enter(self.life, "table")
        try:
            self.handle.set(store.handle, self._checked(index), self._lowered(value))
        finally:
            store._leave()

    def grow(self, delta: int, value: Any = None) -> int:
        """Add `delta` elements holding `value` and return the length before. Raises `IndexError` where a limit forbids
        it.
        """
        by = checked_delta(delta, "elements")
        store = self.store
        store._enter(self.life, "table")
        try:
            if self.type.element.judged:
                raise unsupported(self.type.element, "a table")
            before: int = self.handle.grow(store.handle, by, self._lowered(value))
            return before
        except wasmtime.WasmtimeError:
            size = self.handle.size(store.handle)
            raise IndexError(f"cannot grow the table of {size} elements by {by}: a limit forbids it") from None
        finally:
            store._leave()

    def _lowered(self, value: Any) -> Any:
        element = self.type.element
        return self.store.lower(to_wasm(value, element, "the table's element"), element, "the table's element")

    def _checked(self, index: int) -> int:
        if self.type.element.judged:
            raise unsupported(self.type.element, "a table")
        return checked_index(index, self.handle.size(self.store.handle))


class Global(Extern):
    """A global variable."""

    __slots__ = ("type",)

    def __init__(self, store: OwningStore, life: Life, handle: Any, type: GlobalType) -> None:
        super().__init__(store, life, handle)
        self.type = type

    @property
    def value(self) -> Any:
        """The current value."""
        content = self.type.content
        store = self.store
        store._enter(self.life, "global")
        try:
            if content in ODD:
                raise unsupported(content, "a global")
            return store.lift(_unwrapped(self.handle.value(store.handle)), content)
        finally:
            store._leave()

    @value.setter
    def value(self, value: Any) -> None:
        content = self.type.content
        store = self.store
        value = as_number(value, content)  # which may run any code, so before the store is entered
        store._enter(self.life, "global")
        try:
            if not self.type.mutable:
                raise TypeError(f"the global is immutable: its type is {self.type}")
            if content in ODD:
                raise unsupported(content, "a global")
            lowered = store.lower(to_wasm(value, content, "the global's value"), content, "the global's value")
            self.handle.set_value(store.handle, lowered)
        finally:
            store._leave()


class Tag(Extern, BaseTag):
    """A tag of the exception-handling proposal, which can only be linked."""

    __slots__ = ("type",)

    def __init__(self, store: OwningStore, life: Life, handle: Any, type: FunctionType) -> None:
        super().__init__(store, life, handle)
        self.type = type

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tag):
            return NotImplemented
        if self is other or self.store is not other.store:
            return self is other
        self.store._enter(self.life, "tag")
        try:
            return bool(self.handle.eq(self.store.handle, other.handle))
        finally:
            self.store._leave()

    def __hash__(self) -> int:
        return hash((id(self.store), self.type))


def _unwrapped(value: Any) -> Any:
    """The value itself: the package returns a `Val` where the value is null, zero or otherwise false."""
    return value.value if isinstance(value, wasmtime.Val) else value
