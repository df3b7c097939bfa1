"""A destructor of a collected cycle may still call the guest that is part of the cycle."""

from __future__ import annotations

import gc
from typing import Any

from helpers.destructors import Plugin

from pywasmrt import Runtime
from pywasmrt.testing.text import to_binary

WAT = """
  (module
    (import "env" "log" (func $log (param i32)))
    (func (export "shutdown") (call $log (i32.const 7))))
"""


def test_a_destructor_of_a_cycle_calls_its_guest(runtime: Runtime) -> None:
    seen: list[Any] = []
    module = runtime.compile(to_binary(WAT))
    Plugin(lambda log: runtime.instantiate(module, {"env": {"log": log}}), seen)
    gc.collect()
    assert seen == [7]
