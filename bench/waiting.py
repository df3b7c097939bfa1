"""The cost of guests that wait, compared with asyncio's own: `python bench/waiting.py`. One run, on one thread.

* A call of `add` by `call_async`, and one that is suspended once, beside `await asyncio.sleep(0)`.
* Ten thousand guests asleep: time to start each, memory, threads, mappings; how many more until the kernel's bound.
* The loop's longest stall beside a guest that computes.
* A web server's latencies with 200 requests at once, whose handlers await 20 ms, with and without a guest each.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pywasmrt

GUEST = """
(module
  (import "env" "wait" (func $wait (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "run") (param i32) (result i32) (call $wait (local.get 0)))
  (func (export "spin") (param i32) (result i32)
    (loop $again (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 0)))
"""
ROUNDS = 9


async def best(*works: Callable[[int], Awaitable[object]], count: int = 5000) -> list[float]:
    """Nanoseconds a turn of each, the best of rounds in which they alternate."""
    found: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, each in zip(works, found, strict=True):
            began = time.perf_counter()
            await work(count)
            each.append((time.perf_counter() - began) / count * 1e9)
    return [min(each) for each in found]


async def calls(module: Any, runtime: pywasmrt.Runtime) -> dict[str, Any]:
    async def once(x: int) -> int:
        await asyncio.sleep(0)
        return x

    instance = await runtime.instantiate_async(module, {"env": {"wait": once}})
    add, run = instance.exports.add.call_async, instance.exports.run.call_async

    async def sleeps(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def adds(count: int) -> None:
        for _ in range(count):
            await add(1, 2)

    async def waits(count: int) -> None:
        for _ in range(count):
            await run(1)

    sleep, plain, suspended = await best(sleeps, adds, waits)
    return {
        "asyncio.sleep(0), ns": round(sleep),
        "call_async add, ns": round(plain),
        "call_async add / sleep(0)": round(plain / sleep, 2),
        "suspended once, ns": round(suspended),
        "suspended once / sleep(0)": round(suspended / sleep, 2),
    }


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def mappings() -> int:
    with Path("/proc/self/maps").open("rb") as lines:
        return sum(1 for _ in lines)


async def asleep(module: Any, runtime: pywasmrt.Runtime, count: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    gate = loop.create_future()

    async def wait(x: int) -> int:
        await asyncio.shield(gate)
        return x

    linked = runtime.link(module, {"env": {"wait": wait}})
    await linked.instantiate_async()
    gc.collect()
    gc.freeze()
    tasks: list[asyncio.Task[Any]] = []

    async def start() -> None:
        instance = await linked.instantiate_async()
        tasks.append(loop.create_task(instance.exports.run.call_async(len(tasks))))

    memory, maps, began = resident(), mappings(), time.perf_counter()
    for _ in range(count):
        await start()
    await asyncio.sleep(0)
    took = time.perf_counter() - began
    found: dict[str, Any] = {
        "guests asleep": count,
        "us to start each": round(took / count * 1e6, 1),
        "KiB resident each": round((resident() - memory) / count / 1024, 1),
        "mappings each": round((mappings() - maps) / count, 1),
        "threads": len(os.listdir("/proc/self/task")),
    }
    try:
        while len(tasks) < 10 * count:
            await start()
            await asyncio.sleep(0)
            if tasks[-1].done():
                tasks.pop().result()
    except pywasmrt.WasmError as error:
        found["more until the bound"] = len(tasks) - count
        found["the error"] = str(error)
    began = time.perf_counter()
    gate.set_result(None)
    results = await asyncio.gather(*tasks)
    found["us to resume each"] = round((time.perf_counter() - began) / len(tasks) * 1e6, 1)
    assert results == list(range(len(tasks)))
    return found


async def stall(module: Any, runtime: pywasmrt.Runtime) -> dict[str, Any]:
    instance = await runtime.instantiate_async(module, {"env": {"wait": lambda x: x}})
    call = asyncio.ensure_future(instance.exports.spin.call_async(2_000_000_000))
    gaps = []
    last = time.perf_counter()
    while not call.done() and len(gaps) < 400:
        await asyncio.sleep(0)
        now = time.perf_counter()
        gaps.append((now - last) * 1e3)
        last = now
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    return {"longest stall, ms": round(max(gaps), 1), "median turn, ms": round(statistics.median(gaps), 1)}


async def serve(handle: Callable[[], Awaitable[bytes]], at_once: int, rounds: int) -> list[float]:
    """Latencies in ms of requests over connections of their own, `at_once` of them at a time."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = await handle()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async def ask(port: int) -> float:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.read()
        writer.close()
        return (time.perf_counter() - began) * 1e3

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=at_once)
    port = server.sockets[0].getsockname()[1]
    found: list[float] = []
    for _ in range(rounds):
        found += await asyncio.gather(*(ask(port) for _ in range(at_once)))
    server.close()
    await server.wait_closed()
    return found


async def web(module: Any, runtime: pywasmrt.Runtime, at_once: int = 200) -> dict[str, Any]:
    async def query(x: int) -> int:
        await asyncio.sleep(0.02)
        return x

    linked = runtime.link(module, {"env": {"wait": query}})

    async def plain() -> bytes:
        return b"%d" % await query(7)

    async def guest() -> bytes:
        with await linked.instantiate_async() as instance:
            return b"%d" % await instance.exports.run.call_async(7)

    latencies: dict[str, list[float]] = {"plain": [], "guest": []}
    for _ in range(5):
        latencies["plain"] += await serve(plain, at_once, 3)
        latencies["guest"] += await serve(guest, at_once, 3)
    p99 = {name: statistics.quantiles(each, n=100)[98] for name, each in latencies.items()}
    return {
        "p99 without guests, ms": round(p99["plain"], 1),
        "p99 with a guest each, ms": round(p99["guest"], 1),
        "ratio": round(p99["guest"] / p99["plain"], 2),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="wasmtime")
    parser.add_argument("--guests", type=int, default=10_000)
    arguments = parser.parse_args()
    # One thread compiles, so that the threads that are counted are those that run guests.
    runtime = pywasmrt.new_runtime(arguments.runtime, {"options": {"parallel_compilation": False}})
    module = runtime.compile(GUEST)
    found = {
        "calls": await calls(module, runtime),
        "stall": await stall(module, runtime),
        "web": await web(module, runtime),
        "asleep": await asleep(module, runtime, arguments.guests),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
