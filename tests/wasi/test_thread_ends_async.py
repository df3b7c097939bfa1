"""A command whose guest has threads, awaited: `run_async` in a synchronous store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from pywasmrt import Runtime, wasi

Needs = Callable[..., None]


def test_a_command_that_ends_ends_its_threads(runtime: Runtime, needs: Needs) -> None:
    needs("threads", "memory-sharing", "interruption")
    text = """(module (import "any" "name" (memory 1 1 shared)) (export "memory" (memory 0))
      (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
      (func (export "wasi_thread_start") (param i32 i32) (loop $again (br $again)))
      (func (export "_start") (drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 0)))))"""
    with runtime.instantiate(runtime.compile(text), wasi=wasi.WasiConfig(threads=4)) as guest:
        assert asyncio.run(guest.run_async()) == 0
        assert not [each for each in threading.enumerate() if each.name.startswith("pywasmrt-guest")]


def test_a_command_that_is_closed_ends_its_threads(runtime: Runtime, needs: Needs) -> None:
    """Whoever closes the coroutine awaits nothing more."""
    needs("threads", "memory-sharing", "interruption")
    text = """(module (import "any" "name" (memory 1 1 shared)) (export "memory" (memory 0))
      (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
      (func (export "wasi_thread_start") (param i32 i32) (loop $again (br $again)))
      (func (export "_start") (drop (call $spawn (i32.const 0))) (loop $again (br $again))))"""

    async def main() -> None:
        with runtime.instantiate(runtime.compile(text), wasi=wasi.WasiConfig(threads=4)) as guest:
            command = guest.run_async()
            command.send(None)
            while not guest._wasi.threads.running:
                await asyncio.sleep(0.001)
            command.close()
            assert not guest._wasi.threads.running
            guest.interrupt()

    asyncio.run(main())


def test_an_event_loop_goes_on_while_a_commands_threads_end(runtime: Runtime, needs: Needs) -> None:
    needs("threads", "memory-sharing", "interruption")
    text = """(module (import "any" "name" (memory 1 1 shared)) (export "memory" (memory 0))
      (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32))) (import "env" "ask" (func $ask))
      (func (export "wasi_thread_start") (param i32 i32)
        (i32.atomic.store (i32.const 0) (i32.const 1))
        (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))
        (call $ask))
      (func (export "_start")
        (drop (call $spawn (i32.const 0)))
        (loop $again
          (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 1000000)))
          (br_if $again (i32.eqz (i32.atomic.load (i32.const 0)))))))"""
    answers: list[int] = []

    async def answer() -> int:
        """Goes on only once the command has ended and its threads are waited for."""
        while not guest._wasi.threads._ended:
            await asyncio.sleep(0)
        return 5

    async def main() -> int:
        nonlocal guest
        loop = asyncio.get_running_loop()

        def ask() -> None:
            answers.append(asyncio.run_coroutine_threadsafe(answer(), loop).result(30))

        linked = runtime.link(runtime.compile(text), {"env": {"ask": ask}}, wasi=wasi.WasiConfig(threads=1))
        guest = linked.instantiate()
        try:
            code: int = await guest.run_async()
            assert answers == [5]
            return code
        finally:
            guest.close()

    guest: Any = None
    assert asyncio.run(main()) == 0
