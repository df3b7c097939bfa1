"""Whatever value is given for whatever type: the path in C and the one in Python take and refuse the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt.component import Err, Ok, Some
from pywasmrt.component.codec import Codec
from pywasmrt.component.codecs import Codecs
from pywasmrt.component.compound_codecs import _Choice
from pywasmrt.component.signature import Signature
from pywasmrt.testing.component_strategies import component_types, component_values
from pywasmrt.testing.components import echo_component

REFUSALS = (TypeError, ValueError, OverflowError)


class Index:
    def __index__(self) -> int:
        return 3


def junk() -> st.SearchStrategy[Any]:
    simple = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(1 << 70), 1 << 70),
        st.floats(),
        st.complex_numbers(),
        st.text(st.characters(), max_size=3),
        st.binary(max_size=3),
        st.binary(max_size=3).map(bytearray),
        st.sampled_from(
            [object(), Index(), Fraction(3, 2), Ok, Err(), Some, int, range(3), {1}, memoryview(b"ab").cast("b")]
        ),
    )
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
            inner.map(Some),
            inner.map(Ok),
            inner.map(Err),
        ),
        max_leaves=4,
    )


def outcome(work: Callable[[], object]) -> tuple[str, str]:
    """How a value was refused, or nothing where it was taken."""
    try:
        work()
    except REFUSALS as error:
        return type(error).__name__, str(error)
    return "", ""


def choices(value: Any) -> Iterator[_Choice]:
    """The variants, options and results in a codec."""
    if isinstance(value, _Choice):
        yield value
    for part in vars(value).values() if isinstance(value, Codec) else value if isinstance(value, (list, tuple)) else ():
        yield from choices(part)


@settings(max_examples=40)
@given(st.data())
def refusals_agree(runtime: pywasmrt.Runtime, data: Any) -> None:
    type = data.draw(component_types(max_leaves=4))
    component: Any = runtime.compile_component(echo_component(type))
    [item] = [each for each in component.exports if each.name == "echo"]
    in_python = Signature(item.type, Codecs(component.types), "echo")
    if runtime.info.name == "wasmtime-py":  # what the package takes for another case, and then refuses
        assume(not any(each.is_mistaken(name) for each in choices(in_python.params) for name, _ in each.choices()))
    good = component_values(type, component.types)
    with runtime.instantiate_component(component) as instance:
        for value in data.draw(st.lists(st.lists(junk() | good, max_size=2), min_size=5, max_size=5)):
            expected = outcome(lambda value=value: in_python.lower_arguments("echo", (value,)))
            assert outcome(lambda value=value: instance.exports.echo(value)) == expected, f"{value!r} of {type}"


def test_both_ways_refuse_the_same(components: pywasmrt.Runtime) -> None:
    refusals_agree(components)
