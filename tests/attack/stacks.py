"""Threads with little stack: guests recurse, host functions need much at its end, modules are compiled there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from pywasmrt import Runtime, TrapCode, WasmError

from .attack import Attack, Found

__all__ = ["stacks"]

GUEST = """(module (import "env" "f" (func $f))
  (func $down (export "down") (param i32)
    (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1)))) (else (call $f))))
  (func $wide (export "wide") (param i32) (result i64) (local i64 i64 i64 i64 i64 i64)
    (local.set 1 (i64.extend_i32_u (local.get 0)))
    (if (result i64) (local.get 0)
      (then (i64.add (local.get 1) (call $wide (i32.sub (local.get 0) (i32.const 1))))) (else (i64.const 1)))))"""
SOURCES = [
    "(module " + "(func (param i32) (result i32) (local.get 0) " + "(i32.const 3) i32.add " * 500 + "))",
    "(module (func " + "(block " * 300 + ")" * 300 + "))",
]


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def _deep(depth: int) -> int:
    return next(map(_deep, [depth - 1])) if depth else 0


JOBS: list[Callable[[], object]] = [
    lambda: None,
    lambda: json.loads("[" * 900 + "]" * 900),
    lambda: repr(_nested(900)),
    lambda: _nested(900) == _nested(900),
    lambda: _deep(400),
    lambda: compile("(" * 90 + "1" + ")" * 90, "x", "eval"),
]


def stacks(attack: Attack) -> None:
    """Each thread has a stack of its own size, and does one thing at a depth of its own."""
    for runtime in attack.shares(attack.runtimes("stack-limit")):
        _stacks(attack, runtime)


def _stacks(attack: Attack, runtime: Runtime) -> None:
    drawn = attack.random
    compiled = runtime.compile(GUEST)
    failures: list[BaseException] = []

    def work(job: Callable[[], object], what: int, depth: int) -> None:
        def alone() -> None:
            job()

        def again() -> None:
            job()
            if drawn.randrange(3) == 0:
                instance.exports.down(depth)

        try:
            job()  # what does not work here by itself is none of the library's
        except RecursionError:
            return
        try:
            instance = runtime.instantiate(compiled, {"env": {"f": again if what == 0 else alone}})
            if what < 3:
                instance.exports.down(depth)
            elif what == 3:
                instance.exports.wide(depth)
            else:
                runtime.compile(drawn.choice(SOURCES))
        except (WasmError, RecursionError) as error:
            attack.counts["ends of the stack met"] += getattr(error, "code", None) is TrapCode.STACK_OVERFLOW
        except BaseException as error:
            failures.append(error)

    before = threading.stack_size()
    try:
        while attack.going() and not failures:
            # Python itself needs some for each of the jobs; the others end where the least stack ends.
            job = drawn.choice(JOBS)
            least = 192 if job is JOBS[0] else 1024
            size = drawn.choice([least, least + 64, 1024, 2048, 4096, 8192, 1 << 16]) * drawn.uniform(1, 1.3)
            threading.stack_size(int(size) // 4 * 4 << 10)
            thread = threading.Thread(target=work, args=(job, drawn.randrange(5), int(10 ** drawn.uniform(0, 6.5))))
            thread.start()
            thread.join()
            attack.counts["threads"] += 1
    finally:
        threading.stack_size(before)
    if failures:
        raise Found(f"{runtime.info.name}: {failures[0]!r}") from failures[0]
