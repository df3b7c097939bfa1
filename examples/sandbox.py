"""Guests that misbehave: each is stopped, and the error says why.

python examples/sandbox.py
"""

from __future__ import annotations

import pywasmrt
from pywasmrt import DeadlineExceeded, Limits, ModuleInstantiateError, Trap

GUEST = """
(module
  (memory (export "memory") 1)
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func $deeper (export "deeper") (param i32) (result i32)
    (i32.add (call $deeper (local.get 0)) (i32.const 1)))
  (func (export "spin") (loop (br 0)))
  (func (export "abort") unreachable))
"""


def attempt(what: str, call: object, *args: int) -> None:
    assert callable(call)
    try:
        print(f"{what}: {call(*args)}")
    except Trap as trap:
        print(f"{what}: trap, {trap.code}")
    except DeadlineExceeded as error:
        print(f"{what}: {error}")


def main() -> None:
    runtime = pywasmrt.new_runtime()
    module = runtime.compile(GUEST)
    instance = runtime.instantiate(module, limits=Limits(memory_bytes=2 * pywasmrt.PAGE_SIZE, timeout=1))
    attempt("one page more", instance.exports.grow, 1)
    attempt("a thousand more", instance.exports.grow, 1000)
    attempt("beyond the memory", instance.exports.load, -1)
    attempt("endless recursion", instance.exports.deeper, 1)
    attempt("endless loop", instance.exports.spin)
    attempt("giving up", instance.exports.abort)
    attempt("still usable", instance.exports.load, 0)

    greedy = runtime.compile('(module (memory 100) (export "memory" (memory 0)))')
    try:
        runtime.instantiate(greedy, limits=Limits(memory_bytes=pywasmrt.PAGE_SIZE))
    except ModuleInstantiateError:
        print("a module that wants too much: refused")

    foreign = runtime.compile('(module (import "env" "open" (func (param i32) (result i32))))')
    try:
        runtime.instantiate(foreign)
    except ModuleInstantiateError as error:
        print(f"a module that wants what it was not given: {error}")


if __name__ == "__main__":
    main()
