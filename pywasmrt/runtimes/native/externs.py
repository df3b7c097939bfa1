"""Memories, tables, globals and callers over a store's C half."""

from __future__ import annotations

from typing import Any, cast

from ..._shim import _fastcall
from ..._shim.bridge import VALUE_TYPES
from ...types import (
    ExportType,
    ExternKind,
    GlobalType,
    TableType,
)
from ...values import checked_delta, checked_index, index_of, to_wasm
from ..base.lifetime import stays
from ..base.memory import MemoryHelpers
from ..base.runtime import BaseCaller, BaseStore, Exports, InstanceState, Life
from .engine import Engine
from .tags import NativeTag

__all__ = ["EXTERNS", "NativeCaller", "NativeMemory", "extern_handle", "is_shared", "wrap"]

_KINDS = tuple(ExternKind)


def is_shared(extern: object, engine: Engine) -> bool:
    """Whether it is a shared memory: only these may pass between stores of one engine."""
    return isinstance(extern, _fastcall.Memory) and extern._store.engine is engine.owner and extern.type.shared


def extern_handle(extern: Any) -> bytes:
    """The handle of an extern that serves an import. Raises `ClosedError` if it is closed."""
    if isinstance(extern, (NativeGlobal, NativeTable)):
        extern._check()
    elif isinstance(extern, _fastcall.Memory):
        return _HeldHandle(extern)
    return extern._handle  # type: ignore[no-any-return]


class _HeldHandle(bytes):
    """The handle of a memory, perhaps of another store. That store is not freed as long as this object exists."""

    view: memoryview

    def __new__(cls, memory: Any) -> _HeldHandle:
        view = memoryview(memory)  # raises if it is closed or busy
        self = super().__new__(cls, memory._handle)
        self.view = view
        return self


class _Extern:
    """A global or table: a handle that the store's C half uses, valid as long as its instance."""

    __slots__ = ("__weakref__", "_handle", "_life", "_store", "type")

    def __init__(self, store: Any, life: Life, handle: bytes, type: Any) -> None:
        self._store = store
        self._life = life
        self._handle = handle
        self.type = type

    def __reduce__(self) -> Any:
        stays(self._what)

    def _check(self) -> None:
        if self._life.ended_by is not None:
            raise self._life.error(self._what)

    _what = "extern"


class NativeGlobal(_Extern):
    """A global variable."""

    __slots__ = ()
    _what = "global"
    type: GlobalType

    @property
    def value(self) -> Any:
        """The current value."""
        self._check()
        return self._store.global_get(self._handle)

    @value.setter
    def value(self, value: Any) -> None:
        self._check()
        if not self.type.mutable:
            raise TypeError(f"the global is immutable: its type is {self.type}")
        converted = to_wasm(value, self.type.content, "the global's value")
        self._check()  # converting may have run code that closed it
        self._store.global_set(self._handle, converted)

    def __repr__(self) -> str:
        return f"<Global {self.type}{' (closed)' if self._store.closed or self._life.ended_by else ''}>"


class NativeMemory(_fastcall.Memory, MemoryHelpers):
    """A linear memory."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        stays("memory")


class NativeTable(_Extern):
    """A table of references."""

    __slots__ = ()
    _what = "table"
    type: TableType

    def __len__(self) -> int:
        self._check()
        size: int = self._store.table_size(self._handle)
        return size

    def __getitem__(self, index: int) -> Any:
        return self._store.table_get(self._handle, self._index(index))

    def __setitem__(self, index: int, value: Any) -> None:
        at = self._index(index)
        self._store.table_set(self._handle, at, to_wasm(value, self.type.element, "the table's element"))

    def grow(self, delta: int, value: Any = None) -> int:
        """Add `delta` elements holding `value` and return the length before."""
        by = checked_delta(delta, "elements")
        self._check()
        before = self._store.table_grow(self._handle, by, to_wasm(value, self.type.element, "the table's element"))
        if before is None:
            raise IndexError(f"cannot grow the table of {len(self)} elements by {by}: a limit forbids it")
        grown: int = before
        return grown

    def _index(self, index: object) -> int:
        return checked_index(index_of(index), len(self))

    def __repr__(self) -> str:
        return f"<Table {self.type}{' (closed)' if self._store.closed or self._life.ended_by else ''}>"


class NativeCaller(_fastcall.Caller, BaseCaller):
    """The instance that calls a host function. Its exports are looked up in the engine, by name."""

    __slots__ = ()

    @property
    def exports(self) -> Exports:
        """Everything that is exported, by name."""
        self._check()
        return Exports(cast("BaseStore", self), self._context)  # uses only `_export` of this

    def _export(self, instance: InstanceState, export: ExportType) -> Any:
        return self._find(export.name, export.kind)

    def _find(self, name: str, kind: ExternKind) -> Any:
        self._check_name(name)
        handle = self._lookup(name)
        if handle is None:
            return None
        code, content, mutable, minimum, maximum, signature = self._store.describe(handle)
        if _KINDS[code] is not kind:
            return None
        type: Any = None
        if kind is ExternKind.TABLE:
            type = TableType(VALUE_TYPES[content], minimum, maximum)
        elif kind is ExternKind.GLOBAL:
            type = GlobalType(VALUE_TYPES[content], mutable)
        elif kind is ExternKind.TAG:
            type = signature
        return wrap(self._store, self._context, handle, name, kind, type)


def wrap(store: Any, instance: InstanceState, handle: bytes, name: str, kind: ExternKind, type: Any) -> Any:
    """The Python object for an export in a store's C half. `type` is not needed of functions and memories, which tell
    their own.
    """
    if kind is ExternKind.FUNCTION:
        return store.function(handle, name)
    if kind is ExternKind.MEMORY:
        return NativeMemory(store, handle)
    if kind is ExternKind.TABLE:
        return NativeTable(store, instance.life, handle, type)
    if kind is ExternKind.GLOBAL:
        return NativeGlobal(store, instance.life, handle, type)
    return NativeTag(store, handle, type, "exception-values" in instance.module.runtime.info.features)


EXTERNS = (_fastcall.Function, _fastcall.Memory, NativeGlobal, NativeTable, NativeTag)
