"""A runtime without an engine: guests are real modules, and the test supplies their functions in Python.

For unit tests of code that is written against the protocols: linking, value rules, memories, globals, tables,
lifetimes and errors are those of every runtime; only guest code does not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from .._shim.batch_rows import map_calls
from .._shim.bridge import raise_asynchronous
from .._shim.waiting import on_thread
from ..errors import ClosedError, MemoryAccessError, ModuleInstantiateError, Trap, UnsupportedFeatureError
from ..host import host_function_from_callable
from ..protocols import Caller
from ..runtimes.base.lifetime import Life
from ..runtimes.base.linking import HostImport
from ..runtimes.base.runtime import BaseCaller, BaseModule, BaseRuntime, Exports, GuardedStore, InstanceState
from ..types import (
    PAGE_SIZE,
    ExportType,
    ExternKind,
    FunctionType,
    GlobalType,
    Limits,
    MemoryType,
    RuntimeInfo,
    TableType,
    TrapCode,
    ValueType,
    expect,
)
from ..values import arity_error, from_slots, results_from_host, shown, to_slots, to_wasm
from ..wasm.module import Module
from .fake_externs import FakeExtern, FakeGlobal, FakeMemory, FakeTable

__all__ = ["GUEST_SCRIPTS", "FakeCaller", "FakeFunction", "FakeRuntime"]

_FEATURES = frozenset({"multi-value", "mutable-globals", "reference-types", "f32-nan-bits"})


class FakeRuntime(BaseRuntime):
    """Implements protocols.Runtime without an engine.

    `functions` says, by the name of the export, what the guests' functions do: a Python function that takes the
    arguments and returns the results, which are checked against the module's types. If its first parameter is annotated
    `Caller` it gets a `FakeCaller`, with which it can call the module's imports and use its memory; it may raise `Trap`
    or anything else. Calling an export that is not named raises `UnsupportedFeatureError`. `globals` are the initial
    values of exported globals, by name; others begin with zero or null, and memories with zeros.

    Modules are binary, or `Module` of this kit. They are not validated beyond their imports and exports, and start
    functions do not run. `compiled` lists what was compiled, for tests to look at.

        runtime = FakeRuntime({"double": lambda x: 2 * x})
        instance = runtime.instantiate(runtime.compile(pathlib.Path("guest.wasm")))
        instance.exports.double(21)
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        *,
        globals: Mapping[str, Any] | None = None,
        features: Iterable[str] = _FEATURES,
        name: str = "fake",
    ) -> None:
        maybe = (Mapping, type(None))
        expect("FakeRuntime", "a mapping of names", maybe, functions=functions, globals=globals)
        for function in (functions or {}).values():
            if not callable(function):
                expect("FakeRuntime", "a mapping of names to functions", (), functions=function)
        expect("FakeRuntime", "a str", str, name=name)
        expect("FakeRuntime", "a set of names", (frozenset, set, tuple, list), features=features)
        for feature in features:
            expect("FakeRuntime", "a set of names", str, features=feature)
        self.scripts = dict(functions or {})
        self.globals = dict(globals or {})
        self.compiled: list[bytes] = []
        super().__init__(RuntimeInfo(name, True, None, frozenset(features)))

    def _binary(self, source: Any) -> bytes:
        return super()._binary(source.encode() if isinstance(source, Module) else source)

    def _validate(self, data: bytes) -> None:
        BaseModule(self, None, data).interface()

    def _compile(self, data: bytes) -> None:
        self._validate(data)
        self.compiled.append(data)

    def _new_store(self, limits: Limits | None) -> FakeStore:
        return FakeStore(self, limits)


class _Linked:
    """The handle of an instance: what serves its imports, and those of its exports that were asked for."""

    def __init__(self, imports: list[Any]) -> None:
        self.imports = imports
        self.exports: dict[str, Any] = {}


class FakeStore(GuardedStore):
    """Implements protocols.Store."""

    runtime: FakeRuntime

    def _memory_new(self, type: MemoryType) -> FakeMemory:
        return FakeMemory(self, self._life, type)

    def _table_new(self, type: TableType, init: Any) -> FakeTable:
        return FakeTable(self, self._life, type, init)

    def _global_new(self, type: GlobalType, value: Any) -> FakeGlobal:
        return FakeGlobal(self, self._life, type, value)

    def _owns(self, extern: object) -> bool:
        return isinstance(extern, FakeExtern) and extern.store is self

    def _extern_handle(self, extern: FakeExtern) -> FakeExtern:
        extern.check_open()
        return extern

    def _host_function(self, function: HostImport, instance: InstanceState) -> FakeFunction:
        name = f"{function.module}.{function.name}"
        return FakeFunction(self, instance.life, function.type, name, function.callable, function.pass_caller, instance)

    def _link(self, module: BaseModule, handles: list[Any], instance: InstanceState) -> _Linked:
        most = None if self.limits is None else self.limits.instances
        if most is not None and max(1, len(self._instance_lives)) > most:
            raise ModuleInstantiateError(f"cannot instantiate the module: the store is limited to {most} instances")
        return _Linked(handles)

    def _export(self, instance: InstanceState, export: ExportType) -> Any:
        found = instance.handle.exports.get(export.name)
        if found is None:
            found = instance.handle.exports[export.name] = self._made(instance, export)
        return found

    def _made(self, instance: InstanceState, export: ExportType) -> Any:
        type = export.type
        if isinstance(type, FunctionType):
            return self._function(instance, export.name, type)
        imported = [
            each for each in instance.handle.imports if isinstance(each, FakeExtern) and each.kind == str(export.kind)
        ]
        same = [each for each in imported if each.type == type]
        if same:  # without reading its code, a module that imports one is assumed to export it again
            return same[0]
        if isinstance(type, MemoryType):
            return FakeMemory(self, instance.life, type)
        if isinstance(type, TableType):
            return FakeTable(self, instance.life, type, None)
        assert isinstance(type, GlobalType)
        initial = self.runtime.globals.get(export.name)
        if initial is None and type.content not in (ValueType.FUNCREF, ValueType.EXTERNREF):
            initial = bytes(16) if type.content is ValueType.V128 else 0
        return FakeGlobal(self, instance.life, type, to_wasm(initial, type.content, f"the global {export.name!r}"))

    def _function(self, instance: InstanceState, name: str, type: FunctionType) -> FakeFunction:
        script = self.runtime.scripts.get(name)
        if script is None:

            def missing(*args: Any) -> Any:
                known = ", ".join(self.runtime.scripts) or "none"
                raise UnsupportedFeatureError(
                    f"nothing says what {name} does: pass FakeRuntime({{{name!r}: ...}}), which has {known}"
                )

            return FakeFunction(self, instance.life, type, name, missing, False, instance)
        described = host_function_from_callable(name, script)
        return FakeFunction(self, instance.life, type, name, script, described.pass_caller, instance)


class FakeFunction(FakeExtern):
    """Implements protocols.FunctionInstance. `calls` lists the arguments of every call, as the function saw them."""

    kind = "function"

    def __init__(
        self,
        store: FakeStore,
        life: Life,
        type: FunctionType,
        name: str,
        script: Callable[..., Any],
        pass_caller: bool,
        instance: InstanceState,
    ) -> None:
        super().__init__(store, life, type)
        self._name = name
        self._script = script
        self._pass_caller = pass_caller
        self._instance = instance
        self.calls: list[tuple[Any, ...]] = []

    @property
    def type(self) -> FunctionType:
        """The function's signature."""
        return cast("FunctionType", self._type)

    def __call__(self, *args: Any) -> Any:
        """Call with Python values; one value, a tuple of them, or None comes back."""
        if self.store.turns is not None and not self.store._depth:
            raise_asynchronous(self._name)
        return self._enter(*args)

    def _enter(self, *args: Any) -> Any:
        type = self.type
        if len(args) != len(type.params):
            raise arity_error(self._name, type, len(args))
        values = []
        for n, (value, wanted) in enumerate(zip(args, type.params, strict=True), 1):
            where = f"argument {n} of {self._name}()"
            values.append(self._own(to_wasm(value, wanted, where), wanted, where))
        self.store._enter(self.life, "function")
        try:
            results = self._run(tuple(values))
            self.check_open()  # a function that it called may have closed it
        finally:
            self.store._leave()
        return None if not results else results[0] if len(results) == 1 else results

    def map(self, *columns: Any, out: Any = None, on_error: str = "raise") -> Any:
        """Call once for each row of columns."""
        return map_calls(self, self._name, self.__call__, columns, out, on_error)

    def raised_by_host(self, error: BaseException) -> bool:
        """Never: what stands for a guest's function calls no host function through an engine."""
        return False

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make the calls within the block one use of the store."""
        if self.store.turns is not None and not self.store._depth:
            raise_asynchronous(self._name)
        self.store._enter(self.life, "function")
        try:
            yield
        finally:
            self.store._leave()

    async def call_async(self, *args: Any) -> Any:
        """Call on a worker thread."""
        if self.store.turns is not None:
            return await self.store.turns.call(partial(self._enter, *args))
        return await on_thread(self, args)

    def _own(self, value: Any, type: ValueType, where: str) -> Any:
        if type is ValueType.FUNCREF and value is not None and not self.store._owns(value):
            raise TypeError(f"{where}: {shown(value)} belongs to another store")
        return value

    def _run(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        self.calls.append(values)
        if not self._pass_caller:
            return results_from_host(self._name, self.type.results, self._script(*values))
        caller = FakeCaller(self.store, self._instance)
        try:
            return results_from_host(self._name, self.type.results, self._script(caller, *values))
        finally:
            caller.end()

    def call(self, *slots: int) -> list[int]:
        """Call with raw slots; a list of slots comes back."""
        returned = self(*from_slots(self._name, self.type, slots))
        several = (returned,) if len(self.type.results) == 1 else returned or ()
        return to_slots(self.type.results, several)


class FakeCaller(BaseCaller):
    """Implements protocols.Caller, and gives the scripts of a guest's functions what the guest imports."""

    def __init__(self, store: Any, instance: InstanceState) -> None:
        self._store = store
        self._instance: InstanceState | None = instance

    def end(self) -> None:
        """The called function has returned."""
        self._instance = None

    def _check(self) -> InstanceState:
        if self._instance is None:
            raise ClosedError("this caller is gone: it lasts as long as the function that received it runs")
        if self._instance.life.ended_by is not None:
            raise self._instance.life.error("caller")
        return self._instance

    @property
    def exports(self) -> Exports:
        """Everything that the instance exports, by name."""
        return Exports(self._store, self._check())

    def _find(self, name: str, kind: ExternKind) -> Any:
        self._check_name(name)
        export = self._check().module.exports_by_name().get(name)
        return self.exports[name] if export is not None and export.kind is kind else None

    def imported(self, module: str, name: str) -> Any:
        """What serves this import of the guest: a function to call, a memory, a global or a table. Raises
        `LookupError` where the module has no such import.
        """
        state = self._check()
        for wanted, served in zip(state.module.imports, state.handle.imports, strict=True):
            if (wanted.module, wanted.name) == (module, name):
                return served
        raise LookupError(f"the module does not import {module}.{name}")


def _import(caller: FakeCaller, *args: Any) -> Any:
    return caller.imported("env", "f")(*args)


def _direct(caller: Caller, *args: Any) -> Any:
    return _import(cast("FakeCaller", caller), *args)


def _nested(caller: Caller, depth: Any, *args: Any) -> Any:
    if depth == 0:
        return _direct(caller, *args)
    nested = caller.function("nested")
    assert nested is not None
    return nested(depth - 1, *args)


def _load(caller: Caller, address: Any) -> int:
    try:
        return caller.memory().read(address & 0xFFFF_FFFF, 1)[0]
    except MemoryAccessError as error:
        raise Trap(str(error), TrapCode.MEMORY_OUT_OF_BOUNDS) from None


def _store(caller: Caller, address: Any, value: Any) -> None:
    try:
        caller.memory().write(address & 0xFFFF_FFFF, bytes([value & 0xFF]))
    except MemoryAccessError as error:
        raise Trap(str(error), TrapCode.MEMORY_OUT_OF_BOUNDS) from None


def _grow(caller: Caller, pages: Any) -> int:
    try:
        return caller.memory().grow(pages)
    except MemoryAccessError:
        return -1


def _size(caller: Caller) -> int:
    return caller.memory().size // PAGE_SIZE


GUEST_SCRIPTS: dict[str, Callable[..., Any]] = {
    # arithmetic
    "add": lambda x, y: (x + y + (1 << 31)) % (1 << 32) - (1 << 31),
    "sub": lambda x, y: (x - y + (1 << 31)) % (1 << 32) - (1 << 31),
    "nothing": lambda: None,
    # passthrough
    **dict.fromkeys(("direct", "indirect", "start_again", "host"), _direct),
    "nested": _nested,
    # memories
    "load0": _load,
    "store0": _store,
    "grow0": _grow,
    "size0": _size,
}
"""What some of this kit's own guests do (`guests.arithmetic`, `passthrough`, `memories`), as an example of scripts.

With them a `FakeRuntime` passes these parts of conformance: memory, host functions, lifetimes.
"""
