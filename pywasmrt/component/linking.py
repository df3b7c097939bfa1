"""Finds every import of a component among what the host offers, before anything is created."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import ModuleInstantiateError
from ..host import is_async
from ..values import did_you_mean, shown
from .names import class_name, python_name, resource_function
from .semver import find, split
from .types import ComponentFunctionType, InterfaceType, NamedType, ResourceType, World

__all__ = ["Definition", "Linkage", "resolve"]

_numbers = count(1)


class Definition(NamedTuple):
    """One thing that the host defines: a function, or (`callable` is None) a type of its resources with its number."""

    name: str
    callable: Callable[..., Any] | None
    type: ComponentFunctionType | None = None
    number: int = 0
    awaits: bool = False  # what it returns is to be awaited, which takes an asynchronous store


class Linkage(NamedTuple):
    """What a component is linked to: definitions by interface (None for those of no interface), the numbers of the
    host's types of resources, and whether WASI is asked of the engine.
    """

    definitions: Mapping[str | None, list[Definition]]
    numbers: Mapping[ResourceType, int]
    wasi: bool
    http: bool

    def check_awaits_nothing(self) -> None:
        """Raise `ModuleInstantiateError` where a host function needs an asynchronous store."""
        for interface, definitions in self.definitions.items():
            for each in definitions:
                if each.awaits:
                    name = each.name if interface is None else f"{interface} {each.name}"
                    raise ModuleInstantiateError(
                        f"cannot instantiate the component: {name} is served by an async function, which takes an "
                        "asynchronous store: await instantiate_component_async(...) instead"
                    )


def resolve(world: World, imports: Sequence[Any], has_wasi: bool) -> Linkage:
    """Find every import of `world`. Raises `ModuleInstantiateError` that names all that is missing or does not fit, and
    `TypeError` for an object that cannot be imports.
    """
    offered = _merged(imports)
    problems: list[str] = []
    definitions: dict[str | None, list[Definition]] = {}
    numbers: dict[ResourceType, int] = {}
    used: set[str] = set()
    wasi = http = False
    for item in world.imports:
        if isinstance(item.type, ComponentFunctionType):
            key = item.name if item.name in offered else python_name(item.name)
            if key not in offered:
                problems.append(f"{item} is missing{did_you_mean(item.name, offered)}")
                continue
            used.add(key)
            fault = _misfit(offered[key], item.type)
            if fault:
                problems.append(f"{item} {fault}")
            awaits = is_async(offered[key])
            definitions.setdefault(None, []).append(Definition(item.name, offered[key], item.type, awaits=awaits))
        elif isinstance(item.type, InterfaceType):
            key_found = find(item.name, offered)
            if key_found is None:
                if item.name.startswith("wasi:"):
                    wasi = True
                    http = http or item.name.startswith("wasi:http/")
                    if not has_wasi:
                        problems.append(f"{item.name} is missing: it is WASI 0.2, so pass wasi=WasiConfig(...)")
                elif _needed(item.type):
                    problems.append(_missing_interface(item.type, offered))
                continue
            used.add(key_found)
            found = _interface(item.type, offered[key_found], numbers, problems)
            definitions[item.name] = found
        elif isinstance(item.type, ResourceType):
            numbers[item.type] = next(_numbers)
            definitions.setdefault(None, []).append(Definition(item.name, None, number=numbers[item.type]))
    if problems:
        unused = sorted(set(offered) - used)
        hint = f"; what was given for {', '.join(map(repr, unused))} is not asked for" if unused else ""
        listed = "; ".join(problems)
        raise ModuleInstantiateError(f"cannot instantiate the component: {listed}{hint}", problems)
    return Linkage(definitions, numbers, wasi, http)


def _merged(imports: Sequence[Any]) -> dict[str, Any]:
    offered: dict[str, Any] = {}
    for each in imports:
        if not isinstance(each, Mapping):
            raise TypeError(
                "imports of a component are given as a mapping of interface names to objects, as"
                f" {{'local:demo/host': Host()}}; not {shown(each)}"
            )
        for name, value in each.items():
            if not isinstance(name, str):
                raise TypeError(f"an interface is named by a str, not {shown(name)}")
            if name in offered:
                raise TypeError(f"{name!r} is given twice")
            offered[name] = value
    return offered


def _needed(interface: InterfaceType) -> bool:
    """Whether the host must define anything for an interface: types alone need no definition."""
    return bool(interface.functions) or any(isinstance(each, ResourceType) for each in interface.types.values())


def _missing_interface(interface: InterfaceType, offered: Mapping[str, Any]) -> str:
    base, version = split(interface.name)
    others = [name for name in offered if split(name)[0] == base]
    if others and version:
        return f"{interface.name} is missing: {', '.join(others)} is of no compatible version"
    wanted = "; ".join(f"{name}: {type}" for name, type in interface.functions.items())
    return f"{interface.name} {{ {wanted} }} is missing{did_you_mean(interface.name, offered)}"


def _interface(
    interface: InterfaceType, provider: Any, numbers: dict[ResourceType, int], problems: list[str]
) -> list[Definition]:
    found: list[Definition] = []
    for name, type in interface.types.items():
        # A resource that another interface owns (use) is that interface's to define.
        if isinstance(type, ResourceType) and type.owner in (None, interface.name):
            numbers[type] = next(_numbers)
            found.append(Definition(name, None, number=numbers[type]))
    for name, function in interface.functions.items():
        callable_, awaits, fault = _find(provider, name, function)
        if fault:
            problems.append(f"{interface.name} {name}: {function} {fault}")
        else:
            found.append(Definition(name, callable_, function, awaits=awaits))
    return found


def _get(provider: Any, *names: str) -> Any:
    """What a provider has under one of some names: keys of a mapping, attributes of anything else."""
    if isinstance(provider, Mapping):
        return next((provider[name] for name in names if name in provider), None)
    return next((found for found in (getattr(provider, name, None) for name in names) if found is not None), None)


def _known(provider: Any) -> list[str]:
    if isinstance(provider, Mapping):
        return [name for name in provider if isinstance(name, str)]
    return [name for name in dir(provider) if not name.startswith("__")]


def _find(provider: Any, name: str, type: ComponentFunctionType) -> tuple[Any, bool, str]:
    """The function of that name, whether its results are to be awaited, and "" or what is wrong."""
    resource = resource_function(name)
    if resource is None:
        python = python_name(name)
        found = _get(provider, python, name)
        if found is None:
            where = provider.__name__ if isinstance(provider, ModuleType) else f"the {_kind(provider)}"
            return None, False, f"is missing: {where} has no {python!r}{did_you_mean(python, _known(provider))}"
        return found, is_async(found), _misfit(found, type)
    kind, owner, function = resource
    cls = _get(provider, class_name(owner), owner)
    if cls is None:
        missing = f"is missing: the {_kind(provider)} has no class {class_name(owner)!r} for the resource {owner}"
        return None, False, missing
    if kind == "constructor":
        return cls, not inspect.isclass(cls) and is_async(cls), _misfit(cls, type)
    python = python_name(function)
    found = getattr(cls, python, None)
    if kind == "static":
        if found is None:
            return None, False, f"is missing: {_named(cls)} has no {python!r}"
        return found, is_async(found), _misfit(found, type)
    if found is None and inspect.isclass(cls):
        return None, False, f"is missing: {_named(cls)} has no method {python!r}{did_you_mean(python, _known(cls))}"
    return _method(python), is_async(found), ""


def _method(name: str) -> Callable[..., Any]:
    def call(self: Any, *args: Any) -> Any:
        return getattr(self, name)(*args)

    return call


def _kind(provider: Any) -> str:
    return "mapping" if isinstance(provider, Mapping) else f"{type(provider).__name__} object"


def _named(cls: Any) -> str:
    return getattr(cls, "__name__", None) or shown(cls)


def _misfit(found: Any, type: ComponentFunctionType) -> str:
    """Why an object cannot be the function, or ""."""
    if not callable(found):
        return f"was given {shown(found)}, which is no function"
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # some builtins have no signature to inspect
        return ""
    try:
        signature.bind(*[None] * len(type.params))
    except TypeError:
        return f"was given a function that takes {signature}"
    return ""


def named_types(interface: InterfaceType) -> list[NamedType]:
    """The types of an interface except its resources."""
    return [each for each in interface.types.values() if isinstance(each, NamedType)]
