"""A destructor of a collected cycle may still call the guest that is part of the cycle."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Generator
from typing import Any

import pytest
from helpers.destructors import Plugin

from pywasmrt import Runtime
from pywasmrt.testing.text import to_binary

WAT = """
  (module
    (import "env" "log" (func $log (param i32)))
    (func (export "shutdown") (call $log (i32.const 7))))
"""
USED = to_binary("""
  (module
    (import "env" "log" (func $log))
    (memory (export "memory") 1 2)
    (global (export "g") (mut i32) (i32.const 5))
    (table (export "t") 2 4 funcref)
    (func (export "f") (param i32) (result i32) (call $log) (local.get 0)))""")


def test_a_destructor_of_a_cycle_calls_its_guest(runtime: Runtime) -> None:
    seen: list[Any] = []
    module = runtime.compile(to_binary(WAT))
    Plugin(lambda log: runtime.instantiate(module, {"env": {"log": log}}), seen)
    gc.collect()
    assert seen == [7]


class Late:
    """An object of the cycle that is made after the guest, and so finalized after it."""

    def __init__(self, use: Callable[[], None]) -> None:
        self.use = use

    def __del__(self) -> None:
        self.use()


def generator(use: Callable[[], None]) -> Generator[None, None, None]:
    try:
        yield
    finally:
        use()


class Awaited:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def coroutine(use: Callable[[], None]) -> None:
    try:
        await Awaited()
    finally:
        use()


def late(kind: str, use: Callable[[], None]) -> object:
    if kind == "object":
        return Late(use)
    if kind == "generator":
        suspended = generator(use)
        next(suspended)
        return suspended
    awaiting = coroutine(use)
    awaiting.send(None)
    return awaiting


KINDS = ["object", "generator", "coroutine"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_after_the_guest_uses_it(runtime: Runtime, kind: str) -> None:
    seen: dict[str, Any] = {}
    make(runtime, kind, seen)
    gc.collect()
    assert seen == {
        "function": 3,
        "log": True,
        "memory": b"\0\0",
        "growth": 1,
        "global": 5,
        "table": None,
        "instance": 4,
        "module": 4,
        "store": 1 if "host-memory" in runtime.info.features else "UnsupportedFeatureError",
        "instance in the store": 4,
        "closed": "ClosedError",
    }


def make(runtime: Runtime, kind: str, seen: dict[str, Any]) -> None:
    """Leave a cycle: a guest, its host function, and an object made later that uses the guest when it is finalized."""
    cell: list[Any] = []

    def log() -> None:
        seen["log"] = bool(cell)

    module = runtime.compile(USED)
    instance = runtime.instantiate(module, {"env": {"log": log}})
    imports = {"env": {"log": log}}

    def closed() -> None:
        instance.close()
        instance.exports.f(1)

    def use() -> None:
        for name, action in {
            "function": lambda: instance.exports.f(3),
            "memory": lambda: instance.memory().read(0, 2),
            "growth": lambda: instance.memory().grow(1),
            "global": lambda: instance.global_("g").value,
            "table": lambda: instance.table("t")[0],
            "instance": lambda: runtime.instantiate(module, imports).exports.f(4),
            "module": lambda: runtime.instantiate(runtime.compile(USED), imports).exports.f(4),
            "store": lambda: instance.store.memory(1, 2).size >> 16,
            "instance in the store": lambda: runtime.instantiate(module, imports, store=instance.store).exports.f(4),
            "closed": closed,
        }.items():
            try:
                seen[name] = action()
            except Exception as error:
                seen[name] = type(error).__name__

    cell.append(late(kind, use))


def test_objects_that_a_guest_holds_reach_late_destructors(runtime: Runtime, needs: Callable[..., None]) -> None:
    needs("reference-types")
    seen: list[Any] = []
    keep = to_binary("""
      (module
        (import "env" "take" (func $take (param externref)))
        (global $kept (mut externref) (ref.null extern))
        (func (export "keep") (param externref) (global.set $kept (local.get 0)))
        (func (export "give") (call $take (global.get $kept))))""")

    def cycle() -> None:
        cell: list[Any] = []

        def take(value: object) -> None:
            seen.append((value, bool(cell)))

        instance = runtime.instantiate(runtime.compile(keep), {"env": {"take": take}})
        instance.exports.keep("an object")
        cell.append(Late(lambda: instance.exports.give()))

    cycle()
    gc.collect()
    assert seen == [("an object", True)]


AT_THE_END = """
import sys

import pywasmrt
from runtimes.test_destructors_call_guests import make

runtime = pywasmrt.new_runtime(sys.argv[1])


class Seen(dict):
    def __setitem__(self, name, value):
        print(name, value if name != "log" else "called")


make(runtime, sys.argv[2], Seen())
"""


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_interpreters_end(runtime: Runtime, kind: str, pytestconfig: pytest.Config) -> None:
    command = [sys.executable, "-c", AT_THE_END, runtime.info.name, kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=pytestconfig.rootpath / "tests")
    assert done.returncode == 0, done.stderr
    assert "function 3" in done.stdout
    assert "instance 4" in done.stdout
    assert "closed ClosedError" in done.stdout
    assert "ValueError" not in done.stdout
    assert "ImportError" not in done.stdout
