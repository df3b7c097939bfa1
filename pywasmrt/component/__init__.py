"""Components: typed interfaces in WIT, with strings, records and resources in place of pointers."""

from __future__ import annotations

from ..errors import ComponentError
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
from .values import Err, Ok, Some

__all__ = [
    "BorrowType",
    "ComponentError",
    "ComponentFunctionType",
    "EnumType",
    "Err",
    "FlagsType",
    "InterfaceType",
    "ListType",
    "NamedType",
    "Ok",
    "OptionType",
    "OtherType",
    "OwnType",
    "PrimitiveType",
    "RecordType",
    "ResourceType",
    "ResultType",
    "Some",
    "TupleType",
    "VariantType",
    "WitType",
    "World",
    "WorldItem",
]
