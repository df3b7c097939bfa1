"""Compares the runtime wasm3 with pywasm3 and with Wasmtime, in one process. `make bench-interpreter` runs it.

It measures what an interpreter is for: how soon a small module gives its first result, with and without validation. The
runtime must also match pywasm3 in the cost of calls and the speed of loops.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from compare import Target, print_targets
from contestants import NAMES, pywasm3_jobs, pywasmrt_jobs
from kernels import SIZES, kernels_module
from measuring import Loop, best_of_rounds

import pywasmrt
from pywasmrt import FunctionType, MemoryType, RuntimeConfig, ValueType
from pywasmrt.testing import Module

OURS, THEIRS = NAMES[1], NAMES[4]
_I32 = ValueType.I32


def small_module() -> bytes:
    """A module of a few hundred bytes: a memory, a table, some functions that call each other, and data."""
    module = Module()
    binary = FunctionType((_I32, _I32), (_I32,))
    module.memory(MemoryType(1), export="memory")
    module.function(binary, [("local.get", 0), ("local.get", 1), ("i32.add",)], export="add")
    for n in range(4):
        body = [
            ("local.get", 0),
            ("i32.const", n),
            ("i32.xor",),
            ("local.get", 1),
            ("call", n),
            ("i32.const", 3),
            ("i32.mul",),
        ]
        module.function(binary, body, export=f"mixed{n}")
    module.data(bytes(range(100)), offset=16)
    return module.encode()


def first_results(data: bytes) -> dict[Any, Loop]:
    """From bytes to the first result, everything closed again by being dropped."""
    runtimes = {
        "wasmtime": pywasmrt.new_runtime("wasmtime"),
        "validated": pywasmrt.new_runtime("wasm3"),
        "trusted": pywasmrt.new_runtime("wasm3", RuntimeConfig(options={"trust_modules": True})),
    }
    statement = "runtime.instantiate(runtime.compile(data)).function('add')(1, 2)"
    return {("first", name): Loop(statement, {"runtime": each, "data": data}) for name, each in runtimes.items()}


def loops() -> dict[Any, Loop]:
    """The kernels on wasm3 by both ways."""
    import wasm3

    data = kernels_module()
    ours = pywasmrt.new_runtime("wasm3")
    exports = ours.instantiate(ours.compile(data)).exports
    environment = wasm3.Environment()
    theirs = environment.new_runtime(64 * 1024)
    theirs.load(environment.parse_module(data))
    entrants = {}
    for job, size in SIZES.items():
        entrants[job, OURS] = Loop(f"f({size})", {"f": exports[job]})
        entrants[job, THEIRS] = Loop(f"f({size})", {"f": theirs.find_function(job)})
    return entrants


def main() -> int:
    if importlib.util.find_spec("wasm3") is None:
        sys.exit("pywasm3 is not installed; pip install pywasm3")
    ours, theirs = pywasmrt_jobs("wasm3"), pywasm3_jobs()
    if ours is None or theirs is None:
        sys.exit("the runtime wasm3 is not here; pywasmrt.list_runtimes() says why")
    entrants: dict[Any, Loop] = {}
    for job in ("add", "callback"):
        entrants[job, OURS], entrants[job, THEIRS] = ours[job], theirs[job]
    data = small_module()
    taken = {**best_of_rounds({**entrants, **first_results(data)}, 300), **best_of_rounds(loops(), 40)}
    print(f"a module of {len(data)} bytes, from bytes to the first result: ", end="")
    print(", ".join(f"{name} {taken['first', name] / 1e3:.1f} us" for name in ("wasmtime", "validated", "trusted")))
    found = [
        Target("add: times pywasm3", taken["add", OURS] / taken["add", THEIRS], 0.7, True),
        Target("callback: times pywasm3", taken["callback", OURS] / taken["callback", THEIRS], 0.8, True),
        *[Target(f"{job}: times pywasm3", taken[job, OURS] / taken[job, THEIRS], 1.1, True) for job in SIZES],
        Target(
            "first result, validated: times sooner than Wasmtime",
            taken["first", "wasmtime"] / taken["first", "validated"],
            5,
            False,
        ),
        Target(
            "first result, trusted: times sooner than Wasmtime",
            taken["first", "wasmtime"] / taken["first", "trusted"],
            10,
            False,
        ),
    ]
    print_targets(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
