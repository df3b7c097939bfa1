"""What asynchronous stores refuse: ways in that are not theirs, wrong values, a second task, a second await."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.asynchronous import SOURCE, doubled, during, run, start

import pywasmrt
from pywasmrt import BusyError

pytestmark = pytest.mark.usefixtures("needs_text")


def test_a_synchronous_call_is_refused_in_words(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        instance = await start(runtime, doubled)
        for call in (instance.exports.add, instance.exports.add.call):
            with pytest.raises(pywasmrt.WasmError, match="call_async"):
                call(1, 2)
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


def test_an_async_function_is_refused_by_instantiate(runtime: pywasmrt.Runtime) -> None:
    with pytest.raises(pywasmrt.ModuleInstantiateError, match=r"env\.wait.*instantiate_async"):
        runtime.instantiate(runtime.compile(SOURCE), {"env": {"wait": doubled}})


def test_a_store_is_entered_in_one_way(runtime: pywasmrt.Runtime) -> None:
    module = runtime.compile(SOURCE)
    imports = {"env": {"wait": lambda x: x}}

    async def main() -> None:
        store = runtime.new_store()
        runtime.instantiate(module, imports, store=store)
        with pytest.raises(pywasmrt.ModuleInstantiateError, match="synchronous instances"):
            await runtime.instantiate_async(module, imports, store=store)
        store = runtime.new_store()
        first = await runtime.instantiate_async(module, imports, store=store)
        with pytest.raises(pywasmrt.ModuleInstantiateError, match="asynchronous instances"):
            runtime.instantiate(module, imports, store=store)
        second = await runtime.instantiate_async(module, {"env": {"wait": first.exports.run}}, store=store)
        assert await second.exports.run.call_async(4) == 4

    run(main)


class Number:
    """What is a number to Python, and neither an int nor a float."""

    def __index__(self) -> int:
        return 5

    def __float__(self) -> float:
        return 1.5


def test_numbers_of_other_kinds_are_taken(runtime: pywasmrt.Runtime) -> None:
    async def f(x: int) -> Any:
        await asyncio.sleep(0)
        return Number()

    def g(x: float) -> Any:
        return Number()

    async def main() -> None:
        module = runtime.compile(
            """(module (import "env" "f" (func $f (param i32) (result i32)))
              (import "env" "g" (func $g (param f64) (result f64)))
              (func (export "f") (param i32) (result i32) (call $f (local.get 0)))
              (func (export "g") (param f64) (result f64) (call $g (local.get 0))))"""
        )
        instance = await runtime.instantiate_async(module, {"env": {"f": f, "g": g}})
        number: Any = Number()
        assert await instance.exports.f.call_async(number) == 5
        assert await instance.exports.g.call_async(number) == 1.5
        with pytest.raises(TypeError, match="argument 1"):
            await instance.exports.f.call_async("5")

    asyncio.run(main())


def test_arguments_are_checked_as_ever(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        instance = await start(runtime, doubled)
        with pytest.raises(TypeError, match="takes 2 arguments"):
            await instance.exports.add.call_async(1)
        with pytest.raises(TypeError, match="argument 1"):
            await instance.exports.add.call_async("1", 2)
        with pytest.raises(OverflowError):
            await instance.exports.add.call_async(1 << 40, 2)
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


@pytest.mark.parametrize("wrong", ["x", None, 1 << 50, (1, 2)])
def test_what_a_coroutine_returns_is_checked(runtime: pywasmrt.Runtime, wrong: object) -> None:
    async def wait(x: int) -> object:
        await asyncio.sleep(0)
        return wrong

    async def main() -> None:
        instance = await start(runtime, wait)
        with pytest.raises((TypeError, OverflowError), match=r"env\.wait"):
            await instance.exports.run.call_async(1)
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


def test_a_second_task_finds_the_store_busy(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        gate, waits = asyncio.Event(), asyncio.Event()

        async def wait(x: int) -> int:
            waits.set()
            await gate.wait()
            return x

        instance = await start(runtime, wait)
        call = asyncio.create_task(instance.exports.run.call_async(1))
        await during(call, waits.wait())
        with pytest.raises(BusyError):
            await instance.exports.add.call_async(1, 2)
        gate.set()
        assert await call == 1
        assert await instance.exports.add.call_async(1, 2) == 3

    run(main)


def test_an_awaited_call_cannot_be_awaited_again(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        instance = await start(runtime, doubled)
        call = instance.exports.run.call_async(1)
        assert await call == 2
        with pytest.raises(RuntimeError, match="already awaited"):
            await call
        never = instance.exports.run.call_async(1)
        never.close()
        with pytest.raises(RuntimeError, match="already awaited"):
            await never

    run(main)
