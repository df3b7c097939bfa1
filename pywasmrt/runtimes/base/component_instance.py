"""A running component as users see it: its exports by name, and the exports of its interfaces and resources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NoReturn

from ...component.codecs import Codecs, Handles
from ...component.linking import Linkage
from ...component.names import class_name, python_name, resource_function
from ...component.resources import make_class
from ...component.semver import find
from ...component.signature import Signature
from ...component.types import ComponentFunctionType, InterfaceType, ResourceType, World
from ...errors import ComponentError, Exit, FunctionNotExportedError
from ...values import did_you_mean, shown
from .lifetime import stays

if TYPE_CHECKING:
    from ...protocols import Component
    from .store import BaseStore

__all__ = ["BaseComponentInstance", "ComponentExports", "ComponentState", "InterfaceExports"]


class ComponentState(Handles):
    """The runtime's half of an instance: it finds and calls the functions, and makes the handles."""

    def __init__(self, component: Any, linkage: Linkage, store: BaseStore) -> None:
        """`component` is a `BaseComponent`, which imports this file."""
        self.component = component
        self.store = store
        self.linkage = linkage
        self.handle: Any = None
        self._codecs: Codecs | None = None
        self._resource_classes: dict[ResourceType, Any] = {}
        self._functions: dict[tuple[str | None, str], Any] = {}

    @property
    def codecs(self) -> Codecs:
        """How values cross, handles of this instance included."""
        codecs = self._codecs
        if codecs is None:
            codecs = self._codecs = Codecs(self.component.types, self, self.component.codecs)
        return codecs

    def function(self, interface: str | None, name: str, type: ComponentFunctionType) -> Any:
        """An exported function, by the names of WIT; the same object each time."""
        key = (interface, name)
        found = self._functions.get(key)
        if found is None:
            signature = Signature(type, self.codecs, _shown_name(name))
            found = self._functions.setdefault(key, self._function(interface, name, signature))
        return found

    def host_number(self, resource: ResourceType) -> int:
        return self.linkage.numbers.get(resource, 0)

    def guest_class(self, resource: ResourceType) -> Any:
        found = self._resource_classes.get(resource)
        if found is None:
            interface, functions = _functions_of(self.component.world, resource)
            made = make_class(
                self._resource_base(),
                resource.name,
                functions,
                lambda name: self.function(interface, name, functions[name]),
                self.store.turns,
            )
            found = self._resource_classes.setdefault(resource, made)
        return found

    # Hooks

    def refuse_calls(self, error: Exception) -> None:
        """Hook: make this and every later call of the instance raise `error`."""
        raise NotImplementedError

    def _function(self, interface: str | None, name: str, signature: Signature) -> Any:
        """Hook: the callable of an exported function."""
        raise NotImplementedError

    def _resource_base(self) -> Any:
        """Hook: the base class of guests' resources."""
        raise NotImplementedError


def _shown_name(name: str) -> str:
    """The name of a function in messages: the one in Python."""
    resource = resource_function(name)
    if resource is None:
        return python_name(name)
    _, owner, function = resource
    return f"{class_name(owner)}.{python_name(function)}" if function else class_name(owner)


def _functions_of(world: World, resource: ResourceType) -> tuple[str | None, dict[str, ComponentFunctionType]]:
    """The exported interface that owns a resource, and its functions. The engine's own resources have none."""
    own: dict[str, ComponentFunctionType] = {}
    for item in world.exports:
        if isinstance(item.type, InterfaceType):
            if any(each is resource for each in item.type.types.values()):
                return item.name, dict(item.type.functions)
        elif isinstance(item.type, ComponentFunctionType):
            own[item.name] = item.type
    return None, own


class _Names:
    """Exports by their name in Python or in WIT, each made when it is first asked for."""

    def __init__(self, state: ComponentState) -> None:
        self.__dict__["_state"] = state

    def _wit_name(self, name: str) -> str:
        """The name in WIT of the export that `name` refers to. Raises `FunctionNotExportedError`."""
        raise NotImplementedError

    def _make(self, name: str) -> Any:
        """Make the export of that name in WIT."""
        raise NotImplementedError

    def _listed(self) -> list[str]:
        """The names in WIT, in the component's order."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._made(name)

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str):
            raise TypeError(f"an export is asked for by its name, a str, not {shown(name)}")
        found = None if name.startswith("_") else self.__dict__.get(name)  # what is this object's own begins so
        return self._made(name) if found is None else found

    def _made(self, name: str) -> Any:
        state: ComponentState = self._state
        if state.store.closed:
            raise state.store._life.error("component instance")
        return self.__dict__.setdefault(name, self._make(self._wit_name(name)))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"exports cannot be set ({name!r})")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"exports cannot be deleted ({name!r})")

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed())

    def __len__(self) -> int:
        return len(self._listed())

    def __contains__(self, name: object) -> bool:
        """Whether an export is found by that name, in Python or in WIT."""
        if not isinstance(name, str):
            return False
        try:
            self._wit_name(name)
        except FunctionNotExportedError:
            return False
        return True

    def __reduce__(self) -> NoReturn:
        stays("component's exports", "component")

    def _missing(self, name: object, where: str, known: list[str]) -> FunctionNotExportedError:
        hint = did_you_mean(name, known) if isinstance(name, str) else ""
        listed = f"{len(known)} others" if len(known) > 8 else ", ".join(known) or "nothing"
        return FunctionNotExportedError(f"{where} does not export {name!r}, but {listed}{hint}")


class InterfaceExports(_Names):
    """An exported interface: its functions, the classes of its resources and of its types.

    Functions are called as in Python (`get_value` for `get-value`); the name in WIT works by subscription.
    """

    def __init__(self, state: ComponentState, interface: InterfaceType) -> None:
        super().__init__(state)
        self.__dict__["_interface"] = interface

    def _names(self) -> dict[str, str]:
        interface: InterfaceType = self._interface
        found = {python_name(name): name for name in interface.functions if not name.startswith("[")}
        found |= {class_name(name): name for name, type in interface.types.items() if isinstance(type, ResourceType)}
        return found

    def _classes(self) -> dict[str, Any]:
        interface: InterfaceType = self._interface
        found: dict[str, Any] = self._state.component.types.namespace(interface.types)
        return found

    def _wit_name(self, name: str) -> str:
        names = self._names()
        if name in names:
            return names[name]
        if name in self._interface.functions or name in names.values() or name in self._classes():
            return name
        raise self._missing(name, f"the interface {self._interface.name}", [*names, *self._classes()])

    def _make(self, name: str) -> Any:
        interface: InterfaceType = self._interface
        if name in interface.functions:
            return self._state.function(interface.name, name, interface.functions[name])
        if isinstance(interface.types.get(name), ResourceType):
            return self._state.guest_class(interface.types[name])
        return self._classes()[name]

    def _listed(self) -> list[str]:
        return list(self._interface.functions)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._names(), *self._classes()})

    def __repr__(self) -> str:
        functions = "; ".join(f"{name}: {type}" for name, type in self._interface.functions.items())
        return f"<interface {self._interface.name} {{ {functions} }}>"


class ComponentExports(_Names):
    """The exports of a component: functions as attributes, interfaces by name: `exports["local:demo/calc"]`.

    An interface's name may be given without its version, or with a compatible version.
    """

    def _items(self) -> dict[str, Any]:
        return {item.name: item.type for item in self._state.component.exports}

    def _wit_name(self, name: str) -> str:
        items = self._items()
        if name in items:
            return name
        for each, type in items.items():
            if isinstance(type, ComponentFunctionType) and python_name(each) == name:
                return each
            if isinstance(type, ResourceType) and class_name(each) == name:
                return each
        interface = find(name, (each for each, type in items.items() if isinstance(type, InterfaceType)))
        if interface is None and "@" not in name:
            matching = [each for each in items if each.partition("@")[0] == name]
            interface = matching[0] if len(matching) == 1 else None
        if interface is None:
            raise self._missing(name, "the component", self._listed())
        return interface

    def _make(self, name: str) -> Any:
        type = self._items()[name]
        if isinstance(type, InterfaceType):
            return InterfaceExports(self._state, type)
        if isinstance(type, ComponentFunctionType):
            return self._state.function(None, name, type)
        if isinstance(type, ResourceType):
            return self._state.guest_class(type)
        return self._state.component.types.of(type)

    def _listed(self) -> list[str]:
        return list(self._items())

    def __dir__(self) -> list[str]:
        names = [python_name(each) for each, type in self._items().items() if isinstance(type, ComponentFunctionType)]
        return sorted({*object.__dir__(self), *names})

    def __repr__(self) -> str:
        return f"<Exports {{{'; '.join(map(str, self._state.component.exports))}}}>"


class BaseComponentInstance:
    """A component's running form, in a store of its own. Closing it closes the store."""

    __slots__ = ("__weakref__", "_exports", "_state")

    def __init__(self, state: ComponentState) -> None:
        self._state = state
        self._exports = ComponentExports(state)

    @property
    def component(self) -> Component:
        """The component that was instantiated."""
        found: Component = self._state.component
        return found

    @property
    def store(self) -> BaseStore:
        """The store that the instance lives in."""
        return self._state.store

    @property
    def exports(self) -> ComponentExports:
        """Everything that is exported, by name."""
        self._check_open()
        return self._exports

    def run(self) -> int:
        """Run a command by its export `wasi:cli/run`, and return its exit code."""
        command = self._command()
        try:
            command()
        except Exit as end:
            return end.code
        except ComponentError:
            return 1
        return 0

    async def run_async(self) -> int:
        """As `run`, by `call_async`."""
        command = self._command()
        try:
            await command.call_async()
        except Exit as end:
            return end.code
        except ComponentError:
            return 1
        return 0

    def _command(self) -> Any:
        self._check_open()
        name = find("wasi:cli/run", [item.name for item in self.component.exports])
        if name is None:
            raise FunctionNotExportedError(
                "the component is no command, as it exports no interface wasi:cli/run; call what it does export"
            )
        return self._exports[name].run

    def interrupt(self) -> bool:
        """Stop the call that runs in the instance; from any thread. Returns whether one was running."""
        return self._state.store.interrupt()

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Set the deadline of every call in a `with` block to `seconds` from now."""
        return self._state.store.deadline(seconds)

    @property
    def fuel(self) -> int | None:
        """The fuel that the instance may still use, or None where it is not counted."""
        return self._state.store.fuel

    @fuel.setter
    def fuel(self, fuel: int) -> None:
        self._state.store.fuel = fuel

    @property
    def closed(self) -> bool:
        """Whether the instance, or its runtime, was closed."""
        return self._state.store.closed

    def close(self) -> None:
        """Close the instance and everything in it. Idempotent."""
        self._state.store.close()

    def _check_open(self) -> None:
        store = self._state.store
        if store.closed:
            raise store._life.error("component instance")

    def __reduce__(self) -> NoReturn:
        stays("component instance", "component")

    def __enter__(self) -> BaseComponentInstance:
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        component = self._state.component
        state = " closed" if self.closed else ""
        return f"<ComponentInstance exports={len(component.exports)} ({component.runtime.info.name}){state}>"
