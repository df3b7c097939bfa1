"""What it costs to look into a guest: `python bench/diagnostics.py`.

Each figure is a ratio: the time of the same work with a trace, a profile or coverage, to the time without, both the
best of rounds that alternate in one process. "off" compares an instance that was traced and profiled before with one
that never was.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pywasmrt
from pywasmrt.testing.text import to_binary

GUEST = to_binary(
    """
(module
  (import "env" "f" (func $f (param i32) (result i32)))
  (func (export "callbacks") (param $n i32) (result i32)
    (loop $l (drop (call $f (local.get $n))) (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $n))
  (func (export "loop") (param $n i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.add (i32.mul (local.get 1) (i32.const 31)) (local.get $n)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get 1))
  (func $fib (export "recursion") (param i32) (result i32)
    (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add
        (call $fib (i32.sub (local.get 0) (i32.const 1)))
        (call $fib (i32.sub (local.get 0) (i32.const 2))))))))
"""
)
SIZES = {"callbacks": (300_000, 100_000), "loop": (10_000_000, 1_000_000), "recursion": (27, 20)}
"""How much of each, compiled and interpreted."""


def increment(x: int) -> int:
    return x + 1


IMPORTS = {"env": {"f": increment}}


def ratio(rounds: int, without: Callable[[], object], with_: Callable[[], object], around: Callable[[], Any]) -> float:
    """The time of the second work as a multiple of the first's. The second runs in a new context each time."""

    def took(work: Callable[[], object]) -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    plain, looked = [], []
    for _ in range(rounds):
        plain.append(took(without))
        with around():
            looked.append(took(with_))
    return min(looked) / min(plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for info in pywasmrt.list_runtimes():
        if not info.available or info.name == "wasmtime-py":
            continue
        with pywasmrt.new_runtime(info.name) as runtime:
            measure(runtime, rounds)


def measure(runtime: pywasmrt.Runtime, rounds: int) -> None:
    interpreted = runtime.info.name == "wasm3"
    instance = runtime.instantiate(runtime.compile(GUEST), IMPORTS)
    used = runtime.instantiate(runtime.compile(GUEST), IMPORTS)
    with pywasmrt.trace(used, io.StringIO()):
        used.exports.callbacks(1)
    if "profiling" in runtime.info.features:
        with pywasmrt.profile(used):
            used.exports.callbacks(1)
    covered = runtime.instantiate(pywasmrt.Coverage().compile(runtime, GUEST), IMPORTS)
    for name, sizes in SIZES.items():
        size = sizes[interpreted]
        work = {
            "off, after trace and profile": (used, nullcontext),
            "trace": (instance, lambda: pywasmrt.trace(instance, io.StringIO())),
            "profile": (instance, lambda: pywasmrt.profile(instance)),
            "coverage": (covered, nullcontext),
        }
        if "profiling" not in runtime.info.features:
            del work["profile"]
        for what, (other, around) in work.items():
            plain, looked = getattr(instance.exports, name), getattr(other.exports, name)
            times = ratio(rounds, lambda f=plain, n=size: f(n), lambda f=looked, n=size: f(n), around)
            print(f"{runtime.info.name:10} {name:10} {what:30} {times:6.2f} times", flush=True)


if __name__ == "__main__":
    main()
