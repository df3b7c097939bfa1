"""A destructor of a collected cycle may still call the component that is part of the cycle."""

from __future__ import annotations

import gc
from collections.abc import Callable
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


RESOURCE = """(component
  (core module $m
    (func (export "make") (result i32) (i32.const 7))
    (func (export "value") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m))
  (type $t (resource (rep i32)))
  (core func $new (canon resource.new $t))
  (core module $n
    (import "e" "new" (func $new (param i32) (result i32)))
    (func (export "make") (result i32) (call $new (i32.const 7))))
  (core instance $j (instantiate $n (with "e" (instance (export "new" (func $new))))))
  (export $thing "thing" (type $t))
  (func (export "make") (result (own $thing)) (canon lift (core func $j "make")))
  (func (export "value") (param "x" (borrow $thing)) (result u32) (canon lift (core func $i "value"))))"""


class Late:
    """An object of the cycle that is made after the component, and so finalized after it."""

    def __init__(self, use: Callable[[], None]) -> None:
        self.use = use

    def __del__(self) -> None:
        self.use()


def test_what_was_made_after_the_component_uses_it(components: Runtime) -> None:
    seen: list[Any] = []
    component = components.compile_component(to_binary(SOURCE))

    def cycle() -> None:
        cell: list[Any] = []

        def log(x: int) -> None:
            seen.append((x, bool(cell)))

        instance = components.instantiate_component(component, {"log": log})
        cell.append(Late(lambda: instance.exports.shutdown()))

    cycle()
    gc.collect()
    assert seen == [(7, True)]


def test_what_was_made_after_a_resource_uses_it(components: Runtime) -> None:
    """It gets the result, or hears that the resource was dropped; and the instance stays usable."""
    seen: list[Any] = []
    component = components.compile_component(to_binary(RESOURCE))

    def cycle() -> None:
        cell: list[Any] = []
        instance = components.instantiate_component(component)
        cell.append(thing := instance.exports.make())

        def use() -> None:
            try:
                seen.append(instance.exports.value(thing))
            except Exception as error:
                seen.append(type(error).__name__)
            seen.append(instance.exports.value(instance.exports.make()))
            cell.clear()

        cell.append(Late(use))

    cycle()
    gc.collect()
    assert seen in ([7, 7], ["ClosedError", 7])
