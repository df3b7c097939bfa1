"""The current span of OpenTelemetry in guests that wait: that of the task that awaits the call."""

from __future__ import annotations

import asyncio

import pytest

import pywasmrt
from pywasmrt.testing import to_binary

trace = pytest.importorskip("opentelemetry.trace")
sdk = pytest.importorskip("opentelemetry.sdk.trace")

GUEST = """(module
  (import "env" "wait" (func $wait (param i32) (result i32)))
  (func (export "run") (param i32) (result i32)
    (i32.add (call $wait (local.get 0)) (call $wait (local.get 0)))))
"""


def test_a_span_is_current_in_the_host_functions_of_its_own_call(runtime: pywasmrt.Runtime) -> None:
    tracer = sdk.TracerProvider().get_tracer("test")
    seen: dict[int, set[str]] = {}

    async def wait(n: int) -> int:
        for _ in range(n % 3 + 1):
            await asyncio.sleep(0)  # the others have their turn
            seen.setdefault(n, set()).add(trace.get_current_span().name)
        return n

    module = runtime.compile(to_binary(GUEST))

    async def call(n: int) -> None:
        instance = await runtime.instantiate_async(module, {"env": {"wait": wait}})
        with tracer.start_as_current_span(f"call {n}") as span:
            assert await instance.exports.run.call_async(n) == 2 * n
            assert trace.get_current_span() is span
        instance.close()

    async def main() -> None:
        await asyncio.gather(*(call(n) for n in range(10)))

    asyncio.run(main())
    assert seen == {n: {f"call {n}"} for n in range(10)}
