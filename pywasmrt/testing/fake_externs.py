"""Memories, globals and tables without an engine."""

from __future__ import annotations

from typing import Any

from ..errors import MemoryAccessError, ModuleInstantiateError
from ..runtimes.base.lifetime import Life
from ..runtimes.base.memory import MemoryHelpers
from ..runtimes.base.store import GuardedStore
from ..types import PAGE_SIZE, GlobalType, MemoryType, TableType, ValueType
from ..values import bytes_of, checked_delta, checked_index, checked_size, index_of, memory_access_error, to_wasm

__all__ = ["FakeExtern", "FakeGlobal", "FakeMemory", "FakeTable"]


class FakeExtern:
    """Something in a store; usable as long as its instance."""

    kind = "extern"

    def __init__(self, store: GuardedStore, life: Life, type: Any) -> None:
        self.store = store
        self.life = life
        self._type = type

    @property
    def type(self) -> Any:
        """Its type."""
        return self._type

    def check_open(self) -> None:
        """Raise `ClosedError` where it was closed."""
        if self.life.ended_by is not None:
            raise self.life.error(self.kind)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._type}{' closed' if self.life.ended_by else ''}>"


class FakeMemory(FakeExtern, MemoryHelpers):
    """Implements protocols.Memory with a bytearray. Views of it are not offered."""

    kind = "memory"

    def __init__(self, store: GuardedStore, life: Life, type: MemoryType) -> None:
        super().__init__(store, life, type)
        most = 1 << 16 if type.maximum is None else type.maximum
        if store.limits is not None and store.limits.memory_bytes is not None:
            most = min(most, store.limits.memory_bytes // PAGE_SIZE)
        if type.minimum > most:
            raise ModuleInstantiateError(f"cannot make a {type}: memories are limited to {most} pages here")
        self._most = most
        self._data = bytearray(type.minimum * PAGE_SIZE)

    @property
    def size(self) -> int:
        """The current size in bytes."""
        self.check_open()
        return len(self._data)

    def __len__(self) -> int:
        return self.size

    def read(self, offset: int, size: int) -> bytes:
        """Copy bytes out. Raises `MemoryAccessError` if any lies beyond the memory."""
        return bytes(self._data[self._checked("read", offset, size)])

    def write(self, offset: int, data: Any) -> None:
        """Copy bytes in. Raises `MemoryAccessError`, writing nothing, if they do not fit."""
        data = bytes_of(data)
        self._data[self._checked("write", offset, len(data))] = data

    def _checked(self, verb: str, offset: int, size: int) -> slice:
        offset, size = checked_size(offset, "offset"), checked_size(size, "size")
        self.check_open()
        if offset + size > len(self._data):
            raise memory_access_error(verb, offset, size, len(self._data))
        return slice(offset, offset + size)

    def grow(self, pages: int) -> int:
        """Grow and return the pages before. Raises `MemoryAccessError` where a limit forbids it."""
        delta = checked_delta(pages, "pages")
        before = self.size // PAGE_SIZE
        if before + delta > self._most:
            raise MemoryAccessError(f"cannot grow the memory of {before} pages by {delta}: a limit forbids it")
        self._data.extend(bytes(delta * PAGE_SIZE))
        return before


class FakeGlobal(FakeExtern):
    """Implements protocols.Global."""

    kind = "global"

    def __init__(self, store: GuardedStore, life: Life, type: GlobalType, value: Any) -> None:
        super().__init__(store, life, type)
        self._value = value

    @property
    def value(self) -> Any:
        """The current value. Setting an immutable global raises `TypeError`."""
        self.check_open()
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self.check_open()
        if not self._type.mutable:
            raise TypeError(f"the global is immutable: its type is {self._type}")
        converted = self.store._value(value, self._type.content, "the global's value")
        self.check_open()  # converting may have run code that closed it
        self._value = converted


class FakeTable(FakeExtern):
    """Implements protocols.Table."""

    kind = "table"

    def __init__(self, store: GuardedStore, life: Life, type: TableType, init: Any) -> None:
        super().__init__(store, life, type)
        limit = None if store.limits is None else store.limits.table_elements
        if limit is not None and type.minimum > limit:
            raise ModuleInstantiateError(f"cannot make a {type}: tables are limited to {limit} elements here")
        self._most = min(each for each in (type.maximum, limit, 10_000_000) if each is not None)
        self._elements = [init] * type.minimum

    def _index(self, index: object) -> int:
        at = index_of(index)
        self.check_open()
        return checked_index(at, len(self._elements))

    def _checked(self, value: Any) -> Any:
        element: ValueType = self._type.element
        return self.store._value(to_wasm(value, element, "the table's element"), element, "the table's element")

    def __len__(self) -> int:
        self.check_open()
        return len(self._elements)

    def __getitem__(self, index: int) -> Any:
        return self._elements[self._index(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self._elements[self._index(index)] = self._checked(value)

    def grow(self, delta: int, value: Any = None) -> int:
        """Add elements and return the length before. Raises `IndexError` where a limit forbids it."""
        delta = checked_delta(delta, "elements")
        before = len(self)
        if before + delta > self._most:
            raise IndexError(f"cannot grow the table of {before} elements by {delta}: a limit forbids it")
        self._elements += [self._checked(value)] * delta
        return before
