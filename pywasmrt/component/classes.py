"""The Python classes of a component's records, variants, enums and flags, made from their types.

A record is a frozen dataclass; an enum an `enum.Enum`; flags an `enum.Flag`. A variant is a class for each case, named
after both (`shape` with `circle` is `ShapeCircle`), that holds its payload as `value`; the variant's own name stands
for their union. `pywasmrt bindgen` writes the same classes, and `use` puts those in the place of made ones.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import make_dataclass
from functools import reduce
from operator import or_
from types import SimpleNamespace
from typing import Any

from .names import case_name, class_name, member_name, python_name
from .types import (
    EnumType,
    FlagsType,
    InterfaceType,
    NamedType,
    RecordType,
    ResourceType,
    VariantType,
    World,
    structure,
)

__all__ = ["Classes", "InterfaceTypes"]


class InterfaceTypes(SimpleNamespace):
    """The Python classes of one interface's types, as attributes."""


class Classes(Mapping[str, InterfaceTypes]):
    """The Python classes of a component's types: those of an interface under its name, and those of the component
    itself as attributes. Each is made when it is first asked for.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._made: dict[tuple[str | None, str], Any] = {}  # by interface and name
        self._given: dict[tuple[str | None, str], Any] = {}
        self._namespaces: dict[str, InterfaceTypes] = {}

    def use(self, given: Mapping[tuple[str | None, str], Any]) -> None:
        """Take classes for types, by interface and name of WIT; for a variant's case by `"variant.case"`."""
        if self._made:
            raise RuntimeError("the component's classes are in use; give others before its first instance")
        self._given.update(given)

    # What codecs ask for

    def record(self, named: NamedType, type: RecordType) -> Any:
        """The dataclass of a record."""
        return self._once(named, lambda: self._record(named, type))

    def variant(self, named: NamedType, type: VariantType) -> tuple[Any, ...]:
        """The classes of a variant's cases."""
        cases: tuple[Any, ...] = self._once(named, lambda: self._variant(named, type))
        return cases

    def enum(self, named: NamedType, type: EnumType) -> Any:
        """The `Enum` of an enum."""
        return self._once(named, lambda: self._enum(named, type.names, enum.Enum))

    def flags(self, named: NamedType, type: FlagsType) -> Any:
        """The `Flag` of flags."""
        return self._once(named, lambda: self._flags(named, type.names))

    def _once(self, named: NamedType, make: Any) -> Any:
        key = (named.root().owner, named.root().name)
        found = self._made.get(key)
        if found is None:
            given = self._given.get(key)
            found = self._made.setdefault(key, make() if given is None else given)
        return found

    def _record(self, named: NamedType, type: RecordType) -> Any:
        fields = [(python_name(name), Any) for name, _ in type.fields]
        made = make_dataclass(class_name(named.root().name), fields, frozen=True, slots=True)
        return _described(made, named, f"The record `{named.root().name}`.")

    def _variant(self, named: NamedType, type: VariantType) -> tuple[Any, ...]:
        root = named.root()
        cases = []
        for name, payload in type.cases:
            given = self._given.get((root.owner, f"{root.name}.{name}"))
            if given is None:
                fields = [] if payload is None else [("value", Any)]
                made = make_dataclass(case_name(root.name, name), fields, frozen=True, slots=True)
                given = _described(made, named, f"The case `{name}` of the variant `{root.name}`.")
            cases.append(given)
        return tuple(cases)

    def _enum(self, named: NamedType, names: tuple[str, ...], base: Any) -> Any:
        members = [(member_name(name), name) for name in names]
        made = base(class_name(named.root().name), members)
        return _described(made, named, f"The enum `{named.root().name}`; a member's value is its name in WIT.")

    def _flags(self, named: NamedType, names: tuple[str, ...]) -> Any:
        members = [(member_name(name), 1 << bit) for bit, name in enumerate(names)]
        made = enum.Flag(class_name(named.root().name), members)  # type: ignore[misc]
        return _described(made, named, f"The flags `{named.root().name}`.")

    # What users ask for

    def of(self, type: NamedType | ResourceType) -> Any:
        """The Python class of a type, the union of a variant's classes, or None for a type without a class."""
        if isinstance(type, ResourceType):
            return None
        target = structure(type)
        if isinstance(target, RecordType):
            return self.record(type, target)
        if isinstance(target, VariantType):
            return reduce(or_, self.variant(type, target))
        if isinstance(target, EnumType):
            return self.enum(type, target)
        if isinstance(target, FlagsType):
            return self.flags(type, target)
        return None

    def namespace(self, types: Mapping[str, NamedType | ResourceType]) -> dict[str, Any]:
        """Every class of some types, by its name in Python."""
        found: dict[str, Any] = {}
        for name, type in types.items():
            made = self.of(type)
            if made is None:
                continue
            found[class_name(name)] = made
            target = structure(type) if isinstance(type, NamedType) else None
            if isinstance(target, VariantType) and isinstance(type, NamedType):
                for (case, _), cls in zip(target.cases, self.variant(type, target), strict=True):
                    found[case_name(name, case)] = cls
        return found

    def _interfaces(self) -> dict[str, InterfaceType]:
        return {
            item.name: item.type
            for item in (*self._world.imports, *self._world.exports)
            if isinstance(item.type, InterfaceType)
        }

    def __getitem__(self, interface: str) -> InterfaceTypes:
        found = self._namespaces.get(interface)
        if found is None:
            namespace = InterfaceTypes(**self.namespace(self._interfaces()[interface].types))
            found = self._namespaces.setdefault(interface, namespace)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._interfaces())

    def __len__(self) -> int:
        return len(self._interfaces())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        own = {
            item.name: item.type
            for item in (*self._world.imports, *self._world.exports)
            if isinstance(item.type, NamedType)
        }
        found = self.namespace(own)
        if name not in found:
            raise AttributeError(
                f"the component itself has no type {name!r}; an interface's are under its name: {list(self)}"
            )
        return found[name]

    def __repr__(self) -> str:
        return f"<types of {', '.join(self) or 'no interface'}>"


def _described(made: Any, named: NamedType, text: str) -> Any:
    root = named.root()
    made.__doc__ = text
    made.__module__ = root.owner or "component"
    return made
