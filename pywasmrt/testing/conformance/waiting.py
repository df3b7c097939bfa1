"""Asynchronous stores: guests that wait for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ...errors import BusyError, ClosedError, DeadlineExceeded, ModuleInstantiateError, WasmError
from ...protocols import Caller, ModuleInstance
from ...types import FunctionType, Limits, MemoryType, ValueType
from .. import guests
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("waiting")

_LONG = 30  # seconds after which a check has failed
_I32 = FunctionType((ValueType.I32,), (ValueType.I32,))


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), _LONG))


async def _start(subject: Subject, function: Callable[..., Any], **options: Any) -> ModuleInstance:
    """An instance of a guest whose export `direct` passes a number to `function`, and its result back."""
    module = subject.runtime.compile(guests.passthrough(_I32, memory=MemoryType(1)).encode())
    return await subject.runtime.instantiate_async(module, {"env": {"f": function}}, **options)


async def _raised(what: str, kind: type[BaseException], awaitable: Coroutine[Any, Any, Any]) -> BaseException:
    try:
        found = await awaitable
    except kind as error:
        return error
    raise AssertionError(f"{what} gave {found!r}, not {kind.__name__}")


@PART
def a_guest_waits_for_a_coroutine(subject: Subject) -> None:
    async def doubled(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    async def main() -> None:
        instance = await _start(subject, doubled)
        equal(await instance.exports.direct.call_async(21), 42, "a call that waited")
        instance = await _start(subject, lambda x: x + 1)
        equal(await instance.exports.direct.call_async(1), 2, "a call of a plain function")

    _run(main)


@PART
def guests_wait_at_the_same_time(subject: Subject) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def waits(x: int) -> int:
            await gate.wait()
            return x

        async def opens(x: int) -> int:
            gate.set()
            return x

        first, second = await _start(subject, waits), await _start(subject, opens)
        call = asyncio.ensure_future(first.exports.direct.call_async(1))
        equal(await second.exports.direct.call_async(2), 2, "a call beside one that waits")
        equal(await call, 1, "the call that waited")

    _run(main)


@PART
def a_caller_serves_across_an_await(subject: Subject) -> None:
    kept = []

    async def writes(caller: Caller, x: int) -> int:
        kept.append(caller)
        await asyncio.sleep(0)
        caller.memory().write(0, b"after")
        return x

    async def main() -> None:
        instance = await _start(subject, writes)
        await instance.exports.direct.call_async(1)
        memory = instance.memory()
        require(memory is not None and memory.read(0, 5) == b"after", "what was written after an await is there")
        expect(ClosedError, "a caller whose function has returned", kept[0].memory)

    _run(main)


@PART
def a_host_function_may_await_its_own_guest(subject: Subject) -> None:
    async def again(caller: Caller, x: int) -> int:
        call = caller.function("direct")
        if x == 0 or call is None:
            return 100
        return 1 + int(await call.call_async(x - 1))

    async def main() -> None:
        instance = await _start(subject, again)
        equal(await instance.exports.direct.call_async(3), 103, "a call into the guest that is calling")

    _run(main)


@PART
def exceptions_come_out_as_themselves(subject: Subject) -> None:
    class Own(BaseException):
        pass

    errors = (ValueError("x"), Own())

    async def fails(x: int) -> int:
        await asyncio.sleep(0)
        raise errors[x]

    async def main() -> None:
        for n, error in enumerate(errors):
            instance = await _start(subject, fails)
            found = await _raised("a coroutine that fails", type(error), instance.exports.direct.call_async(n))
            require(found is error, "the exception is the very one that was raised")

    _run(main)


@PART
def cancelling_ends_the_wait_and_leaves_the_instance(subject: Subject) -> None:
    events = []

    async def main() -> None:
        waiting = asyncio.Event()

        async def waits(x: int) -> int:
            if x == 0:
                return 7
            waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                events.append("finally")
            return x

        instance = await _start(subject, waits)
        call = asyncio.ensure_future(instance.exports.direct.call_async(1))
        called = asyncio.ensure_future(waiting.wait())
        await asyncio.wait({call, called}, return_when=asyncio.FIRST_COMPLETED)
        if not called.done():
            called.cancel()
            raise AssertionError(f"a call whose host function waits has ended: {call}")
        await _raised("a second call", BusyError, instance.exports.direct.call_async(0))
        call.cancel()
        await _raised("a cancelled call", asyncio.CancelledError, call)
        equal(events, ["finally"], "what the coroutine did")
        equal(await instance.exports.direct.call_async(0), 7, "a call, after one was cancelled")

    _run(main)


@PART.needs("deadline")
def a_deadline_ends_the_wait(subject: Subject) -> None:
    async def waits(x: int) -> int:
        await asyncio.Event().wait()
        return x

    async def main() -> None:
        instance = await _start(subject, waits, limits=Limits(timeout=0.03))
        await _raised("a wait without an end", DeadlineExceeded, instance.exports.direct.call_async(1))

    _run(main)


@PART
def asynchronous_stores_are_entered_by_call_async_alone(subject: Subject) -> None:
    async def waits(x: int) -> int:
        return x

    async def main() -> None:
        instance = await _start(subject, waits)
        expect(WasmError, "a synchronous call", lambda: instance.exports.direct(1))
        equal(await instance.exports.direct.call_async(1), 1, "a call, after a synchronous one was refused")

    _run(main)
    refused = "an async function in a synchronous store"
    guest = guests.passthrough(_I32)
    expect(ModuleInstantiateError, refused, lambda: subject.instance(guest, {"env": {"f": waits}}))
