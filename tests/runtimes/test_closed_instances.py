"""Instances that were closed, in a store that goes on: what they owned is freed, and what is left of them refuses."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from helpers.resident import resident

from pywasmrt import Caller, ClosedError, MemoryAccessError, Runtime, WasmError, i32

Needs = Callable[..., None]

# It writes 1 MiB, so that a memory which stays is seen.
LARGE = """(module (memory (export "memory") 16)
  (func (export "touch") (local $at i32)
    (loop $again
      (i32.store (local.get $at) (i32.const 1))
      (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 0x100000))))))"""

LINK = """(module (import "other" "value" (func $other (result i32)))
  (table (export "table") 4 funcref) (memory (export "memory") 1) (global (export "global") (mut i32) (i32.const 7))
  (func (export "value") (result i32) (i32.add (call $other) (i32.const 1)))
  (func (export "call") (param i32) (result i32) (call_indirect (result i32) (local.get 0))))"""


@pytest.fixture
def wasm3(runtime: Runtime) -> Runtime:
    if runtime.info.name != "wasm3":
        pytest.skip("the other engines free an instance with its store only")
    return runtime


def test_a_closed_instance_keeps_no_memory(wasm3: Runtime) -> None:
    with wasm3.new_store() as store:
        module = wasm3.compile(LARGE)
        before = resident()
        for _ in range(200):
            with wasm3.instantiate(module, store=store) as instance:
                instance.exports.touch()
        assert resident() - before < 50 << 20  # 200 MiB before


def test_a_chain_goes_with_its_last_user(wasm3: Runtime) -> None:
    with wasm3.new_store() as store:
        module = wasm3.compile(LARGE.replace("(module", '(module (import "o" "touch" (func))', 1))
        chain: list[Any] = [wasm3.instantiate(wasm3.compile(LARGE), store=store)]
        for _ in range(100):
            chain.append(wasm3.instantiate(module, {"o": {"touch": chain[-1].exports.touch}}, store=store))
        for each in chain:
            each.exports.touch()
        before = resident()
        for each in chain[:-1]:
            each.close()
        chain[-1].exports.touch()
        assert resident() - before > -(1 << 20)
        chain[-1].close()
        assert resident() - before < -(80 << 20)


def test_what_uses_a_closed_instance_goes_on(runtime: Runtime) -> None:
    with runtime.new_store() as store:
        module = runtime.compile(LINK)
        first = runtime.instantiate(module, {"other": {"value": lambda: 1}}, store=store)
        second = runtime.instantiate(module, {"other": first}, store=store)
        third = runtime.instantiate(module, {"other": {"value": lambda: 100}}, store=store)
        third.table("table")[2] = second.exports.value
        value = second.exports.value
        first.close()
        assert value() == 3
        second.close()
        assert third.exports.call(2) == 3
        with pytest.raises(ClosedError):
            value()
        third.close()
        fourth = runtime.instantiate(module, {"other": {"value": lambda: 5}}, store=store)
        assert fourth.exports.value() == 6


def test_a_view_keeps_the_memory_and_closing_in_a_call_waits_for_its_end(runtime: Runtime) -> None:
    with runtime.new_store() as store:
        instance = runtime.instantiate(runtime.compile(LINK), {"other": {"value": lambda: 1}}, store=store)
        instance.memory().write(3, b"abc")
        try:
            view = memoryview(instance.memory())
        except TypeError:
            pytest.skip("no buffers")
        instance.close()
        assert bytes(view[3:6]) == b"abc"
        view.release()
        closing: list[Any] = []

        def close() -> int:
            closing[0].close()
            return 20

        closing.append(runtime.instantiate(runtime.compile(LINK), {"other": {"value": close}}, store=store))
        assert closing[0].exports.value() == 21
        again = runtime.instantiate(runtime.compile(LINK), {"other": {"value": lambda: 2}}, store=store)
        assert again.exports.value() == 3


def test_what_a_host_function_kept_of_a_closed_instance_refuses(wasm3: Runtime) -> None:
    kept: list[Any] = []

    def keep(caller: Caller) -> i32:
        kept.extend([caller.memory(), caller.global_("global"), caller.table("table"), caller.function("value")])
        return 1

    with wasm3.new_store() as store:
        module = wasm3.compile(LINK)
        instance = wasm3.instantiate(module, {"other": {"value": keep}}, store=store)
        instance.exports.value()
        instance.close()
        memory, global_, table, function = kept
        assert memory.size == 0
        other = wasm3.instantiate(module, {"other": {"value": lambda: 1}}, store=store)
        uses: list[Callable[[], Any]] = [
            lambda: memory.read(0, 1),
            lambda: memory.write(0, b"a"),
            lambda: memory.grow(1),
            lambda: global_.value,
            lambda: setattr(global_, "value", 1),
            lambda: table[0],
            lambda: table.grow(1),
            lambda: table.__setitem__(0, None),
            lambda: function(),
            lambda: function.call(),
            lambda: other.table("table").__setitem__(0, function),
            lambda: wasm3.instantiate(module, {"other": {"value": function}}, store=store),
        ]
        for use in uses:
            with pytest.raises((WasmError, MemoryAccessError, IndexError)):
                use()
        assert other.exports.value() == 2


def test_instances_that_use_each_other_in_any_order(runtime: Runtime) -> None:
    drawn = random.Random(13)
    with runtime.new_store() as store:
        module = runtime.compile(LINK)
        there: list[tuple[Any, int]] = []
        for _ in range(300):
            step = drawn.randrange(4)
            if step == 0 or not there:
                there.append((runtime.instantiate(module, {"other": {"value": lambda: 1}}, store=store), 2))
            elif step == 1:
                other, value = drawn.choice(there)
                there.append((runtime.instantiate(module, {"other": other}, store=store), value + 1))
            elif step == 2:
                (one, _), (other, value) = drawn.choice(there), drawn.choice(there)
                one.table("table")[drawn.randrange(4)] = other.exports.value
                with suppress(WasmError):
                    one.exports.call(drawn.randrange(4))
            else:
                instance, value = there.pop(drawn.randrange(len(there)))
                assert instance.exports.value() == value
                instance.close()
        for instance, value in there:
            assert instance.exports.value() == value
