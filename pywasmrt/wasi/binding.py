"""How the functions of WASI are written down, and how they become host functions.

Each is a plain Python function of the context, the guest's memory and the guest's arguments. It returns nothing when it
succeeds and raises `WasiError` otherwise; `OSError` and `MemoryAccessError` are turned into errnos here, in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import MemoryAccessError
from ..types import HostFunction, ValueType
from ..values import late
from .errno import Errno, WasiError, from_os_error
from .waiting import WouldWait

if TYPE_CHECKING:
    from .context import WasiContext

__all__ = ["Function", "Functions", "bind", "function"]

_Body = TypeVar("_Body", bound=Callable[..., Any])
_TYPES = {"i": ValueType.I32, "I": ValueType.I64}


class Function(NamedTuple):
    """One function: its name, its parameters and results, and what it does."""

    name: str
    params: tuple[ValueType, ...]
    results: tuple[ValueType, ...]
    body: Callable[..., Any]


Functions = dict[str, Function]


def function(table: Functions, params: str, *, name: str | None = None, results: str = "i") -> Callable[[_Body], _Body]:
    """Enter the decorated function in a table. In `params` and `results`, "i" stands for i32 and "I" for i64."""

    def enter(body: _Body) -> _Body:
        key = name or body.__name__
        types = [tuple(_TYPES[each] for each in signature) for signature in (params, results)]
        table[key] = Function(key, types[0], types[1], body)
        return body

    return enter


@cache
def bind(function: Function) -> HostFunction:
    """Make the host function: a method of the instance's context, which receives the caller for when the memory is not
    known yet.
    """
    body = function.body

    def call(context: WasiContext, caller: Any, *args: int) -> Any:
        try:
            memory = context.memory()
            body(context, context.find_memory(caller) if memory is None else memory, *args)
        except _FAILURES as error:
            return _errno(error)
        except WouldWait as wait:
            return _go_on(body, context, caller, args, wait)
        return 0

    def call_with_four(context: WasiContext, caller: Any, a: int, b: int, c: int, d: int) -> Any:
        # As `call`, for the functions that are called most (fd_read, fd_write): handing on *args takes a while.
        try:
            memory = context.memory()
            body(context, context.find_memory(caller) if memory is None else memory, a, b, c, d)
        except _FAILURES as error:
            return _errno(error)
        except WouldWait as wait:
            return _go_on(body, context, caller, (a, b, c, d), wait)
        return 0

    def call_without_result(context: WasiContext, caller: Any, *args: int) -> None:
        body(context, None, *args)

    wrapped: Callable[..., Any] = call_with_four if len(function.params) == 4 else call
    if not function.results:
        wrapped = call_without_result
    return HostFunction(function.name, wrapped, function.params, function.results, pass_caller=True, takes_state=True)


def _go_on(
    body: Callable[..., Any], context: WasiContext, caller: Any, args: tuple[int, ...], wait: WouldWait
) -> Coroutine[Any, Any, int]:
    """What an asynchronous store awaits: a coroutine that waits on the event loop, does the function again, and gives
    its errno.
    """
    go_on = late(f"{__package__}.loop_waiting").go_on  # which loads asyncio

    def attempt() -> int:
        try:
            memory = context.memory()
            body(context, context.find_memory(caller) if memory is None else memory, *args)
        except _FAILURES as error:
            return _errno(error)
        return 0

    waiting: Coroutine[Any, Any, int] = go_on(context.waiter, wait, attempt)
    return waiting


_FAILURES = (WasiError, MemoryAccessError, OSError, OverflowError)


def _errno(error: BaseException) -> int:
    if isinstance(error, WasiError):
        return error.errno
    if isinstance(error, MemoryAccessError):
        return int(Errno.FAULT)
    if isinstance(error, OSError):
        return from_os_error(error)
    return int(Errno.OVERFLOW)  # a number of 64 bits where the host takes 63
