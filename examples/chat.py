"""Two guests that talk with each other, each waiting for what the other says; on one thread.

python examples/chat.py
"""

from __future__ import annotations

import asyncio
from typing import Any

import pywasmrt
from pywasmrt import i32

# Says a number, waits for one, and says half of that, until nothing is left.
GUEST = """
(module
  (import "chat" "say" (func $say (param i32)))
  (import "chat" "hear" (func $hear (result i32)))
  (func (export "talk") (param $n i32) (result i32) (local $turns i32)
    (if (local.get $n) (then (call $say (local.get $n))))
    (loop $on
      (local.set $n (i32.shr_u (call $hear) (i32.const 1)))
      (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
      (call $say (local.get $n))
      (br_if $on (i32.gt_u (local.get $n) (i32.const 1))))
    (local.get $turns)))
"""


async def main() -> None:
    runtime = pywasmrt.new_runtime()
    module = runtime.compile(GUEST)

    async def guest(name: str, mine: asyncio.Queue[int], other: asyncio.Queue[int]) -> Any:
        def say(n: i32) -> None:
            print(f"{name}: {n}")
            other.put_nowait(n)

        async def hear() -> i32:
            return await mine.get()

        return await runtime.instantiate_async(module, {"chat": {"say": say, "hear": hear}})

    to_ada: asyncio.Queue[int] = asyncio.Queue()
    to_bob: asyncio.Queue[int] = asyncio.Queue()
    ada, bob = await guest("Ada", to_ada, to_bob), await guest("Bob", to_bob, to_ada)
    turns = await asyncio.gather(ada.exports.talk.call_async(40), bob.exports.talk.call_async(0))
    print("turns:", turns)


if __name__ == "__main__":
    asyncio.run(main())
