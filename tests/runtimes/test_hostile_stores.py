"""What a guest makes of a store that lives long: exceptions that nobody catches, shared memories beyond the limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from helpers.resident import resident

from pywasmrt import Limits, MemoryAccessError, ModuleInstantiateError, Runtime, Trap, TrapCode, UnsupportedFeatureError

Needs = Callable[..., None]
LIMITS = Limits(memory_bytes=1 << 20)  # 16 pages


def test_exceptions_that_nobody_catches_leave_nothing_behind(runtime: Runtime, needs: Needs) -> None:
    needs("exceptions")
    wat = '(module (tag $e (param i64)) (func (export "throw") (throw $e (i64.const 1))))'
    throw = runtime.instantiate(runtime.compile(wat)).exports.throw
    count = 30_000 if runtime.info.name == "wasmtime" else 3_000

    def throw_often() -> None:
        for _ in range(count):
            try:
                throw()
            except Trap as trap:
                code = trap.code
        assert code is TrapCode.UNCAUGHT_EXCEPTION

    throw_often()
    before = resident()
    throw_often()
    assert resident() - before < count * 16 + (1 << 20)


def test_exceptions_leave_nothing_behind_in_an_asynchronous_store(runtime: Runtime, needs: Needs) -> None:
    needs("exceptions")
    wat = """(module (import "env" "f" (func)) (tag $e (param i64))
      (func (export "throw") (throw $e (i64.const 1))))"""
    count = 10_000 if "suspension" in runtime.info.features else 1_000

    async def nothing() -> None:
        pass

    async def throw_often(times: int) -> int:
        instance = await runtime.instantiate_async(runtime.compile(wat), {"env": {"f": nothing}})
        before = 0
        for n in range(2 * times):
            if n == times:
                before = resident()
            with pytest.raises(Trap):
                await instance.exports.throw.call_async()
        return resident() - before

    assert asyncio.run(throw_often(count)) < count * 16 + (1 << 20)


def test_a_shared_memory_is_bounded_by_its_maximum(runtime: Runtime, needs: Needs) -> None:
    needs("threads")
    grower = '(func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))'
    module = runtime.compile(f"(module (memory 1 17 shared) {grower})")
    runtime.instantiate(module)
    message = r"may grow to 1114112 bytes, beyond Limits.memory_bytes \(1048576\)"
    with pytest.raises(ModuleInstantiateError, match=message):
        runtime.instantiate(module, limits=LIMITS)
    with pytest.raises(ModuleInstantiateError, match=message):
        runtime.link(module, limits=LIMITS).instantiate()
    fits = runtime.instantiate(runtime.compile(f"(module (memory 1 16 shared) {grower})"), limits=LIMITS).exports
    assert (fits.grow(15), fits.grow(1)) == (1, -1)
    store = runtime.new_store(LIMITS)
    with pytest.raises(ModuleInstantiateError, match=message):
        store.memory(1, 17, shared=True)
    try:
        memory = store.memory(1, 16, shared=True)
    except UnsupportedFeatureError:
        return
    assert memory.grow(15) == 1
    with pytest.raises(MemoryAccessError):
        memory.grow(1)
    if "memory-sharing" not in runtime.info.features:
        return
    larger = runtime.new_store().memory(1, 17, shared=True)
    wants = runtime.compile('(module (import "m" "m" (memory 1 17 shared)))')
    with pytest.raises(ModuleInstantiateError, match=message):
        runtime.instantiate(wants, {"m": {"m": larger}}, store=store)
