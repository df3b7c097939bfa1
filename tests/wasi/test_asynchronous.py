"""WASI in asynchronous stores: what would block has the event loop wait."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest
from helpers.asynchronous import during, run

import pywasmrt
from pywasmrt import DeadlineExceeded, Limits, Runtime, wasi
from pywasmrt.wasi import loop_waiting

from .building import c_guest, go_guest

Needs = Callable[..., None]

SLEEPER = """
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; a subscription to the monotonic clock at 64, its event at 128, their number at 160
  (func (export "sleep") (param $ns i64) (result i32)
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (local.get $ns))
    (if (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 160)) (then unreachable))
    (i32.load (i32.const 160)))
  ;; what there is on stdin, at 256, written to stdout; how much that was
  (func (export "copy") (result i32)
    (i32.store (i32.const 0) (i32.const 256))
    (i32.store (i32.const 4) (i32.const 1000))
    (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)) (then unreachable))
    (i32.load (i32.const 12))))
"""


@pytest.fixture(autouse=True)
def _needs_text(needs: Needs) -> None:
    needs("wat")


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once the event loop waits for a guest: a busy machine may take its time until then."""
    begun, wait = asyncio.Event(), loop_waiting._wait

    async def noted(*args: Any) -> dict[int, int]:
        begun.set()
        return await wait(*args)

    monkeypatch.setattr(loop_waiting, "_wait", noted)
    return begun


def start(runtime: Runtime, config: wasi.WasiConfig, **more: Any) -> Awaitable[Any]:
    return runtime.instantiate_async(runtime.compile(SLEEPER), wasi=config, **more)


def test_a_sleep_lets_the_loop_go_on(runtime: Runtime, asleep: asyncio.Event) -> None:
    async def main() -> None:
        instance = await start(runtime, wasi.WasiConfig())
        call = asyncio.ensure_future(instance.exports.sleep.call_async(1 << 60))
        await during(call, asleep.wait())
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await instance.exports.sleep.call_async(5_000_000) == 1

    run(main)


@pytest.mark.parametrize("ns", [0, 1])
def test_a_sleep_of_no_length_ends(runtime: Runtime, ns: int) -> None:
    async def main() -> None:
        instance = await start(runtime, wasi.WasiConfig())
        assert await instance.exports.sleep.call_async(ns) == 1

    run(main)


def test_a_guest_waits_for_a_pipe_at_its_stdin(runtime: Runtime) -> None:
    out = bytearray()
    reading, writing = os.pipe()

    async def main() -> None:
        with open(reading, "rb", buffering=0) as stdin:
            instance = await start(runtime, wasi.WasiConfig(stdin=stdin, stdout=out))
            call = asyncio.ensure_future(instance.exports.copy.call_async())
            await asyncio.sleep(0.02)
            assert not call.done()
            os.write(writing, b"at last")
            assert await call == 7
            assert out == b"at last"
            os.close(writing)
            assert await instance.exports.copy.call_async() == 0  # the end

    run(main)


def test_two_guests_wait_for_the_same_descriptor(runtime: Runtime) -> None:
    first, second = bytearray(), bytearray()
    reading, writing = os.pipe()

    async def main() -> None:
        with open(reading, "rb", buffering=0) as stdin:
            calls = []
            for out in (first, second):
                instance = await start(runtime, wasi.WasiConfig(stdin=stdin, stdout=out))
                calls.append(asyncio.ensure_future(instance.exports.copy.call_async()))
            await asyncio.sleep(0.02)
            os.write(writing, b"x")
            done, rest = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == len(rest) == 1
            os.write(writing, b"y")
            assert await asyncio.gather(*calls) == [1, 1]
            assert sorted([bytes(first), bytes(second)]) == [b"x", b"y"]

    run(main)
    os.close(writing)


def test_cancelling_and_deadlines_end_a_sleep(runtime: Runtime, needs: Needs, asleep: asyncio.Event) -> None:
    needs("deadline")
    forever = 1 << 60

    async def main() -> None:
        instance = await start(runtime, wasi.WasiConfig(), limits=Limits(timeout=0.03))
        with pytest.raises(DeadlineExceeded):
            await instance.exports.sleep.call_async(forever)
        instance = await start(runtime, wasi.WasiConfig())
        asleep.clear()
        call = asyncio.ensure_future(instance.exports.sleep.call_async(forever))
        await during(call, asleep.wait())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call, 0.03)
        assert await instance.exports.sleep.call_async(0) == 1
        asleep.clear()
        call = asyncio.ensure_future(instance.exports.sleep.call_async(forever))
        await during(call, asleep.wait())
        instance.close()
        with pytest.raises(pywasmrt.ClosedError):
            await call

    run(main)


async def shout(address: Any, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    with closing(writer):
        writer.write(text)
        return await reader.readexactly(len(text))


def test_a_hundred_servers_serve_while_nine_hundred_guests_sleep(runtime: Runtime, needs: Needs) -> None:
    """Each accepts one connection of the same listening socket; all on one thread, where guests are suspended."""
    needs("suspension")
    servers, sleepers = 100, 900
    module, sleeping = (
        runtime.compile(c_guest("server")),
        runtime.link(runtime.compile(SLEEPER), wasi=wasi.WasiConfig()),
    )

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=servers) as listener:
            asleep = []
            for _ in range(sleepers):
                instance = await sleeping.instantiate_async()
                asleep.append(asyncio.ensure_future(instance.exports.sleep.call_async(1 << 60)))
            linked = runtime.link(module, wasi=wasi.WasiConfig(sockets=[listener]))
            running = [asyncio.ensure_future((await linked.instantiate_async()).run_async()) for _ in range(servers)]
            texts = [f"client {n}".encode() for n in range(servers)]
            clients = asyncio.gather(*(shout(listener.getsockname(), text) for text in texts))
            found, codes = await asyncio.gather(clients, asyncio.gather(*running))
            assert found == [text.upper() for text in texts]
            assert codes == [0] * servers
            assert not any(each.done() for each in asleep)
            for each in asleep:
                each.cancel()
            await asyncio.gather(*asleep, return_exceptions=True)

    run(main)


async def fetched(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        writer.write(b"GET /hello?name=you HTTP/1.0\r\n\r\n")
        return await reader.read()


def test_a_go_server_serves_on_the_loop(runtime: Runtime, needs: Needs) -> None:
    needs("suspension")
    module = runtime.compile(go_guest("go_server"))

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)  # or Go waits for one connection after the other
            config = wasi.WasiConfig(args=["server"], sockets=[listener])
            instance = await runtime.instantiate_async(module, wasi=config)
            serving = asyncio.ensure_future(instance.run_async())
            port = listener.getsockname()[1]
            answers = await during(serving, asyncio.gather(*(fetched(port) for _ in range(20))))
            assert all(each.startswith(b"HTTP/1.0 200") and each.endswith(b"hello you") for each in answers)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving

    run(main)
