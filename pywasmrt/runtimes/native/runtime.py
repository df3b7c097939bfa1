"""The runtime over an engine table of `csrc/wrt.h`: what all engines that are reached through C have in common.

Engines and modules are reached by cffi, which lets other Python threads run meanwhile; they may be used from any
thread. A store, and so all guest code, is reached through `_fastcall`, which allows one call chain at a time. Neither
can be freed while the other needs it: a cffi object owns each handle here, and the store in C keeps the engine's.
"""

from __future__ import annotations

import copyreg
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import ref

from ..._shim import _fastcall
from ..._shim.bridge import VALUE_TYPES, type_codes
from ...errors import (
    ModuleInstantiateError,
    UnsupportedFeatureError,
    WasmError,
)
from ...types import (
    ExportType,
    FunctionType,
    GlobalType,
    ImportType,
    Limits,
    MemoryType,
    RuntimeInfo,
    TableType,
)
from ...values import nanoseconds
from ...wasm.reading import HEADER
from ..base.forking import forks
from ..base.instance import BaseInstance
from ..base.lifetime import Life, stays
from ..base.linking import HostImport, Linking
from ..base.observing import Observer, observed
from ..base.runtime import BaseModule, BaseRuntime, BaseStore, Closable, InstanceState
from ..base.store import SYNCHRONOUS, engine_bounds
from .component import NativeComponents
from .engine import CANNOT_INSTANTIATE, Engine
from .externs import EXTERNS, NativeCaller, NativeGlobal, NativeMemory, NativeTable, extern_handle, is_shared, wrap
from .tags import NativeTag

__all__ = ["NativeRuntime"]


class NativeRuntime(NativeComponents, BaseRuntime):
    """A runtime over one engine. `settings` names everything that compiled code depends on."""

    engine: Engine

    def __init__(
        self,
        engine: Engine,
        info: RuntimeInfo,
        settings: str,
        make_compiler: Callable[[], Engine] | None = None,
        *,
        trap_on_grow_failure: bool,
    ) -> None:
        """`make_compiler` is for engines that cannot compile any more after a fork. It makes one with the same settings
        that can, and whose blobs the first one loads.
        """
        self.engine = engine
        self._settings = settings
        self._make_compiler = make_compiler
        self._compiler = engine
        self._compiler_forks = forks()
        self.counts_fuel = "fuel" in info.features
        self._interruptible = "interruption" in info.features
        self.known_limits: tuple[Limits | None, tuple[Any, ...]]
        self.store_arguments(None)
        super().__init__(info, trap_on_grow_failure)

    def store_arguments(self, limits: Limits | None) -> tuple[Any, ...]:
        """The arguments of `_fastcall.Store`; kept in `known_limits`, as the next store often has the same limits."""
        timeout = None if limits is None else limits.timeout
        arguments = (
            self.engine.owner,
            self.engine.fail,
            *engine_bounds(limits),
            0 if timeout is None else nanoseconds(timeout, "Limits.timeout"),
            self.engine.stack_needed,
            self._interruptible,
        )
        self.known_limits = limits, arguments
        return arguments

    def _compiling(self) -> Engine:
        if self._compiler_forks != forks() and self._make_compiler is not None:
            self._compiler = self._make_compiler()
            self._compiler_forks = forks()
        return self._compiler

    def _validate(self, data: bytes) -> None:
        self._compiling().validate(data)

    def _compile(self, data: bytes) -> Any:
        compiler = self._compiling()
        module = compiler.compile(data)
        return module if compiler is self.engine else self.engine.deserialize(compiler.serialize(module))

    def _text_to_binary(self, text: str) -> bytes:
        return self.engine.text_to_binary(text)

    def _identity(self) -> str:
        return f"{self.info.name} {self.info.version} on {sys.platform} {platform.machine()} with {self._settings}"

    def _deserialize(self, code: bytes) -> Any:
        return self.engine.deserialize(code)

    def _living(self) -> list[Closable]:
        stores = [store for store in (reference() for reference in self.engine.owner.stores()) if store is not None]
        return super()._living() + stores

    def _make_module(self, handle: Any, data: bytes) -> NativeModule:
        return NativeModule(self, handle, data)

    def _new_store(self, limits: Limits | None) -> NativeStore:
        return NativeStore(self, limits)

    def _new_instance(self, linking: Linking, limits: Limits | None) -> BaseInstance:
        store = NativeStore(self, limits)
        try:
            return store._new_instance(linking, True)
        except BaseException:
            store.close()
            raise

    def _prepare(self, linking: Linking, often: bool) -> None:
        module: NativeModule = linking.module
        described = module.described_imports()
        imports = tuple(
            [
                described[at][each.pass_caller + 2 * each.awaits] if type(each) is HostImport else extern_handle(each)
                for at, each in enumerate(linking.served)
            ]
        )
        linked = _fastcall.Linked(
            self.engine.owner,
            self.engine.fail,
            module.handle,  # kept, so that closing the module does not free it
            module.address,
            imports,
            often and len({(each.module, each.name) for each in module.imports}) == len(imports),
        )
        interface = module.interface()
        shares, arrays = interface.shares, interface.arrays
        plain = not (shares or arrays or linking.owners or linking.awaits or linking.wasi is not None)
        linking.prepared = linked, shares, arrays, plain

    def _check_extern(self, wanted: ImportType, extern: object) -> str | None:
        return None if self.shares(extern) else super()._check_extern(wanted, extern)

    def shares(self, extern: object) -> bool:
        """Whether `extern`, of another store of this runtime, may be used in every store."""
        return "memory-sharing" in self._info.features and is_shared(extern, self.engine)


class NativeModule(BaseModule):
    runtime: NativeRuntime

    def __init__(self, runtime: NativeRuntime, handle: Any, data: bytes) -> None:
        self.address = handle.address
        self._described: list[tuple[Any, ...]] | None = None
        super().__init__(runtime, handle, data)

    def described_imports(self) -> list[tuple[Any, ...]]:
        """What `_fastcall.Linked` has to know of imports that host functions serve, in four forms: without and with a
        caller, and both again for coroutine functions.
        """
        if self._described is None:
            kinds = ((None, False), (NativeCaller, False), (None, True), (NativeCaller, True))
            self._described = [tuple([_described(each, *kind) for kind in kinds]) for each in self.imports]
        return self._described

    def _serialize(self) -> bytes:
        return self.runtime.engine.serialize(self.handle)


def _described(wanted: ImportType, caller_class: type[NativeCaller] | None, awaits: bool) -> Any:
    type = wanted.type
    if not isinstance(type, FunctionType):
        return None
    codes = type_codes(type.params) + type_codes(type.results)
    label = f"{wanted.module}.{wanted.name}"
    return wanted.module, wanted.name, label, type, codes, len(type.params), caller_class, awaits


class NativeStore(BaseStore):
    """A store; `fast` is its C half, which guards it and frees it when nothing in it runs or is viewed any more."""

    runtime: NativeRuntime

    def __init__(self, runtime: NativeRuntime, limits: Limits | None) -> None:
        known, arguments = runtime.known_limits
        if limits is not known:
            arguments = runtime.store_arguments(limits)
        self.fast = fast = _fastcall.Store(*arguments)
        if runtime.counts_fuel:
            fuel = None if limits is None else limits.fuel
            fast.set_fuel((1 << 64) - 1 if fuel is None else fuel)
        # As in Closable, except that the runtime finds its stores by the engine: a store is made for each instance.
        self.runtime = self._parent = runtime
        self.limits = limits
        self._life = Life()
        fast.belongs_to(self)
        if runtime._life.ended_by is not None:  # closed meanwhile, on another thread
            self.close()
            raise runtime._life.error("runtime")

    def _mark(self, ended_by: str) -> None:
        self.fast.mark()
        super()._mark(ended_by)

    def _free(self) -> None:
        self.fast.close()

    # Stopping what runs

    def _interrupt(self) -> bool:
        return self.fast.interrupt()

    def _interrupt_with(self, error: BaseException) -> bool:
        return self.fast.interrupt(0, error)

    def _watch_failures(self, watchers: list[Callable[[BaseException], object]]) -> None:
        self.fast.watchers = watchers

    def on_return(self, function: Any, tell: Callable[[], object]) -> None:
        """Call `tell` after each call of `function` that has returned."""
        function._at_return(tell)

    def _set_deadline(self, until: int) -> None:
        self.fast.set_deadline(until)

    def until(self) -> int:
        """When the call that runs on this thread has to end, in ns of the monotonic clock; 0 for never."""
        return self.fast.until()

    def _fuel(self) -> int:
        return self.fast.fuel()

    def _set_fuel(self, fuel: int) -> None:
        self.fast.set_fuel(fuel)

    # Observing host calls

    def _observe(self) -> None:
        observers = self._observers
        self.fast.observe(partial(_stand_in, observers) if observers else None)

    def _begin_profile(self, modules: Sequence[Any], most: int) -> _fastcall.Profile:
        self.runtime._need("profiling")
        return _fastcall.Profile(self.fast, tuple([module.address for module in modules]), most)

    def _probe(self, profile: Any, callable: Callable[..., Any], number: int) -> Callable[..., Any]:
        return _fastcall.Probe(self.fast, profile, callable, number)

    # Externs

    def _memory_new(self, type: MemoryType) -> Any:
        if type.shared and "threads" not in self.runtime.info.features:
            raise UnsupportedFeatureError("shared memories need the feature 'threads', which is off here", "threads")
        if type.is_64 and "memory64" not in self.runtime.info.features:
            raise UnsupportedFeatureError("64-bit memories need the feature 'memory64', which is off here", "memory64")
        handle = _made(type, self.fast.memory, type.minimum, type.maximum, type.is_64, type.shared)
        return NativeMemory(self.fast, handle)

    def _table_new(self, type: TableType, init: Any) -> NativeTable:
        handle = _made(type, self.fast.table, type.minimum, type.maximum, VALUE_TYPES.index(type.element), init)
        return NativeTable(self.fast, self._life, handle, type)

    def _global_new(self, type: GlobalType, value: Any) -> NativeGlobal:
        handle = self.fast.global_(VALUE_TYPES.index(type.content), value, type.mutable)
        return NativeGlobal(self.fast, self._life, handle, type)

    def _tag_new(self, type: FunctionType) -> NativeTag:
        return NativeTag(self.fast, self.fast.tag(type_codes(type.params)), type)

    def _owns(self, extern: object) -> bool:
        if isinstance(extern, _fastcall.Memory) and extern._store is not self.fast:
            return self.runtime.shares(extern)
        return isinstance(extern, EXTERNS) and extern._store is self.fast

    def _export(self, instance: InstanceState, export: ExportType) -> Any:
        handle = self.fast.export(instance.handle, export.name)
        if handle is None:
            self.runtime.engine.validate(HEADER)  # says so where the engine does nothing in the child of a fork
            raise WasmError(f"the engine does not find the export {export.name!r}, which the module's interface names")
        return wrap(self.fast, instance, handle, export.name, export.kind, export.type)

    def _instance_closed(self, instance: InstanceState, externs: list[Any]) -> None:
        for extern in externs:
            if isinstance(extern, (_fastcall.Function, _fastcall.Memory)):
                extern._close()  # the other externs check the instance's life
        if instance.handle is not None:  # otherwise its start function is still running
            self.fast.close_instance(instance.handle)

    # Instances and host functions

    def _new_instance(self, linking: Linking, owned: bool) -> BaseInstance:
        linked, _, _, plain = linking.prepared
        if not plain or not owned:
            return super()._new_instance(linking, owned)
        # The most frequent case, without the steps that it does not need.
        self._mode = SYNCHRONOUS
        life = self._life
        state = InstanceState(linking.module, life)
        state.handle = self.fast.instantiate(linked, linking.callables, state)
        if life.ended_by is not None:  # closed by its start function, or by another thread
            raise life.error("instance")
        return BaseInstance(self, state, True)

    def release_at_once(self) -> None:
        self._check_open()
        self.fast.release_at_once()

    def _instantiate(self, linking: Linking, states: Sequence[Any], instance: InstanceState) -> bytes:
        linked, shares, arrays, _ = linking.prepared
        # A guest does not poll while it waits for another thread, or while it works on a large array.
        if shares or (arrays and self._has_large_heap()):
            self.fast.release_at_once()
        callables = linking.bind(states) if linking.bound else linking.callables
        handle: bytes = self.fast.instantiate(linked, callables, instance)
        return handle

    def _begin_asynchronous(self) -> None:
        suspends = self._may_suspend and "suspension" in self.runtime.info.features
        if not suspends:
            super()._begin_asynchronous()
            self.fast.turns = self.turns
            self.fast.release_at_once()  # so that the guest does not hold up the loop
        self.fast.begin_asynchronous(suspends)

    async def _instantiate_async(self, linking: Linking, states: Sequence[Any], instance: InstanceState) -> Any:
        if self.turns is not None:
            return await super()._instantiate_async(linking, states, instance)
        for each in linking.served:
            if type(each) is HostImport and any(one.judged for one in each.type.params + each.type.results):
                raise UnsupportedFeatureError(
                    f"an asynchronous store cannot serve {each.module}.{each.name}{each.type}, which passes references "
                    "of the garbage-collection proposal; a synchronous one can",
                    "gc-references",
                )
        linked, *_ = linking.prepared
        return await self.fast.instantiate_async(linked, linking.bind(states), instance)

    def _lender(self) -> FastLender:
        return FastLender(self.fast)


def _stand_in(
    observers: Sequence[Observer],
    state: InstanceState,
    at: int,
    callable: Callable[..., Any],
    pass_caller: bool,
    awaits: bool,
) -> Callable[..., Any]:
    wanted = state.module.imports[at]
    assert isinstance(wanted.type, FunctionType)
    function = HostImport(wanted.module, wanted.name, callable, wanted.type, pass_caller, None, awaits)
    return observed(observers, state, function)


class FastLender:
    """Implements turns.Lender."""

    def __init__(self, fast: _fastcall.Store) -> None:
        self._reference = ref(fast)

    @property
    def closed(self) -> bool:
        fast = self._reference()
        return fast is None or fast.closed

    def until(self) -> int:
        fast = self._reference()
        return 0 if fast is None else fast.until()

    def this_thread(self) -> int:
        return _fastcall.this_thread()

    def lend(self, thread: int | None) -> None:
        fast = self._reference()
        if fast is not None:
            fast.lend(thread or 0)

    def stop_guest(self) -> bool | None:
        fast = self._reference()
        return fast.interrupt() if fast is not None and fast.interruptible and not fast.closed else None


def _made(type: object, make: Callable[..., bytes], *args: Any) -> bytes:
    """The handle of an extern that the host makes. The error says that the extern could not be made."""
    try:
        return make(*args)
    except ModuleInstantiateError as error:
        raise ModuleInstantiateError(f"cannot make a {type}: {str(error).removeprefix(CANNOT_INSTANTIATE)}") from None


copyreg.pickle(_fastcall.Function, lambda function: stays("function"))
