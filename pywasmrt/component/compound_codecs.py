"""The codecs of types that are made of others, and of enums and flags."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..values import late, shown
from .codec import FORMATS, KINDS, Codec, MakePlan, Refusal, refuse
from .names import python_name
from .values import Err, Ok, Some

__all__ = [
    "EnumCodec",
    "FlagsCodec",
    "ListCodec",
    "OptionCodec",
    "RecordCodec",
    "ResultCodec",
    "TupleCodec",
    "VariantCodec",
]


class ListCodec(Codec):
    """`list<T>`; `list<u8>` is bytes."""

    def __init__(self, element: Codec) -> None:
        super().__init__()
        self.element = element
        self.is_bytes = element.kind == "u8"
        self.kind = "bytes" if self.is_bytes else "list"
        self.text = f"list<{element.text}>"

    def _make_plan(self, make: MakePlan) -> Any:
        return make(KINDS[self.kind], (self.element.plan(make),), (), (), None, (), False, 0)

    def lower(self, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return self.lower_buffer(value)
        items = []
        for n, item in enumerate(value):
            try:
                items.append(self.element.lower(item))
            except Refusal as refusal:
                raise refusal.within("item", n) from None
        return bytes(items) if self.is_bytes else items

    def lower_buffer(self, value: Any) -> Any:
        formats = FORMATS.get(self.element.kind)
        wanted = "bytes or any buffer of them" if self.is_bytes else "a list"
        if formats is None:
            self.wrong(value, wanted)
        letters, size = formats
        if not self.is_bytes:
            wanted = f"a list, or a buffer of {self.element.text}"
        try:
            view = memoryview(value)
        except TypeError:
            self.wrong(value, wanted)
        with view:
            letter = view.format.lstrip("@=<")
            if view.ndim != 1 or len(letter) != 1 or letter not in letters or view.itemsize != size:
                refuse(
                    TypeError,
                    f"{self.text} takes {wanted}, not a buffer of format {view.format!r} in {view.ndim} dimensions",
                )
            return view.tobytes() if self.is_bytes else view.tolist()

    def lift(self, raw: Any) -> Any:
        return raw if self.is_bytes else [self.element.lift(item) for item in raw]

    def classes(self) -> set[type]:
        return {bytes} if self.is_bytes else {list}


class TupleCodec(Codec):
    """`tuple<…>`."""

    kind = "tuple"

    def __init__(self, elements: Sequence[Codec]) -> None:
        super().__init__()
        self.elements = elements
        self.text = f"tuple<{', '.join(each.text for each in elements)}>"

    def _make_plan(self, make: MakePlan) -> Any:
        return make(KINDS["tuple"], tuple(each.plan(make) for each in self.elements), (), (), None, (), False, 0)

    def lower(self, value: Any) -> Any:
        if not isinstance(value, (tuple, list)):
            self.wrong(value, f"a tuple of {len(self.elements)}")
        if len(value) != len(self.elements):
            refuse(TypeError, f"{self.text} takes {len(self.elements)} values, not {len(value)}")
        found = []
        for n, (codec, item) in enumerate(zip(self.elements, value, strict=True)):
            try:
                found.append(codec.lower(item))
            except Refusal as refusal:
                raise refusal.within("item", n) from None
        return tuple(found)

    def lift(self, raw: Any) -> Any:
        return tuple(codec.lift(item) for codec, item in zip(self.elements, raw, strict=True))

    def classes(self) -> set[type]:
        return {tuple}


_MISSING = object()


class Record:
    """In place of the package's class for records: the fields as attributes, under their names in WIT."""


def _record_class() -> type:
    """The package's own class, by which it tells cases apart; not needed when the package is not in use."""
    package = sys.modules.get("wasmtime.component")
    return Record if package is None else package.Record


class RecordCodec(Codec):
    """A record."""

    kind = "record"

    def __init__(self, name: str, cls: Any, fields: Sequence[tuple[str, Codec]]) -> None:
        super().__init__()
        self.text = name
        self.cls = cls
        self.fields = [(wit, python_name(wit), codec) for wit, codec in fields]

    def _make_plan(self, make: MakePlan) -> Any:
        children = tuple(codec.plan(make) for _, _, codec in self.fields)
        names = tuple(wit for wit, _, _ in self.fields)
        attributes = tuple(sys.intern(name) for _, name, _ in self.fields)
        return make(KINDS["record"], children, names, attributes, self.cls, (), False, 0)

    def lower(self, value: Any) -> Any:
        mapping = isinstance(value, Mapping)
        raw: Any = _record_class()()
        for wit, name, codec in self.fields:
            field = value.get(name, _MISSING) if mapping else getattr(value, name, _MISSING)
            if field is _MISSING:
                refuse(
                    TypeError,
                    f"{self.text} takes a {self.cls.__name__}, a mapping or an object with its fields"
                    f" ({', '.join(each for _, each, _ in self.fields)}); {shown(value)} has no {name!r}",
                )
            try:
                setattr(raw, wit, codec.lower(field))
            except Refusal as refusal:
                raise refusal.within("field", name) from None
        if mapping and len(value) != len(self.fields):
            extra = [key for key in value if key not in {name for _, name, _ in self.fields}]
            refuse(TypeError, f"{self.text} has no field {', '.join(map(repr, extra))}")
        return raw

    def lift(self, raw: Any) -> Any:
        return self.cls(**{name: codec.lift(getattr(raw, wit)) for wit, name, codec in self.fields})

    def classes(self) -> set[type]:
        return {_record_class()}


class _Choice(Codec):
    """A variant, option or result: one of some cases, each with or without a payload."""

    def choices(self) -> list[tuple[str, Codec | None]]:
        raise NotImplementedError

    def is_tagged(self) -> bool:
        """Whether wasmtime tags the value; otherwise it stands for itself."""
        seen: set[type] = set()
        for _, codec in self.choices():
            own = {object} if codec is None else codec.classes()
            if own & seen:
                return True
            seen |= own
        return False

    def is_mistaken(self, case: str) -> bool:
        """Whether the package takes values of this case, without a tag, for one of a case before it: it asks for
        instances of the classes, and those of an option have `object` among them.
        """
        if self.is_tagged():
            return False
        before = itertools.takewhile(lambda choice: choice[0] != case, self.choices())
        return any(codec is not None and object in codec.classes() for _, codec in before)

    def raw(self, case: str, payload: Any) -> Any:
        if not self.is_tagged():
            return payload
        return late("wasmtime.component").Variant(case, payload)

    def parse(self, raw: Any) -> tuple[str, Any]:
        """The case and the payload, still raw."""
        if self.is_tagged():
            return raw.tag, raw.payload
        own = (
            object if raw is None else type(raw)
        )  # no two cases have a class in common, or wasmtime would have tagged it
        for name, codec in self.choices():
            if raw is None if codec is None else own in codec.classes():
                return name, raw
        raise AssertionError(f"{raw!r} is no case of {self.text}")

    def classes(self) -> set[type]:
        if self.is_tagged():
            return {late("wasmtime.component").Variant}
        found: set[type] = set()
        for _, codec in self.choices():
            found |= {object} if codec is None else codec.classes()
        return found


class VariantCodec(_Choice):
    """A variant."""

    kind = "variant"

    def __init__(self, name: str, classes: tuple[Any, ...], cases: Sequence[tuple[str, Codec | None]]) -> None:
        super().__init__()
        self.text = name
        self.case_classes = classes
        self.cases = list(cases)

    def choices(self) -> list[tuple[str, Codec | None]]:
        return self.cases

    def _make_plan(self, make: MakePlan) -> Any:
        children = tuple(None if codec is None else codec.plan(make) for _, codec in self.cases)
        names = tuple(name for name, _ in self.cases)
        return make(KINDS["variant"], children, names, (), None, self.case_classes, False, 0)

    def lower(self, value: Any) -> Any:
        cls = value if isinstance(value, type) else type(value)
        if cls not in self.case_classes or (cls is value and self.cases[self.case_classes.index(cls)][1] is not None):
            self.wrong(value, f"a {' or '.join(each.__name__ for each in self.case_classes)}")
        name, codec = self.cases[self.case_classes.index(cls)]
        if codec is None:
            return self.raw(name, None)
        try:
            return self.raw(name, codec.lower(value.value))
        except Refusal as refusal:
            raise refusal.within("case", name) from None

    def lift(self, raw: Any) -> Any:
        name, payload = self.parse(raw)
        for (case, codec), cls in zip(self.cases, self.case_classes, strict=True):
            if case == name:
                return cls() if codec is None else cls(codec.lift(payload))
        raise AssertionError(f"{name!r} is no case of {self.text}")


class OptionCodec(_Choice):
    """`option<T>`."""

    kind = "option"

    def __init__(self, payload: Codec) -> None:
        super().__init__()
        self.payload = payload
        self.wrapped = payload.kind == "option"
        self.text = f"option<{payload.text}>"

    def choices(self) -> list[tuple[str, Codec | None]]:
        return [("none", None), ("some", self.payload)]

    def _make_plan(self, make: MakePlan) -> Any:
        some = Some if self.wrapped else None
        return make(KINDS["option"], (self.payload.plan(make),), (), (), some, (), self.wrapped, 0)

    def lower(self, value: Any) -> Any:
        if value is None:
            return self.raw("none", None)
        if not self.wrapped:
            return self.raw("some", self.payload.lower(value))
        if type(value) is not Some:
            self.wrong(value, "None, Some(None) or Some(value)")
        try:
            return self.raw("some", self.payload.lower(value.value))
        except Refusal as refusal:
            raise refusal.within("case", "some") from None

    def lift(self, raw: Any) -> Any:
        name, payload = self.parse(raw)
        if name == "none":
            return None
        value = self.payload.lift(payload)
        return Some(value) if self.wrapped else value


class ResultCodec(_Choice):
    """`result<T, E>`."""

    kind = "result"

    def __init__(self, ok: Codec | None, err: Codec | None, text: str) -> None:
        super().__init__()
        self.ok = ok
        self.err = err
        self.text = text

    def choices(self) -> list[tuple[str, Codec | None]]:
        return [("ok", self.ok), ("err", self.err)]

    def _make_plan(self, make: MakePlan) -> Any:
        children = tuple(None if codec is None else codec.plan(make) for codec in (self.ok, self.err))
        return make(KINDS["result"], children, (), (), None, (Ok, Err), False, 0)

    def lower(self, value: Any) -> Any:
        if type(value) not in (Ok, Err):
            self.wrong(value, "an Ok or an Err")
        return self.lower_case(isinstance(value, Ok), value.value)

    def lower_case(self, is_ok: bool, value: Any) -> Any:
        """Lower one of the two outcomes, given its payload."""
        name, codec = self.choices()[0 if is_ok else 1]
        if codec is None:
            if value is not None:
                refuse(TypeError, f"{name} of {self.text} has no value, so None is wanted, not {shown(value)}")
            return self.raw(name, None)
        try:
            return self.raw(name, codec.lower(value))
        except Refusal as refusal:
            raise refusal.within("case", name) from None

    def lift_case(self, raw: Any) -> tuple[bool, Any]:
        """Whether it is `ok`, and its payload."""
        name, payload = self.parse(raw)
        codec = self.ok if name == "ok" else self.err
        return name == "ok", None if codec is None else codec.lift(payload)

    def lift(self, raw: Any) -> Any:
        is_ok, value = self.lift_case(raw)
        return Ok(value) if is_ok else Err(value)


class EnumCodec(Codec):
    """An enum."""

    kind = "enum"

    def __init__(self, name: str, cls: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.text = name
        self.cls = cls
        self.names = names
        self.members = tuple(cls)

    def _make_plan(self, make: MakePlan) -> Any:
        return make(KINDS["enum"], (), self.names, (), self.cls, self.members, False, 0)

    def lower(self, value: Any) -> Any:
        if value not in self.members or not isinstance(value, self.cls):
            self.wrong(value, f"a {self.cls.__name__}")
        return self.names[self.members.index(value)]

    def lift(self, raw: Any) -> Any:
        return self.members[self.names.index(raw)]

    def classes(self) -> set[type]:
        return {str}


class FlagsCodec(Codec):
    """Flags."""

    kind = "flags"

    def __init__(self, name: str, cls: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.text = name
        self.cls = cls
        self.names = names

    def _make_plan(self, make: MakePlan) -> Any:
        return make(KINDS["flags"], (), self.names, (), self.cls, (), False, 0)

    def lower(self, value: Any) -> Any:
        if not isinstance(value, self.cls):
            self.wrong(value, f"a {self.cls.__name__}")
        bits = value.value
        if bits >> len(self.names):
            refuse(ValueError, f"{self.text} has {len(self.names)} flags, and {shown(value)} has others")
        return {name for bit, name in enumerate(self.names) if bits >> bit & 1}

    def lift(self, raw: Any) -> Any:
        return self.cls(sum(1 << bit for bit, name in enumerate(self.names) if name in raw))

    def classes(self) -> set[type]:
        return {set}
