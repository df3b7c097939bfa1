"""What every adapter shares: lifetimes, exports and linking. An adapter adds the methods marked `Hook:`.

The hooks get checked arguments, and are called on open objects. Calls of functions and uses of memories, tables and
globals do not pass through here: those objects belong to the adapter, and check `Life` (or the engine's own flag)
themselves.

Modules and stores hold their runtime; instances, exports and externs hold their store. References in the other
direction are weak, so that dropping the last reference frees at once, without the garbage collector.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from ..._version import __version__
from ...component.cores import core_modules, with_rewritten_cores
from ...errors import (
    InvalidConfigurationError,
    ModuleCompileError,
    ModuleInstantiateError,
    UnsupportedFeatureError,
    WasmError,
)
from ...host import HostModule
from ...types import ImportType, Limits, RuntimeConfig, RuntimeInfo
from ...values import nanoseconds, shown
from ...wasm.bulk_copies import PIECES
from ...wasm.reading import check_limits
from ...wasm.rewriting import Rule, rewritten
from .cache import ModuleCache, cache_of
from .component import BaseComponent, Components, component_identity
from .features import PROPOSALS
from .instance import BaseCaller, BaseInstance, Context, Exports, InstanceState
from .lifetime import Closable, Life
from .linked import BaseLinkedModule
from .linking import Linking, RecentLinking
from .module import BaseModule
from .needs import Judge
from .rewrites import Rewrites
from .serialized import unpack_blob
from .siblings import with_memories
from .source import check_magic, load, path_hint
from .store import BaseStore, GuardedStore
from .workers import Workers

if TYPE_CHECKING:
    from ...protocols import CompiledModule, ModuleInstance, Store, WasiProvider

__all__ = [
    "BaseCaller",
    "BaseInstance",
    "BaseLinkedModule",
    "BaseModule",
    "BaseRuntime",
    "BaseStore",
    "Closable",
    "Context",
    "Exports",
    "GuardedStore",
    "InstanceState",
    "Life",
]


PICKLES = 1  # the version of the pickle format of modules
_LONG = 1 << 20  # compiling a module is logged from this many bytes on
_log = logging.getLogger("pywasmrt.compile")


Instrument = Callable[[Any, bytes], "tuple[bytes, tuple[Any, ...]] | None"]

_Compiled = TypeVar("_Compiled", BaseModule, BaseComponent)


class BaseRuntime(Components):
    """An engine, ready to compile. `info` tells its name, version and the features in force."""

    _kind = "runtime"
    _most_threads = 64  # threads for guests of asynchronous stores that the engine cannot suspend
    _trusting = False  # whether modules are compiled without being validated
    _pieces: Rule | None = PIECES  # how large copies and fills are split; None where the engine does that itself
    instrument: ClassVar[Instrument | None] = None
    """Called for every module of every runtime before it is compiled, for tests that measure coverage. It takes the
    source as it was passed and the binary. It returns the binary to compile and the providers of its additional
    imports, or None to leave the module alone. It gets valid modules only.
    """
    _judge: Judge | None = None  # tells modules that need a proposal from broken ones

    def __init__(self, info: RuntimeInfo, trap_on_grow_failure: bool = False) -> None:
        """`trap_on_grow_failure` is `RuntimeConfig`'s. It is implemented here, so adapters need do nothing for it."""
        self._info = info
        self._rewrites = Rewrites(info.features, self._pieces, trap_on_grow_failure)
        self._workers: Workers | None = None
        self._cache: ModuleCache | None = None
        self._config: RuntimeConfig | None = None
        self._restore: Callable[..., Any] | None = None
        super().__init__(None)

    def configured(self, config: RuntimeConfig, restore: Callable[..., Any]) -> None:
        """Take the settings that mean the same for every runtime, and the function that unpickles its modules (called
        as `recipe` says). `new_runtime` calls this.
        """
        self._config = config
        self._restore = restore
        if "serialize" in self._info.features:
            self._cache = cache_of(config.cache)

    @property
    def info(self) -> RuntimeInfo:
        """The runtime's name, version and the features in force."""
        return self._info

    def validate(self, source: Any) -> None:
        """Check a module. Raises `ModuleCompileError` with the reason it is invalid, `UnsupportedFeatureError` with the
        name of the proposal that it needs and that is off, or that this engine has not.
        """
        self._check_open()
        data = self._binary(source)
        try:
            self._validate(data)
        except (ModuleCompileError, UnsupportedFeatureError) as error:
            raise self._judged(data, error) from None
        if "memory64" not in self._info.features:
            check_limits(data)

    def compile(self, source: Any) -> BaseModule:
        """Compile a module. Raises `ModuleCompileError` with the reason it is invalid, `UnsupportedFeatureError` with
        the name of the proposal that it needs and that is off, or that this engine has not.
        """
        self._check_open()
        data = self._binary(source)
        try:
            instrumented = self._instrumented(source, data)
            compiled, own_imports = instrumented or (data, ())
            module = self._loaded(compiled)
        except (ModuleCompileError, UnsupportedFeatureError) as error:
            raise self._judged(data, error) from None
        module.source = compiled
        module.original = data
        module.own_imports = own_imports
        return module

    def _instrumented(self, source: Any, data: bytes) -> tuple[bytes, tuple[Any, ...]] | None:
        instrument = BaseRuntime.instrument
        if instrument is None:
            return None
        if not self._trusting:
            self._validate(data)
        return instrument(source, data)

    def _judged(self, data: bytes, error: ModuleCompileError | UnsupportedFeatureError) -> WasmError:
        return error if self._judge is None else self._judge.verdict(data, error)

    def _judged_component(self, data: bytes, error: ModuleCompileError) -> WasmError:
        verdicts = (self._judged(core, error) for core in core_modules(data))
        return next((each for each in verdicts if each is not error), error)

    def _loaded(self, data: bytes) -> BaseModule:
        """The module, compiled now or before."""
        return self._kept(self.identity, data, self.deserialize, self._compiled)

    def _loaded_component(self, data: bytes) -> BaseComponent:
        return self._kept(lambda: component_identity(self), data, self.deserialize_component, self._compiled_component)

    def _compiled_component(self, data: bytes) -> BaseComponent:
        rules = self._rewrites.stopping(data)
        code = with_rewritten_cores(data, rules) if rules else data
        return self._make_component(self._compile_component(code), data)

    def _kept(
        self,
        identity: Callable[[], str],
        data: bytes,
        load: Callable[[bytes], _Compiled],
        make: Callable[[bytes], _Compiled],
    ) -> _Compiled:
        """What was compiled from `data` before and kept in the cache, or else what `make` compiles now."""
        cache = self._cache
        if cache is None:
            return make(data)
        key = cache.key(identity(), data)
        blob = cache.read(key)
        if blob is not None:
            try:
                return load(blob)
            except WasmError as error:
                cache.complain(key, "cannot be used and is made again", error)
        made = make(data)
        try:
            blob = made.serialize()
        except WasmError as error:  # not every module can be serialised
            cache.complain(key, "was not made", error)
        else:
            cache.write(key, blob)
        return made

    def recipe(self, module: BaseModule | BaseComponent) -> tuple[Any, ...]:
        """How to make `module` again in another process: a callable and its arguments."""
        if self._restore is None:
            raise TypeError(f"a {module._kind} can be pickled where its runtime was made by new_runtime")
        source = module.source if isinstance(module, BaseComponent) else module.original
        engine = f"{self._info.name} {self._info.version}"
        form = (True, module.serialize()) if source is None else (False, source)
        component = (True,) if isinstance(module, BaseComponent) else ()
        return self._restore, (PICKLES, __version__, engine, self._config, *form, *component)

    def _compiled(self, data: bytes) -> BaseModule:
        if len(data) < _LONG:
            return self._make_module(self._compile(self._rewritten(data)), data)
        size = f"{len(data) / (1 << 20):.1f} MiB"
        _log.info("compiling a module of %s with %s, which may take long", size, self._info.name)
        begun = time.monotonic()
        module = self._make_module(self._compile(self._rewritten(data)), data)
        _log.info("compiled the module of %s in %.1f s", size, time.monotonic() - begun)
        return module

    def deserialize(self, blob: Any) -> BaseModule:
        """Load what `CompiledModule.serialize` gave. The blob holds machine code that runs unchecked: it must be
        trusted.
        """
        self._check_open()
        try:
            data = blob if type(blob) is bytes else memoryview(blob).tobytes()
        except TypeError:
            raise TypeError(f"a compiled module is the bytes that serialize() gave, not {shown(blob)}") from None
        interface, code = unpack_blob(self.identity(), data)
        return self._make_module(self._deserialize(code), interface)

    def identity(self) -> str:
        """Names engine, version, machine and every setting that compiled code depends on."""
        return self._identity() + self._rewrites.identity()

    def new_store(self, limits: Limits | None = None) -> BaseStore:
        """Make a store for instances that will be linked together."""
        self._check_open()
        self._check_store_limits(limits)
        return self._new_store(limits)

    def link(
        self,
        module: CompiledModule,
        *imports: Any,
        wasi: WasiProvider | None = None,
        limits: Limits | None = None,
    ) -> BaseLinkedModule:
        """Find and check once what serves the module's imports, to make instances of it as often as wanted."""
        of = self._checked_module(module, wasi, "link")
        self._check_store_limits(limits)
        providers = self._providers(of, imports, wasi, limits)
        linking = Linking(of, providers, wasi, self._check_extern)
        self._prepare(linking, True)
        again: Callable[[Limits | None], Linking] | None = None
        if providers is not imports:  # each instance has shared memories of its own
            again = partial(self._linking, of, imports, None, wasi, verb="link")
        return BaseLinkedModule(of, linking, limits, imports, again)

    def instantiate(
        self,
        module: CompiledModule,
        *imports: Any,
        store: Store | None = None,
        wasi: WasiProvider | None = None,
        limits: Limits | None = None,
    ) -> BaseInstance:
        """Link the module to what it imports, make an instance and run its start function."""
        linking = self._linking(module, imports, store, wasi, limits, "instantiate")
        if store is None:
            return self._new_instance(linking, limits)
        return cast("BaseStore", store)._new_instance(linking, False)

    async def instantiate_async(
        self,
        module: CompiledModule,
        *imports: Any,
        store: Store | None = None,
        wasi: WasiProvider | None = None,
        limits: Limits | None = None,
    ) -> BaseInstance:
        """As `instantiate`, in an asynchronous store, whose guests may wait for coroutines."""
        linking = self._linking(module, imports, store, wasi, limits, "instantiate_async")
        if store is None:
            return await self._new_instance_async(linking, limits)
        return await cast("BaseStore", store)._new_instance_async(linking, False)

    def _linking(
        self,
        module: CompiledModule,
        imports: tuple[Any, ...],
        store: Store | None,
        wasi: WasiProvider | None,
        limits: Limits | None,
        verb: str,
    ) -> Linking:
        """What serves the imports of one instance. Raises the error of wrong arguments of `verb`."""
        of = self._checked_module(module, wasi, verb)
        check_extern = self._check_extern
        if store is None:
            self._check_store_limits(limits)
        else:
            if limits is not None:
                raise InvalidConfigurationError(
                    "limits belong to the store: pass them to new_store, not together with store="
                )
            if not isinstance(store, BaseStore):
                raise TypeError(f"store is what new_store gave, not {shown(store)}")
            store._check_open()
            if store.runtime is not self:
                raise ModuleInstantiateError("the store belongs to another runtime")
            check_extern = store._check_extern
        if wasi is None and store is None:
            found = self._recent_linking(of, imports)
            if found is not None:
                return found
        linking = Linking(of, self._providers(of, imports, wasi, limits), wasi, check_extern)
        self._prepare(linking, False)
        if wasi is None and store is None and imports and all(type(each) is HostModule for each in imports):
            of.recent = RecentLinking(linking, imports)
        return linking

    def _recent_linking(self, of: BaseModule, imports: tuple[Any, ...]) -> Linking | None:
        """How `imports` served the module the last time; None if they did not."""
        recent = of.recent
        if recent is None or not recent.serves(imports):
            return None
        known = recent.linking
        if known is None:  # another thread has dropped a host module
            return None
        linking = known.of(of)
        if not recent.often:  # the second time: more instances are expected
            self._prepare(linking, True)
            recent.linking = linking.of(None)
            recent.often = True
        return linking

    def _providers(
        self, of: BaseModule, imports: tuple[Any, ...], wasi: WasiProvider | None, limits: Limits | None
    ) -> tuple[Any, ...]:
        """`imports`, and the shared memories that a guest with threads may import besides."""
        return with_memories(self, of.imports, imports, limits) if getattr(wasi, "threads", 0) else imports

    def _checked_module(self, module: object, wasi: object, verb: str) -> BaseModule:
        """The module. Raises the error of a closed runtime, or of a wrong `wasi` or module."""
        self._check_open()
        if wasi is not None and not hasattr(wasi, "new_context"):
            raise TypeError(f"wasi is a pywasmrt.wasi.WasiConfig, not {shown(wasi)}")
        if not isinstance(module, BaseModule):
            raise TypeError(f"{verb} takes a compiled module, not {shown(module)}; compile it first")
        module._check_open()
        if module.runtime is not self:
            raise ModuleInstantiateError("the module was compiled by another runtime; compile it with this one")
        return module

    def _mark(self, ended_by: str) -> None:
        super()._mark(ended_by)
        if self._workers is not None:
            self._workers.close()

    def _run_on_worker(self, job: Callable[[], None]) -> None:
        """Have a thread of the runtime's pool run `job`, which raises nothing."""
        if self._workers is None:
            self._workers = Workers(self._most_threads)
        self._workers.run(job)

    def _new_instance(self, linking: Linking, limits: Limits | None) -> BaseInstance:
        """An instance in a store of its own, with limits that were checked."""
        store = self._new_store(limits)
        try:
            return store._new_instance(linking, True)
        except BaseException:
            store.close()
            raise

    async def _new_instance_async(self, linking: Linking, limits: Limits | None) -> BaseInstance:
        """As `_new_instance`, in an asynchronous store."""
        store = self._new_store(limits)
        try:
            return await store._new_instance_async(linking, True)
        except BaseException:
            store.close()
            raise

    def instantiate_with_host(
        self,
        module: CompiledModule,
        *imports: Any,
        store: Store | None = None,
        wasi: WasiProvider | None = None,
        limits: Limits | None = None,
    ) -> tuple[BaseInstance, Context]:
        """As `instantiate`, for the context that owns the host's side of the instance."""
        instance = self.instantiate(module, *imports, store=store, wasi=wasi, limits=limits)
        return instance, Context(instance)

    def _binary(self, source: Any) -> bytes:
        data = load(source)
        if isinstance(data, str):
            try:
                data = self._text_to_binary(data)
            except ModuleCompileError as error:
                raise ModuleCompileError(f"{error}{path_hint(str(source))}") from None
        check_magic(data)
        return data

    def _rewritten(self, data: bytes) -> bytes:
        """The bytes that are compiled for the module `data`."""
        rules = self._rewrites.all(data)
        if not rules:
            return data
        if not self._trusting:
            self._validate(data)
        return rewritten(data, rules)

    def __repr__(self) -> str:
        version = f" {self._info.version}" if self._info.version else ""
        return f"<Runtime {self._info.name}{version}{' closed' if self.closed else ''}>"

    # Hooks

    def _validate(self, data: bytes) -> None:
        """Hook: raise `ModuleCompileError` unless `data` is a valid module."""
        raise NotImplementedError

    def _compile(self, data: bytes) -> Any:
        """Hook: compile, and return the module's handle. Raises `ModuleCompileError` or `UnsupportedFeatureError`."""
        raise NotImplementedError

    def _text_to_binary(self, text: str) -> bytes:
        """Hook: translate the text format. Raises `ModuleCompileError`."""
        raise UnsupportedFeatureError(
            f"{self._info.name} has no reader of the text format; pass a binary module", "wat"
        )

    def _identity(self) -> str:
        """Hook: names engine, version, machine and the engine's settings that compiled code depends on."""
        raise UnsupportedFeatureError(f"{self._info.name} cannot serialise compiled modules", "serialize")

    def _deserialize(self, code: bytes) -> Any:
        """Hook: the module's handle, from what `_serialize` gave in a runtime of the same `_identity`."""
        raise UnsupportedFeatureError(f"{self._info.name} cannot load compiled modules", "serialize")

    def _make_module(self, handle: Any, data: bytes) -> BaseModule:
        """Hook: wrap a module's handle."""
        return BaseModule(self, handle, data)

    def _new_store(self, limits: Limits | None) -> BaseStore:
        """Hook: make a store."""
        raise NotImplementedError

    def _prepare(self, linking: Linking, often: bool) -> None:
        """Hook: prepare what instances of `linking` have in common, in `linking.prepared`. `often` means that many are
        expected, so that preparing more pays.
        """

    def _check_extern(self, wanted: ImportType, extern: object) -> str | None:
        """Hook: why `extern`, of the right type, cannot be used by an instance in a store of its own, or None."""
        return "was given one that belongs to another store; instantiate with store=... of what it imports"

    # Checks

    def _need(self, feature: str) -> None:
        """Raise `UnsupportedFeatureError` unless the runtime has the feature, saying how to get it."""
        if feature in self._info.features:
            return
        name = self._info.name
        if feature == "fuel":
            raise UnsupportedFeatureError(
                f"{name} counts no fuel here; a runtime that can does with options={{'consume_fuel': True}}", feature
            )
        if feature in PROPOSALS or feature in ("exception-values", "gc-references"):
            raise UnsupportedFeatureError(f"{name} has not the feature {feature!r} here", feature)
        raise UnsupportedFeatureError(
            f"{name} has no {feature} here: either it never has, or the runtime was made with interruptible=False",
            feature,
        )

    def _check_store_limits(self, limits: Limits | None) -> None:
        if limits is None:
            return
        if not isinstance(limits, Limits):
            raise TypeError(f"limits is a Limits, not {shown(limits)}")
        for name in ("memory_bytes", "table_elements", "instances", "fuel"):
            value = getattr(limits, name)
            fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
            if value is not None and not fits:
                raise InvalidConfigurationError(
                    f"Limits.{name} is a number of 0 to 2**63 - 1, or None; not {shown(value)}"
                )
        if limits.timeout is not None:
            nanoseconds(limits.timeout, "Limits.timeout")
            self._need("deadline")
        if limits.fuel is not None:
            self._need("fuel")


if TYPE_CHECKING:
    # The type checker compares the classes with the protocols here.
    from ...protocols import LinkedModule, Runtime

    def _conforms(
        runtime: BaseRuntime, module: BaseModule, linked: BaseLinkedModule, instance: BaseInstance, store: BaseStore
    ) -> tuple[Runtime, CompiledModule, LinkedModule, ModuleInstance, Store]:
        return cast("Runtime", runtime), module, linked, instance, store
