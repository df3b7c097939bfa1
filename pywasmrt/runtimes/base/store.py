"""What the stores of every adapter share: making externs, linking instances, and stopping what runs in them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

from ...errors import BusyError, ClosedError, ModuleInstantiateError, UnsupportedFeatureError
from ...types import ExportType, FunctionType, GlobalType, ImportType, Limits, MemoryType, TableType, ValueType
from ...values import late, nanoseconds, shown, shown_int, to_wasm
from .contracts import OwningRuntime, OwningStore
from .instance import BaseInstance, InstanceState
from .lifetime import Life
from .linking import HostImport, Linking
from .module import BaseModule
from .observing import Observer
from .siblings import Siblings
from .wide_table import WIDE_TABLE, wide_table_module

if TYPE_CHECKING:
    from ...protocols import WasiContext
    from .turns import Lender

__all__ = ["MOST_ELEMENTS", "SYNCHRONOUS", "BaseStore", "GuardedStore", "engine_bounds"]

SYNCHRONOUS, _ASYNCHRONOUS = "synchronous", "asynchronous"

MOST_ELEMENTS = 10_000_000
"""The most elements of a table, unless `Limits` says otherwise; as in a browser. Growing by so many takes a fifth of a
second, in one instruction that nothing can stop.
"""

_LARGE = 64 << 20  # from this many bytes of arrays on, one instruction may take several ticks


def engine_bounds(limits: Limits | None) -> tuple[int, int, int]:
    """The bounds of a store: sizes of each memory and table, and the number of instances. -1 is the engine's own."""
    if limits is None:
        return -1, MOST_ELEMENTS, -1
    memory_bytes, table_elements, instances = limits.memory_bytes, limits.table_elements, limits.instances
    return (
        -1 if memory_bytes is None else memory_bytes,
        MOST_ELEMENTS if table_elements is None else table_elements,
        -1 if instances is None else instances,
    )


class BaseStore(OwningStore):
    """What instances live in. `limits` are what it was made with."""

    _kind = "store"
    _has_children = False
    # Each becomes a list with its first item: a store is made for each instance, and most have no items.
    _observers: Sequence[Observer] = ()
    _instance_lives: Sequence[Life] = ()
    _wasi_contexts: Sequence[WasiContext] = ()
    _wakes: Sequence[Callable[[], object]] = ()
    _deadlines: Sequence[int] = ()  # those of the open blocks
    _mode: str | None = None  # synchronous or asynchronous, from its first instance on
    _may_suspend = True  # whether its guests may be suspended, where the runtime can do so
    turns: Any = None  # the `Turns` of an asynchronous store whose guests run on worker threads

    def __init__(self, runtime: OwningRuntime, limits: Limits | None) -> None:
        self.runtime = runtime
        self.limits = limits
        super().__init__(runtime)

    def release_at_once(self) -> None:
        """Have every call from now on release the interpreter's lock at its beginning, not after some milliseconds.

        This is for shorter calls, on several threads at once. It costs some 50 ns for each call, and as much for each
        call of a host function. Runtimes that do so anyway do nothing here.
        """

    def _has_large_heap(self) -> bool:
        """Whether one instruction on the guests' arrays may take long, as such instructions are not split."""
        bound = None if self.limits is None else self.limits.memory_bytes
        return bound is None or bound > _LARGE

    # Externs made by the host

    def memory(self, minimum: int, maximum: int | None = None, *, is_64: bool = False, shared: bool = False) -> Any:
        """Make a linear memory of `minimum` pages that may grow to `maximum`."""
        self._check_open()
        _check_limits("memory", "pages", minimum, maximum, 1 << 48 if is_64 else 1 << 16)
        if shared and maximum is None:
            raise ValueError("a shared memory needs a maximum")
        if shared and maximum is not None:
            self._check_shared(maximum * 65536)
        return self._memory_new(MemoryType(minimum, maximum, is_64, shared))

    def _check_shared(self, largest: int) -> None:
        """Refuse a shared memory that may grow beyond the store's limit: engines do not ask a store when one grows."""
        bound = None if self.limits is None else self.limits.memory_bytes
        if bound is not None and largest > bound:
            raise ModuleInstantiateError(
                f"a shared memory may grow to {largest} bytes, beyond Limits.memory_bytes ({bound}), and its growth "
                "cannot be refused; give it a smaller maximum"
            )

    def _check_shared_memories(self, linking: Linking) -> None:
        """The same for the shared memories of an instance: those that its module defines, and those that it imports."""
        interface = linking.module.interface()
        if not interface.shares:
            return
        self._check_shared(interface.shared_bytes)
        for each in linking.served:
            given = None if type(each) is HostImport else each.type
            if isinstance(given, MemoryType) and given.shared:
                self._check_shared((given.maximum or 0) * given.page_size)

    def table(
        self,
        minimum: int,
        maximum: int | None = None,
        element: ValueType = ValueType.FUNCREF,
        init: Any = None,
        *,
        is_64: bool = False,
    ) -> Any:
        """Make a table of `minimum` elements, each `init`."""
        self._check_open()
        if element in (ValueType.FUNCREF, ValueType.EXTERNREF):
            pass
        elif isinstance(element, ValueType) and element.judged and element is not ValueType.REF:
            self.runtime._need("gc-references")
        else:
            raise TypeError(f"a table holds references such as ValueType.FUNCREF, not {shown(element)}")
        _check_limits("table", "elements", minimum, maximum, (1 << (64 if is_64 else 32)) - 1)
        if is_64:
            self.runtime._need("memory64")
        type = TableType(element, minimum, maximum, bool(is_64))
        value = self._value(init, element, "the table's init")
        return self._wide_table_new(type, value) if is_64 else self._table_new(type, value)

    def _wide_table_new(self, type: TableType, init: Any) -> Any:
        """Make a table with 64-bit indices, as an instance of a module of our own exports it."""
        self.runtime._need("host-table")
        runtime: Any = self.runtime
        with runtime.compile(wide_table_module(type)) as module:
            table = runtime.instantiate(module, store=self).exports[WIDE_TABLE]
        try:
            table.grow(type.minimum, init)
        except IndexError:
            raise ModuleInstantiateError(f"cannot make a {type}: a limit forbids it") from None
        table.type = type
        return table

    def global_(self, type: ValueType, value: Any, *, mutable: bool = False) -> Any:
        """Make a global variable holding `value`."""
        self._check_open()
        if not isinstance(type, ValueType) or type is ValueType.REF:
            raise TypeError(f"the type of a global is a ValueType such as ValueType.I32, not {shown(type)}")
        if type.judged:
            self.runtime._need("gc-references")
        return self._global_new(GlobalType(type, bool(mutable)), self._value(value, type, "the global's value"))

    def tag(self, params: Iterable[ValueType] = ()) -> Any:
        """Make a tag for exceptions that carry values of these types."""
        self._check_open()
        self.runtime._need("exception-values")
        self.runtime._need("exceptions")
        if not isinstance(params, Iterable) or isinstance(params, (ValueType, memoryview)):
            raise TypeError(f"a tag is made of a list of ValueTypes, not of {shown(params)}")
        types = tuple(params)
        for each in types:
            if not isinstance(each, ValueType) or each is ValueType.REF:
                raise TypeError(f"a tag is made of ValueTypes such as ValueType.I32, not {shown(each)}")
            if each.judged:
                self.runtime._need("gc-references")
        return self._tag_new(FunctionType(types))

    def _value(self, value: Any, type: ValueType, where: str) -> Any:
        value = to_wasm(value, type, where)
        if type is ValueType.FUNCREF and value is not None and not self._owns(value):
            raise TypeError(f"{where}: {shown(value)} belongs to another store")
        return value

    # Stopping what runs

    def interrupt(self) -> bool:
        """Stop the call that runs in the store; from any thread. Returns whether one was running."""
        self._check_open()
        self.runtime._need("interruption")
        running = self._interrupt()
        self._tell_waiting()
        return running

    def interrupt_with(self, error: BaseException) -> bool:
        """As `interrupt`, but this call and every later one raise `error`. It is the error of another thread of the
        same guest, which has ended the guest.
        """
        running = self._interrupt_with(error)
        self._tell_waiting()
        return running

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Set the deadline of every call in a `with` block to `seconds` from now: then it raises `DeadlineExceeded`."""
        self._check_open()
        self.runtime._need("deadline")
        until = time.monotonic_ns() + nanoseconds(seconds, "a deadline")
        try:
            self._added("_deadlines", until)
            self._set_deadline(min(self._deadlines))
            yield
        finally:  # blocks may overlap, as those of two tasks do, so the others stay as they are
            self._removed("_deadlines", until)
            if not self.closed:
                self._set_deadline(min(self._deadlines, default=0))

    def until(self) -> int:
        """When the call that runs on this thread has to end, in ns of the monotonic clock; 0 for never. For a call that
        is being stopped, this is in the past.

        Host functions that wait should wait no longer than this; what they return then has no effect.
        """
        return 0

    def on_stop(self, wake: Callable[[], object]) -> None:
        """Have `wake` called, on any thread, when the store is interrupted or closed. It must not block."""
        self._added("_wakes", wake)

    def off_stop(self, wake: Callable[[], object]) -> None:
        """Undo `on_stop`."""
        self._removed("_wakes", wake)

    def _tell_waiting(self) -> None:
        for wake in list(self._wakes):
            wake()

    def on_failure(self, tell: Callable[[BaseException], object]) -> None:
        """Have `tell` called with the error of each call into the store that fails in the guest, reaches its deadline
        or is stopped, before the error comes out; not of a call that a host function of the same store has made.
        """
        self._added("_failure_watchers", tell)
        self._watch_failures(self.__dict__["_failure_watchers"])

    def off_failure(self, tell: Callable[[BaseException], object]) -> None:
        """Undo `on_failure`."""
        self._removed("_failure_watchers", tell)

    @property
    def fuel(self) -> int | None:
        """The fuel that the guests of the store may still use, or None where it is not counted."""
        self._check_open()
        return self._fuel() if "fuel" in self.runtime.info.features else None

    @fuel.setter
    def fuel(self, fuel: int) -> None:
        self._check_open()
        self.runtime._need("fuel")
        if not isinstance(fuel, int) or isinstance(fuel, bool):
            raise TypeError(f"fuel is an int, not {shown(fuel)}")
        if not 0 <= fuel < 1 << 64:
            raise ValueError(f"fuel is 0 to 2**64 - 1, not {shown_int(fuel)}")
        self._set_fuel(fuel)

    # Observing host calls

    def observe(self, observer: Observer) -> None:
        """Have guests call what `observer` returns for each host function, in the store's present and future instances,
        until `unobserve`. Raises `ClosedError`, `BusyError` where a call runs on another thread, or
        `UnsupportedFeatureError`.
        """
        self._check_open()
        self._added("_observers", observer)
        try:
            self._observe()
        except BaseException:
            self._removed("_observers", observer)
            raise

    def unobserve(self, observer: Observer) -> None:
        """Undo `observe`. Where a call runs on another thread, what the observer made stays in place until the next
        change; so it must stop observing by itself.
        """
        self._removed("_observers", observer)
        with suppress(BusyError, ClosedError):
            self._observe()

    # Instances

    def _new_instance(self, linking: Linking, owned: bool) -> BaseInstance:
        """Make an instance and run its start function. `owned`: the store was made for it."""
        if self._mode is not SYNCHRONOUS:
            self._enter_mode(SYNCHRONOUS)
        if linking.awaits:
            linking.check_awaits_nothing()
        if self.limits is not None:
            self._check_shared_memories(linking)
        states: Sequence[Any] = ()
        context = None
        if linking.owners or linking.wasi is not None:
            states, context = self._new_states(linking)
            begin_threads = getattr(context, "begin_threads", None)
            if begin_threads is not None:
                begin_threads(Siblings(self.runtime, linking, states[:-1], self.limits), self)
        try:
            state = InstanceState(linking.module, self._life if owned else self._new_life())
            state.handle = self._instantiate(linking, states, state)
            if state.life.ended_by is not None:  # closed by its start function, or by another thread
                raise state.life.error("instance")
            instance = BaseInstance(self, state, owned, context, (linking, states) if states else None)
            if context is not None:
                initialize = _attached(context, instance)
                if initialize is not None:
                    initialize()
        except BaseException:
            if context is not None:
                self._close_wasi(context)
            raise
        return instance

    def _new_sibling(self, linking: Linking, states: Sequence[Any]) -> BaseInstance:
        """Make one more instance, with `states` as its objects, in a store that was made for it."""
        self._enter_mode(SYNCHRONOUS)
        state = InstanceState(linking.module, self._life)
        state.handle = self._instantiate(linking, states, state)
        return self._finished(linking, states, state, True, None)

    async def _new_instance_async(self, linking: Linking, owned: bool) -> BaseInstance:
        """As `_new_instance`, in an asynchronous store."""
        self._enter_mode(_ASYNCHRONOUS)
        self._check_shared_memories(linking)
        states, context = self._new_states(linking)
        try:
            if context is not None:
                context.begin_asynchronous()
            state = InstanceState(linking.module, self._life if owned else self._new_life())
            state.handle = await self._instantiate_async(linking, states, state)
            instance = self._finished(linking, states, state, owned, context)
            if context is not None:
                initialize = _attached(context, instance)
                if initialize is not None:
                    await initialize.call_async()
        except BaseException:
            if context is not None:
                self._close_wasi(context)
            raise
        return instance

    def _new_states(self, linking: Linking) -> tuple[Sequence[Any], WasiContext | None]:
        """Make the objects of one instance. Returns them, and the one of WASI."""
        states = linking.new_states()
        if linking.wasi is None:
            return states, None
        context = linking.wasi.new_context()
        self._added("_wasi_contexts", context)
        return [*states, context], context

    def _new_life(self) -> Life:
        life = Life()
        self._added("_instance_lives", life)
        return life

    def _finished(
        self, linking: Linking, states: Sequence[Any], state: InstanceState, owned: bool, wasi: WasiContext | None
    ) -> BaseInstance:
        if state.life.ended_by is not None:  # closed by its start function, or by another thread
            raise state.life.error("instance")
        return BaseInstance(self, state, owned, wasi, (linking, states) if states else None)

    def _close_wasi(self, context: WasiContext) -> None:
        self._removed("_wasi_contexts", context)
        context.close()

    def _added(self, name: str, value: object) -> None:
        self.__dict__.setdefault(name, []).append(value)  # only one list, also where threads race

    def _removed(self, name: str, value: object) -> None:
        with suppress(ValueError):
            self.__dict__.get(name, []).remove(value)

    def begin_component(self, asynchronous: bool, suspends: bool) -> None:
        """Prepare the store, which is new, for an instance of a component. `suspends`: its guest is suspended while it
        waits, where the runtime can do so. Otherwise a worker thread runs the guest.
        """
        self._may_suspend = suspends
        self._enter_mode(_ASYNCHRONOUS if asynchronous else SYNCHRONOUS)

    def _enter_mode(self, mode: str) -> None:
        """Make the store synchronous or asynchronous from now on."""
        if self._mode is mode:
            return
        if self._mode is not None:
            other = "instantiate" if mode is _ASYNCHRONOUS else "instantiate_async"
            raise ModuleInstantiateError(
                f"cannot instantiate the module: the store holds {self._mode} instances, and {mode} ones need a store "
                f"of their own: make another by new_store, or use {other}"
            )
        if mode is _ASYNCHRONOUS:
            self._begin_asynchronous()
        self._mode = mode

    def _check_extern(self, wanted: ImportType, extern: object) -> str | None:
        """Why `extern`, of the right type, cannot be used here, or None. An adapter that refuses more extends this."""
        if not self._owns(extern):
            return "was given one that belongs to another store; instantiate with store=... of what it imports"
        return None

    def _mark(self, ended_by: str) -> None:
        super()._mark(ended_by)
        for life in self._instance_lives:
            if life.ended_by is None:
                life.ended_by = ended_by
        for context in list(self._wasi_contexts):
            context.close()
        self._tell_waiting()

    def __repr__(self) -> str:
        return f"<Store ({self.runtime.info.name}){' closed' if self.closed else ''}>"

    # Hooks

    def _memory_new(self, type: MemoryType) -> Any:
        """Hook: make a memory, wrapped."""
        raise UnsupportedFeatureError(
            f"{self.runtime.info.name} cannot make memories outside of a module", "host-memory"
        )

    def _table_new(self, type: TableType, init: Any) -> Any:
        """Hook: make a table, wrapped; `init` fits its elements."""
        raise UnsupportedFeatureError(f"{self.runtime.info.name} cannot make tables outside of a module", "host-table")

    def _global_new(self, type: GlobalType, value: Any) -> Any:
        """Hook: make a global, wrapped; `value` is as `to_wasm` gives it."""
        raise UnsupportedFeatureError(
            f"{self.runtime.info.name} cannot make globals outside of a module", "host-global"
        )

    def _tag_new(self, type: FunctionType) -> Any:
        """Hook: make a tag, wrapped, in a runtime with the feature "exception-values"."""
        raise NotImplementedError

    def _interrupt(self) -> bool:
        """Hook: stop the call that runs, and tell whether there is one."""
        raise NotImplementedError

    def _interrupt_with(self, error: BaseException) -> bool:
        """Hook: as `_interrupt`, but this call and every later one raise `error`, if the adapter can do that."""
        return self._interrupt()

    def _watch_failures(self, watchers: list[Callable[[BaseException], object]]) -> None:
        """Hook: from now on call each of `watchers`, which may change, as `on_failure` says, if the adapter can."""

    def on_return(self, function: Any, tell: Callable[[], object]) -> None:
        """Hook: call `tell` after each call of `function`, an export, that has returned, if the adapter can."""

    def _set_deadline(self, until: int) -> None:
        """Hook: set the deadline of every call, in ns of the monotonic clock or 0 for none."""
        raise NotImplementedError

    def _fuel(self) -> int:
        """Hook: the fuel that is left."""
        raise NotImplementedError

    def _set_fuel(self, fuel: int) -> None:
        """Hook: set the fuel that is left."""
        raise NotImplementedError

    def _observe(self) -> None:
        """Hook: exchange the callable of each host function for what `observed` returns for it, in present and future
        instances. Called when `_observers` has changed.
        """
        raise UnsupportedFeatureError(f"{self.runtime.info.name} cannot have host calls observed", "host-observation")

    def _begin_profile(self, modules: Sequence[BaseModule], most: int) -> Any:
        """Hook: begin to sample the guests of the store, at most `most` times. Functions of `modules` are given by
        name. Returns an object with `finish`, as `_fastcall.Profile`.
        """
        raise UnsupportedFeatureError(f"{self.runtime.info.name} does not show the stacks of its guests", "profiling")

    def _probe(self, profile: Any, callable: Callable[..., Any], number: int) -> Callable[..., Any]:
        """Hook: what is called in place of a host function while it is profiled. `number` stands for it in samples."""
        raise NotImplementedError

    def _host_function(self, function: HostImport, instance: InstanceState) -> Any:
        """Hook: make the engine's function that calls `function.callable`, for `instance` to import."""
        raise NotImplementedError

    def _extern_handle(self, extern: Any) -> Any:
        """Hook: the handle of an extern that `_owns` accepted. Raises `ClosedError` if it is closed."""
        raise NotImplementedError

    def _instantiate(self, linking: Linking, states: Sequence[Any], instance: InstanceState) -> Any:
        """Hook: instantiate with what serves the imports, run the start function, and return the instance's handle. An
        adapter that has prepared more than this takes it from `linking.prepared`.

        Raises `ModuleInstantiateError`, `Trap`, or what a host function raised.
        """
        handles = [
            self._host_function(each, instance) if type(each) is HostImport else self._extern_handle(each)
            for each in linking.serve(states)
        ]
        return self._link(linking.module, handles, instance)

    def _link(self, module: BaseModule, handles: list[Any], instance: InstanceState) -> Any:
        """Hook: instantiate with the handles that serve the imports, in the module's order, run the start function, and
        return the instance's handle.

        Raises `ModuleInstantiateError`, `Trap`, or what a host function raised.
        """
        raise NotImplementedError

    def _begin_asynchronous(self) -> None:
        """Hook: prepare the store, which holds no instance yet, for asynchronous ones. Here: on worker threads."""
        self.turns = late(f"{__package__}.turns").Turns(  # which loads asyncio
            self._lender(), self.runtime._run_on_worker
        )
        self.on_stop(self.turns.stop)

    async def _instantiate_async(self, linking: Linking, states: Sequence[Any], instance: InstanceState) -> Any:
        """Hook: as `_instantiate`, for an asynchronous store. Here: on a worker thread."""
        through = linking.calling(self.turns.function)
        return await self.turns.call(lambda: self._instantiate(through, states, instance))

    def _lender(self) -> Lender:
        """Hook: what lends the store to the thread of the event loop."""
        raise UnsupportedFeatureError(f"{self.runtime.info.name} has no asynchronous stores", "suspension")

    def _export(self, instance: InstanceState, export: ExportType) -> Any:
        """Hook: the instance's export, wrapped. Called once per export, unless threads race."""
        raise NotImplementedError

    def _owns(self, extern: object) -> bool:
        """Hook: whether `extern` is a wrapped extern of this store."""
        raise NotImplementedError

    def _instance_closed(self, instance: InstanceState, externs: list[Any]) -> None:
        """Hook: an instance was closed, and the store was not; `externs` are those of its exports that are in use."""


def _attached(context: WasiContext, instance: BaseInstance) -> Any:
    """Give the context its instance. Returns the instance's `_initialize`, if it is a reactor that has one."""
    context.attach(instance)
    exports = instance.module.exports_by_name()
    return instance.function("_initialize") if "_initialize" in exports and "_start" not in exports else None


def _check_limits(what: str, unit: str, minimum: int, maximum: int | None, most: int) -> None:
    for value in (minimum,) if maximum is None else (minimum, maximum):
        if not isinstance(value, int):
            raise TypeError(f"the size of a {what} is an int of {unit}, not {shown(value)}")
    if not 0 <= minimum <= most:
        raise ValueError(f"a {what} has 0 to {most} {unit}, not {shown_int(minimum)}")
    if maximum is not None and not minimum <= maximum <= most:
        raise ValueError(
            f"the maximum of a {what} of {minimum} {unit} is {minimum} to {most} {unit}, not {shown_int(maximum)}"
        )


class GuardedStore(BaseStore):
    """A store that keeps the rule of one call chain at a time in Python, for engines without a guard of their own.

    Every use of the engine goes between `_enter` and `_leave`; re-entry on the same thread is allowed.
    """

    def __init__(self, runtime: OwningRuntime, limits: Limits | None) -> None:
        # Re-entrant, and held while a thread is inside: taking it is one step, so that two threads cannot both get in.
        self._lock: Any = threading.RLock()
        self._depth = 0
        super().__init__(runtime, limits)

    def _enter(self, life: Life, what: str) -> None:
        """Begin a use of something with `life`. Raises `BusyError` or `ClosedError`; otherwise `_leave` must follow."""
        if not self._lock.acquire(False):
            raise self._refusal(life, what)
        if life.ended_by is not None:
            self._lock.release()
            raise life.error(what)
        self._depth += 1

    def _refusal(self, life: Life, what: str) -> Exception:
        if life.ended_by is not None:
            return life.error(what)
        return BusyError(
            f"the store of this {what} is running a call on another thread; give each thread a store of its own"
        )

    def _leave(self) -> None:
        """End a use. Frees the store if it was closed in the meantime and this was the outermost."""
        self._depth -= 1
        self._lock.release()
        # After the release: the thread that closes marks first and then tries the lock, so one of the two sees the
        # other.
        if self._life.ended_by is not None:
            self._release()

    def _idle(self) -> bool:
        if not self._lock.acquire(False):
            return False
        if self._depth:
            self._lock.release()
            return False
        return True  # the lock is kept: nobody enters a closed store again

    def _begin_asynchronous(self) -> None:
        self._lock = late(f"{__package__}.turns").LendableLock()
        super()._begin_asynchronous()

    def _lender(self) -> Lender:
        return _GuardedLender(self)


class _GuardedLender:
    """Implements turns.Lender."""

    def __init__(self, store: GuardedStore) -> None:
        self._reference = ref(store)

    @property
    def closed(self) -> bool:
        store = self._reference()
        return store is None or store.closed

    def until(self) -> int:
        store = self._reference()
        return 0 if store is None else store.until()

    def this_thread(self) -> int:
        return threading.get_ident()

    def lend(self, thread: int | None) -> None:
        store = self._reference()
        if store is not None:
            store._lock.lent = thread

    def stop_guest(self) -> bool | None:
        store = self._reference()
        if store is None or store.closed or "interruption" not in store.runtime.info.features:
            return None
        return store._interrupt()
