"""Components and linked components in other processes, as copies, and in the cache."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import pytest

import pywasmrt

from .guests import CALLS_HOST, RESULTS


class Host:
    """At the module's top level, so that it can be pickled."""

    def inc(self, x: int) -> int:
        return x + 1

    def swap(self, pair: Any) -> Any:
        return pair

    def join_all(self, texts: list[str]) -> str:
        return "-".join(texts)


def check(x: int) -> int:
    return x


@pytest.fixture
def made(components: pywasmrt.Runtime) -> pywasmrt.Runtime:
    """A runtime by new_runtime, which knows its configuration."""
    return pywasmrt.new_runtime(components.info.name)


def run_linked(linked: Any) -> int:
    with linked.instantiate() as instance:
        result: int = instance.exports.twice(1)
        return result


def test_a_component_is_the_same_after_a_pickle(made: pywasmrt.Runtime) -> None:
    component = made.compile_component(CALLS_HOST)
    for one in (component, made.deserialize_component(component.serialize())):
        again = pickle.loads(pickle.dumps(one))
        assert again.wit() == component.wit()
        assert pickle.loads(pickle.dumps(one)) is again  # a process compiles it once
        with again.runtime.instantiate_component(again, {"local:demo/host": Host()}) as instance:
            assert instance.exports.twice(1) == 3


def test_another_process_runs_it(made: pywasmrt.Runtime) -> None:
    linked = made.link_component(made.compile_component(CALLS_HOST), {"local:demo/host": Host()})
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(run_linked, (linked,)) == 3


def test_copies_are_the_component_itself(made: pywasmrt.Runtime) -> None:
    component = made.compile_component(RESULTS)
    linked = made.link_component(component, {"check": check})
    for each in (component, linked):
        assert copy.copy(each) is each
        assert copy.deepcopy(each) is each
    linked.close()
    with pytest.raises(pywasmrt.ClosedError):
        pickle.dumps(linked)
    component.close()
    with pytest.raises(pywasmrt.ClosedError):
        pickle.dumps(component)


def test_an_instance_says_what_to_hand_over(made: pywasmrt.Runtime) -> None:
    with made.instantiate_component(made.compile_component(RESULTS), {"check": check}) as instance:
        for thing in (instance, instance.exports.check, instance.exports):
            for operation in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match="cannot be copied or pickled"):
                    operation(thing)


def test_the_cache_keeps_components(components: pywasmrt.Runtime, tmp_path: Path) -> None:
    config = pywasmrt.RuntimeConfig(components.info.name, cache=tmp_path)
    with pywasmrt.new_runtime(config) as first:
        first.compile_component(CALLS_HOST)
    kept = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert kept
    files = [each.stat().st_ino for each in kept]
    with pywasmrt.new_runtime(config) as second:
        component = second.compile_component(CALLS_HOST)
        with second.instantiate_component(component, {"local:demo/host": Host()}) as instance:
            assert instance.exports.twice(1) == 3
        again = pickle.loads(pickle.dumps(component))
        assert again.wit() == component.wit()
    assert files == [each.stat().st_ino for each in kept]  # none was written again
