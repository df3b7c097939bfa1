"""The rules for values, in one place: which Python values become WebAssembly values, and the errors for all others.

Adapters convert common values on fast paths of their own; odd values and every error message come from here.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from operator import index as as_index
from reprlib import Repr
from types import CoroutineType
from typing import Any, NoReturn

from .errors import ClosedError, InvalidConfigurationError, MemoryAccessError
from .types import FunctionType, ValueType
from .wasm.floats import f32_bits, f32_from_bits

_class_of = type  # functions here have a parameter of that name

__all__ = [
    "arity_error",
    "as_number",
    "bytes_of",
    "can_be_a_path",
    "checked_delta",
    "checked_index",
    "checked_size",
    "copied_buffer",
    "did_you_mean",
    "ended",
    "from_slots",
    "index_of",
    "is_function",
    "is_list",
    "is_reference",
    "late",
    "memory_access_error",
    "nanoseconds",
    "numbers",
    "raise_argument_error",
    "raise_result_error",
    "results_from_host",
    "shown",
    "shown_int",
    "slot_count",
    "to_slots",
    "to_wasm",
]

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_V128, _FUNCREF, _EXTERNREF = ValueType.V128, ValueType.FUNCREF, ValueType.EXTERNREF

_FLOATS = (_F32, _F64)
_NUMBERS = (_I32, _I64, _F32, _F64)

_WANTED = {
    _I32: "an int",
    _I64: "an int",
    _F32: "a float or an int",
    _F64: "a float or an int",
    _V128: "16 bytes",
    _FUNCREF: "a FunctionInstance or None",
}


class _Repr(Repr):
    """Writes a bounded part of a value, however large or deeply nested the value is."""

    def repr_instance(self, x: Any, level: int) -> str:
        text = repr(x)
        return text if len(text) <= self.maxother else text[: self.maxother]


_REPR = _Repr()
_REPR.maxlevel = 4
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = _REPR.maxdeque = 16
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 64


def shown(value: object) -> str:
    """`value` as an error message shows it: short, with its type, and never failing."""
    try:
        text = _REPR.repr(value)
    except Exception:
        text = f"<{type(value).__name__} object>"
    if len(text) > 60:
        text = text[:57] + "..."
    return text if value is None else f"{text} ({type(value).__name__})"


def shown_int(value: object) -> str:
    """The integer `value` in a message. Python refuses to write very long ones, and its `ValueError` would hide the
    error that is meant.
    """
    number = as_index(value)  # type: ignore[arg-type]
    return str(number) if number.bit_length() <= 128 else f"an int of {number.bit_length()} bits"


_late: dict[str, Any] = {}


def late(name: str) -> Any:
    """The module `name`, which few programs need: it is imported when it is first asked for, and kept.

    Before the interpreter runs its last destructors it forgets its modules, and imports none any more. Then this raises
    `ClosedError` for a module that was not asked for before.
    """
    module = _late.get(name)
    if module is None:
        try:
            module = import_module(name)
        except ImportError:
            if sys.meta_path is not None:
                raise
            raise ended(name) from None
        _late[name] = module
    return module


def ended(name: str) -> ClosedError:
    """The error for the first use of a module while the interpreter ends."""
    return ClosedError(f"the interpreter is ending, and loads no modules any more: {name} was not used before")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is nearest to `name`, or nothing."""
    try:
        near = late("difflib").get_close_matches(name, list(known), 1)
    except ClosedError:  # the interpreter is ending
        return ""
    return f"; did you mean {near[0]!r}?" if near else ""


def to_wasm(value: Any, type: ValueType, where: str) -> Any:
    """Return `value` as WebAssembly's `type` holds it: integers signed, floats rounded to their width, v128 as `bytes`.

    `where` begins the message of a `TypeError` (a value of the wrong kind) or `OverflowError` (an integer out of
    range).
    """
    value = as_number(value, type)
    kind = _class_of(value)  # some objects call themselves ints
    if type is _I32:
        if issubclass(kind, int):
            value = as_index(value)  # of a subclass too, the stored number, whatever its methods return
            if -0x8000_0000 <= value < 0x8000_0000:
                return value
            if 0 <= value <= 0xFFFF_FFFF:
                return value - 0x1_0000_0000
            raise _out_of_range(value, type, where)
    elif type is _I64:
        if issubclass(kind, int):
            value = as_index(value)
            if -0x8000_0000_0000_0000 <= value < 0x8000_0000_0000_0000:
                return value
            if 0 <= value <= 0xFFFF_FFFF_FFFF_FFFF:
                return value - 0x1_0000_0000_0000_0000
            raise _out_of_range(value, type, where)
    elif type is _F32 or type is _F64:
        if issubclass(kind, (float, int)):
            try:
                number = float.__float__(value) if issubclass(kind, float) else float(as_index(value))
            except OverflowError:
                raise OverflowError(
                    f"{where}: an int of {int(value).bit_length()} bits is too large for {type}"
                ) from None
            return _demoted(number) if type is _F32 else number
    elif type is _V128:
        try:
            data = memoryview(value).tobytes()
        except TypeError:
            pass
        else:
            if len(data) == 16:
                return data
            raise TypeError(f"{where}: v128 takes 16 bytes, not {len(data)}")
    elif type is _FUNCREF:
        if value is None or is_function(value):
            return value
    elif type is _EXTERNREF or type is ValueType.REF:
        return value  # only the engine knows what REF takes
    else:
        return _to_reference(value, type, where)
    raise TypeError(f"{where}: {type} takes {_WANTED[type]}, not {shown(value)}")


def is_reference(value: object) -> bool:
    """Whether the class of `value` has the attributes of a Reference."""
    return hasattr(type(value), "kind") and hasattr(type(value), "_store")


def _to_reference(value: Any, type: ValueType, where: str) -> Any:
    """As `to_wasm`, for the reference types of the proposals gc and exceptions."""
    if value is None or (type is ValueType.ANYREF and not isinstance(value, int)):
        return value
    if isinstance(value, int) and type in (ValueType.ANYREF, ValueType.EQREF, ValueType.I31REF):
        number = as_index(value)
        if -(1 << 30) <= number < 1 << 31:
            return number
        raise OverflowError(
            f"{where}: {shown_int(number)} is out of range for an i31 ({-(1 << 30)} to {(1 << 31) - 1})"
        )
    kinds = {
        ValueType.EQREF: ("struct", "array"),
        ValueType.STRUCTREF: ("struct",),
        ValueType.ARRAYREF: ("array",),
    }.get(type, ())
    if is_reference(value) and value.kind in kinds:
        return value
    raise TypeError(f"{where}: {type} takes {_TAKEN[type]}, not {shown(value)}")


_TAKEN = {
    ValueType.EQREF: "a Reference to a struct or an array, an int or None",
    ValueType.I31REF: "an int or None",
    ValueType.STRUCTREF: "a Reference to a struct or None",
    ValueType.ARRAYREF: "a Reference to an array or None",
    ValueType.EXNREF: "None",
}


_NO_REAL_NUMBERS = frozenset("cSUMm")  # NumPy's kinds: complex numbers, bytes, text, times


def as_number(value: Any, type: ValueType) -> Any:
    """Convert `value`, a number of another kind, to an int or a float, if `type` takes numbers: by `__index__`, and for
    floats by `__float__`, which may run any code and raise anything; NumPy's bools count as Python's do. Any other
    value is returned as it is. So is one whose method says by a TypeError that it is no such number, as NumPy's arrays
    do.
    """
    if type not in _NUMBERS or issubclass(_class_of(value), (int, float)):
        return value
    try:
        if type in _FLOATS and hasattr(value.__class__, "__float__"):
            return value if _is_no_real_number(value) else float(value)
        if hasattr(value.__class__, "dtype") and _is_numpys_bool(value):  # older ones have an `__index__` that warns
            return int(bool(value))
        return as_index(value) if hasattr(value.__class__, "__index__") else value
    except TypeError:
        return value


def _is_numpys_bool(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", None) == "b" and getattr(value, "ndim", None) == 0


def _is_no_real_number(value: Any) -> bool:
    """Whether a value with `__float__` is text or a complex number all the same, as NumPy's are, scalars and arrays."""
    if isinstance(value, (str, bytes, complex)):
        return True
    return getattr(getattr(value, "dtype", None), "kind", None) in _NO_REAL_NUMBERS


def numbers(types: Sequence[ValueType], values: Sequence[object]) -> tuple[Any, ...]:
    """Each of `values`, converted by `as_number` for its type; there may be too few or too many values."""
    return (*[as_number(value, type) for value, type in zip(values, types, strict=False)], *values[len(types) :])


def is_function(value: object) -> bool:
    """Whether the class of `value` has the attributes of a FunctionInstance. The object is not asked: that may call an
    engine.
    """
    kind = type(value)
    return hasattr(kind, "__call__") and hasattr(kind, "call") and hasattr(kind, "type")  # noqa: B004


def _demoted(number: float) -> float:
    """The nearest f32, as f32.demote_f64 rounds: what is too large becomes infinite."""
    return f32_from_bits(f32_bits(number))


def _out_of_range(value: int, type: ValueType, where: str) -> OverflowError:
    bits = 32 if type is _I32 else 64
    least, most = -(1 << bits - 1), (1 << bits) - 1
    return OverflowError(f"{where}: {shown_int(value)} is out of range for {type} ({least} to {most})")


def arity_error(name: str, type: FunctionType, given: int) -> TypeError:
    """The error of a call with the wrong number of arguments."""
    return TypeError(f"{name}() takes {_counted(type.params)}, {given} given")


def _counted(params: tuple[ValueType, ...]) -> str:
    if not params:
        return "no arguments"
    listed = ", ".join(map(str, params))
    return f"{len(params)} argument{'s' if len(params) > 1 else ''} ({listed})"


def raise_argument_error(name: str, type: FunctionType, args: Sequence[object]) -> NoReturn:
    """Raise what is wrong with `args` for the function `name`: `TypeError` or `OverflowError`, naming the first wrong
    one.
    """
    if len(args) != len(type.params):
        raise arity_error(name, type, len(args))
    for n, (value, wanted) in enumerate(zip(args, type.params, strict=True), 1):
        to_wasm(value, wanted, f"argument {n} of {name}()")
    _refuse_typed(type.params, args, lambda n: f"argument {n} of {name}()")
    raise RuntimeError(f"conversion disagreed: the arguments of {name}() were refused, yet they fit {type}")


def _refuse_typed(types: Sequence[ValueType], values: Sequence[object], where: Callable[[int], str]) -> None:
    """Raise `TypeError` for the first value whose wanted type is REF, which only the engine can check."""
    for n, (value, wanted) in enumerate(zip(values, types, strict=True), 1):
        if wanted is ValueType.REF:
            raise TypeError(f"{where(n)}: {shown(value)} is no reference of the type that the guest asks for")


def results_from_host(name: str, results: tuple[ValueType, ...], value: object) -> tuple[Any, ...]:
    """Return what the host function `name` returned as WebAssembly values, one per result type.

    Raises `TypeError` or `OverflowError` naming the host function.
    """
    if not results:
        if value is not None:
            raise TypeError(
                f"host function {name} returned {shown(value)} where None is wanted: it has no results{_async(value)}"
            )
        return ()
    if len(results) == 1:
        return (_host_result(name, results[0], value, ""),)
    items = tuple(value) if isinstance(value, (tuple, list)) else None  # of a subclass: what it iterates over
    if items is None or len(items) != len(results):
        listed = ", ".join(map(str, results))
        found = shown(value) if items is None else f"{len(items)} values"
        raise TypeError(
            f"host function {name} returned {found} where a tuple of {len(results)} ({listed}) is wanted{_async(value)}"
        )
    return tuple(
        _host_result(name, wanted, item, f" as result {n}")
        for n, (wanted, item) in enumerate(zip(results, items, strict=True), 1)
    )


def _host_result(name: str, wanted: ValueType, value: object, which: str) -> Any:
    try:
        return to_wasm(value, wanted, f"host function {name} returned a wrong value{which}")
    except TypeError:
        raise TypeError(
            f"host function {name} returned {shown(value)}{which} where {wanted} is wanted{_async(value)}"
        ) from None


def _async(value: object) -> str:
    return "; a host function cannot be async, as its guest waits for it" if isinstance(value, CoroutineType) else ""


def raise_result_error(name: str, type: FunctionType, value: object) -> NoReturn:
    """Raise what is wrong with `value` as the result of the host function `name`, which has the signature `type`."""
    values = results_from_host(name, type.results, value)
    _refuse_typed(type.results, values, lambda n: f"host function {name} returned a wrong value as result {n}")
    raise RuntimeError(f"conversion disagreed: what host function {name} returned was refused, yet it fits {type}")


def slot_count(types: Sequence[ValueType]) -> int:
    """How many raw slots values of `types` take."""
    return sum(2 if type is _V128 else 1 for type in types)


def _refuse_references(name: str, types: Sequence[ValueType]) -> None:
    for type in types:
        if type in (_FUNCREF, _EXTERNREF) or type.judged:
            raise TypeError(f"{name}.call() cannot pass a {type}: raw slots hold numbers only; call {name}() instead")


def from_slots(name: str, type: FunctionType, slots: Sequence[int]) -> list[Any]:
    """Return the arguments that the raw `slots` hold for the function `name`.

    Raises `TypeError` for a signature with references, a wrong number of slots or a slot that is not an int, and
    `OverflowError` for a slot beyond its type's width.
    """
    params = type.params
    _refuse_references(name, params + type.results)
    wanted = slot_count(params)
    if len(slots) != wanted:
        raise TypeError(
            f"{name}.call() takes {wanted} slot{'' if wanted == 1 else 's'} for {_counted(params)}, {len(slots)} given"
        )
    values: list[Any] = []
    n = 0
    for param in params:
        slot = _checked_slot(name, n, slots[n], param)
        if param is _I32:
            values.append(slot - 0x1_0000_0000 if slot >= 0x8000_0000 else slot)
        elif param is _I64:
            values.append(slot - 0x1_0000_0000_0000_0000 if slot >= 0x8000_0000_0000_0000 else slot)
        elif param is _F32:
            values.append(f32_from_bits(slot))
        elif param is _F64:
            values.append(struct.unpack("<d", slot.to_bytes(8, "little"))[0])
        else:
            n += 1
            values.append(struct.pack("<QQ", slot, _checked_slot(name, n, slots[n], param)))
        n += 1
    return values


def _checked_slot(name: str, n: int, slot: object, type: ValueType) -> int:
    if not isinstance(slot, int):
        raise TypeError(f"slot {n + 1} of {name}.call() holds the bits of {type} as an int, not {shown(slot)}")
    bits = 32 if type is _I32 or type is _F32 else 64
    slot = as_index(slot)
    if not 0 <= slot < 1 << bits:
        found = shown_int(slot)
        raise OverflowError(f"slot {n + 1} of {name}.call() is {found}, beyond the {bits} unsigned bits of {type}")
    return slot


def to_slots(types: Sequence[ValueType], values: Sequence[Any]) -> list[int]:
    """Return the raw slots of `values`, which `to_wasm` has converted: their bits, zero-extended to 64."""
    slots: list[int] = []
    for type, value in zip(types, values, strict=True):
        if type is _I32:
            slots.append(value & 0xFFFF_FFFF)
        elif type is _I64:
            slots.append(value & 0xFFFF_FFFF_FFFF_FFFF)
        elif type is _F32:
            slots.append(f32_bits(value))
        elif type is _F64:
            slots.append(struct.unpack("<Q", struct.pack("<d", value))[0])
        elif type is _V128:
            slots.extend(struct.unpack("<QQ", value))
        else:
            raise TypeError(f"a {type} has no raw slot")
    return slots


def memory_access_error(verb: str, offset: int, size: int, total: int) -> MemoryAccessError:
    """The error of reaching (`verb`: to read, to write) for `size` bytes at `offset` in a memory of `total` bytes."""
    return MemoryAccessError(
        f"cannot {verb} {shown_int(size)} bytes at offset {shown_int(offset)}: the memory ends at {total}"
    )


def checked_size(value: object, name: str) -> int:
    """Return the offset, size or count `value` as an int. Raises `TypeError`, or `ValueError` for a negative one."""
    try:
        number = as_index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}") from None
    if number < 0:
        raise ValueError(f"{name} must not be negative: {shown_int(number)}")
    return number


def index_of(index: object) -> int:
    """Return the index of a table as an int. Raises `TypeError`. It may run any code, which may close the table, so it
    comes first.
    """
    try:
        return as_index(index)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"a table is indexed by int, not {shown(index)}") from None


def checked_index(index: object, length: int) -> int:
    """Return `index` as an int, for a table of `length` elements. Raises `TypeError` or `IndexError`."""
    at = index_of(index)
    if not 0 <= at < length:
        raise IndexError(f"index {shown_int(at)} is beyond the table of {length} elements")
    return at


def bytes_of(data: object) -> bytes:
    """The bytes-like `data` as `bytes` itself, whose length nobody can lie about, for writing to a memory. Raises
    `TypeError`, or `BufferError` where it has gaps.
    """
    if type(data) is bytes:
        return data
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}") from None
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    return view.tobytes()


def copied_buffer(data: Any) -> bytes:
    """A copy of what a bytes-like object holds, also of one with gaps. Raises `TypeError` where it is none, or holds
    Python objects, of which a buffer shows nothing but addresses, and `ValueError` where it was released or closed.
    """
    try:
        view = memoryview(data)
    except ValueError:
        raise ValueError(f"{shown(data)} was released or closed, and holds no bytes any more") from None
    with view:
        if view.format == "O":
            raise TypeError("the buffer holds Python objects")
        return view.tobytes()


def is_list(value: object) -> bool:
    """Whether a value is a sequence of things of their own: no text, and no buffer."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))


def can_be_a_path(value: str | bytes | os.PathLike[Any]) -> bool:
    """Whether a file can have such a name: it has no NUL, and can be encoded."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def checked_delta(delta: object, unit: str) -> int:
    """Return the number of pages or elements to grow by. Raises as `checked_size` does; a number of more than 64 bits
    raises the error of growth beyond a limit.
    """
    number = checked_size(delta, unit)
    if number >= 1 << 64:
        error = MemoryAccessError if unit == "pages" else IndexError
        raise error(f"cannot grow by {shown_int(number)} {unit}: a limit forbids it")
    return number


def nanoseconds(seconds: object, what: str) -> int:
    """A time in seconds as a whole number of nanoseconds, 1 at least. Raises `InvalidConfigurationError`."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < 1e9:
        raise InvalidConfigurationError(f"{what} is a number of seconds above 0 and below 1e9, not {shown(seconds)}")
    return max(1, int(seconds * 1e9))
