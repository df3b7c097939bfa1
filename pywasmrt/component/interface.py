"""What a component imports and exports, worked out from its definitions: the world that it was made for.

A component's definitions are evaluated as a program whose values are types: an import has its declared type, and an
instance of an inner component has what that component exports for these arguments. So each resource is one object
wherever it turns up, and each named type keeps its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ModuleCompileError, UnsupportedFeatureError
from .binary import COMPONENT, CORE, FUNC, INSTANCE, TYPE, Definition, decode
from .types import (
    BorrowType,
    ComponentFunctionType,
    EnumType,
    FlagsType,
    InterfaceType,
    ListType,
    NamedType,
    OptionType,
    OtherType,
    OwnType,
    PrimitiveType,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    World,
    WorldItem,
)

__all__ = ["read_world"]

# Inner components may be instantiated again and again, in each other: so many definitions are looked at in all.
_MOST_DEFINITIONS = 500_000

Instance = dict[str, tuple[int, Any]]
"""The exports of an instance, as (sort, entity), by name."""


def read_world(data: bytes) -> World:
    """The world of a validated component. Raises `ModuleCompileError` where `data` is malformed, and
    `UnsupportedFeatureError` where its interface is too large to be worked out.
    """
    imports: Instance = {}
    reader = _Evaluator()
    try:
        exports = reader.component(decode(data), None, None, imports)
    except (IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModuleCompileError(f"malformed component: {type(error).__name__}: {error}") from None
    items = [_item(name, sort, entity) for name, (sort, entity) in imports.items()]
    offered = [_item(name, sort, entity) for name, (sort, entity) in exports.items()]
    return World(tuple(each for each in items if each), tuple(each for each in offered if each))


def _item(name: str, sort: int, entity: Any) -> WorldItem | None:
    if sort == FUNC:
        return WorldItem(name, entity)
    if sort == TYPE:
        return WorldItem(name, entity) if isinstance(entity, (NamedType, ResourceType)) else None
    if sort != INSTANCE:
        return None
    functions = {each: found for each, (kind, found) in entity.items() if kind == FUNC}
    types = {
        each: found
        for each, (kind, found) in entity.items()
        if kind == TYPE and isinstance(found, (NamedType, ResourceType))
    }
    for found in types.values():
        if found.owner is None:
            found.owner = name
    return WorldItem(name, InterfaceType(name, functions, types))


class _Scope:
    """The index spaces of a component, or of a type that declares as a component does."""

    def __init__(self, outer: _Scope | None) -> None:
        self.outer = outer
        self.spaces: dict[int, list[Any]] = {sort: [] for sort in (CORE, FUNC, TYPE, COMPONENT, INSTANCE)}

    def add(self, sort: int, entity: Any) -> None:
        self.spaces[sort].append(entity)

    def get(self, sort: int, index: int) -> Any:
        return None if sort == CORE else self.spaces[sort][index]

    def out(self, count: int) -> _Scope:
        scope: _Scope | None = self
        for _ in range(count):
            scope = None if scope is None else scope.outer
        if scope is None:
            raise ModuleCompileError("malformed component: an alias goes beyond the outermost component")
        return scope


class _Evaluator:
    def __init__(self) -> None:
        self.left = _MOST_DEFINITIONS

    def component(
        self,
        definitions: list[Definition],
        outer: _Scope | None,
        arguments: Mapping[str, Any] | None,
        imports: Instance | None = None,
    ) -> Instance:
        """Evaluate `definitions` and return the exports. Without `arguments` an import is what it is declared as, and
        is noted in `imports`. `declare` is what an instance's or a component's type says of its exports: where
        `arguments` has one of that name (under `=name`), it is that.
        """
        scope = _Scope(outer)
        exports: Instance = {}
        for each in definitions:
            self.left -= 1
            if self.left < 0:
                raise UnsupportedFeatureError(
                    f"the component's interface takes more than {_MOST_DEFINITIONS} definitions to work out",
                    "component-model",
                )
            kind, sort, name, value, extra = each
            if kind == "type":
                scope.add(TYPE, self.type(value, scope))
            elif kind == "component":
                scope.add(COMPONENT, (value, scope))
            elif kind == "lift":
                scope.add(FUNC, scope.get(TYPE, value))
            elif kind == "alias export":
                scope.add(sort, scope.get(INSTANCE, value)[name][1])
            elif kind == "alias outer":
                scope.add(sort, scope.out(value[0]).get(sort, value[1]))
            elif kind == "bundle":
                scope.add(INSTANCE, {key: (of, scope.get(of, index)) for key, (of, index) in value.items()})
            elif kind == "instantiate":
                inner, home = scope.get(COMPONENT, value)
                given = {key: scope.get(of, index) for key, (of, index) in extra.items()}
                scope.add(INSTANCE, self.component(inner, home, given))
            elif kind == "import":
                entity = arguments[name] if arguments is not None else self.declared(name, sort, value, scope)
                scope.add(sort, entity)
                if imports is not None:
                    imports[name] = (sort, entity)
            elif kind == "declare":
                known = None if arguments is None else arguments.get(f"={name}")
                entity = self.declared(name, sort, value, scope, known)
                scope.add(sort, entity)
                exports[name] = (sort, entity)
            else:
                entity = self.exported(name, sort, scope.get(sort, value), extra, scope)
                scope.add(sort, entity)
                exports[name] = (sort, entity)
        return exports

    def declared(self, name: str, sort: int, value: Any, scope: _Scope, known: Any = None) -> Any:
        """What an import or a declared export is; `known` is the thing itself where there is one already."""
        if sort == TYPE:
            if value is None:
                return ResourceType(name) if known is None else known
            found = scope.get(TYPE, value)
            return found if isinstance(found, ResourceType) else _named(name, found)
        if sort == FUNC:
            return scope.get(TYPE, value)
        if sort in (INSTANCE, COMPONENT):
            _, definitions, home = scope.get(TYPE, value)
            if sort == COMPONENT:
                return definitions, home
            given = None if known is None else {f"={key}": entity for key, (_, entity) in known.items()}
            return self.component(definitions, home, given)
        return None

    def exported(self, name: str, sort: int, entity: Any, given: tuple[int, Any] | None, scope: _Scope) -> Any:
        if given is not None:
            return self.declared(name, sort, given[1], scope, entity)
        if sort == TYPE:
            if isinstance(entity, ResourceType):
                if entity.name == "resource":
                    entity.name = name
                return entity
            return _named(name, entity)
        return entity

    def type(self, form: tuple[Any, ...], scope: _Scope) -> Any:
        kind = form[0]
        if kind == "value":
            return self.value(form[1], scope)
        if kind == "func":
            _, params, result, is_async = form
            return ComponentFunctionType(
                tuple((name, self.value(each, scope)) for name, each in params),
                None if result is None else self.value(result, scope),
                is_async,
            )
        if kind in ("instance", "component"):
            return kind, form[1], scope
        if kind == "resource":
            return ResourceType()
        if kind == "record":
            return RecordType(tuple((name, self.value(each, scope)) for name, each in form[1]))
        if kind == "variant":
            return VariantType(tuple((name, self.optional(each, scope)) for name, each in form[1]))
        if kind == "list":
            return ListType(self.value(form[1], scope))
        if kind == "tuple":
            return TupleType(tuple(self.value(each, scope) for each in form[1]))
        if kind == "flags":
            return FlagsType(form[1])
        if kind == "enum":
            return EnumType(form[1])
        if kind == "option":
            return OptionType(self.value(form[1], scope))
        if kind == "result":
            return ResultType(self.optional(form[1], scope), self.optional(form[2], scope))
        if kind in ("own", "borrow"):
            resource = scope.get(TYPE, form[1])
            return OwnType(resource) if kind == "own" else BorrowType(resource)
        if kind == "fixed":
            return OtherType(f"list<{self.value(form[1], scope)}, {form[2]}>")
        if kind == "map":
            return OtherType(f"map<{self.value(form[1], scope)}, {self.value(form[2], scope)}>")
        payload = self.optional(form[1], scope)
        return OtherType(kind if payload is None else f"{kind}<{payload}>")

    def value(self, type: int | str, scope: _Scope) -> WitType:
        if isinstance(type, str):
            return OtherType(type) if type == "error-context" else PrimitiveType(type)
        found: WitType = scope.get(TYPE, type)
        return found

    def optional(self, type: int | str | None, scope: _Scope) -> WitType | None:
        return None if type is None else self.value(type, scope)


def _named(name: str, type: Any) -> Any:
    """A type under a new name; the types of functions and instances have none."""
    if isinstance(type, (ComponentFunctionType, tuple)):
        return type
    return NamedType(name, type)
