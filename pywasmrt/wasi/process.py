"""Arguments, environment, clocks, randomness and the end of the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Exit
from .abi import TIMESTAMP, ClockId
from .binding import Functions, function
from .errno import Errno, WasiError
from .memory import CHUNK, U32, check, put_size, write

if TYPE_CHECKING:
    from ..protocols import Memory
    from .clocks import Clock
    from .context import WasiContext

__all__ = ["FUNCTIONS", "time_of"]

FUNCTIONS: Functions = {}

_SIGNALS = 31
_IGNORED = frozenset((0, 16, 17, 22, 27))  # none, chld, cont, urg, winch
_STOPPING = frozenset((18, 19, 20, 21))  # stop, tstp, ttin, ttou


def _put_strings(memory: Memory, pointers: int, buffer: int, strings: list[bytes]) -> None:
    at = buffer & U32
    table = []
    for each in strings:
        table.append(at.to_bytes(4, "little") if at <= U32 else b"")
        at += len(each) + 1
    check(memory, buffer, at - (buffer & U32))
    write(memory, pointers, b"".join(table))
    write(memory, buffer, b"".join(each + b"\0" for each in strings))


def _put_sizes(memory: Memory, count: int, size: int, strings: list[bytes]) -> None:
    put_size(memory, count, len(strings))
    put_size(memory, size, sum(len(each) + 1 for each in strings))


@function(FUNCTIONS, "ii")
def args_get(context: WasiContext, memory: Memory, argv: int, buffer: int) -> None:
    _put_strings(memory, argv, buffer, context.args)


@function(FUNCTIONS, "ii")
def args_sizes_get(context: WasiContext, memory: Memory, count: int, size: int) -> None:
    _put_sizes(memory, count, size, context.args)


@function(FUNCTIONS, "ii")
def environ_get(context: WasiContext, memory: Memory, environ: int, buffer: int) -> None:
    _put_strings(memory, environ, buffer, context.env)


@function(FUNCTIONS, "ii")
def environ_sizes_get(context: WasiContext, memory: Memory, count: int, size: int) -> None:
    _put_sizes(memory, count, size, context.env)


def time_of(clock: Clock, clock_id: int) -> int:
    """The time of one of WASI's clocks. `EINVAL` for an unknown number."""
    if clock_id == ClockId.MONOTONIC:
        return clock.monotonic()
    if clock_id == ClockId.REALTIME:
        return clock.realtime()
    if clock_id in (ClockId.PROCESS_CPUTIME, ClockId.THREAD_CPUTIME):
        return clock.cpu_time()
    raise WasiError(Errno.INVAL)


@function(FUNCTIONS, "ii")
def clock_res_get(context: WasiContext, memory: Memory, clock_id: int, result: int) -> None:
    if not ClockId.REALTIME <= clock_id <= ClockId.THREAD_CPUTIME:
        raise WasiError(Errno.INVAL)
    memory.write(result & U32, TIMESTAMP.pack(context.clock.resolution))


@function(FUNCTIONS, "iIi")
def clock_time_get(context: WasiContext, memory: Memory, clock_id: int, precision: int, result: int) -> None:
    memory.write(result & U32, TIMESTAMP.pack(time_of(context.clock, clock_id)))


@function(FUNCTIONS, "ii")
def random_get(context: WasiContext, memory: Memory, buffer: int, size: int) -> None:
    check(memory, buffer, size)
    at, end = buffer & U32, (buffer & U32) + (size & U32)
    while at < end:
        data = context.random_bytes(min(CHUNK, end - at))
        memory.write(at, data)
        at += CHUNK
        context.waiter.check()


@function(FUNCTIONS, "")
def sched_yield(context: WasiContext, memory: Memory) -> None:
    pass


@function(FUNCTIONS, "i", results="")
def proc_exit(context: WasiContext, memory: None, code: int) -> None:
    code &= U32
    if context.on_exit is not None:
        context.on_exit(code)
    raise Exit(code)


@function(FUNCTIONS, "i")
def proc_raise(context: WasiContext, memory: Memory, signal: int) -> None:
    """The signals that would end a process end the guest, with the exit code that a shell would show."""
    if not 0 <= signal < _SIGNALS:
        raise WasiError(Errno.INVAL)
    if signal in _STOPPING:
        raise WasiError(Errno.NOTSUP)
    if signal not in _IGNORED:
        raise Exit(128 + signal)
