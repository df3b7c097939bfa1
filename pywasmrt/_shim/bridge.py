"""What the call path in C asks of Python: the types of functions and memories, and the errors to raise."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from functools import cache
from typing import NoReturn

from ..errors import Trap, UnsupportedFeatureError, WasmError
from ..types import FunctionType, MemoryType, TrapCode, ValueType
from ..values import as_number, from_slots, is_function, numbers, shown, shown_int
from ..values import raise_argument_error as _raise_argument_error
from ..values import raise_result_error as _raise_result_error

__all__ = [
    "VALUE_TYPES",
    "convert_arguments",
    "convert_result",
    "make_function_type",
    "make_memory_type",
    "raise_argument_error",
    "raise_asynchronous",
    "raise_no_host_stack",
    "raise_no_stack",
    "raise_result_error",
    "raise_slots_error",
    "raise_uncallable",
    "run_pending",
    "shown_int",
    "type_codes",
]

VALUE_TYPES = (*ValueType, *[ValueType.REF] * 4)
"""Indexed by the numbers of `wrt_type` in wrt.h."""

_CODES = {type: code for code, type in enumerate(ValueType)}


def type_codes(types: tuple[ValueType, ...]) -> bytes:
    """The codes of value types, one byte each."""
    return bytes(map(_CODES.__getitem__, types))


@cache
def make_function_type(params: bytes, results: bytes) -> FunctionType:
    """The signature with these type codes; the same object each time."""
    return FunctionType(tuple(VALUE_TYPES[code] for code in params), tuple(VALUE_TYPES[code] for code in results))


def make_memory_type(minimum: int, maximum: int | None, is_64: bool, shared: bool, page_size: int) -> MemoryType:
    """The type of a memory, limits in pages of `page_size` bytes."""
    return MemoryType(minimum, maximum, is_64, shared, page_size)


def convert_arguments(type: FunctionType, args: tuple[object, ...]) -> tuple[object, ...]:
    """The arguments, with numbers of other classes made ints and floats. It runs the code of those classes, so it is
    called outside of the store.
    """
    return numbers(type.params, args)


def convert_result(type: FunctionType, value: object) -> object:
    """The same for what a host function returned. A list becomes a tuple."""
    results = type.results
    if len(results) == 1:
        return as_number(value, results[0])
    return numbers(results, tuple(value)) if isinstance(value, (tuple, list)) else value


def raise_argument_error(
    name: str, type: FunctionType, args: tuple[object, ...], function_class: builtins.type
) -> NoReturn:
    """Raise the error of a typed call's arguments, or of the function's signature. `function_class` is the class of
    functions of native runtimes.
    """
    if len(args) == len(type.params):
        _refuse_foreign(type.params, args, function_class, lambda n: f"argument {n} of {name}()")
    _raise_argument_error(name, type, args)


def raise_uncallable(name: str, type: FunctionType) -> NoReturn:
    """Raise the error of a signature with types that the engine cannot pass to or from the host."""
    raise UnsupportedFeatureError(
        f"{name}{type} has a reference type that cannot cross into Python; it can only be linked to instances",
        "gc-references",
    )


def raise_result_error(name: str, type: FunctionType, value: object, function_class: builtins.type) -> NoReturn:
    """Raise the error of what the host function `name` returned; `function_class` as above."""
    results = type.results
    values = value if len(results) > 1 and isinstance(value, tuple) else (value,)
    if len(values) == len(results):
        where = f"host function {name} returned a wrong value as result"
        _refuse_foreign(results, values, function_class, lambda n: f"{where} {n}")
    _raise_result_error(name, type, value)


def _refuse_foreign(
    types: tuple[ValueType, ...],
    values: Sequence[object],
    function_class: builtins.type,
    where: Callable[[int], str],
) -> None:
    """Raise `TypeError` for the first value that is a function of another runtime."""
    for n, (value, type) in enumerate(zip(values, types, strict=True), 1):
        if type is ValueType.FUNCREF and is_function(value) and not isinstance(value, function_class):
            raise TypeError(f"{where(n)}: {shown(value)} belongs to another runtime")


def raise_slots_error(name: str, type: FunctionType, slots: tuple[int, ...]) -> NoReturn:
    """Raise the error of a raw call's slots."""
    from_slots(name, type, slots)
    raise RuntimeError(f"conversion disagreed: the slots of {name}() were refused, yet they fit {type}")


def raise_asynchronous(name: str) -> NoReturn:
    """Raise the error of a synchronous call in an asynchronous store."""
    raise WasmError(
        f"{name}() is a function of an asynchronous store, which is entered by call_async alone: "
        f"await {name}.call_async(...)"
    )


def run_pending() -> None:
    """Have the interpreter raise the exception that was set for this thread, as it does between bytecodes."""
    for _ in (1, 2):
        pass


def raise_no_stack(left: int, needed: int) -> NoReturn:
    """Raise the trap of a call for which this thread has too little stack, before the guest runs. Sizes in bytes."""
    raise Trap(
        f"call stack exhausted: the thread has {left >> 10} KiB of stack left and a call may use {needed >> 10} KiB; "
        "give the thread more by threading.stack_size(), or the guest less by the option max_wasm_stack",
        TrapCode.STACK_OVERFLOW,
    )


def raise_no_host_stack(name: str, left: int, needed: int) -> NoReturn:
    """Raise the trap of a guest that calls the host function `name` where Python may need more stack than is left.

    Sizes are in bytes.
    """
    raise Trap(
        f"call stack exhausted: the guest called {name} with {left >> 10} KiB of the thread's stack left, of which the "
        f"last {needed >> 10} KiB are Python's; give the thread more by threading.stack_size()",
        TrapCode.STACK_OVERFLOW,
    )
