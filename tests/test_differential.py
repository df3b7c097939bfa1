"""Every native engine gives the same results, traps and memory for the same guest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import TYPES, programs

import pywasmrt
from pywasmrt import Runtime, ValueType
from pywasmrt.testing.comparing import same_values
from pywasmrt.testing.strategies import arguments


def outcome(instance: Any, name: str, args: tuple[Any, ...]) -> Any:
    try:
        result = instance.exports[name](*args)
    except pywasmrt.Trap as trap:
        return trap.code
    if result is None:
        return ()
    return result if isinstance(result, tuple) else (result,)


def agree(types: Sequence[ValueType], first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether results are the same; one NaN is as good as another."""
    return all(
        (a != a and b != b) or same_values([type], [a], [b]) for type, a, b in zip(types, first, second, strict=True)
    )


@settings(max_examples=settings().max_examples * 3)
@given(data=st.data())
def test_engines_agree(runtimes: list[Runtime], data: st.DataObject) -> None:
    if len(runtimes) < 2:
        pytest.skip("there is only one engine")
    engines = runtimes[:2]
    guest = data.draw(programs)
    binary = guest.encode()
    instances = [runtime.instantiate(runtime.compile(binary)) for runtime in engines]
    for index, function in enumerate(guest.functions):
        args = data.draw(arguments(function.type))
        outcomes = [outcome(instance, f"f{index}", args) for instance in instances]
        first = outcomes[0]
        for other in outcomes[1:]:
            if isinstance(first, tuple) and isinstance(other, tuple):
                assert agree(function.type.results, first, other), (index, args)
            else:
                assert first is other, (index, args)
    memories = [instance.memory() for instance in instances]
    assert all(memory.size == memories[0].size for memory in memories)
    contents = [memory.read(0, memory.size) for memory in memories]
    assert all(content == contents[0] for content in contents)
    for type in TYPES:
        found = [instance.global_(f"global_{type}").value for instance in instances]
        assert all(agree([type], found[:1], [other]) for other in found)
    for instance in instances:
        instance.close()
