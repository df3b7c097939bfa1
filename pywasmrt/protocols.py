"""What every runtime offers: the contracts that adapters implement and users program against.

The seven that users meet are `Runtime`, `CompiledModule`, `ModuleInstance`, `FunctionInstance`, `Memory`, `Context` and
`HostModule`; the smaller ones (`Store`, `Global`, `Table`, `Exports`, `Caller`) complete them. An adapter need not
inherit.

Rules that hold for all of them, said once:

* `close` is idempotent and never fails; closing a parent closes its children; every use that needs the engine raises
  `ClosedError` from then on (names and types may still be available). Every object that has `close` is a context
  manager. An object that is no longer referenced is freed by the collector, so closing is only needed for freeing
  early.
* A store, with everything in it, runs one call chain at a time: while one thread is inside, a use from another raises
  `BusyError` at once. Between calls a store may pass from thread to thread. Runtimes and compiled modules are free
  of this.
* Integers come back signed; arguments may be signed or unsigned. `TypeError` and `OverflowError` name the position.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, Union, runtime_checkable

from .types import (
    ExportType,
    FunctionType,
    GlobalType,
    HostFunction,
    ImportType,
    Limits,
    MemoryType,
    RuntimeInfo,
    TableType,
    ValueType,
)

__all__ = [
    "Caller",
    "CompiledModule",
    "Component",
    "ComponentInstance",
    "Context",
    "Exports",
    "FunctionInstance",
    "Global",
    "GuestBuffer",
    "HostModule",
    "ImportProvider",
    "LinkedComponent",
    "LinkedModule",
    "Memory",
    "ModuleInstance",
    "ModuleSource",
    "Reference",
    "Runtime",
    "Store",
    "Table",
    "Tag",
    "WasiContext",
    "WasiProvider",
]

if TYPE_CHECKING:
    from typing_extensions import Buffer  # which type checkers bring along

    from .component.types import WorldItem
else:
    Buffer = Union[bytes, bytearray, memoryview]  # stands for any object with the buffer protocol
ModuleSource = Union[Buffer, str, "PathLike[str]"]
"""A module: its bytes, a `pathlib.Path` to read them from, or a `str` holding the text format (where the engine
can)."""


class _ByClass(type(Protocol)):  # type: ignore[misc]
    """Makes `isinstance` look for attributes without reading them, as Python itself does since 3.12. Older versions
    read every property, and the properties of a closed or busy object raise.
    """

    if sys.version_info < (3, 12):

        def __instancecheck__(cls, instance: Any) -> bool:
            if not (cls._is_protocol and getattr(cls, "_is_runtime_protocol", False)):
                return super().__instancecheck__(instance)  # type: ignore[no-any-return]
            _get_protocol_attrs = typing._get_protocol_attrs  # type: ignore[attr-defined]
            places = [vars(base) for base in instance.__class__.__mro__]
            places.append(getattr(instance, "__dict__", {}))
            return all(any(name in place for place in places) for name in _get_protocol_attrs(cls))


class _Checkable(Protocol, metaclass=_ByClass):
    """What the protocols have in common."""


@runtime_checkable
class FunctionInstance(_Checkable, Protocol):
    """A function of a guest, ready to be called. It keeps its store alive."""

    @property
    def type(self) -> FunctionType:
        """The function's signature."""

    def __call__(self, *args: Any) -> Any:
        """Call with Python values and return one value, a tuple of values, or None, by the signature's number of
        results.

        Raises `TypeError` for a wrong number or type of arguments and `OverflowError` for an integer out of range,
        before the guest runs; `Trap` when the guest traps; and whatever a host function raised, unchanged. After any of
        these the instance may go on being used, unless it was closed.

            add = instance.function("add")
            add(1, 2)  # 3
        """

    def call(self, *slots: int) -> list[int]:
        """Call with raw slots: unsigned 64-bit integers holding the values' bits, zero-extended; the results likewise.

        A v128 takes two slots, the low half first. Raises `TypeError` for a signature with references,
        `OverflowError` for a slot beyond its type's width, and otherwise what `__call__` raises.
        """

    def map(self, *columns: Any, out: Any = None, on_error: str = "raise") -> Any:
        """Call once for each row of columns, and return the results as columns: a whole batch in one call.

        A column is a buffer of one dimension: a NumPy array, an `array.array` or a `memoryview`, also one with strides.
        All columns have the same length; a number stands for a column that repeats it. An integer param takes every
        format of integers and booleans; a float param takes those and floats; f32 is rounded as in a call. Results are
        NumPy arrays of int32, int64, float32 or float64, or `array.array` where NumPy is not installed: one column, a
        tuple of them, or None, by the signature's number of results. They are new, or they are `out`, which may be one
        of the columns.

        A row that traps raises `RowError`, whose `row` says which and whose cause is the `Trap`; the rows before it are
        done, and their results are in `out`. With `on_error="mask"` a trap ends its row only: `map` returns `(results,
        failed)`, where `failed` is a column of booleans (a `bytearray` without NumPy), and the results of failed rows
        are 0. A value that does not fit its param raises `OverflowError`, which names the row; columns of unequal
        length, and an `out` that is read-only or overlaps another column, raise `ValueError`; a format that does not
        fit raises `TypeError`. What a host function raises comes out as itself. Deadlines and interrupts count for the
        whole batch.

        Native runtimes loop in C, without the interpreter's lock where the instance imports no host function, so
        that threads with an instance each run at the same time.

            add.map(numpy.arange(1000), 5)
        """

    def call_async(self, *args: Any) -> Coroutine[Any, Any, Any]:
        """Call as `__call__` does, from a coroutine, which awaits the outcome; the event loop goes on meanwhile.

        In an asynchronous store (`Runtime.instantiate_async`) this is the one way to call. The guest is suspended while
        a host function waits, and at every tick while it computes. Cancelling the task cancels the coroutine of the
        host function in which the guest waits, or stops the guest that computes, and unwinds the guest; the instance
        can be used afterwards. A deadline counts the time that the guest waits, and ends the wait. Raises `BusyError`
        while another call runs or waits in the store, unless it is made by that call's own host function.

        In a synchronous store the call is made on a worker thread, in a copy of the caller's context. Cancelling the
        task stops the guest, where "interruption" is among the runtime's features; elsewhere the task ends at once, and
        the guest's store is busy until the guest returns.

        A host function's `StopIteration` comes out as the cause of a `RuntimeError`, as of any coroutine.
        """


@runtime_checkable
class Memory(_Checkable, Protocol):
    """A linear memory. Offsets and sizes are in bytes, growth in pages.

    `memoryview(memory)` and `numpy.frombuffer(memory, ...)` give views without a copy, where `"buffer"` is among the
    runtime's features. A view covers the memory as it was when the view was made: after `grow` take a new one to see
    the new pages. A view stays readable for as long as it is referenced, even after `close`; it never points at freed
    memory.
    """

    @property
    def type(self) -> MemoryType:
        """The memory's type, with the limits it was made with."""

    @property
    def size(self) -> int:
        """The current size in bytes."""

    def __len__(self) -> int:
        """The current size in bytes."""

    def read(self, offset: int, size: int) -> bytes:
        """Copy `size` bytes out, starting at `offset`. Raises `MemoryAccessError` if any lies beyond the memory."""

    def write(self, offset: int, data: Buffer) -> None:
        """Copy the bytes-like `data` in, starting at `offset`. Raises `MemoryAccessError`, writing nothing, if it
        does not fit."""

    def read_cstring(
        self, offset: int, limit: int | None = None, *, encoding: str | None = "utf-8", errors: str = "strict"
    ) -> Any:
        """The text at `offset`, up to the NUL that ends it; its bytes where `encoding` is None.

        `limit` bounds its length in bytes, since a guest could make it as long as its memory. Raises `ValueError` for a
        longer one, `MemoryAccessError` where no NUL comes before the memory ends, and `UnicodeDecodeError` unless
        `errors` says otherwise.
        """

    def read_struct(self, format: str, offset: int = 0) -> tuple[Any, ...]:
        """The values at `offset` in a format of the `struct` module, little-endian and without padding.

        Raises `MemoryAccessError`, and `ValueError` for a wrong format: `x` stands for a byte of padding.
        """

    def write_struct(self, format: str, offset: int, *values: Any) -> None:
        """Write `values` at `offset` in such a format. Raises as `read_struct`, and `struct.error` for values that do
        not fit it; then nothing was written.
        """

    def view(self, format: str, offset: int = 0, count: int | None = None) -> memoryview:
        """A view of `count` numbers of one format (`b B h H i I q Q f d`) at `offset`, without a copy; up to the end
        without `count`. It is as long-lived as `memoryview(memory)`.

        Raises `MemoryAccessError`, and `UnsupportedFeatureError` without the feature "buffer".
        """

    def grow(self, pages: int) -> int:
        """Grow by `pages` and return the size before, in pages. Raises `MemoryAccessError` where a limit forbids it."""

    if TYPE_CHECKING:  # only here: it is the feature "buffer", which not every runtime has

        def __buffer__(self, flags: int, /) -> memoryview: ...


@runtime_checkable
class Global(_Checkable, Protocol):
    """A global variable."""

    @property
    def type(self) -> GlobalType:
        """The type of the value, and whether it may be set."""

    @property
    def value(self) -> Any:
        """The current value. Setting an immutable global raises `TypeError`."""

    @value.setter
    def value(self, value: Any) -> None: ...


@runtime_checkable
class Table(_Checkable, Protocol):
    """A table of references, indexed from 0. An index beyond it raises `IndexError`."""

    @property
    def type(self) -> TableType:
        """The table's type, with the limits it was made with."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def __setitem__(self, index: int, value: Any) -> None: ...

    def grow(self, delta: int, value: Any = None) -> int:
        """Add `delta` elements holding `value` and return the length before. Raises `IndexError` where a limit
        forbids it."""


@runtime_checkable
class Reference(_Checkable, Protocol):
    """A guest's reference to an object of its own, of the garbage-collection proposal (the feature "gc-references").

    It can be kept, compared, handed to functions of the same store and put into its globals and tables. Two that refer
    to one object are equal; `hash` is the same for all references of a store, since the engine moves its objects. The
    object stays for as long as a `Reference` to it does, and belongs to its store: once that is closed, everything but
    `kind` raises `ClosedError`.

    `reference[0]` reads a field of a struct or an element of an array, and `len(reference)` tells how many there are.
    A packed field (i8, i16) comes as an unsigned int. An index beyond the end raises `IndexError`; both raise
    `TypeError` for a reference to anything else.

    An i31 is an `int` in Python, of 31 bits: -2**30 to 2**31 - 1 go in, signed ones come out. Null is None. What Python
    has handed to a guest comes back as the same object, as an externref does. An exception reference comes as a
    `WasmException`; the only one that can be handed to a guest is None.
    """

    @property
    def kind(self) -> str:
        """The kind of object that it refers to: "struct", "array" or "other"."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@runtime_checkable
class Tag(_Checkable, Protocol):
    """A tag of the exception-handling proposal, by which guests throw and catch exceptions.

    It belongs to its store. Two objects that stand for one tag are equal. It can be linked, and a host function raises
    `WasmException(tag, values)` with it.
    """

    @property
    def type(self) -> FunctionType:
        """The types of the values that its exceptions carry, as `params`; there are no results."""

    def payload(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Convert the values to those that an exception of this tag holds; `WasmException` calls this when it is made.
        Raises `TypeError` or `OverflowError`, which names the value that does not fit.
        """


@runtime_checkable
class Exports(_Checkable, Protocol):
    """The exports of an instance: by attribute, by item, and iterable by name in the module's order."""

    def __getitem__(self, name: str) -> Any:
        """The export of that name. Raises `KeyError`."""

    def __getattr__(self, name: str) -> Any:
        """The export of that name. Raises `AttributeError`."""

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...

    def __contains__(self, name: object) -> bool: ...


@runtime_checkable
class Store(_Checkable, AbstractContextManager["Store"], Protocol):
    """A place where instances live; everything that is linked together shares one. It frees its contents together."""

    def memory(self, minimum: int, maximum: int | None = None, *, is_64: bool = False, shared: bool = False) -> Memory:
        """Make a linear memory of `minimum` pages that may grow to `maximum`."""

    def table(
        self,
        minimum: int,
        maximum: int | None = None,
        element: ValueType = ValueType.FUNCREF,
        init: Any = None,
        *,
        is_64: bool = False,
    ) -> Table:
        """Make a table of `minimum` elements, each `init`. One with `is_64` is indexed by guests with 64 bits (the
        feature "memory64"), and counts as one of the instances that `Limits.instances` allows.
        """

    def global_(self, type: ValueType, value: Any, *, mutable: bool = False) -> Global:
        """Make a global variable holding `value`."""

    if TYPE_CHECKING:  # only here: it is the feature "exception-values", which not every runtime has

        def tag(self, params: Iterable[ValueType] = ()) -> Tag:
            """Make a tag for exceptions that carry values of these types: guests import it, and host functions raise
            `WasmException(tag, values)` for them to catch. Raises `UnsupportedFeatureError` without the feature
            "exception-values", or "exceptions".
            """

    def interrupt(self) -> bool:
        """Stop the call that runs in the store, which raises `Interrupted`. Returns whether one was running.

        May be called from any thread. A running host function finishes first; the guest is stopped at its next backward
        branch or call.
        """

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Stop every call in a `with` block once `seconds` have passed from now; it raises `DeadlineExceeded`.

        Blocks may nest or overlap, and the earliest deadline counts. A running host function finishes first; then its
        guest is stopped. Raises `UnsupportedFeatureError` without the feature "deadline".
        """

    @property
    def fuel(self) -> int | None:
        """The fuel that the guests of the store may still use, in the engine's units; None where fuel is not counted.

        Fuel is counted by a runtime made with `options={"consume_fuel": True}`, which then has the feature "fuel";
        elsewhere setting it raises `UnsupportedFeatureError`. A guest that has no fuel left ends with `FuelExhausted`.
        """

    @fuel.setter
    def fuel(self, fuel: int) -> None: ...

    @property
    def closed(self) -> bool: ...

    def close(self) -> None:
        """Close every instance in the store. A call that runs in it ends in `ClosedError`."""


class _HasExports(_Checkable, Protocol):
    @property
    def exports(self) -> Exports: ...

    def function(self, name: str) -> FunctionInstance | None:
        """The exported function of that name, or None."""

    def global_(self, name: str) -> Global | None:
        """The exported global of that name, or None."""

    def table(self, name: str) -> Table | None:
        """The exported table of that name, or None."""

    if TYPE_CHECKING:  # only here: an adapter without the feature "exceptions" may lack this method

        def tag(self, name: str) -> Tag | None:
            """The exported tag of that name, or None."""

    def put(
        self,
        data: Buffer | str,
        *,
        allocator: str | tuple[str, str | None] | None = None,
        memory: str = "memory",
    ) -> GuestBuffer:
        """Put bytes, or text as UTF-8, into the guest's memory, at a place that its own allocator gives.

        These exports are known as allocators: `malloc` and `free`, `alloc` and `dealloc`, `allocate` and `deallocate`,
        `__new`, `__pin` and `__unpin` of AssemblyScript, those of wasm-bindgen, and `cabi_realloc`, which frees
        nothing. `allocator` names others: a pair, or one name if nothing is freed.

            with instance.put("a text") as text:
                instance.exports.count(text.pointer, text.size)

        The caller frees the buffer. Raises `FunctionNotExportedError` if there is no allocator, `MemoryAccessError` if
        the allocator has no room or returns an address outside the guest's memory, and whatever its call raises.
        """


@runtime_checkable
class GuestBuffer(_Checkable, Protocol):
    """Bytes in a guest's memory, in a place from the guest's own allocator; `put` returns it. It unpacks into pointer
    and size, and is a context manager that frees it.
    """

    @property
    def pointer(self) -> int:
        """The address of the first byte."""

    @property
    def size(self) -> int:
        """The size in bytes."""

    def __iter__(self) -> Iterator[int]: ...

    def __len__(self) -> int: ...

    def read(self) -> bytes:
        """The bytes as they are now."""

    def free(self) -> None:
        """Free the bytes by the guest's allocator, if it has a function for that. Idempotent."""

    def __enter__(self) -> GuestBuffer: ...

    def __exit__(self, *error: Any) -> None: ...


@runtime_checkable
class ModuleInstance(_HasExports, AbstractContextManager["ModuleInstance"], Protocol):
    """A module's running form, in a store."""

    @property
    def module(self) -> CompiledModule: ...

    @property
    def store(self) -> Store: ...

    def memory(self, name: str = "memory") -> Memory | None:
        """The exported memory of that name, or None."""

    def state(self, module: str = "env") -> Any:
        """The object that belongs to this instance, made by the host module of that name (`HostModule.bind`), or None.
        Also available after `close`.
        """

    def run(self) -> int:
        """Run a command, that is call its export `_start`, and return its exit code: 0 when it returns by itself.

        Raises `FunctionNotExportedError` for a module that is not a command, and otherwise what a call raises, except
        `Exit`.
        """

    async def run_async(self) -> int:
        """As `run`, by `call_async`: the way to run a command in an asynchronous store."""

    def map_bytes(
        self,
        function: str | FunctionInstance,
        *columns: Any,
        returns: str | None = None,
        form: str | None = None,
        allocator: str | tuple[str, str | None] | None = None,
        memory: str = "memory",
        frees: bool = True,
        gives: bool = False,
        on_error: str = "raise",
        max_bytes: int = (1 << 31) - 1,
        nulls: Any = None,
    ) -> Any:
        """Call a function of the instance once for each row of columns, some of which hold bytes or text.

        A column of bytes is a list of `bytes` or `str`, a NumPy array of them, or an Arrow array of strings or binaries
        (any object with `__arrow_c_array__` or `__arrow_c_stream__`; read by pyarrow, without a copy). It takes two
        params of the function, a pointer and a size. Text goes as UTF-8. A `bytes` or `str` stands for a column that
        repeats it. Every other column is one of numbers, as in `FunctionInstance.map`. All columns have the same
        length.

        The bytes of a row are put where the guest's `allocator` says (found as in `put`), in one place for the whole
        batch, so they are there during the call only. With `gives=True` each row has a place of its own, which the
        guest frees. `form` says how the guest gives bytes back:

        * `"pointer-high"`: an i64 with the pointer in the upper half and the size in the lower; `"pointer-low"` the
          other way round;
        * `"pair"`: two results, pointer and size;
        * `"out-first"`, `"out-last"`: both are written, 32 bits each (64 where the param is an i64), to where the first
          or last param points; an i32 that the function returns is a status, and fails the row unless it is 0;
        * `"numbers"`: the guest gives no bytes back, and its results are columns as in `map`.

        None follows the signature: an i64 is `"pointer-high"`, two integers are a `"pair"`. The result is a column of
        the same kind as the first column of bytes. `returns` says what it holds: `"text"`, `"bytes"` or `"numbers"`;
        None means the same as that column. The guest's allocator frees each result, unless it lies among the arguments,
        or `frees` is false. `nulls`, a writable column of as many booleans, is set where the guest's pointer was 0.

        A row that traps, for which the allocator has no room, or whose result is not in the guest's memory or is not
        UTF-8, raises `RowError`, whose cause is the `Trap`, `MemoryAccessError` or `UnicodeDecodeError`; with
        `on_error="mask"` it comes back empty, or 0, beside a mask, as in `map`. Results of more than `max_bytes` in all
        raise `ValueError`, as does a row whose offsets are not those of its data. Otherwise it raises as `map` and
        `put` do. Native runtimes loop in C, and release the interpreter's lock as `map` does.

            instance.map_bytes("upper", ["some", "words"])
        """

    def interrupt(self) -> bool:
        """As `Store.interrupt`, of the instance's store."""

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """As `Store.deadline`, of the instance's store."""

    @property
    def fuel(self) -> int | None:
        """As `Store.fuel`, of the instance's store."""

    @fuel.setter
    def fuel(self, fuel: int) -> None: ...

    @property
    def closed(self) -> bool: ...

    def close(self) -> None:
        """Close the instance, and its store with it unless the store was given to `instantiate`."""


@runtime_checkable
class Caller(_HasExports, Protocol):
    """The instance that is calling a host function; dead (`ClosedError`) once the host function returns.

    A host function receives it by annotating its first parameter with `Caller`.
    """

    def memory(self, name: str = "memory") -> Memory:
        """The exported memory of that name. Raises `MemoryExportNotFoundError`."""


@runtime_checkable
class HostModule(_Checkable, Protocol):
    """Host functions under one module name. `pywasmrt.HostModule` is the one to use."""

    @property
    def name(self) -> str: ...

    @property
    def functions(self) -> Mapping[str, HostFunction]: ...


ImportProvider = Union[HostModule, Mapping[str, Any]]
"""A host module, or a mapping of module name to a mapping of field to extern or callable, a `HostModule`, or a
`ModuleInstance`."""


class WasiContext(Protocol):
    """The host's side of WASI for one instance."""

    def attach(self, instance: ModuleInstance) -> None:
        """Called once the instance exists."""

    def begin_asynchronous(self) -> None:
        """Called first where the store of the instance is asynchronous: from then on a host function that would
        wait returns a coroutine."""

    def close(self) -> None:
        """Close everything that the instance has open. Idempotent; from any thread, also during a call."""


@runtime_checkable
class WasiProvider(_Checkable, Protocol):
    """What `Runtime.link` and `Runtime.instantiate` take as `wasi`; `pywasmrt.wasi.WasiConfig` is the one to use."""

    def modules(self, imports: Sequence[ImportType]) -> Sequence[HostModule]:
        """The host functions for a module with these imports. Those that take the state of an instance
        (`HostFunction.takes_state`) receive its context.
        """

    def new_context(self) -> WasiContext:
        """Make the host's side for one instance."""


@runtime_checkable
class CompiledModule(_Checkable, AbstractContextManager["CompiledModule"], Protocol):
    """A compiled module: immutable, shared by threads, instantiated any number of times by the runtime that compiled
    it.

    It pickles, so that it can go to other processes (`multiprocessing`, `ProcessPoolExecutor`): as its bytes and its
    runtime's configuration. There it is compiled, or taken from the cache of `RuntimeConfig`, once a process, by a
    runtime of the same configuration; the 32 that were used last are kept. One that `deserialize` made goes as compiled
    code, which only the same engine, version and kind of machine takes. A `LinkedModule` pickles where its imports do.
    """

    @property
    def runtime(self) -> Runtime:
        """The runtime that compiled it, and can instantiate it."""

    @property
    def imports(self) -> tuple[ImportType, ...]: ...

    @property
    def exports(self) -> tuple[ExportType, ...]: ...

    def serialize(self) -> bytes:
        """The compiled code as a blob for `Runtime.deserialize`. Raises `UnsupportedFeatureError` where the engine
        has none."""

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


@runtime_checkable
class LinkedModule(_Checkable, AbstractContextManager["LinkedModule"], Protocol):
    """A module whose imports have been resolved and checked, once for all instances; `Runtime.link` returns it.

    It may be used from any thread, several at a time. It belongs to its module.
    """

    @property
    def module(self) -> CompiledModule: ...

    @property
    def limits(self) -> Limits | None:
        """The limits of its instances' stores, where `instantiate` is not given others."""

    def instantiate(self, *, limits: Limits | None = None) -> ModuleInstance:
        """Make an instance in a store of its own and run its start function. The caller closes it.

        Each instance gets state of its own: the objects that bound host modules make (`HostModule.bind`), and the files
        and streams of WASI. `limits` take the place of those given to `link`. Raises `ModuleInstantiateError` where the
        limits forbid it; `Trap`, or a host function's exception, from the start function; and what making such an
        object raised.
        """

    async def instantiate_async(self, *, limits: Limits | None = None) -> ModuleInstance:
        """As `instantiate`, in an asynchronous store: see `Runtime.instantiate_async`."""

    @property
    def closed(self) -> bool: ...

    def close(self) -> None:
        """Release the imports. The instances can still be used."""


@runtime_checkable
class Context(_Checkable, AbstractContextManager["Context"], Protocol):
    """What an instance depends on: its store, its host modules and its WASI state."""

    @property
    def store(self) -> Store: ...

    @property
    def closed(self) -> bool: ...

    def close(self) -> None:
        """Close the store and with it the instance."""


@runtime_checkable
class Component(_Checkable, AbstractContextManager["Component"], Protocol):
    """A compiled component: immutable, shared by threads, instantiated any number of times by the runtime that compiled
    it.
    """

    @property
    def imports(self) -> tuple[WorldItem, ...]:
        """Its imports: interfaces, functions and types, in the component's order."""

    @property
    def exports(self) -> tuple[WorldItem, ...]:
        """Its exports, in the component's order."""

    @property
    def types(self) -> Mapping[str, Any]:
        """The Python classes of its records, variants, enums and flags: `types["local:demo/shapes"].Point`."""

    def use_classes(self, classes: Mapping[tuple[str | None, str], Any]) -> None:
        """Use these classes for values, by interface and by name in WIT (`"variant.case"` for a variant's case). The
        code that `pywasmrt bindgen` writes calls this before the first instance is made.
        """

    def wit(self) -> str:
        """Its world as WIT text."""

    def serialize(self) -> bytes:
        """The compiled code as a blob for `Runtime.deserialize_component`."""

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


@runtime_checkable
class LinkedComponent(_Checkable, AbstractContextManager["LinkedComponent"], Protocol):
    """A component whose imports have been resolved and checked, once for all instances; `Runtime.link_component`
    returns it. It may be used from any thread, several at a time. It belongs to its component.
    """

    @property
    def component(self) -> Component: ...

    @property
    def limits(self) -> Limits | None:
        """The limits of its instances' stores, where `instantiate` is not given others."""

    def instantiate(self, *, limits: Limits | None = None) -> ComponentInstance:
        """Make an instance in a store of its own. The caller closes it."""

    async def instantiate_async(self, *, limits: Limits | None = None) -> ComponentInstance:
        """As `instantiate`, in an asynchronous store: see `Runtime.instantiate_component_async`."""

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


@runtime_checkable
class ComponentInstance(_Checkable, AbstractContextManager["ComponentInstance"], Protocol):
    """A component's running form, in a store of its own: it runs one call chain at a time, and a host function cannot
    call back into the component that called it (`BusyError`). After a trap, or an exception of a host function other
    than `ComponentError`, the component model forbids entering it again: make a new one.
    """

    @property
    def component(self) -> Component: ...

    @property
    def exports(self) -> Any:
        """All exports: functions as attributes (`exports.get_value` for `get-value`), interfaces by name
        (`exports["local:demo/calc"].add(1, 2)`), with the classes of their resources and types.
        """

    def run(self) -> int:
        """Run a command by its export `wasi:cli/run`, and return its exit code."""

    async def run_async(self) -> int:
        """As `run`, by `call_async`: the way to run a command in an asynchronous store."""

    def interrupt(self) -> bool:
        """Stop the call that runs; from any thread. Returns whether one was running."""

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Stop every call in a `with` block once `seconds` have passed from now."""

    @property
    def fuel(self) -> int | None: ...

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


@runtime_checkable
class Runtime(_Checkable, AbstractContextManager["Runtime"], Protocol):
    """An engine, ready to compile and instantiate. It may be used from any thread."""

    @property
    def info(self) -> RuntimeInfo:
        """The runtime's name, version and the features in force."""

    def validate(self, source: ModuleSource) -> None:
        """Check a module. Raises `ModuleCompileError` with the reason it is invalid."""

    def compile(self, source: ModuleSource) -> CompiledModule:
        """Compile a module. Raises `ModuleCompileError`, or `UnsupportedFeatureError` if this engine cannot run it.

        For a module of 1 MiB or more the logger `pywasmrt.compile` reports the beginning and the end, at the level
        INFO: tens of megabytes may take many seconds. With `RuntimeConfig.cache` that happens once.
        """

    def deserialize(self, blob: Buffer) -> CompiledModule:
        """Load what `CompiledModule.serialize` gave.

        Raises `ModuleCompileError` for a blob of another engine, version or settings, or a damaged one. The blob holds
        machine code that runs unchecked: take it only from where you would take a shared library.
        """

    def new_store(self, limits: Limits | None = None) -> Store: ...

    def link(
        self,
        module: CompiledModule,
        *imports: Any,
        wasi: WasiProvider | None = None,
        limits: Limits | None = None,
    ) -> LinkedModule:
        """Resolve and check the module's imports once, to make any number of instances.

        Takes what `instantiate` takes, and raises the same for imports that do not fit. Memories, tables, globals and
        functions of instances belong to one store, and each instance has one of its own, so they cannot be linked: pass
        them to `instantiate` with `store=`. Shared memories can, where the engine has them.

            linked = rt.link(module, env)
            with linked.instantiate() as instance:
                instance.exports.run()
        """

    def instantiate(
        self,
        module: CompiledModule,
        *imports: Any,
        store: Store | None = None,
        wasi: WasiProvider | None = None,
        limits: Limits | None = None,
    ) -> ModuleInstance:
        """Link the module to what it imports, make an instance and run its start function.

        To do that often, `link` once. Each of `imports` is an import provider; the first that has a name serves it.
        Raises one `ModuleInstantiateError` that lists every import that is missing or of the wrong type; `Trap`, or a
        host function's exception, from the start function.

        `wasi` describes what the guest sees through WASI; it serves the imports that none of `imports` serves. The
        instance gets files and streams of its own, which close with it. A reactor, a module that exports `_initialize`
        and no `_start`, is initialised then.
        """

    async def instantiate_async(
        self,
        module: CompiledModule,
        *imports: Any,
        store: Store | None = None,
        wasi: WasiProvider | None = None,
        limits: Limits | None = None,
    ) -> ModuleInstance:
        """As `instantiate`, in an asynchronous store: its host functions may be `async def`, its guests wait for them.

        The start function, too, may wait. The instance's functions are called by `call_async` alone; a synchronous call
        raises `WasmError`. Where "suspension" is among the runtime's features, a guest that waits is suspended and
        takes no thread; elsewhere each runs on a worker thread, with the same results. Host functions, plain ones
        included, run on the event loop's thread, in the context of the task that awaits the call.

        A given `store` must hold no synchronous instances, and holds asynchronous ones from then on. While a guest of
        it waits, setting tables and globals to objects (externref) raises `BusyError`; everything else is allowed.

            async def fetch(caller: Caller, pointer: i32, size: i32) -> i32: ...

            instance = await rt.instantiate_async(module, {"env": {"fetch": fetch}})
            await instance.exports.run.call_async()
        """

    def instantiate_with_host(
        self,
        module: CompiledModule,
        *imports: Any,
        store: Store | None = None,
        wasi: WasiProvider | None = None,
        limits: Limits | None = None,
    ) -> tuple[ModuleInstance, Context]:
        """As `instantiate`, with the context that owns the host's side of the instance."""

    # `isinstance` does not look for the five methods for components: a runtime without the feature "component-model"
    # may lack them, or inherit them from `pywasmrt.component.absent.NoComponents`, whose methods say that they are
    # absent.
    if TYPE_CHECKING:

        def compile_component(self, source: ModuleSource) -> Component:
            """Compile a component (the feature "component-model"). Raises `ModuleCompileError`, also for a module, and
            `UnsupportedFeatureError` where the engine runs no components.
            """

        def deserialize_component(self, blob: Buffer) -> Component:
            """Load what `Component.serialize` gave; what `deserialize` says of blobs holds here too."""

        def link_component(
            self,
            component: Component,
            *imports: Mapping[str, Any],
            wasi: WasiProvider | None = None,
            limits: Limits | None = None,
        ) -> LinkedComponent:
            """Resolve and check the component's imports once, to make any number of instances. Takes what
            `instantiate_component` takes.
            """

        def instantiate_component(
            self,
            component: Component,
            *imports: Mapping[str, Any],
            wasi: WasiProvider | None = None,
            limits: Limits | None = None,
        ) -> ComponentInstance:
            """Link the component to what it imports and make an instance, in a store of its own. The caller closes it.

            An import is given by the name of its interface: any object with the interface's functions as attributes
            (a class instance, a Python module, a mapping), under their names in Python, and with a class for each of
            its resources. A function that the component imports by itself is given by its own name. A version in a
            name may be left out, or be one that is compatible by semver. `wasi` gives what WASI 0.2 imports; what it
            cannot express raises `UnsupportedFeatureError`. One `ModuleInstantiateError` lists all that is missing or
            does not fit.

                component = rt.compile_component(pathlib.Path("guest.wasm"))
                with rt.instantiate_component(component, {"local:demo/host": Host()}) as instance:
                    instance.exports["local:demo/calc"].add(1, 2)
            """

        async def instantiate_component_async(
            self,
            component: Component,
            *imports: Mapping[str, Any],
            wasi: WasiProvider | None = None,
            limits: Limits | None = None,
        ) -> ComponentInstance:
            """As `instantiate_component`, in an asynchronous store: its host functions may be `async def`, as may the
            methods of the host's resources, and its guests wait for them.

            Functions are called by `call_async` alone, those of resources too: `await counter.add.call_async(1)`, and
            `await Counter.call_async()` for a constructor; a resource is dropped by `await counter.drop_async()` or
            `async with`. A synchronous call raises `WasmError`. Host functions run on the event loop's thread, in the
            context of the task that awaits the call.

            Where "suspension" is among the runtime's features, a guest that waits is suspended and takes no thread,
            unless its component imports WASI or defines resources: such a guest, and every guest of another runtime,
            runs on a worker thread, with the same results. A wait inside of WASI, which is the engine's own, holds up
            that thread and not the event loop. A call that is cancelled meanwhile ends; its guest is stopped as soon as
            it resumes.

                class Host:
                    async def fetch(self, key: str) -> bytes: ...

                instance = await rt.instantiate_component_async(component, {"local:demo/host": Host()})
                await instance.exports.run.call_async()
            """

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


# From Python 3.12 on the first check against a protocol imports something, which fails while the interpreter ends.
isinstance(None, Exports)
