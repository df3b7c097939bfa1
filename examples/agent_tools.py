"""Tools of an agent in a sandbox: each call has a deadline, which counts the time that a tool spends waiting.

python examples/agent_tools.py
"""

from __future__ import annotations

import asyncio

import pywasmrt
from pywasmrt import Caller, HostModule, Limits, i32

# Written by a model, say: nobody has looked at it.
TOOLS = """
(module
  (import "web" "get" (func $get (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "weather/oslo")
  (data (i32.const 16) "slow/report")
  (func (export "weather") (result i32 i32) (i32.const 64) (call $get (i32.const 0) (i32.const 12) (i32.const 64)))
  (func (export "report") (result i32 i32) (i32.const 64) (call $get (i32.const 16) (i32.const 11) (i32.const 64)))
  (func (export "think") (result i32 i32) (loop $on (br $on)) (i32.const 0) (i32.const 0)))
"""

web = HostModule("web")
PAGES = {"weather/oslo": (0.01, b"2 degrees, snow"), "slow/report": (3600, b"")}


@web.function
async def get(caller: Caller, offset: i32, size: i32, into: i32) -> i32:
    """The one thing that tools may do outside: ask for a page that is on the list."""
    path = caller.memory().read(offset, size).decode()
    takes, page = PAGES[path]
    try:
        await asyncio.sleep(takes)  # stands for a request
    finally:
        print(f"  asked for {path}")
    caller.memory().write(into, page)
    return len(page)


async def main() -> None:
    runtime = pywasmrt.new_runtime()
    tools = runtime.link(runtime.compile(TOOLS), web, limits=Limits(timeout=2, memory_bytes=1 << 20))

    async def use(name: str) -> str:
        with await tools.instantiate_async() as sandbox:
            try:
                offset, size = await sandbox.exports[name].call_async()
            except pywasmrt.WasmError as error:
                return f"{name}: {error}"
            memory = sandbox.memory()
            assert memory is not None
            return f"{name}: {memory.read(offset, size).decode()}"

    for told in await asyncio.gather(use("weather"), use("report"), use("think")):
        print(told)


if __name__ == "__main__":
    asyncio.run(main())
