"""What a component's interface is made of: the types of WIT, functions, interfaces and worlds, as plain records.

Two types are equal if they are built alike, but for those with a name: a `NamedType` or a `ResourceType` is equal to
itself only, as in WIT two records of different names are different types whatever their fields.
(Component model: design/mvp/WIT.md and Explainer.md.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from ..types import expect

__all__ = [
    "BorrowType",
    "ComponentFunctionType",
    "EnumType",
    "FlagsType",
    "InterfaceType",
    "ListType",
    "NamedType",
    "OptionType",
    "OtherType",
    "OwnType",
    "PrimitiveType",
    "RecordType",
    "ResourceType",
    "ResultType",
    "TupleType",
    "VariantType",
    "WitType",
    "World",
    "WorldItem",
    "children",
    "structure",
]


def _expect_types(owner: str, optional: bool = False, **values: object) -> None:
    """Refuse values that are no types of WIT; None is one where `optional` says so."""
    kinds = (*WitType.__args__, type(None)) if optional else WitType.__args__  # type: ignore[attr-defined]
    expect(owner, "a type of WIT or None" if optional else "a type of WIT", kinds, **values)


def _expect_tuple(owner: str, phrase: str, suits: Callable[[Any], bool], **values: Any) -> None:
    """Refuse values that are not tuples of what `suits` takes."""
    for name, value in values.items():
        expect(owner, f"a tuple of {phrase}", tuple, **{name: value})
        for each in value:
            if not suits(each):
                expect(owner, f"a tuple of {phrase}", (), **{name: value})


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _is_type(value: object) -> bool:
    return isinstance(value, WitType.__args__)  # type: ignore[attr-defined]


def _is_case(value: object) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2
    return pair and _is_name(value[0]) and (value[1] is None or _is_type(value[1]))  # type: ignore[index]


def _is_field(value: object) -> bool:
    return _is_case(value) and value[1] is not None  # type: ignore[index]


def _is_item(value: object) -> bool:
    return isinstance(value, WorldItem)


@dataclass(frozen=True)
class PrimitiveType:
    """A number, `bool`, `char` or `string`; `name` is WIT's."""

    name: str

    def __post_init__(self) -> None:
        expect("PrimitiveType", "a str", str, name=self.name)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class ListType:
    """`list<element>`."""

    element: WitType

    def __post_init__(self) -> None:
        _expect_types("ListType", element=self.element)

    def __str__(self) -> str:
        return f"list<{self.element}>"


@dataclass(frozen=True)
class TupleType:
    """`tuple<…>`."""

    elements: tuple[WitType, ...]

    def __post_init__(self) -> None:
        _expect_tuple("TupleType", "types of WIT", _is_type, elements=self.elements)

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.elements))}>"


@dataclass(frozen=True)
class OptionType:
    """`option<payload>`."""

    payload: WitType

    def __post_init__(self) -> None:
        _expect_types("OptionType", payload=self.payload)

    def __str__(self) -> str:
        return f"option<{self.payload}>"


@dataclass(frozen=True)
class ResultType:
    """`result<ok, err>`, each of which may be missing."""

    ok: WitType | None = None
    err: WitType | None = None

    def __post_init__(self) -> None:
        _expect_types("ResultType", True, ok=self.ok, err=self.err)

    def __str__(self) -> str:
        if self.err is None:
            return "result" if self.ok is None else f"result<{self.ok}>"
        return f"result<{self.ok or '_'}, {self.err}>"


@dataclass(frozen=True)
class RecordType:
    """A record: its fields by name, in their order."""

    fields: tuple[tuple[str, WitType], ...]

    def __post_init__(self) -> None:
        _expect_tuple("RecordType", "pairs of a name and a type", _is_field, fields=self.fields)

    def __str__(self) -> str:
        return "record { " + ", ".join(f"{name}: {type}" for name, type in self.fields) + " }"


@dataclass(frozen=True)
class VariantType:
    """A variant: its cases by name, in their order, each with or without a payload."""

    cases: tuple[tuple[str, WitType | None], ...]

    def __post_init__(self) -> None:
        _expect_tuple("VariantType", "pairs of a name and a type or None", _is_case, cases=self.cases)

    def __str__(self) -> str:
        shown = (name if type is None else f"{name}({type})" for name, type in self.cases)
        return f"variant {{ {', '.join(shown)} }}"


@dataclass(frozen=True)
class EnumType:
    """An enum: the names of its cases."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _expect_tuple("EnumType", "names", _is_name, names=self.names)

    def __str__(self) -> str:
        return f"enum {{ {', '.join(self.names)} }}"


@dataclass(frozen=True)
class FlagsType:
    """A set of flags: their names, the lowest bit first."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _expect_tuple("FlagsType", "names", _is_name, names=self.names)

    def __str__(self) -> str:
        return f"flags {{ {', '.join(self.names)} }}"


@dataclass(frozen=True)
class OtherType:
    """A type whose values cannot cross into Python: `stream<…>`, `future<…>`, `error-context` and the like."""

    text: str

    def __post_init__(self) -> None:
        expect("OtherType", "a str", str, text=self.text)

    def __str__(self) -> str:
        return self.text


@dataclass(eq=False)
class NamedType:
    """A type that an interface or world gives a name. `owner` is the interface's name, or None for a world's."""

    name: str
    target: WitType
    owner: str | None = None

    def __post_init__(self) -> None:
        expect("NamedType", "a str", str, name=self.name)
        _expect_types("NamedType", target=self.target)
        expect("NamedType", "a str or None", (str, type(None)), owner=self.owner)

    def root(self) -> NamedType:
        """The name under which the type was given first, where this only takes it over (`use`)."""
        named = self
        while isinstance(named.target, NamedType):
            named = named.target
        return named

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False)
class ResourceType:
    """A resource: a type of handles. `owner` is the name of the interface that it belongs to, or None for a world's."""

    name: str = "resource"
    owner: str | None = None

    def __post_init__(self) -> None:
        expect("ResourceType", "a str", str, name=self.name)
        expect("ResourceType", "a str or None", (str, type(None)), owner=self.owner)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class OwnType:
    """A handle that owns a resource."""

    resource: ResourceType

    def __post_init__(self) -> None:
        expect("OwnType", "a ResourceType", ResourceType, resource=self.resource)

    def __str__(self) -> str:
        return str(self.resource)


@dataclass(frozen=True)
class BorrowType:
    """A handle that is lent for the duration of a call."""

    resource: ResourceType

    def __post_init__(self) -> None:
        expect("BorrowType", "a ResourceType", ResourceType, resource=self.resource)

    def __str__(self) -> str:
        return f"borrow<{self.resource}>"


WitType = Union[
    PrimitiveType,
    ListType,
    TupleType,
    OptionType,
    ResultType,
    RecordType,
    VariantType,
    EnumType,
    FlagsType,
    NamedType,
    OwnType,
    BorrowType,
    OtherType,
]


@dataclass(frozen=True)
class ComponentFunctionType:
    """The signature of a component's function: named parameters, and a result or None."""

    params: tuple[tuple[str, WitType], ...] = ()
    result: WitType | None = None
    is_async: bool = False

    def __post_init__(self) -> None:
        _expect_tuple("ComponentFunctionType", "pairs of a name and a type", _is_field, params=self.params)
        _expect_types("ComponentFunctionType", True, result=self.result)
        expect("ComponentFunctionType", "a bool", bool, is_async=self.is_async)

    def __str__(self) -> str:
        params = ", ".join(f"{name}: {type}" for name, type in self.params)
        result = "" if self.result is None else f" -> {self.result}"
        return f"{'async ' if self.is_async else ''}func({params}){result}"


@dataclass(frozen=True, eq=False)
class InterfaceType:
    """An interface: its functions and its types by name, in their order. The names are WIT's.

    Functions of a resource are among the functions, as `[constructor]NAME`, `[method]NAME.METHOD` and
    `[static]NAME.FUNCTION`.
    """

    name: str
    functions: Mapping[str, ComponentFunctionType] = field(default_factory=dict)
    types: Mapping[str, NamedType | ResourceType] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expect("InterfaceType", "a str", str, name=self.name)
        expect("InterfaceType", "a mapping", Mapping, functions=self.functions, types=self.types)

    def __str__(self) -> str:
        return f"interface {self.name}"


@dataclass(frozen=True)
class WorldItem:
    """One import or export of a component: an interface, a function, or a type."""

    name: str
    type: InterfaceType | ComponentFunctionType | NamedType | ResourceType

    def __post_init__(self) -> None:
        expect("WorldItem", "a str", str, name=self.name)
        kinds = (InterfaceType, ComponentFunctionType, NamedType, ResourceType)
        expect("WorldItem", "an interface, a function or a type with a name", kinds, type=self.type)

    def __str__(self) -> str:
        if isinstance(self.type, ComponentFunctionType):
            return f"{self.name}: {self.type}"
        if isinstance(self.type, InterfaceType):
            return self.name
        return f"type {self.name}"


@dataclass(frozen=True)
class World:
    """What a component asks for and what it offers, each in the component's order."""

    imports: tuple[WorldItem, ...] = ()
    exports: tuple[WorldItem, ...] = ()

    def __post_init__(self) -> None:
        _expect_tuple("World", "WorldItems", _is_item, imports=self.imports)
        _expect_tuple("World", "WorldItems", _is_item, exports=self.exports)


def structure(type: WitType) -> WitType:
    """The type behind a name."""
    while isinstance(type, NamedType):
        type = type.target
    return type


def children(type: WitType) -> Iterator[WitType]:
    """The types that `type` is made of directly."""
    if isinstance(type, NamedType):
        yield type.target
    elif isinstance(type, ListType):
        yield type.element
    elif isinstance(type, TupleType):
        yield from type.elements
    elif isinstance(type, OptionType):
        yield type.payload
    elif isinstance(type, ResultType):
        yield from (each for each in (type.ok, type.err) if each is not None)
    elif isinstance(type, RecordType):
        yield from (each for _, each in type.fields)
    elif isinstance(type, VariantType):
        yield from (each for _, each in type.cases if each is not None)
