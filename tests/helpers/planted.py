"""Copies of the fallback adapter with one bug each, which the testing kit must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pywasmrt import ExternKind, GlobalType, RuntimeConfig, ValueType
from pywasmrt.runtimes.base.linking import HostImport
from pywasmrt.runtimes.wasmtime_py import adapter
from pywasmrt.runtimes.wasmtime_py import runtime as wasmtime_py
from pywasmrt.runtimes.wasmtime_py.externs import Function, Memory


def runtime_with(store_class: type[wasmtime_py.WasmtimeStore]) -> Callable[[RuntimeConfig], Any]:
    """A factory of runtimes whose stores are of that class."""

    def create(config: RuntimeConfig) -> Any:
        runtime = adapter.create(config)
        runtime._new_store = lambda limits: store_class(runtime, limits)  # type: ignore[method-assign]
        return runtime

    return create


def wrapping(function: type[Function] = Function, memory: type[Memory] = Memory) -> type[wasmtime_py.WasmtimeStore]:
    """A store whose functions and memories are of these classes."""

    class Store(wasmtime_py.WasmtimeStore):
        def wrap(self, life: Any, handle: Any, kind: ExternKind, type: Any, name: str) -> Any:
            if kind is ExternKind.FUNCTION:
                return function(self, life, handle, type, name)
            if kind is ExternKind.MEMORY and not type.shared:
                return memory(self, life, handle, type)
            return super().wrap(life, handle, kind, type, name)

    return Store


class CutFunction(Function):
    """Takes the upper half of an i64 away."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        result = super().__call__(*args)
        if self.type.results == (ValueType.I64,):
            return (result + (1 << 31)) % (1 << 32) - (1 << 31)
        return result


class SwappedFunction(Function):
    """Gives several results in the wrong order."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        result = super().__call__(*args)
        return result[::-1] if isinstance(result, tuple) else result


class UnsignedFunction(Function):
    """Gives an i32 without its sign."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        result = super().__call__(*args)
        return result % (1 << 32) if self.type.results == (ValueType.I32,) else result


class TruthFunction(Function):
    """Gives zero and one as bools."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        result = super().__call__(*args)
        return bool(result) if type(result) is int and result in (0, 1) else result


class ListFunction(Function):
    """Gives several results as a list."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        result = super().__call__(*args)
        return list(result) if isinstance(result, tuple) else result


class StaleStore(wasmtime_py.WasmtimeStore):
    """Does not see what guests write to the host's globals."""

    def _global_new(self, type: GlobalType, value: Any) -> Any:
        made = super()._global_new(type, value)

        class StaleGlobal(made.__class__):  # type: ignore[misc,name-defined]
            __slots__ = ()

            @property
            def value(self) -> Any:
                return value

        return StaleGlobal(self, made.life, made.handle, type)


class SwallowingStore(wasmtime_py.WasmtimeStore):
    """Goes on with zeros where a host function raised."""

    def _host_function(self, function: HostImport, instance: Any) -> Any:
        zeros = tuple(0 for _ in function.type.results)

        def swallowing(*args: Any) -> Any:
            try:
                return function.callable(*args)
            except Exception:
                return None if not zeros else zeros[0] if len(zeros) == 1 else zeros

        return super()._host_function(function._replace(callable=swallowing), instance)


class LaxMemory(Memory):
    """Lets a byte beyond its end be read."""

    __slots__ = ()

    def read(self, offset: int, size: int) -> bytes:
        if size > 0 and offset + size == self.size + 1:
            return super().read(offset, size - 1) + b"\0"
        return super().read(offset, size)


BUGS: dict[str, Callable[[RuntimeConfig], Any]] = {
    "an i64 cut to 32 bits": runtime_with(wrapping(function=CutFunction)),
    "a swapped order of results": runtime_with(wrapping(function=SwappedFunction)),
    "a swallowed exception": runtime_with(SwallowingStore),
    "an i32 without its sign": runtime_with(wrapping(function=UnsignedFunction)),
    "bools for zero and one": runtime_with(wrapping(function=TruthFunction)),
    "several results in a list": runtime_with(wrapping(function=ListFunction)),
    "a stale global": runtime_with(StaleStore),
    "an off-by-one in the bounds of memory": runtime_with(wrapping(memory=LaxMemory)),
}

__all__ = ["BUGS", "runtime_with"]
