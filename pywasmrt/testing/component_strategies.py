"""Hypothesis strategies for components: types of WIT, and the Python values that belong to one.

    type = data.draw(component_types())
    component = runtime.compile_component(echo_component(type))
    value = data.draw(component_values(type, component.types))

Values are Python's own, with the classes of a compiled component (`Component.types`) for records, variants, enums and
flags. Types with resources, streams and futures are not drawn.
"""

from __future__ import annotations

from functools import reduce
from itertools import count
from operator import or_
from typing import Any

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ImportError as error:
    missing = f"{__name__} needs Hypothesis: pip install 'pywasmrt[testing]' ({error})"
    raise ImportError(missing, name="hypothesis") from error

from ..component.classes import Classes
from ..component.codecs import Codecs, has_handles
from ..component.linking import resolve
from ..component.names import python_name
from ..component.signature import Signature
from ..component.types import (
    ComponentFunctionType,
    EnumType,
    FlagsType,
    InterfaceType,
    ListType,
    NamedType,
    OptionType,
    PrimitiveType,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    World,
    structure,
)
from ..component.values import Err, Ok, Some
from ..errors import ComponentError, ModuleInstantiateError

__all__ = ["check_component_host", "component_types", "component_values"]

PRIMITIVES = "bool s8 u8 s16 u16 s32 u32 s64 u64 f32 f64 char string".split()
_LABELS = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z][a-z0-9]{0,3}){0,2}", fullmatch=True)


def component_types(max_leaves: int = 8) -> SearchStrategy[WitType]:
    """Nested WIT types whose values can cross. Types that need a name get one of their own."""
    numbers = count()

    def labels(least: int, most: int) -> SearchStrategy[list[str]]:
        return st.lists(_LABELS, min_size=least, max_size=most, unique=True)

    def named(type: WitType) -> WitType:
        return NamedType(f"type-n{next(numbers)}", type)

    simple = st.sampled_from(PRIMITIVES).map(PrimitiveType)
    enums = labels(1, 12).map(lambda names: named(EnumType(tuple(names))))
    flags = labels(1, 32).map(lambda names: named(FlagsType(tuple(names))))

    def larger(inner: SearchStrategy[WitType]) -> SearchStrategy[WitType]:
        optional = st.none() | inner
        records = labels(1, 4).flatmap(
            lambda names: st.tuples(*[inner] * len(names)).map(
                lambda types: named(RecordType(tuple(zip(names, types, strict=True))))
            )
        )
        variants = labels(1, 10).flatmap(
            lambda names: st.tuples(*[optional] * len(names)).map(
                lambda types: named(VariantType(tuple(zip(names, types, strict=True))))
            )
        )
        return st.one_of(
            inner.map(ListType),
            inner.map(OptionType),
            st.lists(inner, min_size=1, max_size=4).map(lambda types: TupleType(tuple(types))),
            st.builds(ResultType, optional, optional),
            records,
            variants,
        )

    return st.recursive(st.one_of(simple, enums, flags), larger, max_leaves=max_leaves)


def component_values(type: WitType, classes: Classes) -> SearchStrategy[Any]:
    """Python values of a type, as a component gives them back. They equal themselves, so no float is a NaN."""
    target = structure(type)
    if isinstance(target, PrimitiveType):
        return _primitive(target.name)
    if isinstance(target, ListType):
        if structure(target.element) == PrimitiveType("u8"):
            return st.binary(max_size=20)
        return st.lists(component_values(target.element, classes), max_size=5)
    if isinstance(target, TupleType):
        return st.tuples(*(component_values(each, classes) for each in target.elements))
    if isinstance(target, OptionType):
        inner = component_values(target.payload, classes)
        return st.none() | (inner.map(Some) if isinstance(structure(target.payload), OptionType) else inner)
    if isinstance(target, ResultType):
        return _payload(target.ok, classes).map(Ok) | _payload(target.err, classes).map(Err)
    assert isinstance(type, NamedType)
    if isinstance(target, RecordType):
        fields = {python_name(name): component_values(each, classes) for name, each in target.fields}
        return st.builds(classes.record(type, target), **fields)
    if isinstance(target, VariantType):
        cases = zip(target.cases, classes.variant(type, target), strict=True)
        return st.one_of(
            [st.builds(made, *([] if each is None else [component_values(each, classes)])) for (_, each), made in cases]
        )
    if isinstance(target, EnumType):
        return st.sampled_from(list(classes.enum(type, target)))
    assert isinstance(target, FlagsType)
    made = classes.flags(type, target)
    return st.sets(st.sampled_from(list(made))).map(lambda members: reduce(or_, members, made(0)))


def _payload(type: WitType | None, classes: Classes) -> SearchStrategy[Any]:
    return st.none() if type is None else component_values(type, classes)


def _primitive(name: str) -> SearchStrategy[Any]:
    if name == "bool":
        return st.booleans()
    if name == "char":
        return st.characters(exclude_categories=["Cs"])
    if name == "string":
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    if name in ("f32", "f64"):
        return st.floats(width=32 if name == "f32" else 64, allow_nan=False)
    bits = int(name[1:])
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if name[0] == "s" else (0, (1 << bits) - 1)
    return st.sampled_from([low, -1 if low else 1, 0, high]) | st.integers(low, high)


def check_component_host(host: Any, component: Any, interface: str, *, max_examples: int = 100) -> None:
    """Call the functions of an object that is to serve an imported interface, with arguments of their types.

    `component` is a compiled component that imports `interface`, which gives the types and the classes of values. Every
    function must be there and take what it is called with; what it returns must fit, and it must raise nothing but the
    `ComponentError` of a `result`, with a payload that fits. Raises `AssertionError` that says what does not, with
    Hypothesis's smallest example. Functions that take or give resources are only looked for, not called.
    """
    items = [item for item in component.imports if item.name == interface and isinstance(item.type, InterfaceType)]
    if not items:
        names = ", ".join(item.name for item in component.imports)
        raise ValueError(f"the component imports no interface {interface!r}, but {names or 'nothing'}")
    try:
        linkage = resolve(World(tuple(items)), [{interface: host}], has_wasi=True)
    except ModuleInstantiateError as error:
        raise AssertionError("\n".join(error.problems)) from None
    classes = component.types
    for definition in linkage.definitions[interface]:
        function, type = definition.callable, definition.type
        if function is None or type is None or _has_handles(type):
            continue
        signature = Signature(type, Codecs(classes), f"{interface} {definition.name}")

        _check_function(function, signature, [component_values(each, classes) for _, each in type.params], max_examples)


def _check_function(function: Any, signature: Signature, values: list[SearchStrategy[Any]], max_examples: int) -> None:
    @settings(max_examples=max_examples, deadline=None)
    @given(st.tuples(*values))
    def check(arguments: tuple[Any, ...]) -> None:
        _check_call(function, signature, arguments)

    check()


def _has_handles(type: ComponentFunctionType) -> bool:
    types = [each for _, each in type.params] + ([] if type.result is None else [type.result])
    return any(has_handles(each) for each in types)


def _check_call(function: Any, signature: Signature, arguments: tuple[Any, ...]) -> None:
    shown = f"{signature.shown_name}({', '.join(map(repr, arguments))})"
    try:
        value = function(*arguments)
    except ComponentError as error:
        if not signature.fallible:
            raise AssertionError(f"{shown} raised ComponentError, but its result is no result<…>") from error
        try:
            signature.lower_error(error.payload)
        except (TypeError, ValueError, OverflowError) as wrong:
            raise AssertionError(f"{shown}: {wrong}") from None
    except Exception as error:
        raise AssertionError(f"{shown} raised {type(error).__name__}: {error}") from error
    else:
        try:
            signature.lower_result(value)
        except (TypeError, ValueError, OverflowError) as wrong:
            raise AssertionError(f"{shown}: {wrong}") from None
