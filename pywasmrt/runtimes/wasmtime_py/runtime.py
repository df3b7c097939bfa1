"""Wasmtime through its own Python package, using only its public API: the fallback where there is no native part.

The package aborts the process when asked for a type with a v128 in it, or with a reference other than funcref and
externref. So types come from our own reading of the modules. The package is asked only where every function type in the
store is known to be without these (`WasmtimeStore.type_of`).
"""

from __future__ import annotations

import atexit
import platform
import sys
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any
from weakref import ref

import wasmtime

from ...errors import ModuleCompileError, ModuleInstantiateError, Trap, UnsupportedFeatureError, WasmError
from ...types import (
    ExportType,
    ExternKind,
    FunctionType,
    GlobalType,
    Limits,
    MemoryType,
    RuntimeConfig,
    RuntimeInfo,
    TableType,
    ValueType,
)
from ...values import nanoseconds, shown
from ..base.features import (
    WASMTIME_PROPOSALS,
    WASMTIME_SWITCHES,
)
from ..base.forking import forks, inside
from ..base.linking import HostImport
from ..base.needs import Judge
from ..base.observing import Observer
from ..base.options import checked_options
from ..base.runtime import BaseModule, BaseRuntime, InstanceState, Life
from ..base.store import engine_bounds
from ..wasmtime_text import compile_error_text, trap_text
from .component import PackageComponents
from .contracts import OwningStore
from .deadline import Clock, Ticker
from .ending import keep_importable, unseen
from .externs import (
    ODD,
    Box,
    Extern,
    Function,
    Global,
    Memory,
    Objects,
    SharedMemory,
    Table,
    Tag,
    WaitingFunction,
    kind_of,
    unsupported,
)
from .facts import CAUTION, DEFAULT_STACK, NAME, OPTIONS, features, wasmtime_version
from .host import CallerState, Unwind, callback, displaced, ending, exchange, link_error, trap_error
from .signals import begin, end
from .stack import COMPILER_STACK, check_for_call, check_for_compiler

__all__ = ["WasmtimeRuntime", "WasmtimeStore"]

_V128, _FUNCREF, _EXTERNREF = ValueType.V128, ValueType.FUNCREF, ValueType.EXTERNREF


class WasmtimeRuntime(PackageComponents, BaseRuntime):
    def __init__(self, proposals: frozenset[str], config: RuntimeConfig) -> None:
        self._proposals = proposals
        options = checked_options(NAME, OPTIONS, config.options)
        threads = options.pop("async_threads", self._most_threads)
        self._options = {**options, "epoch_interruption": config.interruptible}
        self.stack: int = options.get("max_wasm_stack", DEFAULT_STACK)
        self._engine = self._compiler = _make_engine(proposals, self._options)
        self._compiler_forks = forks()
        named = self._options
        self._settings = ",".join([*sorted(proposals), *(f"{name}={named[name]}" for name in sorted(named))])
        self.ticker = Ticker(self._engine.increment_epoch)
        self._function_types: dict[FunctionType, wasmtime.FuncType] = {}
        found = features(proposals, config.interruptible, bool(options.get("consume_fuel")))
        info = RuntimeInfo(NAME, True, wasmtime_version(), found, caution=CAUTION)
        super().__init__(info, config.trap_on_grow_failure)
        self._most_threads = threads
        self._judge = Judge(NAME, proposals, WASMTIME_PROPOSALS, _validate)

    def _compiling(self) -> wasmtime.Engine:
        if self._compiler_forks != forks():
            self._compiler = _make_engine(self._proposals, self._options)
            self._compiler_forks = forks()
        return self._compiler

    def _validate(self, data: bytes) -> None:
        keep_importable()
        check_for_compiler()
        try:
            with inside:
                wasmtime.Module.validate(self._compiling(), data)
        except wasmtime.WasmtimeError as error:
            raise ModuleCompileError(compile_error_text(str(error))) from None

    def _compile(self, data: bytes) -> Any:
        keep_importable()
        check_for_compiler(COMPILER_STACK)
        try:
            with inside:
                compiler = self._compiling()
                module = _module_class()(compiler, data)
                if compiler is not self._engine:
                    module = _module_class().deserialize(self._engine, module.serialize())
                return unseen(module)
        except wasmtime.WasmtimeError as error:
            raise ModuleCompileError(compile_error_text(str(error))) from None

    def _text_to_binary(self, text: str) -> bytes:
        keep_importable()
        check_for_compiler()
        try:
            with inside:
                return bytes(wasmtime.wat2wasm(text))
        except wasmtime.WasmtimeError as error:
            raise ModuleCompileError(compile_error_text(str(error))) from None

    def _identity(self) -> str:
        return f"{NAME} {self.info.version} on {sys.platform} {platform.machine()} with {self._settings}"

    def _deserialize(self, code: bytes) -> Any:
        keep_importable()
        check_for_compiler()
        try:
            with inside:
                return unseen(_module_class().deserialize(self._engine, code))
        except wasmtime.WasmtimeError as error:
            raise ModuleCompileError(compile_error_text(str(error))) from None

    def _make_module(self, handle: Any, data: bytes) -> WasmtimeModule:
        return WasmtimeModule(self, handle, data)

    def _new_store(self, limits: Limits | None) -> WasmtimeStore:
        return WasmtimeStore(self, limits)

    def function_type(self, type: FunctionType) -> wasmtime.FuncType:
        """The package's form of a signature without v128 and without references other than funcref and externref."""
        known = self._function_types.get(type)
        if known is None:
            params, results = ([val_type(each) for each in types] for types in (type.params, type.results))
            known = self._function_types[type] = unseen(wasmtime.FuncType(params, results))
        return known


@cache
def _module_class() -> type[wasmtime.Module]:
    """The package's class of modules, changed so that a fork also waits while one is freed."""

    class Module(wasmtime.Module):
        def __del__(self) -> None:
            with inside:
                super().__del__()

    return Module


def _make_engine(proposals: frozenset[str], options: dict[str, Any]) -> wasmtime.Engine:
    settings = wasmtime.Config()
    for proposal, switch in WASMTIME_SWITCHES.items():
        setattr(settings, switch, proposal in proposals)
    settings.shared_memory = "threads" in proposals
    settings.memory_may_move = False  # a memory keeps its address when it grows, so that views stay valid
    for name, value in options.items():
        setattr(settings, name, value)
    if forks():
        settings.parallel_compilation = False
    with inside:
        return unseen(wasmtime.Engine(settings))


@lru_cache(maxsize=32)
def _validator(proposals: frozenset[str]) -> wasmtime.Engine:
    atexit.register(_validator.cache_clear)  # the package cannot release an engine that outlives its modules
    return _make_engine(proposals, {})


def _validate(proposals: frozenset[str], data: bytes) -> None:
    try:
        engine = _validator(proposals)
        with inside:
            wasmtime.Module.validate(engine, data)
    except wasmtime.WasmtimeError as error:
        raise ModuleCompileError(compile_error_text(str(error))) from None


class WasmtimeModule(BaseModule):
    def _serialize(self) -> bytes:
        with inside:
            return bytes(self.handle.serialize())

    def plain(self) -> bool:
        """Whether the package can be asked for the types of everything that the module exports."""
        interface = self.interface()
        if any(ODD.intersection(each.params + each.results) for each in interface.function_types):
            return False
        shown = [export.type for export in interface.exports]
        return not any(
            (isinstance(each, GlobalType) and each.content in ODD)
            or (isinstance(each, TableType) and (each.element in ODD or each.is_64))
            for each in shown
        )


class WasmtimeStore(OwningStore):
    runtime: WasmtimeRuntime

    def __init__(self, runtime: WasmtimeRuntime, limits: Limits | None) -> None:
        keep_importable()
        self.handle = unseen(wasmtime.Store(runtime._engine))
        self.handle.set_limits(*engine_bounds(limits))
        self.parked: BaseException | None = None
        self.host_error: ref[WasmError] | None = None
        self.cell: list[Any] = [ref(self)]
        self.hosts: list[Callable[..., Any]] = []
        self.served: list[tuple[int, InstanceState, HostImport]] = []
        self.held: list[dict[int, Any]] = []
        self.objects = Objects()
        self.stack = runtime.stack
        self.views = 0
        self._modules: list[BaseModule] = []
        self._place: wasmtime.Global | None = None  # copies functions: see `_kept`
        self._plain = True
        timeout, fuel = (None, None) if limits is None else (limits.timeout, limits.fuel)
        self.clock = Clock(self.handle, runtime.ticker, nanoseconds(timeout, "Limits.timeout") if timeout else 0)
        if "fuel" in runtime.info.features:
            self.handle.set_fuel((1 << 64) - 1 if fuel is None else fuel)
        super().__init__(runtime, limits)

    def find_again(self) -> None:
        if self.cell[0]() is None:
            self.cell[0] = ref(self)
            self.objects.cell[0] = ref(self.objects)

    _functions: type[Function] = Function

    def _begin_asynchronous(self) -> None:
        self._functions = WaitingFunction
        super()._begin_asynchronous()

    # Stopping what runs

    def _set_deadline(self, until: int) -> None:
        self._enter(self._life, "store")
        try:
            self.clock.set_block(until, self._depth > 1)
        finally:
            self._leave()

    def until(self) -> int:
        """When the running call has to end, in ns of the monotonic clock; 0 for never."""
        return self.clock.until

    def _fuel(self) -> int:
        self._enter(self._life, "store")
        try:
            return int(self.handle.get_fuel())
        finally:
            self._leave()

    def _set_fuel(self, fuel: int) -> None:
        self._enter(self._life, "store")
        try:
            self.handle.set_fuel(fuel)
        finally:
            self._leave()

    # Observing host calls

    @property
    def observers(self) -> list[Observer]:
        return list(self._observers)

    def _observe(self) -> None:
        self._enter(self._life, "store")
        try:
            exchange(self)
        finally:
            self._leave()

    # Externs

    def _memory_new(self, type: MemoryType) -> Memory:
        if type.shared:
            raise UnsupportedFeatureError(f"{NAME} cannot make or link shared memories", "threads")
        self._enter(self._life, "store")
        try:
            wanted = wasmtime.MemoryType(wasmtime.Limits(type.minimum, type.maximum), type.is_64)
            return Memory(self, self._life, wasmtime.Memory(self.handle, wanted), type)
        except wasmtime.WasmtimeError as error:
            raise ModuleInstantiateError(f"cannot make a {type}: {compile_error_text(str(error))}") from None
        finally:
            self._leave()

    def _table_new(self, type: TableType, init: Any) -> Table:
        limits = wasmtime.Limits(type.minimum, type.maximum)
        self._enter(self._life, "store")
        try:
            wanted = wasmtime.TableType(val_type(type.element), limits)
            handle = wasmtime.Table(self.handle, wanted, self.lower(init, type.element, "the table's init"))
            return Table(self, self._life, handle, type)
        except wasmtime.WasmtimeError as error:
            raise ModuleInstantiateError(f"cannot make a {type}: {compile_error_text(str(error))}") from None
        finally:
            self._leave()

    def _global_new(self, type: GlobalType, value: Any) -> Global:
        if type.content is _V128:
            raise unsupported(_V128, "globals")
        self._enter(self._life, "store")
        try:
            wanted = wasmtime.GlobalType(val_type(type.content), type.mutable)
            handle = wasmtime.Global(self.handle, wanted, self.lower(value, type.content, "the global's value"))
            return Global(self, self._life, handle, type)
        finally:
            self._leave()

    def _owns(self, extern: object) -> bool:
        return isinstance(extern, Extern) and extern.store is self

    def _extern_handle(self, extern: Any) -> Any:
        if extern.life.ended_by is not None:
            raise extern.life.error(str(kind_of(extern)))
        if isinstance(extern, SharedMemory):
            raise UnsupportedFeatureError(f"{NAME} cannot link shared memories", "threads")
        return extern.handle

    def _export(self, instance: InstanceState, export: ExportType) -> Any:
        self._enter(instance.life, "instance")
        try:
            if isinstance(instance, CallerState):
                return instance.caller._find(export.name, export.kind)
            keep_importable()
            found = instance.handle.exports(self.handle)[export.name]
            return self.wrap(instance.life, found, export.kind, export.type, export.name)
        finally:
            self._leave()

    def wrap(self, life: Life, handle: Any, kind: ExternKind, type: Any, name: str) -> Any:
        """Wrap the package's object as an extern of ours."""
        if kind is ExternKind.FUNCTION:
            return self._functions(self, life, handle, type, name)
        if kind is ExternKind.MEMORY:
            return SharedMemory(self, life, unseen(handle), type) if type.shared else Memory(self, life, handle, type)
        if kind is ExternKind.TABLE:
            return Table(self, life, handle, type)
        if kind is ExternKind.GLOBAL:
            return Global(self, life, handle, type)
        return Tag(self, life, handle, type)

    def type_of(self, handle: Any, kind: ExternKind, name: str | None) -> Any:
        """The type of an extern that was not found through the exports of a known module; None if it is unknown."""
        if not self._plain:
            # The package must not be asked. The type is known only if all modules in the store that export this name
            # agree.
            known = [module.exports_by_name().get(name) for module in self._modules] if name is not None else []
            types = {each.type for each in known if each is not None and each.kind is kind}
            return types.pop() if len(types) == 1 else None
        found = handle.type() if is_shared(handle) else handle.type(self.handle)
        if kind is ExternKind.FUNCTION:
            return FunctionType(value_types(found.params), value_types(found.results))
        if kind is ExternKind.MEMORY:
            limits = found.limits
            return MemoryType(limits.min, limits.max, found.is_64, found.is_shared, found.page_size)
        if kind is ExternKind.TABLE:
            return TableType(value_types([found.element])[0], found.limits.min, found.limits.max)
        if kind is ExternKind.TAG:
            return FunctionType(value_types(found.functype.params), ())
        return GlobalType(value_types([found.content])[0], found.mutable)

    # Instances and host functions

    def _link(self, module: BaseModule, handles: list[Any], instance: InstanceState) -> Any:
        keep_importable()
        assert isinstance(module, WasmtimeModule)
        self._modules.append(module)
        if self._plain and not module.plain():
            self._plain = False
        self._enter(instance.life, "instance")
        outermost = self._depth == 1
        guarded = False
        try:
            if outermost:
                guarded = begin()
                self.find_again()
                check_for_call(self.stack)
                if self.clock.set:
                    self.clock.start()
            try:
                return wasmtime.Instance(self.handle, module.handle, handles)
            except BaseException as error:
                if isinstance(error, wasmtime.WasmtimeError) and self.parked is None:
                    failure: BaseException = link_error(str(error))
                else:
                    failure = self.failure(error)
            try:  # outside of the handler, so that the exception gets no new context
                raise failure
            finally:
                del failure  # the exception holds this frame, so they would be a cycle
        finally:
            if outermost:
                self.clock.stop()
            self._leave()
            if guarded:
                end()

    def _host_function(self, function: HostImport, instance: InstanceState) -> Any:
        for type in function.type.params + function.type.results:
            if type in ODD:
                raise unsupported(type, f"host functions ({function.module}.{function.name})")
        self._enter(instance.life, "instance")
        try:
            type_ = self.runtime.function_type(function.type)
            return wasmtime.Func(self.handle, type_, callback(self, function, instance), function.pass_caller)
        finally:
            self._leave()

    def failure(self, error: BaseException) -> BaseException:
        """The exception to raise for a call that failed with `error`: a host function's own, or ours in place of the
        package's.
        """
        parked, self.parked = self.parked, None
        self.host_error = ref(parked) if isinstance(parked, WasmError) else None
        if not isinstance(error, (Unwind, wasmtime.Trap, wasmtime.WasmtimeError)):
            return error if parked is None else parked
        if parked is None and isinstance(error, Unwind):
            # Another thread's marker has replaced our trap in the package's slot. The trap is still in its frame.
            error = displaced(error)
        # The package's frames and exceptions hold each other: the store would be freed only by the collector.
        error.__traceback__ = None
        if isinstance(error.__context__, wasmtime.WasmtimeError):
            error.__context__.__traceback__ = None
        if parked is not None:
            return parked
        if isinstance(error, wasmtime.Trap):
            return ending(error) or trap_error(error)
        return Trap(trap_text(str(error)))

    # Values

    def lower(self, value: Any, type: ValueType, where: str) -> Any:
        """Turn a value that `to_wasm` returned into the package's."""
        if type is _EXTERNREF:
            if self.objects.dropped:
                self.objects.dropped.clear()
            return wasmtime.Val.externref(None if value is None else Box(self.objects, value))
        if type is _FUNCREF and value is not None:
            if not isinstance(value, Function) or value.store is not self:
                raise TypeError(f"{where}: {shown(value)} belongs to another store")
            if value.life.ended_by is not None:
                raise value.life.error("function")
            return value.handle
        return value

    def lift(self, value: Any, type: ValueType) -> Any:
        """Turn the package's value into ours."""
        if type is _FUNCREF and value is not None:
            return self._functions(self, self._life, self._kept(value), None, "function")
        if type is _EXTERNREF and value is not None:
            return value.content
        return value

    def _kept(self, function: wasmtime.Func) -> wasmtime.Func:
        """A copy of the function in memory of its own. A callback's argument points into memory of the engine that is
        freed when the callback returns.
        """
        if self._place is None:
            funcref = wasmtime.GlobalType(wasmtime.ValType.funcref(), True)
            self._place = wasmtime.Global(self.handle, funcref, wasmtime.Val.funcref(None))
        self._place.set_value(self.handle, wasmtime.Val.funcref(function))
        kept = self._place.value(self.handle)
        assert isinstance(kept, wasmtime.Func)
        return kept

    def _mark(self, ended_by: str) -> None:
        super()._mark(ended_by)
        self.clock.end()

    def _idle(self) -> bool:
        return self.views == 0 and super()._idle()

    def _free(self) -> None:
        self.handle.close()
        self.hosts.clear()
        self.served.clear()
        for each in self.held:
            each.clear()
        self.objects.clear()
        self.objects.dropped.clear()


def is_shared(handle: Any) -> bool:
    return isinstance(handle, wasmtime.SharedMemory)


def value_types(found: list[Any]) -> tuple[ValueType, ...]:
    return tuple(_EXTERNREF if str(each) == "anyref" else ValueType(str(each)) for each in found)


def val_type(type: ValueType) -> wasmtime.ValType:
    value_type: wasmtime.ValType = getattr(wasmtime.ValType, type.value)()
    return value_type
