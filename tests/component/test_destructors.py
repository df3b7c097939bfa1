"""A destructor of a collected cycle may still call the component that is part of the cycle."""

from __future__ import annotations

import gc
from typing import Any

from helpers.destructors import Plugin

from pywasmrt import Runtime
from pywasmrt.testing import to_binary

SOURCE = """(component
  (import "log" (func $l (param "x" u32)))
  (core func $l (canon lower (func $l)))
  (core module $m
    (import "e" "l" (func $l (param i32)))
    (func (export "shutdown") (call $l (i32.const 7))))
  (core instance $i (instantiate $m (with "e" (instance (export "l" (func $l))))))
  (func (export "shutdown") (canon lift (core func $i "shutdown"))))"""


def test_a_destructor_of_a_cycle_calls_its_component(components: Runtime) -> None:
    seen: list[Any] = []
    component = components.compile_component(to_binary(SOURCE))
    Plugin(lambda log: components.instantiate_component(component, {"log": log}), seen)
    gc.collect()
    assert seen == [7]
