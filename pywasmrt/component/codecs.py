"""The codec of every type of a component, and those of handles to resources.

How the values of each type cross is in `codec.py` and `compound_codecs.py`.
"""

from __future__ import annotations

from typing import Any

from ..errors import ClosedError, UnsupportedFeatureError
from ..values import late
from .classes import Classes
from .codec import KINDS, Codec, MakePlan, primitive_codec, refuse
from .compound_codecs import (
    EnumCodec,
    FlagsCodec,
    ListCodec,
    OptionCodec,
    RecordCodec,
    ResultCodec,
    TupleCodec,
    VariantCodec,
)
from .types import (
    BorrowType,
    EnumType,
    FlagsType,
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
    children,
    structure,
)

__all__ = ["Codecs", "Handles", "has_handles", "unsupported"]


class Handles:
    """What codecs of resources ask of an instance: how its handles look in Python."""

    def host_number(self, resource: ResourceType) -> int:
        """The number of a type of the host's resources; 0 for the guest's and the engine's own."""
        raise NotImplementedError

    def guest_class(self, resource: ResourceType) -> Any:
        """The class of a guest's resource."""
        raise NotImplementedError

    def lower_handle(self, resource: ResourceType, value: Any, owned: bool) -> Any:
        """What the package wasmtime takes for a resource."""
        raise NotImplementedError

    def lift_handle(self, resource: ResourceType, raw: Any, owned: bool) -> Any:
        """The Python object of a resource that the package wasmtime gives."""
        raise NotImplementedError

    def check_handle(self, value: Any) -> None:
        """Raise `Refusal` where a handle cannot be used here and now."""


class _Handle(Codec):
    def __init__(self, resource: ResourceType, owned: bool, handles: Handles) -> None:
        super().__init__()
        self.resource = resource
        self.kind = "own" if owned else "borrow"
        self.text = resource.name if owned else f"borrow<{resource.name}>"
        self.handles = handles

    def _make_plan(self, make: MakePlan) -> Any:
        number = self.handles.host_number(self.resource)
        cls = None if number else self.handles.guest_class(self.resource)
        return make(KINDS[self.kind], (), (), (), cls, (), False, number)

    def lower(self, value: Any) -> Any:
        if not self.handles.host_number(self.resource):
            cls = self.handles.guest_class(self.resource)
            if not isinstance(value, cls):
                self.wrong(value, f"a {cls.__name__} of this instance")
            if value.closed:
                refuse(ClosedError, f"the {self.resource.name} was dropped or given away")
            if self.kind == "own" and value._borrowed:
                refuse(ValueError, f"the {self.resource.name} is only lent, and so cannot be given away")
            self.handles.check_handle(value)
        return self.handles.lower_handle(self.resource, value, self.kind == "own")

    def lift(self, raw: Any) -> Any:
        return self.handles.lift_handle(self.resource, raw, self.kind == "own")

    def classes(self) -> set[type]:
        package = late("wasmtime.component")
        return {package.ResourceAny, package.ResourceHost}


class Codecs:
    """The codecs of a component's types: those without handles once for all instances, the others by `Handles`."""

    def __init__(self, classes: Classes, handles: Handles | None = None, shared: Codecs | None = None) -> None:
        self.types = classes
        self._handles = handles
        self._shared = shared
        self._known: dict[Any, Codec] = {}

    def codec(self, type: WitType) -> Codec:
        """The codec of a type. Raises `UnsupportedFeatureError` for one whose values cannot cross."""
        if self._shared is not None and not has_handles(type):
            return self._shared.codec(type)
        found = self._known.get(type)
        if found is None:
            found = self._known.setdefault(type, self._make(type))
        return found

    def _optional(self, type: WitType | None) -> Codec | None:
        return None if type is None else self.codec(type)

    def _make(self, type: WitType) -> Codec:
        name = "" if not isinstance(type, NamedType) else type.root().name
        target = structure(type)
        if isinstance(target, PrimitiveType):
            return primitive_codec(target.name)
        if isinstance(target, ListType):
            return ListCodec(self.codec(target.element))
        if isinstance(target, TupleType):
            return TupleCodec([self.codec(each) for each in target.elements])
        if isinstance(target, OptionType):
            return OptionCodec(self.codec(target.payload))
        if isinstance(target, ResultType):
            return ResultCodec(self._optional(target.ok), self._optional(target.err), str(target))
        if isinstance(target, (OwnType, BorrowType)):
            if self._handles is None:
                raise AssertionError("handles need an instance")
            return _Handle(target.resource, isinstance(target, OwnType), self._handles)
        if isinstance(target, OtherType):
            raise unsupported(target)
        named = type if isinstance(type, NamedType) else NamedType(target.__class__.__name__, target)
        name = name or str(target)
        if isinstance(target, RecordType):
            fields = [(field, self.codec(each)) for field, each in target.fields]
            return RecordCodec(name, self.types.record(named, target), fields)
        if isinstance(target, VariantType):
            cases = [(case, self._optional(each)) for case, each in target.cases]
            return VariantCodec(name, self.types.variant(named, target), cases)
        if isinstance(target, EnumType):
            return EnumCodec(name, self.types.enum(named, target), target.names)
        assert isinstance(target, FlagsType)
        return FlagsCodec(name, self.types.flags(named, target), target.names)


def has_handles(type: WitType) -> bool:
    """Whether values of the type hold resources."""
    return isinstance(type, (OwnType, BorrowType)) or any(has_handles(each) for each in children(type))


def unsupported(type: OtherType) -> UnsupportedFeatureError:
    """What to raise for a type whose values cannot cross."""
    return UnsupportedFeatureError(f"values of {type} cannot cross between Python and components", "component-model")
