"""What the components of every runtime share: compiling, serialising, linking, instantiating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...component.binary import HEADER, interface_only, is_component
from ...component.classes import Classes
from ...component.codecs import Codecs
from ...component.interface import read_world
from ...component.linking import Linkage, resolve
from ...component.types import InterfaceType, ResourceType, World, WorldItem
from ...component.wit import world_text
from ...errors import ModuleCompileError, ModuleInstantiateError, UnsupportedFeatureError, WasmError
from ...types import Limits
from ...values import shown
from .component_forks import begin_wasi
from .component_instance import BaseComponentInstance, ComponentState
from .contracts import OwningRuntime
from .lifetime import Closable
from .serialized import pack_blob, unpack_blob
from .source import load, path_hint

if TYPE_CHECKING:
    from ...protocols import WasiProvider

__all__ = ["BaseComponent", "BaseLinkedComponent", "Components", "component_identity"]

_FEATURE = "component-model"
_PATIENCE = 0.05  # seconds: a guest that waits in the engine's WASI cannot be stopped before that wait is over


class BaseComponent(Closable):
    """A compiled component. `handle` is the runtime's."""

    _kind = "component"

    def __init__(self, runtime: Components, handle: Any, data: bytes) -> None:
        """`data` is the component's binary form, or what `interface_only` left of it."""
        self.runtime = runtime
        self.handle = handle
        self._data = data
        self._world: World | None = None
        self._types: Classes | None = None
        self._codecs: Codecs | None = None
        self.source: bytes | None = None  # the bytes it was compiled from, for other processes; None if unknown
        super().__init__(runtime)

    @property
    def world(self) -> World:
        """What the component asks for and offers, read at the first need. Works on a closed component too."""
        world = self._world
        if world is None:
            world = self._world = read_world(self._data)
            if len(self._data) > 4096:  # serialising needs only this; the code is not kept twice
                self._data = interface_only(self._data)
        return world

    @property
    def imports(self) -> tuple[WorldItem, ...]:
        """What the component asks for, in its order."""
        return self.world.imports

    @property
    def exports(self) -> tuple[WorldItem, ...]:
        """What the component offers, in its order."""
        return self.world.exports

    @property
    def types(self) -> Classes:
        """The Python classes of its records, variants, enums and flags: `types["local:demo/shapes"].Point`."""
        types = self._types
        if types is None:
            types = self._types = Classes(self.world)
        return types

    @property
    def codecs(self) -> Codecs:
        """How values without handles cross; the same for all instances."""
        codecs = self._codecs
        if codecs is None:
            codecs = self._codecs = Codecs(self.types)
        return codecs

    def exports_resources(self) -> bool:
        """Whether the host may be given handles to resources that the component defines."""
        for item in self.world.exports:
            if isinstance(item.type, ResourceType):
                return True
            if isinstance(item.type, InterfaceType) and any(
                isinstance(each, ResourceType) for each in item.type.types.values()
            ):
                return True
        return False

    def use_classes(self, classes: Mapping[tuple[str | None, str], Any]) -> None:
        """Have values be of these classes, by interface and name of WIT; what `pywasmrt bindgen` writes calls this."""
        self.types.use(classes)

    def wit(self) -> str:
        """The component's world as WIT text."""
        return world_text(self.world)

    def serialize(self) -> bytes:
        """The compiled code as a blob for `Runtime.deserialize_component`, of this engine, version and settings."""
        self._check_open()
        return pack_blob(component_identity(self.runtime), interface_only(self._data), self._serialize())

    def __copy__(self) -> BaseComponent:
        return self  # it never changes, except for the classes of its values

    def __deepcopy__(self, memo: object) -> BaseComponent:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_open()
        recipe: tuple[Any, ...] = self.runtime.recipe(self)
        return recipe

    def _serialize(self) -> bytes:
        """Hook: the engine's blob."""
        raise UnsupportedFeatureError(f"{self.runtime.info.name} cannot serialise components", "serialize")

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        counts = f"imports={len(self.imports)} exports={len(self.exports)}"
        return f"<Component {counts} ({self.runtime.info.name}){state}>"


class BaseLinkedComponent(Closable):
    """A component linked to what serves its imports. Several threads may use it at once."""

    _kind = "linked component"

    def __init__(
        self,
        component: BaseComponent,
        linkage: Linkage,
        prepared: Any,
        wasi: Any,
        limits: Limits | None,
        imports: tuple[Any, ...],
    ) -> None:
        self.component = component
        self.limits = limits
        self._linkage = linkage
        self._prepared: dict[bool, Any] = {False: prepared}  # keys: whether the guests are suspended
        self._wasi = wasi
        self._imports = imports
        super().__init__(component)

    def instantiate(self, *, limits: Limits | None = None) -> BaseComponentInstance:
        """Make an instance in a store of its own. The caller closes it."""
        limits = self._checked(limits)
        runtime = self.component.runtime
        return runtime._new_component_instance(self.component, self._linkage, self._prepared[False], self._wasi, limits)

    async def instantiate_async(self, *, limits: Limits | None = None) -> BaseComponentInstance:
        """As `instantiate`, in an asynchronous store, whose guests may wait for coroutines."""
        limits = self._checked(limits)
        component, linkage = self.component, self._linkage
        suspends = component.runtime._suspends(component, linkage)
        if suspends not in self._prepared:
            self._prepared[suspends] = component.runtime._link_component(component, linkage, suspends)
        return await component.runtime._new_component_instance_async(
            component, linkage, self._prepared[suspends], self._wasi, limits, suspends
        )

    def _checked(self, limits: Limits | None) -> Limits | None:
        self._check_open()
        if limits is None:
            return self.limits
        self.component.runtime._check_store_limits(limits)
        return limits

    def _free(self) -> None:
        self._prepared = {}
        self._imports = ()

    def __copy__(self) -> BaseLinkedComponent:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> BaseLinkedComponent:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_open()
        return _relinked, (self.component, self._imports, self._wasi, self.limits)

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        imports = len(self.component.imports)
        return f"<LinkedComponent imports={imports} ({self.component.runtime.info.name}){state}>"


def _relinked(
    component: BaseComponent, imports: tuple[Any, ...], wasi: Any, limits: Limits | None
) -> BaseLinkedComponent:
    return component.runtime.link_component(component, *imports, wasi=wasi, limits=limits)


def component_identity(runtime: Components) -> str:
    """Names what a component's compiled code depends on: `Runtime.identity`, and that it is a component."""
    return f"a component, {runtime.identity()}"


class Components(OwningRuntime):
    """What a runtime does with components; part of `BaseRuntime`."""

    def compile_component(self, source: Any) -> BaseComponent:
        """Compile a component. Raises `ModuleCompileError` with the reason it is invalid, `UnsupportedFeatureError` if
        this engine runs none, or with the name of the proposal that a core module in it needs and that is off.
        """
        self._check_open()
        self._need_components()
        data = load(source)
        if isinstance(data, str):
            try:
                data = self._text_to_binary(data)
            except ModuleCompileError as error:
                raise ModuleCompileError(f"{error}{path_hint(str(source))}") from None
        if not is_component(data):
            if data[:4] == HEADER[:4]:
                raise ModuleCompileError("this is a module, not a component; use compile")
            hint = (
                "; pass the text format as a str, or in a file named .wat" if data.lstrip()[:1] in (b"(", b";") else ""
            )
            raise ModuleCompileError(f"not a component: it begins with {data[:8]!r} instead of {HEADER!r}{hint}")
        try:
            component = self._loaded_component(data)
        except ModuleCompileError as error:
            raise self._judged_component(data, error) from None
        component.source = data
        return component

    def _loaded_component(self, data: bytes) -> BaseComponent:
        """Hook: the component, compiled now or before."""
        raise NotImplementedError

    def _judged_component(self, data: bytes, error: ModuleCompileError) -> WasmError:
        """Hook: the error to raise where the engine refused a component by `error`."""
        raise NotImplementedError

    def deserialize_component(self, blob: Any) -> BaseComponent:
        """Load what `Component.serialize` gave. The blob holds machine code that runs unchecked: it must be trusted."""
        self._check_open()
        self._need_components()
        try:
            data = blob if type(blob) is bytes else memoryview(blob).tobytes()
        except TypeError:
            raise TypeError(f"a compiled component is the bytes that serialize() gave, not {shown(blob)}") from None
        interface, code = unpack_blob(component_identity(self), data)
        return self._make_component(self._deserialize_component(code), interface)

    def link_component(
        self, component: Any, *imports: Any, wasi: WasiProvider | None = None, limits: Limits | None = None
    ) -> BaseLinkedComponent:
        """Find and check once what serves the component's imports, to make instances of it as often as wanted."""
        linkage = self._linked(component, imports, wasi, limits, "link_component")
        prepared = self._link_component(component, linkage, False)
        return BaseLinkedComponent(component, linkage, prepared, wasi, limits, imports)

    def instantiate_component(
        self, component: Any, *imports: Any, wasi: WasiProvider | None = None, limits: Limits | None = None
    ) -> BaseComponentInstance:
        """Link the component to what it imports and make an instance, in a store of its own."""
        linkage = self._linked(component, imports, wasi, limits, "instantiate_component")
        linkage.check_awaits_nothing()
        prepared = self._link_component(component, linkage, False)
        return self._new_component_instance(component, linkage, prepared, wasi, limits)

    async def instantiate_component_async(
        self, component: Any, *imports: Any, wasi: WasiProvider | None = None, limits: Limits | None = None
    ) -> BaseComponentInstance:
        """As `instantiate_component`, in an asynchronous store, whose guests may wait for coroutines."""
        linkage = self._linked(component, imports, wasi, limits, "instantiate_component_async")
        suspends = self._suspends(component, linkage)
        prepared = self._link_component(component, linkage, suspends)
        return await self._new_component_instance_async(component, linkage, prepared, wasi, limits, suspends)

    def _linked(self, component: Any, imports: Sequence[Any], wasi: Any, limits: Limits | None, verb: str) -> Linkage:
        self._check_open()
        self._need_components()
        if wasi is not None and not hasattr(wasi, "component_settings"):
            raise TypeError(f"wasi is a pywasmrt.wasi.WasiConfig, not {shown(wasi)}")
        if not isinstance(component, BaseComponent):
            raise TypeError(f"{verb} takes a compiled component, not {shown(component)}; use compile_component first")
        component._check_open()
        if component.runtime is not self:
            raise ModuleInstantiateError("the component was compiled by another runtime; compile it with this one")
        self._check_store_limits(limits)
        linkage = resolve(component.world, imports, wasi is not None)
        if wasi is not None:
            wasi.component_settings(linkage.http, opened=False)  # raises for settings that cannot be kept
        return linkage

    def _new_component_instance(
        self, component: BaseComponent, linkage: Linkage, prepared: Any, wasi: Any, limits: Limits | None
    ) -> BaseComponentInstance:
        """An instance in a store of its own, with limits that were checked."""
        linkage.check_awaits_nothing()
        settings = wasi.component_settings(linkage.http) if linkage.wasi else None
        store = self._new_store(limits)
        try:
            store.begin_component(False, False)
            state = self._component_state(component, linkage, store)
            if settings is not None:
                begin_wasi(state)
            self._instantiate_component(state, prepared, settings)
            return BaseComponentInstance(state)
        except BaseException:
            store.close()
            raise

    async def _new_component_instance_async(
        self,
        component: BaseComponent,
        linkage: Linkage,
        prepared: Any,
        wasi: Any,
        limits: Limits | None,
        suspends: bool,
    ) -> BaseComponentInstance:
        """As `_new_component_instance`, in an asynchronous store."""
        settings = wasi.component_settings(linkage.http) if linkage.wasi else None
        store = self._new_store(limits)
        try:
            store.begin_component(True, suspends)
            if linkage.wasi:
                store.turns.patience = _PATIENCE
            state = self._component_state(component, linkage, store)
            if settings is not None:
                begin_wasi(state)
            if suspends:
                await self._instantiate_component_async(state, prepared)
            else:
                await store.turns.call(lambda: self._instantiate_component(state, prepared, settings))
            return BaseComponentInstance(state)
        except BaseException:
            store.close()
            raise

    def _need_components(self) -> None:
        if _FEATURE not in self.info.features:
            raise UnsupportedFeatureError(self._no_components(), _FEATURE)

    # Hooks

    def _no_components(self) -> str:
        """Hook: why this runtime runs no components."""
        return f"{self.info.name} runs no components"

    def _text_to_binary(self, text: str) -> bytes:
        raise NotImplementedError

    def _new_store(self, limits: Limits | None) -> Any:
        raise NotImplementedError

    def _compile_component(self, data: bytes) -> Any:
        """Hook: compile, and return the component's handle."""
        raise NotImplementedError

    def _deserialize_component(self, code: bytes) -> Any:
        """Hook: the component's handle, from what `_serialize` gave in a runtime of the same identity."""
        raise UnsupportedFeatureError(f"{self.info.name} cannot load compiled components", "serialize")

    def _make_component(self, handle: Any, data: bytes) -> BaseComponent:
        """Hook: wrap a component's handle."""
        return BaseComponent(self, handle, data)

    def _suspends(self, component: BaseComponent, linkage: Linkage) -> bool:
        """Hook: whether a guest of this component is suspended while it waits. Otherwise a worker thread runs it."""
        return False

    def _link_component(self, component: BaseComponent, linkage: Linkage, suspends: bool) -> Any:
        """Hook: prepare what all instances of `linkage` have in common, and return it. `suspends` is the answer of
        `_suspends`; false for synchronous instances.
        """
        raise NotImplementedError

    def _component_state(self, component: BaseComponent, linkage: Linkage, store: Any) -> ComponentState:
        """Hook: the runtime's half of a new instance, in `store`."""
        raise NotImplementedError

    def _instantiate_component(self, state: ComponentState, prepared: Any, wasi: Any) -> None:
        """Hook: instantiate. `wasi` is a `ComponentWasi` or None."""
        raise NotImplementedError

    async def _instantiate_component_async(self, state: ComponentState, prepared: Any) -> None:
        """Hook: instantiate where `_suspends` returned true."""
        raise NotImplementedError
