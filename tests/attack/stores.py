"""A store that lives long: instances that import each other, fill each other's tables, are viewed, kept and closed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pywasmrt import Caller, Limits, Runtime, WasmError, i32

from .attack import Attack, Found

__all__ = ["stores"]

GUEST = """(module (import "other" "value" (func $other (result i32)))
  (table (export "table") 4 20 funcref) (memory (export "memory") 1 4)
  (global (export "global") (mut i32) (i32.const 7))
  (func (export "value") (result i32) (i32.add (call $other) (i32.const 1)))
  (func (export "call") (param i32) (result i32) (call_indirect (result i32) (local.get 0)))
  (func (export "fill") (param i32 i32) (memory.fill (local.get 0) (i32.const 5) (local.get 1))))"""
FAILS = """(module (import "other" "value" (func $other (result i32)))
  (func $start (drop (call $other)) unreachable) (start $start))"""
REFUSED = (WasmError, IndexError, TypeError, RecursionError)


def stores(attack: Attack) -> None:
    """One store after the other, each for some hundred steps."""
    for runtime in attack.shares(attack.runtimes("deadline")):
        module, failing = runtime.compile(GUEST), runtime.compile(FAILS)
        while attack.going():
            _Stores(attack, runtime, module, failing).play(attack.random.randrange(10, 400))
            attack.counts["stores"] += 1


class _Stores:
    def __init__(self, attack: Attack, runtime: Runtime, module: Any, failing: Any) -> None:
        self.attack, self.runtime, self.module, self.failing = attack, runtime, module, failing
        self.store = runtime.new_store(Limits(timeout=0.5))
        self.there: list[tuple[Any, int]] = []  # instances, with what `value` gives
        self.kept: list[Any] = []  # what host functions had of their callers
        self.views: list[memoryview] = []

    def play(self, steps: int) -> None:
        drawn = self.attack.random
        moves = [self.make, self.link, self.put, self.call, self.close, self.close, self.view, self.use_kept, self.fail]
        for _ in range(steps):
            self.attack.counts["steps in stores"] += 1
            move = drawn.choice(moves) if self.there else self.make
            with suppress(*REFUSED):
                move()
        for instance, value in list(self.there):
            if not instance.closed and instance.exports.value() != value:
                raise Found(f"{self.runtime.info.name}: an instance does not give {value}")
        if drawn.randrange(2):
            self.store.close()
            self.use_kept()
        for view in self.views:
            bytes(view[:10])
            view.release()

    def some(self) -> tuple[Any, int]:
        found: tuple[Any, int] = self.attack.random.choice(self.there)
        return found

    def make(self) -> None:
        drawn = self.attack.random

        def value(caller: Caller) -> i32:
            if drawn.randrange(20) == 0:
                with suppress(WasmError):  # it was closed in this very call
                    self.kept += [caller.memory(), caller.table("table"), caller.global_("global")]
                    self.kept.append(caller.function("value"))
                del self.kept[:-40]
            if drawn.randrange(40) == 0 and self.there:
                self.close()
            return 1

        instance = self.runtime.instantiate(self.module, {"other": {"value": value}}, store=self.store)
        self.there.append((instance, 2))

    def link(self) -> None:
        other, value = self.some()
        made = self.runtime.instantiate(self.module, {"other": other}, store=self.store)
        self.there.append((made, value + 1))

    def put(self) -> None:
        (one, _), (other, _) = self.some(), self.some()
        one.table("table")[self.attack.random.randrange(4)] = other.exports.value
        if self.attack.random.randrange(8) == 0:
            one.table("table").grow(1, other.exports.value)

    def call(self) -> None:
        instance, value = self.some()
        if instance.exports.value() != value:
            raise Found(f"{self.runtime.info.name}: an instance does not give {value}")
        instance.exports.fill(self.attack.random.randrange(70_000), self.attack.random.randrange(70_000))
        instance.exports.call(self.attack.random.randrange(5))

    def close(self) -> None:
        self.there.pop(self.attack.random.randrange(len(self.there)))[0].close()

    def view(self) -> None:
        if self.views and self.attack.random.randrange(3):
            self.views.pop().release()
        else:
            self.views.append(memoryview(self.some()[0].memory()))

    def use_kept(self) -> None:
        for each in self.kept:
            for use in (
                lambda each=each: each.read(0, 10),
                lambda each=each: each.grow(1),
                lambda each=each: each[0],
                lambda each=each: each.value,
                lambda each=each: each(),
            ):
                with suppress(*REFUSED, AttributeError):
                    use()

    def fail(self) -> None:
        self.runtime.instantiate(self.failing, {"other": self.some()[0]}, store=self.store)
