"""Generated signatures and values. Needs Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...types import HostFunction, ValueType
from .. import guests
from ..comparing import as_guest_sees, same_values
from ..observation import as_tuple
from .checking import Part, Subject, require

__all__ = ["PART"]

PART = Part("properties")


@PART
def host_functions_of_any_type_get_and_give_what_they_should(subject: Subject) -> None:
    from ..host_checking import HostChecker
    from ..property_run import run_property
    from ..strategies import function_types, host_functions

    features = subject.runtime.info.features

    def example(draw: Callable[[Any], Any]) -> None:
        type = draw(function_types(features))
        function = draw(host_functions(type))
        described = HostFunction("f", function, type.params, type.results)
        HostChecker(described, (), [subject.runtime], None).example(draw)

    run_property(example)


@PART.needs("multi-value")
def values_of_any_types_pass_through_a_guest(subject: Subject) -> None:
    from hypothesis import strategies as st

    from ..property_run import run_property
    from ..strategies import arguments, value_types

    features = subject.runtime.info.features

    def example(draw: Callable[[Any], Any]) -> None:
        params = draw(st.lists(value_types(features), min_size=1, max_size=8))
        order = draw(st.lists(st.integers(0, len(params) - 1), max_size=10))
        function = subject.instance(guests.rearranged(params, order)).exports.rearrange
        args = draw(arguments(function.type))
        results: tuple[ValueType, ...] = function.type.results
        wanted = tuple(as_guest_sees(params[n], args[n]) for n in order)
        found = as_tuple(function.type, function(*args))
        require(same_values(results, found, wanted), f"rearrange{args} gave {found} instead of {wanted}")

    run_property(example)


@PART
def generated_guests_end_the_same_way_twice(subject: Subject) -> None:
    """Compiling, linking and running whole programs, in two stores."""
    from ..agreement import differential
    from ..strategies import modules

    differential(modules(subject.runtime.info.features), [subject.runtime, subject.runtime])
