"""A running instance as users see it: its exports, and finding them by name and kind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from threading import RLock
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ...errors import BusyError, ClosedError, Exit, FunctionNotExportedError, MemoryExportNotFoundError
from ...types import ExternKind
from ...values import did_you_mean, shown
from .buffers import GuestBuffer, put
from .contracts import OwningStore
from .lifetime import Life, stays
from .map_bytes import MAX_BYTES, map_bytes
from .module import BaseModule

if TYPE_CHECKING:
    from ...protocols import Store, WasiContext
    from .linking import Linking

__all__ = ["BaseCaller", "BaseInstance", "Context", "Exports", "InstanceState"]


class InstanceState:
    """What the engine's side of an instance needs. It holds neither the store nor the exports, so as to make no cycles.

    `handle` is the adapter's, and is None until the start function has run.
    """

    __slots__ = ("__weakref__", "handle", "life", "module")

    def __init__(self, module: BaseModule, life: Life) -> None:
        self.module = module
        self.life = life
        self.handle: Any = None


def _special(name: str) -> bool:
    """Whether Python or its tools may look up behaviour under such a name, as `__reduce_ex__` or `_repr_html_`."""
    return len(name) > 1 and name[0] == name[-1] == "_"


class Exports:
    """The exports of an instance: `exports.name`, `exports["name"]`, iterable by name in the module's order.

    An export is made at its first use and then kept, so that it is the same object each time. Guests choose the names,
    and no name may change what this object does. So a name that begins and ends with an underscore is found only by
    `exports["__name__"]`: Python and its tools look for behaviour under such names (`__reduce_ex__`, `__array__`,
    `_repr_html_`). All other names are kept in this object's own `__dict__` as well, where they are found as quickly as
    any attribute. They hide no attribute of this class.
    """

    __slots__ = ("__dict__", "__found", "__state", "__store", "__weakref__")

    def __init__(self, store: OwningStore, state: InstanceState) -> None:
        _set_store(self, store)  # bypasses __setattr__, which is slow
        _set_state(self, state)
        _set_found(self, {})

    def __getattr__(self, name: str) -> Any:
        if _special(name):
            exported = name in self.__state.module.exports_by_name()
            hint = f"; the export of that name is exports[{name!r}]" if exported else ""
            raise FunctionNotExportedError(f"exports have no attribute {name!r}{hint}")
        return _found(self, name)

    def __getitem__(self, name: str) -> Any:
        try:
            found = self.__found.get(name)
        except (TypeError, ValueError):  # for what has no hash
            _Finder._check_name(name)
            raise
        return _found(self, name) if found is None else found

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"exports cannot be set ({name!r}); a global is set by its value")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"exports cannot be deleted ({name!r})")

    def __iter__(self) -> Iterator[str]:
        return iter(self.__state.module.exports_by_name())

    def __len__(self) -> int:
        return len(self.__state.module.exports_by_name())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.__state.module.exports_by_name()

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *(name for name in self if not _special(name))})

    def __reduce__(self) -> NoReturn:
        raise TypeError("exports cannot be copied or pickled: they belong to their instance")

    def __repr__(self) -> str:
        return f"<Exports {{{'; '.join(map(str, self.__state.module.exports))}}}>"


_set_store = vars(Exports)["_Exports__store"].__set__
_set_state = vars(Exports)["_Exports__state"].__set__
_set_found = vars(Exports)["_Exports__found"].__set__

# These two are functions outside of the class, so that no export can hide them.


def _found(exports: Exports, name: str) -> Any:
    """Make the export of that name, and keep it."""
    state: InstanceState = exports._Exports__state
    if state.life.ended_by is not None:
        raise state.life.error("instance")
    by_name = state.module.exports_by_name()
    export = by_name.get(name)
    if export is None:
        hint = did_you_mean(name, by_name) if isinstance(name, str) else ""
        listed = f"{len(by_name)} others" if len(by_name) > 8 else ", ".join(by_name) or "nothing"
        asked = repr(name) if isinstance(name, str) else shown(name)
        raise FunctionNotExportedError(f"the instance does not export {asked}, but {listed}{hint}")
    made = exports._Exports__store._export(state, export)
    # setdefault: two threads that look it up at once get the same object
    made = exports._Exports__found.setdefault(name, made)
    if not _special(name):
        exports.__dict__[name] = made
    return made


def _in_use(exports: Exports) -> list[Any]:
    """The exports that were found so far."""
    return list(exports._Exports__found.values())


class _Finder:
    """Finds exports by name and kind; the common base of instances and callers."""

    __slots__ = ()

    def _find(self, name: str, kind: ExternKind) -> Any:
        raise NotImplementedError

    @staticmethod
    def _check_name(name: object) -> None:
        if not isinstance(name, str):
            raise TypeError(f"an export is asked for by its name, a str, not {shown(name)}")

    def function(self, name: str) -> Any:
        """The exported function of that name, or None."""
        return self._find(name, ExternKind.FUNCTION)

    def global_(self, name: str) -> Any:
        """The exported global of that name, or None."""
        return self._find(name, ExternKind.GLOBAL)

    def table(self, name: str) -> Any:
        """The exported table of that name, or None."""
        return self._find(name, ExternKind.TABLE)

    def tag(self, name: str) -> Any:
        """The exported tag of that name, or None."""
        return self._find(name, ExternKind.TAG)

    def put(self, data: Any, *, allocator: Any = None, memory: str = "memory") -> GuestBuffer:
        """Put bytes, or text as UTF-8, into the guest's memory, at a place that its own allocator gives."""
        self._check_name(memory)
        return put(self.function, self._find(memory, ExternKind.MEMORY), data, allocator)


def _renew_lock() -> None:
    global _making
    _making = RLock()  # a lock that was held at the fork would never be released in the child


_making = RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class BaseInstance(_Finder):
    """A module's running form. Closing it closes its store too, if that was made for it alone."""

    __slots__ = ("__weakref__", "_exports", "_owned", "_owns_store", "_state", "_store", "_wasi")

    def __init__(
        self,
        store: OwningStore,
        state: InstanceState,
        owns_store: bool,
        wasi: WasiContext | None = None,
        owned: tuple[Linking, Sequence[Any]] | None = None,
    ) -> None:
        """`owned` are the linking, and the objects that its host modules made for this instance."""
        self._store = store
        self._state = state
        self._owns_store = owns_store
        self._wasi = wasi
        self._owned = owned
        self._exports: Exports | None = None  # made when it is asked for

    def __reduce__(self) -> NoReturn:
        stays("instance")

    @property
    def module(self) -> BaseModule:
        """The module that was instantiated."""
        return self._state.module

    @property
    def store(self) -> Store:
        """The store that the instance lives in."""
        return cast("Store", self._store)

    @property
    def exports(self) -> Exports:
        """Everything that is exported, by name."""
        if self._state.life.ended_by is not None:
            raise self._state.life.error("instance")
        exports = self._exports
        if exports is None:
            with _making:  # only one, also where threads race
                if self._exports is None:
                    self._exports = Exports(self._store, self._state)
                exports = self._exports
        return exports

    def memory(self, name: str = "memory") -> Any:
        """The exported memory of that name, or None."""
        return self._find(name, ExternKind.MEMORY)

    def _find(self, name: str, kind: ExternKind) -> Any:
        state = self._state
        if state.life.ended_by is not None:
            raise state.life.error("instance")
        self._check_name(name)
        export = state.module.exports_by_name().get(name)
        return self.exports[name] if export is not None and export.kind is kind else None

    def map_bytes(
        self,
        function: Any,
        *columns: Any,
        returns: str | None = None,
        form: str | None = None,
        allocator: Any = None,
        memory: str = "memory",
        frees: bool = True,
        gives: bool = False,
        on_error: str = "raise",
        max_bytes: int = MAX_BYTES,
        nulls: Any = None,
    ) -> Any:
        """Call a function for each row of columns of bytes and text."""
        return map_bytes(
            self.function,
            lambda: list(self.exports),
            self.memory(memory),
            function,
            columns,
            returns=returns,
            form=form,
            allocator=allocator,
            frees=frees,
            gives=gives,
            on_error=on_error,
            max_bytes=max_bytes,
            nulls=nulls,
        )

    def state(self, module: str = "env") -> Any:
        """The object that belongs to this instance, made by the host module of that name, or None."""
        name = getattr(module, "name", module)
        if not isinstance(name, str):
            raise TypeError(f"the state of an instance is asked for by the host module's name, not {shown(module)}")
        return None if self._owned is None else self._owned[0].state(self._owned[1], name)

    def run(self) -> int:
        """Run a command by its export `_start`, and return its exit code."""
        try:
            self._command()()
        except Exit as end:
            return end.code
        finally:
            self._end_threads()
        return 0

    def _end_threads(self) -> None:
        end_threads = getattr(self._wasi, "end_threads", None)
        if end_threads is not None:
            end_threads()

    async def run_async(self) -> int:
        """As `run`, by `call_async`."""
        try:
            await self._command().call_async()
        except Exit as end:
            return end.code
        except GeneratorExit:  # whoever closes the coroutine awaits nothing more
            self._end_threads()
            raise
        finally:
            end_threads = getattr(self._wasi, "end_threads_async", None)
            if end_threads is not None:
                await end_threads()
        return 0

    def _command(self) -> Any:
        start = self.function("_start")
        if start is None:
            raise FunctionNotExportedError(
                "the module is no command: it exports no function '_start'; call what it does export by its name"
            )
        return start

    def interrupt(self) -> bool:
        """Stop the call that runs in the instance's store; from any thread. Returns whether one was running."""
        return self._store.interrupt()

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Set the deadline of every call in a `with` block to `seconds` from now."""
        return self._store.deadline(seconds)

    @property
    def fuel(self) -> int | None:
        """The fuel that the guests of the instance's store may still use, or None where it is not counted."""
        return self._store.fuel

    @fuel.setter
    def fuel(self, fuel: int) -> None:
        self._store.fuel = fuel

    @property
    def closed(self) -> bool:
        """Whether the instance, or its store or runtime, was closed."""
        return self._state.life.ended_by is not None

    def close(self) -> None:
        """Close the instance and what it exports, and its store with it unless that was given to `instantiate`.
        Idempotent.
        """
        if self._owns_store:
            self._store.close()
        elif self._state.life.ended_by is None:
            self._state.life.ended_by = "instance"
            self._store._instance_closed(self._state, [] if self._exports is None else _in_use(self._exports))
            if self._wasi is not None:
                self._store._close_wasi(self._wasi)

    def __enter__(self) -> BaseInstance:
        if self._state.life.ended_by is not None:
            raise self._state.life.error("instance")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        module = self._state.module
        state = " closed" if self.closed else ""
        return f"<Instance exports={len(module.exports)} ({module.runtime.info.name}){state}>"


class BaseCaller(_Finder):
    """The instance that calls a host function; usable while the host function runs. An adapter adds `_find` and
    `exports`.
    """

    __slots__ = ()

    @property
    def exports(self) -> Exports:
        raise NotImplementedError

    def memory(self, name: str = "memory") -> Any:
        """The exported memory of that name. Raises `MemoryExportNotFoundError`."""
        memory = self._find(name, ExternKind.MEMORY)
        if memory is None:
            raise MemoryExportNotFoundError(
                f"the calling instance exports no memory {name!r}; the guest must export it"
            )
        return memory

    def __repr__(self) -> str:
        try:
            return f"<Caller exports={len(self.exports)}>"
        except ClosedError:
            return "<Caller (closed)>"
        except BusyError:
            return "<Caller (busy)>"


class Context:
    """What an instance depends on: its store and, through it, the host's side. Closing it closes both."""

    def __init__(self, instance: BaseInstance) -> None:
        self._instance = instance

    @property
    def store(self) -> Store:
        """The store that the instance lives in."""
        return self._instance.store

    @property
    def closed(self) -> bool:
        """Whether the store was closed."""
        return self._instance.store.closed

    def close(self) -> None:
        """Close the store and with it the instance. Idempotent."""
        self._instance.store.close()

    def __enter__(self) -> Context:
        self._instance._store._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Context of {self._instance!r}>"
