"""Components over the engine table of `csrc/wrt_component.h`: the hooks of `Components` for native runtimes.

Engines, components and linkers are reached by cffi, from any thread; a store is reached by `_fastcall`.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any, NoReturn

from ..._shim import _fastcall
from ..._shim._wrt import ffi
from ...component.codec import Refusal
from ...component.linking import Definition, Linkage
from ...component.signature import Signature
from ...component.wasi import INHERITED, ComponentWasi
from ...errors import ModuleCompileError, ModuleInstantiateError, UnsupportedFeatureError
from ..base.component import BaseComponent, Components
from ..base.component_instance import ComponentState
from ..base.lifetime import stays
from .handles import new_handle

__all__ = ["ComponentEngine", "NativeComponents"]


class ComponentEngine:
    """The component table of an engine. `do` runs an operation of it and raises its failure."""

    def __init__(self, ops: Any, engine: Any, do: Callable[..., None], bytes_of: Callable[..., bytes]) -> None:
        self.ops = ops
        self._engine = engine
        self._do = do
        self._bytes = bytes_of

    def compile(self, data: bytes) -> Any:
        """The component's handle."""
        return self._component(self.ops.compile, data)

    def deserialize(self, code: bytes) -> Any:
        """The component's handle."""
        return self._component(self.ops.deserialize, code)

    def serialize(self, component: Any) -> bytes:
        """The component's blob."""
        return self._bytes(self.ops.serialize, ffi.cast("wrt_component *", component.address))

    def _component(self, operation: Any, data: bytes) -> Any:
        handle = new_handle(self.ops.component_delete)
        place = ffi.cast("wrt_component **", handle.place)
        self._do(operation, self._engine, ffi.from_buffer("uint8_t[]", data), len(data), place)
        return handle


class NativeComponent(BaseComponent):
    def _serialize(self) -> bytes:
        blob: bytes = self.runtime._component_engine().serialize(self.handle)  # type: ignore[attr-defined]
        return blob


class NativeComponentState(ComponentState):
    """An instance in a native store."""

    def _function(self, interface: str | None, name: str, signature: Signature) -> Any:
        params, result = signature.plans(_fastcall.Plan)
        found = self.store.fast.component_function(  # type: ignore[attr-defined]
            None, self.handle, interface, name, signature.shown_name, params, result, signature.fallible, signature
        )
        if found is None:
            raise AssertionError(f"the engine does not find the export {name!r}, which the component's interface names")
        return found

    def refuse_calls(self, error: Exception) -> None:
        self.store._interrupt_with(error)

    def _resource_base(self) -> Any:
        return _fastcall.Resource

    def check_handle(self, value: Any) -> None:
        if not value._in_store(self.store.fast):  # type: ignore[attr-defined]
            raise Refusal(TypeError, f"the {value._name} belongs to another instance")

    def lower_handle(self, resource: Any, value: Any, owned: bool) -> Any:
        return value  # used only to check the value


class NativeComponents(Components):
    """The hooks for components. `engine` is the runtime's `Engine`."""

    engine: Any

    def _no_components(self) -> str:
        if self.info.name == "wasmtime":
            return f"components need wasmtime 50 or later, and {self.info.version} is installed"
        return super()._no_components()

    def _component_engine(self) -> ComponentEngine:
        engine: ComponentEngine = self.engine.components
        return engine

    def _compile_component(self, data: bytes) -> Any:
        compiler = self._compiling()
        try:
            component = compiler.components.compile(data)
        except ModuleCompileError as error:
            if "the component model async feature" not in str(error):
                raise
            raise UnsupportedFeatureError(
                f"{self.info.name} runs no components with asynchronous functions, streams or futures of their own "
                f"here (as of WASI 0.3); build the guest for WASI 0.2: {error}",
                "component-model-async",
            ) from None
        if compiler is self.engine:
            return component
        return self._component_engine().deserialize(compiler.components.serialize(component))

    def _compiling(self) -> Any:
        raise NotImplementedError

    def _deserialize_component(self, code: bytes) -> Any:
        return self._component_engine().deserialize(code)

    def _make_component(self, handle: Any, data: bytes) -> BaseComponent:
        return NativeComponent(self, handle, data)

    def _suspends(self, component: BaseComponent, linkage: Linkage) -> bool:
        # A guest is not suspended where the engine's own WASI waits on the calling thread, nor where guests' resources
        # have handles: the C API has no function to drop these in a store whose guests are suspended.
        return "suspension" in self.info.features and not linkage.wasi and not component.exports_resources()

    def _link_component(self, component: BaseComponent, linkage: Linkage, suspends: bool) -> Any:
        linker = _fastcall.Linker(self.engine.owner, suspends)
        if linkage.wasi:
            linker.wasi(linkage.http)
        # Host functions with handles have plans that hold for this linkage only.
        state = NativeComponentState(component, linkage, None)  # type: ignore[arg-type]
        for interface, definitions in linkage.definitions.items():
            linker.interface(interface, [_defined(each, interface, state) for each in definitions])
        return linker

    def _component_state(self, component: BaseComponent, linkage: Linkage, store: Any) -> ComponentState:
        return NativeComponentState(component, linkage, store)

    def _instantiate_component(self, state: ComponentState, prepared: Any, wasi: Any) -> None:
        store: Any = state.store
        if wasi is not None:
            _give_wasi(store, wasi)
        handle = state.component.handle  # kept, so that closing the component meanwhile does not free it
        try:
            state.handle = store.fast.instantiate_component(prepared, handle, handle.address)
        except ModuleInstantiateError as error:
            _raise_of_component(error)

    async def _instantiate_component_async(self, state: ComponentState, prepared: Any) -> None:
        store: Any = state.store
        handle = state.component.handle
        try:
            state.handle = await store.fast.instantiate_component_async(prepared, handle, handle.address)
        except ModuleInstantiateError as error:
            _raise_of_component(error)


def _raise_of_component(error: ModuleInstantiateError) -> NoReturn:
    text = str(error).replace("cannot instantiate the module", "cannot instantiate the component", 1)
    raise ModuleInstantiateError(text) from None


def _defined(definition: Definition, interface: str | None, state: NativeComponentState) -> tuple[Any, ...]:
    if definition.callable is None or definition.type is None:
        return definition.name, definition.number
    shown = definition.name if interface is None else f"{interface} {definition.name}"
    signature = Signature(definition.type, state.codecs, shown)
    params, result = signature.plans(_fastcall.Plan)
    return (
        definition.name,
        definition.callable,
        params,
        result,
        signature.fallible,
        signature,
        definition.awaits,
        shown,
    )


def _texts(values: list[str]) -> tuple[Any, list[Any]]:
    """An array of C strings, and the objects that keep them alive."""
    kept = [ffi.new("char[]", each.encode()) for each in values]
    return ffi.new("const char *[]", kept), kept


def _give_wasi(store: Any, wasi: ComponentWasi) -> None:
    settings = ffi.new("wrt_component_wasi *")
    args, kept_args = _texts(list(wasi.args))
    names, kept_names = _texts([name for name, _ in wasi.env])
    values, kept_values = _texts([value for _, value in wasi.env])
    hosts, kept_hosts = _texts([host for host, _, _ in wasi.directories])
    guests, kept_guests = _texts([guest for _, guest, _ in wasi.directories])
    writable = ffi.new("bool[]", [each for _, _, each in wasi.directories])
    settings.arg_count, settings.args = len(wasi.args), args
    settings.env_count, settings.env_names, settings.env_values = len(wasi.env), names, values
    settings.directory_count, settings.host_paths, settings.guest_paths = len(wasi.directories), hosts, guests
    settings.writable = writable
    settings.inherit_stdin = wasi.stdin is INHERITED
    stdin = ffi.new("char[]", wasi.stdin) if isinstance(wasi.stdin, bytes) else ffi.NULL
    settings.stdin_data = stdin
    settings.stdin_size = len(wasi.stdin) if isinstance(wasi.stdin, bytes) else 0
    settings.inherit_stdout = wasi.stdout is INHERITED
    settings.inherit_stderr = wasi.stderr is INHERITED
    settings.network, settings.http = wasi.network, wasi.http
    streams = [None if each is INHERITED else each for each in (wasi.stdout, wasi.stderr)]
    store.fast.component_wasi(int(ffi.cast("uintptr_t", settings)), *streams)
    del kept_args, kept_names, kept_values, kept_hosts, kept_guests, stdin


copyreg.pickle(_fastcall.ComponentFunction, lambda function: stays("component's function", "component"))
