"""Compares calls of components with the package wasmtime and with C, interleaved in one process.

    python bench/components.py [--rounds N]

The floor is the same engine table from C (`component_floor.c`). The package is used as its documentation shows, and by
itself: without this library's checks. Ratios within one run mean something.
"""

from __future__ import annotations

import argparse
import array
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pywasmrt
from pywasmrt.component import NamedType, PrimitiveType, RecordType
from pywasmrt.testing.components import ALLOCATOR, echo_component

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "build" / "bench" / "component_floor.so"
TEXT = "hello, component model"
SIZE = 10_000

GUEST = f"""(component
  (import "inc" (func $inc (param "x" u32) (result u32)))
  {ALLOCATOR}
  (core func $inc' (canon lower (func $inc)))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "libc" "begin" (func $reset))
    (import "host" "inc" (func $inc (param i32) (result i32)))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "loop") (param i32) (result i32) (local $n i32)
      (loop $more
        (local.set $n (call $inc (local.get $n)))
        (br_if $more (i32.lt_u (local.get $n) (local.get 0))))
      (local.get $n))
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16))
    (func (export "sum") (param $at i32) (param $count i32) (result i32) (local $sum i32)
      (block $done
        (loop $more
          (br_if $done (i32.eqz (local.get $count)))
          (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 4)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $more)))
      (call $reset)
      (local.get $sum)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance (export "inc" (func $inc'))))))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $main "add")))
  (func (export "loop") (param "n" u32) (result u32) (canon lift (core func $main "loop")))
  (func (export "echo") (param "s" string) (result string)
    (canon lift (core func $main "echo") (memory $memory) (realloc $realloc) (post-return $reset)))
  (func (export "sum") (param "xs" (list u32)) (result u32)
    (canon lift (core func $main "sum") (memory $memory) (realloc $realloc)))
)"""

MIXED = NamedType(
    "mixed",
    RecordType(
        tuple(zip("abcdefghij", map(PrimitiveType, "u8 s16 u32 s64 f32 f64 bool char string u64".split()), strict=True))
    ),
)


def load_floor() -> Any:
    """The C half, built where it is older than its source."""
    source = HERE / "component_floor.c"
    if not TARGET.exists() or TARGET.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            sys.exit("the floor needs a C compiler")
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        include = f"-I{HERE.parent / 'csrc'}"
        command = [compiler, "-O3", "-shared", "-fPIC", include, "-o", str(TARGET), str(source)]
        subprocess.run(command, check=True)
    floor = ctypes.CDLL(str(TARGET))
    for name in ("floor_calls", "floor_list", "floor_loop"):
        getattr(floor, name).restype = ctypes.c_double
    floor.floor_instantiate.restype = ctypes.c_bool
    return floor


class Floor:
    """The guest in C's hands: the same engine and component, and a store of its own that is polled as ours are."""

    def __init__(self, runtime: Any, component: Any) -> None:
        from pywasmrt._shim._wrt import ffi, lib

        self._c = load_floor()
        engine, failure, store = runtime.engine, ffi.new("wrt_failure *"), ffi.new("wrt_store **")
        engine.ops.store_new(engine.handle, -1, -1, -1, store, failure)
        self._poll = ffi.callback("int(void *)", lambda env: 0)
        engine.ops.store_poll(store[0], self._poll, ffi.NULL)
        self._ops, self._store = lib.wrt_wasmtime_component_ops(), store[0]
        instance = ffi.new("wrt_component_instance *")
        address = ffi.cast("wrt_component *", component.handle.address)
        arguments = (self._ops, engine.handle, self._store, address, instance)
        self._pointer = lambda value: ctypes.c_void_p(int(ffi.cast("uintptr_t", value)))
        if not self._c.floor_instantiate(*map(self._pointer, arguments)):
            sys.exit("the floor cannot be instantiated")
        self._functions = {}
        for name in ("add", "echo", "loop", "sum"):
            found = self._functions[name] = ffi.new("wrt_component_function *")
            self._ops.instance_function(self._store, instance, ffi.NULL, 0, name.encode(), len(name), found)

    def _start(self, name: str) -> list[Any]:
        return [self._pointer(each) for each in (self._ops, self._store, self._functions[name])]

    def add(self, count: int) -> float:
        return float(self._c.floor_calls(*self._start("add"), None, 0, count))

    def echo(self, count: int) -> float:
        return float(self._c.floor_calls(*self._start("echo"), TEXT.encode(), len(TEXT), count))

    def loop(self, count: int) -> float:
        return float(self._c.floor_loop(*self._start("loop"), count))

    def sum(self, count: int) -> float:
        return float(self._c.floor_list(*self._start("sum"), SIZE, count))


def each(call: Callable[[], Any], count: int) -> float:
    """Nanoseconds for each of `count` calls."""
    times = range(count)
    start = time.perf_counter_ns()
    for _ in times:
        call()
    return (time.perf_counter_ns() - start) / count


def best(call: Callable[[], Any], count: int) -> float:
    """The best of `count`."""
    return min(each(call, 1) for _ in range(count))


def package(text: str) -> tuple[Any, dict[str, Any]]:
    """The store and the functions of a guest in the package wasmtime."""
    import wasmtime
    from wasmtime import component

    engine = wasmtime.Engine()
    compiled = component.Component(engine, text)
    linker = component.Linker(engine)
    with linker.root() as root:
        root.add_func("inc", lambda store, x: x + 1)
    store = wasmtime.Store(engine)
    instance = linker.instantiate(store, compiled)
    return store, {name: instance.get_func(store, name) for name in ("add", "echo", "loop", "sum")}


def measure(rounds: int) -> dict[str, float]:
    """The least of each figure over the rounds, in ns."""
    runtime = pywasmrt.new_runtime("wasmtime")
    compiled: Any = runtime.compile_component(GUEST)
    exports = runtime.instantiate_component(compiled, {"inc": lambda x: x + 1}).exports
    add, echo, loop, total = exports.add, exports.echo, exports.loop, exports.sum
    floor = Floor(runtime, compiled)
    store, theirs = package(GUEST)
    listed = list(range(SIZE))
    buffer = array.array("I", listed)

    echoing: Any = runtime.compile_component(echo_component(MIXED))
    give_back = runtime.instantiate_component(echoing).exports.echo
    record = echoing.types.Mixed(1, -2, 3, -4, 0.5, 0.25, True, "x", "text", 10)
    fallback = pywasmrt.new_runtime("wasmtime-py")
    slow_component: Any = fallback.compile_component(echo_component(MIXED))
    slow = fallback.instantiate_component(slow_component).exports.echo
    slow_record = slow_component.types.Mixed(1, -2, 3, -4, 0.5, 0.25, True, "x", "text", 10)
    thousand, slow_thousand = [record] * 1000, [slow_record] * 1000

    jobs: dict[str, Callable[[], float]] = {
        "C add": lambda: floor.add(2000),
        "add": lambda: each(lambda: add(1, 2), 2000),
        "package add": lambda: each(lambda: theirs["add"](store, 1, 2), 100),
        "C echo": lambda: floor.echo(2000),
        "echo": lambda: each(lambda: echo(TEXT), 2000),
        "package echo": lambda: each(lambda: theirs["echo"](store, TEXT), 100),
        "C host": lambda: floor.loop(2000),
        "host": lambda: each(lambda: loop(2000), 1) / 2000,
        "package host": lambda: each(lambda: theirs["loop"](store, 200), 1) / 200,
        "C list": lambda: floor.sum(5),
        "list from a buffer": lambda: best(lambda: total(buffer), 5),
        "list from a list": lambda: best(lambda: total(listed), 5),
        "package list": lambda: best(lambda: theirs["sum"](store, listed), 1),
        "record": lambda: each(lambda: give_back([record]), 500),
        "package record": lambda: each(lambda: slow([slow_record]), 10),
        "1,000 records": lambda: best(lambda: give_back(thousand), 2),
        "package 1,000 records": lambda: best(lambda: slow(slow_thousand), 1),
    }
    found: dict[str, float] = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            found[name] = min(found.get(name, float("inf")), job())
    return found


TARGETS = [
    ("add", "C add", 1.4, True),
    ("package add", "add", 30, False),
    ("echo", "C echo", 1.4, True),
    ("host", "C host", 2.5, True),
    ("package host", "host", 25, False),
    ("list from a buffer", "C list", 1.3, True),
    ("list from a list", "C list", 2.5, True),
    ("package record", "record", 20, False),
    ("package 1,000 records", "1,000 records", 20, False),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    found = measure(parser.parse_args().rounds)
    for name, value in found.items():
        print(f"{name:24}{value:14,.0f} ns")
    missed = 0
    for above, below, limit, at_most in TARGETS:
        ratio = found[above] / found[below]
        reached = ratio <= limit if at_most else ratio >= limit
        missed += not reached
        wanted = f"at {'most' if at_most else 'least'} {limit}"
        print(f"{above} / {below}: {ratio:.2f} ({wanted}{'' if reached else ': missed'})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
