"""Instantiating a module again with the host modules that served it before, which is not linked anew."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywasmrt import HostModule, ModuleInstantiateError, Runtime, i32

Needs = Callable[..., None]

SOURCE = """
(module
  (import "env" "one" (func $one (result i32)))
  (import "env" "two" (func $two (result i32)))
  (func (export "both") (result i32) (i32.add (call $one) (call $two))))
"""


@pytest.fixture(autouse=True)
def _needs_text(needs: Needs) -> None:
    needs("wat")


def host(**values: int) -> HostModule:
    made = HostModule("env")
    for name, value in values.items():
        offer(made, name, value)
    return made


def offer(to: HostModule, name: str, value: int) -> None:
    def function() -> i32:
        return value

    to.function(name=name)(function)


def both(runtime: Runtime, module: Any, *hosts: HostModule) -> int:
    with runtime.instantiate(module, *hosts) as instance:
        result: int = instance.exports.both()
        return result


def test_the_same_host_modules_serve_again(runtime: Runtime) -> None:
    module = runtime.compile(SOURCE)
    one, two = host(one=1), host(two=20)
    assert [both(runtime, module, one, two) for _ in range(4)] == [21] * 4


def test_another_host_module_of_the_same_name_serves_itself(runtime: Runtime) -> None:
    module = runtime.compile(SOURCE)
    first, second = host(one=1, two=2), host(one=10, two=20)
    found = [both(runtime, module, each) for each in (first, first, first, second, first, second, second, second)]
    assert found == [3, 3, 3, 30, 3, 30, 30, 30]


def test_a_function_that_was_added_is_found(runtime: Runtime) -> None:
    """The first host module that has a name serves it."""
    module = runtime.compile(SOURCE)
    first, second = host(one=1), host(one=10, two=20)
    assert [both(runtime, module, first, second) for _ in range(3)] == [21] * 3
    offer(first, "two", 2)
    assert [both(runtime, module, first, second) for _ in range(3)] == [3] * 3


def test_what_does_not_fit_is_told_each_time(runtime: Runtime) -> None:
    module = runtime.compile(SOURCE)
    half = host(one=1)
    for _ in range(3):
        with pytest.raises(ModuleInstantiateError, match="two"):
            runtime.instantiate(module, half)
    offer(half, "two", 2)
    assert both(runtime, module, half) == 3


def test_a_host_module_that_is_dropped_is_not_kept_by_the_modules_that_it_served(runtime: Runtime) -> None:
    module = runtime.compile(SOURCE)
    env = host(one=1, two=2)
    function = weakref.ref(env.get("one").callable)
    for _ in range(3):
        assert both(runtime, module, env) == 3
    gc.collect()
    alive = function() is not None
    assert alive
    del env
    gc.collect()
    assert function() is None
    assert both(runtime, module, host(one=3, two=4)) == 7


def test_a_module_that_is_dropped_is_not_kept_by_the_host_modules_that_served_it(runtime: Runtime) -> None:
    env = host(one=1, two=2)
    module = runtime.compile(SOURCE)
    for _ in range(3):
        assert both(runtime, module, env) == 3
    reference = weakref.ref(module)
    del module
    gc.collect()
    assert reference() is None


@given(st.lists(st.tuples(st.sampled_from(["same", "other", "both", "grown", "none"]), st.integers(0, 3)), max_size=12))
def test_any_sequence_of_host_modules_serves_as_if_each_were_the_first(
    wasm_runtime: Runtime, steps: list[tuple[str, int]]
) -> None:
    module = wasm_runtime.compile(SOURCE)
    kept = [host(one=n) for n in range(4)]
    rest = host(one=100, two=1000)
    for what, at in steps:
        chosen = {"same": [kept[at], rest], "other": [rest], "both": [rest, kept[at]], "none": [kept[at]]}.get(
            what, [kept[at], rest]
        )
        if what == "grown" and "two" not in kept[at]:
            offer(kept[at], "two", 10 * at)
        expected = {
            name: each.get(name).callable() for each in reversed(chosen) for name in ("one", "two") if name in each
        }
        if len(expected) < 2:
            with pytest.raises(ModuleInstantiateError):
                wasm_runtime.instantiate(module, *chosen)
        else:
            assert both(wasm_runtime, module, *chosen) == sum(expected.values())
