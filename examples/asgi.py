"""A web application with a guest for each request, whose host function waits for the database: plain ASGI.

python examples/asgi.py               asks itself, two hundred requests at once
uvicorn --app-dir examples asgi:app   serves it
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pywasmrt
from pywasmrt import Caller, HostModule, Limits, i32

GUEST = """
(module
  (import "app" "price" (func $price (param i32) (result i32)))
  (import "app" "respond" (func $respond (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "it costs ")
  ;; the price in decimal digits from $at backwards; where they begin
  (func $digits (param $at i32) (param $n i32) (result i32)
    (loop $more
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (br_if $more (local.tee $n (i32.div_u (local.get $n) (i32.const 10)))))
    (local.get $at))
  (func (export "handle") (param $article i32) (local $from i32)
    (local.set $from (call $digits (i32.const 64) (call $price (local.get $article))))
    (memory.copy (i32.const 9) (local.get $from) (i32.sub (i32.const 64) (local.get $from)))
    (call $respond (i32.const 0) (i32.add (i32.const 9) (i32.sub (i32.const 64) (local.get $from))))))
"""

QUERY_TAKES = 0.02  # seconds


host = HostModule("app")


class Request:
    """The host's side of one request; each instance has one of its own."""

    def __init__(self) -> None:
        self.body = b""

    @host.method
    async def price(self, article: i32) -> i32:
        await asyncio.sleep(QUERY_TAKES)  # stands for a query; the guest that waits takes no thread and holds up nobody
        return 100 + article

    @host.method
    def respond(self, caller: Caller, offset: i32, size: i32) -> None:
        self.body = caller.memory().read(offset, size)


runtime = pywasmrt.new_runtime()
linked = runtime.link(runtime.compile(GUEST), host.bind(Request), limits=Limits(timeout=5, memory_bytes=1 << 20))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application: /ARTICLE tells what the article costs."""
    if scope["type"] != "http":
        return
    with await linked.instantiate_async() as instance:
        await instance.exports.handle.call_async(int(scope["path"].lstrip("/") or 0))
        body = instance.state("app").body
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


async def ask(path: str) -> bytes:
    """What a server would do for one request."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    body: bytes = sent[-1]["body"]
    return body


async def main() -> None:
    print((await ask("/7")).decode())
    began = time.perf_counter()
    answers = await asyncio.gather(*(ask(f"/{n}") for n in range(200)))
    took = time.perf_counter() - began
    print(len(set(answers)), "different answers at once")
    print("one after the other they would have taken longer:", took < 200 * QUERY_TAKES)


if __name__ == "__main__":
    asyncio.run(main())
