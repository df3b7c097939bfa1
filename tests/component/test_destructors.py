"""A destructor of a collected cycle may still call the component that is part of the cycle."""

from __future__ import annotations

import gc
from typing import Any

from pywasmrt import Component, Runtime
from pywasmrt.testing import to_binary

SOURCE = """(component
  (import "log" (func $l (param "x" u32)))
  (core func $l (canon lower (func $l)))
  (core module $m
    (import "e" "l" (func $l (param i32)))
    (func (export "shutdown") (call $l (i32.const 7))))
  (core instance $i (instantiate $m (with "e" (instance (export "l" (func $l))))))
  (func (export "shutdown") (canon lift (core func $i "shutdown"))))"""


class Plugin:
    """A component whose host function is a method: a cycle, which only the collector frees."""

    def __init__(self, runtime: Runtime, component: Component, seen: list[Any]) -> None:
        self.seen = seen
        self.instance = runtime.instantiate_component(component, {"log": self.log})

    def log(self, x: int) -> None:
        self.seen.append(x)

    def __del__(self) -> None:
        try:
            self.instance.exports.shutdown()
        except BaseException as error:  # which Python would only print
            self.seen.append(error)


def test_a_destructor_of_a_cycle_calls_its_component(components: Runtime) -> None:
    seen: list[Any] = []
    Plugin(components, components.compile_component(to_binary(SOURCE)), seen)
    gc.collect()
    assert seen == [7]
