"""A destructor of a collected cycle may still call the guest that is part of the cycle."""

from __future__ import annotations

import gc
from typing import Any

from pywasmrt import CompiledModule, Runtime
from pywasmrt.testing.text import to_binary

WAT = """
  (module
    (import "env" "log" (func $log (param i32)))
    (func (export "shutdown") (call $log (i32.const 7))))
"""


class Plugin:
    """A guest whose host function is a method: a cycle, which only the collector frees."""

    def __init__(self, runtime: Runtime, module: CompiledModule, seen: list[Any]) -> None:
        self.seen = seen
        self.instance = runtime.instantiate(module, {"env": {"log": self.log}})

    def log(self, x: int) -> None:
        self.seen.append(x)

    def __del__(self) -> None:
        try:
            self.instance.exports.shutdown()
        except BaseException as error:  # which Python would only print
            self.seen.append(error)


def test_a_destructor_of_a_cycle_calls_its_guest(runtime: Runtime) -> None:
    seen: list[Any] = []
    Plugin(runtime, runtime.compile(to_binary(WAT)), seen)
    gc.collect()
    assert seen == [7]
