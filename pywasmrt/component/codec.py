"""The base class of codecs, and the codecs of numbers, strings and booleans.

A codec belongs to one type. It makes the plan by which the native path converts (`plan`), and converts by itself, to
and from the values that the package wasmtime takes (`lower`, `lift`): for the runtime over that package, and for the
native one when it refused a value and needs the error message.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index as as_index
from typing import Any, NoReturn

from ..types import ValueType
from ..values import as_number, shown, shown_int

__all__ = ["FORMATS", "KINDS", "Codec", "MakePlan", "Refusal", "primitive_codec", "refuse"]

# The numbers of wrt_value_kind in csrc/wrt_component.h, and of the more exact kinds in csrc/fast/component.h.
KINDS = {
    name: number
    for number, name in enumerate(
        "bool s8 u8 s16 u16 s32 u32 s64 u64 f32 f64 char string list record tuple variant enum option result flags own"
        " borrow bytes".split()
    )
}
_INTEGERS = {f"{sign}{bits}": (bits, sign == "s") for bits in (8, 16, 32, 64) for sign in "su"}
FORMATS = {"bool": ("?", 1), "f32": ("fd", 4), "f64": ("fd", 8)}
FORMATS |= {name: ("bhilqn" if signed else "BHILQN", bits // 8) for name, (bits, signed) in _INTEGERS.items()}

MakePlan = Callable[..., Any]


class Refusal(Exception):
    """A value does not fit: what is wrong, and the path to it, outermost first."""

    def __init__(self, kind: type[Exception], text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.path: list[tuple[str, Any]] = []

    def within(self, kind: str, name: Any) -> Refusal:
        """The same refusal, with one more step at the front of its path."""
        self.path.insert(0, (kind, name))
        return self

    def error(self, where: str) -> Exception:
        """The exception to raise."""
        return self.kind(f"{where}{_path(self.path)}: {self.text}")


def _path(steps: list[tuple[str, Any]]) -> str:
    text = ""
    for kind, name in steps:
        if kind == "item":
            text += f"[{name}]" if text else f", item {name}"
        else:
            text += f".{name}" if text else f', {kind} "{name}"'
    return text


def refuse(kind: type[Exception], text: str) -> NoReturn:
    """Raise a `Refusal`."""
    raise Refusal(kind, text)


class Codec:
    """How values of one type cross. `text` is the type as WIT."""

    kind = ""
    text = ""

    def __init__(self) -> None:
        self._plan: Any = None

    def plan(self, make: MakePlan) -> Any:
        """The plan of the native path, made by `_fastcall.Plan`."""
        if self._plan is None:
            self._plan = self._make_plan(make)
        return self._plan

    def _make_plan(self, make: MakePlan) -> Any:
        return make(KINDS[self.kind], (), (), (), None, (), False, 0)

    def lower(self, value: Any) -> Any:
        """What the package wasmtime takes for `value`. Raises `Refusal` where it does not fit."""
        raise NotImplementedError

    def lift(self, raw: Any) -> Any:
        """The Python value of what the package wasmtime gives."""
        return raw

    def classes(self) -> set[type]:
        """The classes of what `lower` gives. Where those of two cases of a choice overlap, wasmtime tags its values."""
        raise NotImplementedError

    def wrong(self, value: object, wanted: str) -> NoReturn:
        refuse(TypeError, f"{self.text} takes {wanted}, not {shown(value)}")


class _Bool(Codec):
    kind = text = "bool"

    def lower(self, value: Any) -> Any:
        return value if value is True or value is False else self.wrong(value, "True or False")

    def classes(self) -> set[type]:
        return {bool}


def _whole(value: Any) -> Any:
    """The value as an int, if it is a whole number of another kind, by the rules of every call."""
    return as_number(value, ValueType.I64)


def _real(value: Any) -> Any:
    """The value as a float or an int, if it is a number of another kind."""
    return as_number(value, ValueType.F64)


class _Integer(Codec):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.kind = self.text = name
        bits, signed = _INTEGERS[name]
        self.low = -(1 << (bits - 1)) if signed else 0
        self.high = (1 << (bits - 1 if signed else bits)) - 1

    def _make_plan(self, make: MakePlan) -> Any:
        return make(KINDS[self.kind], (), (), (), _whole, (), False, 0)

    def lower(self, value: Any) -> Any:
        number = _whole(value)
        if not issubclass(type(number), int):
            self.wrong(value, "an int")
        number = as_index(number)  # of a subclass too, the stored number
        if not self.low <= number <= self.high:
            refuse(OverflowError, f"{self.text} takes {self.low} to {self.high}, not {shown_int(number)}")
        return number

    def classes(self) -> set[type]:
        return {int}


class _Float(Codec):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.kind = self.text = name

    def _make_plan(self, make: MakePlan) -> Any:
        return make(KINDS[self.kind], (), (), (), _real, (), False, 0)

    def lower(self, value: Any) -> Any:
        number = _real(value)
        kind = type(number)
        if not issubclass(kind, (float, int)):
            self.wrong(value, "a float or an int")
        if issubclass(kind, float):
            return float.__float__(number)
        number = as_index(number)
        try:
            return float(number)
        except OverflowError:
            refuse(OverflowError, f"an int of {number.bit_length()} bits is too large for {self.text}")

    def classes(self) -> set[type]:
        return {float}


class _Text(Codec):
    kind = text = "string"

    def lower(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.wrong(value, "a str")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            refuse(ValueError, f"a string holds no lone surrogates, as this one does at {error.start}")
        return str(value)

    def classes(self) -> set[type]:
        return {str}


class _Char(Codec):
    kind = text = "char"

    def lower(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.wrong(value, "a str of one character")
        if len(value) != 1:
            refuse(ValueError, f"char takes a str of one character, not of {len(value)}")
        if "\ud800" <= value <= "\udfff":
            refuse(ValueError, "a surrogate is no char")
        return str(value)

    def classes(self) -> set[type]:
        return {str}


def primitive_codec(name: str) -> Codec:
    """The codec of a primitive type."""
    if name in _INTEGERS:
        return _Integer(name)
    if name in ("f32", "f64"):
        return _Float(name)
    return {"bool": _Bool, "char": _Char, "string": _Text}[name]()
