"""Guests of the arrow-udf ABI: functions over whole batches, which come and go as files of Arrow's IPC format.

A guest exports `alloc(size, align)`, `dealloc(pointer, size, align)`, and each function as `arrowudf_` and its
signature in a base64 of the ABI's own: `gcd(int32,int32)->int32`, or `->>` for one that gives several rows for each. It
gets pointer and size of a batch, and writes pointer and size of the result, or of a message, to where the third param
points. A result has a column for the values, and perhaps one called `error`; that of a table function has `row` before
it, the number of the row that each is for. Types of the user are exported as `arrowudt_` and `Name=field:type,...`.

ABI 2.0 and 3.0 differ in the names of types alone: https://github.com/arrow-udf/arrow-udf.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import (
    FunctionNotExportedError,
    MemoryAccessError,
    MemoryExportNotFoundError,
    UdfError,
    UnsupportedFeatureError,
)
from ..protocols import ModuleInstance
from ..types import FunctionType, ValueType, printable
from ..values import did_you_mean, late

__all__ = ["Signature", "call_scalar", "call_table", "find_signature", "is_arrow_guest"]

_VERSION = "ARROWUDF_VERSION_"
_OUT = 8  # bytes of a pointer and a size
_ALIGNMENT = 8
_MOST_MESSAGE = 4096
_MOST_NESTED = 32

_I32 = ValueType.I32
_TYPES = {
    "alloc": FunctionType((_I32, _I32), (_I32,)),
    "dealloc": FunctionType((_I32, _I32, _I32), ()),
    "record_batch_iterator_next": FunctionType((_I32, _I32), ()),
    "record_batch_iterator_drop": FunctionType((_I32,), ()),
}
"""Of the functions that the ABI names; all others are those of the user."""
_USERS = FunctionType((_I32, _I32, _I32), (_I32,))

# Arrow's name of a type, as pyarrow has it, for each of the ABI's.
_BOTH = {"boolean": "bool", "interval": "month_day_nano_interval", "timestamp": "timestamp[us]"}
_V2 = _BOTH | {
    "void": "null",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "float4": "float32",
    "float8": "float64",
    "date": "date32",
    "time": "time64[us]",
    "varchar": "string",
    "bytea": "binary",
    "decimal": "large_binary",
    "json": "large_string",
}
_V3 = _BOTH | {
    **{name: name for name in ("null", "string", "binary", "float32", "float64", "date32")},
    **{f"{sign}int{size}": f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64)},
    "time64": "time64[us]",
    "largestring": "large_string",
    "largebinary": "large_binary",
    "decimal": "string",
    "json": "string",
}


@dataclass(frozen=True)
class Signature:
    """A function of a guest: the name that it is exported under, and what it takes and gives, in the ABI's words."""

    export: str
    name: str
    params: tuple[str, ...]
    result: str
    table: bool
    version: int
    structs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.name}({','.join(self.params)}){'->>' if self.table else '->'}{self.result}"

    def fields(self) -> list[Any]:
        """Arrow's fields of the params."""
        return [self._field(f"c{n}", param) for n, param in enumerate(self.params)]

    def table_schema(self) -> Any:
        """The schema of the results of a table function."""
        pyarrow = late("pyarrow")

        return pyarrow.schema([pyarrow.field("row", pyarrow.int32()), self._field(self.name, self.result)])

    def _field(self, name: str, type: str, depth: int = 0) -> Any:
        pyarrow = late("pyarrow")

        if depth > _MOST_NESTED:  # a struct may even hold itself
            raise UnsupportedFeatureError(f"{self.name} uses a type that is nested deeper than {_MOST_NESTED} times")
        extended = self.version >= 3 and type in ("decimal", "json")
        metadata = {"ARROW:extension:name": f"arrowudf.{type}"} if extended else None
        return pyarrow.field(name, self._type(type, depth), metadata=metadata)

    def _type(self, type: str, depth: int) -> Any:
        pyarrow = late("pyarrow")

        if type.endswith("[]"):
            return pyarrow.list_(self._field("item", type[:-2], depth + 1))
        if type.startswith("struct "):
            listed = dict(self.structs).get(type.removeprefix("struct "))
            if listed is None:
                raise FunctionNotExportedError(f"{self.name} uses the type {type!r}, which the guest does not export")
            return self._struct(listed, depth)
        if type.startswith("struct<") and type.endswith(">"):
            return self._struct(type[7:-1], depth)
        known = (_V3 if self.version >= 3 else _V2).get(type)
        if known is None:
            raise UnsupportedFeatureError(f"{self.name} uses the type {type!r}, which the arrow-udf ABI does not know")
        if known.endswith("[us]"):
            return getattr(pyarrow, known[:-4])("us")
        return getattr(pyarrow, {"bool": "bool_"}.get(known, known))()

    def _struct(self, listed: str, depth: int) -> Any:
        pyarrow = late("pyarrow")

        pairs = [each.partition(":") for each in _split(listed)]
        return pyarrow.struct([self._field(name, type, depth + 1) for name, _, type in pairs])


def _split(listed: str) -> list[str]:
    """The parts between commas, but for those within `<...>`."""
    parts, depth, begin = [], 0, 0
    for n, letter in enumerate(listed):
        depth += (letter == "<") - (letter == ">")
        if letter == "," and depth == 0:
            parts.append(listed[begin:n])
            begin = n + 1
    return [*parts, listed[begin:]] if listed else []


def _decoded(name: str) -> str | None:
    """The text that an export's name carries, in base64 with `$` and `_` for what a symbol cannot hold."""
    try:
        padded = name + "=" * (-len(name) % 4)
        return base64.b64decode(padded, altchars=b"$_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None


@lru_cache(maxsize=64)
def _signatures(names: tuple[str, ...]) -> tuple[Signature, ...]:
    versions = [name.removeprefix(_VERSION) for name in names if name.startswith(_VERSION)]
    major = {"2": 2, "3": 3}.get(versions[0].partition("_")[0])
    if major is None:
        version = printable(versions[0].replace("_", "."))
        raise UnsupportedFeatureError(
            f"the guest has version {version} of the arrow-udf ABI; 2.0 and 3.0 are known here"
        )
    texts = [(name, _decoded(name[9:])) for name in names if name.startswith(("arrowudf_", "arrowudt_"))]
    structs = [text.partition("=") for name, text in texts if text and name.startswith("arrowudt_")]
    known = tuple((name, fields) for name, _, fields in structs)
    found = []
    for name, text in texts:
        match = re.fullmatch(r"([^(]+)\((.*)\)(->>?)(.+)", text or "")
        if match is not None and name.startswith("arrowudf_"):
            function, params, arrow, result = match.groups()
            found.append(Signature(name, function, tuple(_split(params)), result, arrow == "->>", major, known))
    return tuple(found)


def is_arrow_guest(instance: ModuleInstance) -> bool:
    """Whether the guest is one of this ABI."""
    return any(export.name.startswith(_VERSION) for export in instance.module.exports)


def find_signature(instance: ModuleInstance, name: str, columns: Sequence[Any] | None = None) -> Signature:
    """The function of that name or whole signature; of several with one name, the one that takes such columns."""
    listed = _signatures(tuple(export.name for export in instance.module.exports))
    for each in listed:
        if str(each) == name.replace(" ", "") or str(each) == name:
            return each
    found = [each for each in listed if each.name == name]
    if len(found) > 1 and columns is not None:
        types = [column.type for column in columns]
        found = [each for each in found if [field.type for field in each.fields()] == types] or found
    if len(found) == 1:
        return found[0]
    shown = ", ".join(map(str, found or listed)) or "nothing"
    if found:
        raise FunctionNotExportedError(f"the guest has several functions {name!r}: say which by its signature: {shown}")
    hint = did_you_mean(name, [each.name for each in listed])
    raise FunctionNotExportedError(f"the guest exports no function {name!r} of the arrow-udf ABI, but {shown}{hint}")


# Calls


class _Call:
    """The exports of a guest that a call needs, and what it has allocated there."""

    def __init__(self, instance: ModuleInstance, signature: Signature) -> None:
        self.signature = signature
        self._instance = instance
        memory = instance.memory()
        if memory is None:
            raise MemoryExportNotFoundError("the guest exports no memory, in which batches go to and fro")
        self.memory = memory

    def export(self, name: str) -> Any:
        found = self._instance.function(name)
        if found is None:
            raise FunctionNotExportedError(f"the guest exports no function {name!r}, which the arrow-udf ABI wants")
        wanted = _TYPES.get(name, _USERS)
        if found.type != wanted:
            raise UdfError(f"the guest's function {name!r} is {found.type}, and the arrow-udf ABI wants {wanted}")
        return found

    def put(self, data: bytes) -> tuple[int, int]:
        """Room for a pointer and a size, with `data` behind them: where it is, and how much."""
        size = _OUT + len(data)
        if size > 0xFFFF_FFFF:
            raise UdfError(f"{self.signature.name}: a batch of {len(data)} bytes does not fit into a guest")
        pointer = self.export("alloc")(size, _ALIGNMENT) & 0xFFFF_FFFF
        if pointer == 0:
            raise MemoryAccessError(f"alloc of the guest gave 0 for {size} bytes: it has no room for them")
        self.memory.write(pointer, bytes(_OUT) + data)
        return pointer, size

    def free(self, pointer: int, size: int, align: int) -> None:
        if size:
            self.export("dealloc")(pointer, size, align)

    def out(self, pointer: int) -> tuple[int, int]:
        data = self.memory.read(pointer, _OUT)
        return int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little")

    def begin(self, batch: Any) -> tuple[int, int, int, int]:
        """Call the function: where its room is, its size, and the pointer and size that it wrote there."""
        room, much = self.put(_written(batch))
        status = self.export(self.signature.export)(room + _OUT, much - _OUT, room)
        pointer, size = self.out(room)
        if status == 0:
            return room, much, pointer, size
        message = self.memory.read(pointer, min(size, _MOST_MESSAGE)).decode("utf-8", "replace")
        self.free(room, much, _ALIGNMENT)
        self.free(pointer, size, 1)
        raise UdfError(f"{self.signature.name}: the guest answered: {printable(message)}")

    def taken(self, pointer: int, size: int) -> Any:
        """The batch at that place, which is freed."""
        data = self.memory.read(pointer, size)
        self.free(pointer, size, 1)
        return _read(data, self.signature)


def _written(batch: Any) -> bytes:
    pyarrow = late("pyarrow")

    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _read(data: bytes, signature: Signature) -> Any:
    """The first batch of a file. What a guest wrote is looked at as a whole before anybody uses it."""
    pyarrow = late("pyarrow")

    try:
        with pyarrow.ipc.open_file(data) as reader:
            if reader.num_record_batches == 0:
                raise pyarrow.ArrowInvalid("there is no batch in it")
            batch = reader.get_batch(0)
        batch.validate(full=True)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UdfError(
            f"{signature.name}: the guest gave {len(data)} bytes that are no file of Arrow's IPC format: {error}"
        ) from error
    return batch


def _batch(signature: Signature, columns: Sequence[Any]) -> Any:
    """The columns as a batch of the types that the function takes."""
    pyarrow = late("pyarrow")

    fields = signature.fields()
    if len(fields) != len(columns):
        raise TypeError(f"{signature} takes {len(fields)} columns, not {len(columns)}")
    made = []
    for n, (field, column) in enumerate(zip(fields, columns, strict=True), 1):
        array = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
        if array.type != field.type:
            try:
                array = array.cast(field.type)
            except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
                raise TypeError(
                    f"argument {n} of {signature} is {array.type}, and cannot become {field.type}: {error}"
                ) from error
        made.append(array)
    return pyarrow.record_batch(made, schema=pyarrow.schema(fields))


def call_scalar(instance: ModuleInstance, signature: Signature, columns: Sequence[Any]) -> tuple[Any, Any]:
    """The results, and the messages of the rows that failed, an array with nulls, or None where none can fail."""
    batch = _batch(signature, columns)
    call = _Call(instance, signature)
    room, much, pointer, size = call.begin(batch)
    result = call.taken(pointer, size)
    call.free(room, much, _ALIGNMENT)
    if result.num_columns not in (1, 2) or result.num_rows != batch.num_rows:
        raise UdfError(
            f"{signature.name}: the guest gave {result.num_columns} columns of {result.num_rows} rows for"
            f" {batch.num_rows}; the ABI wants one of as many, and perhaps one of errors"
        )
    return result.column(0), _errors(signature, result, 1)


def _errors(signature: Signature, result: Any, column: int) -> Any:
    pyarrow = late("pyarrow")

    if result.num_columns <= column:
        return None
    errors = result.column(column)
    if result.schema.names[column] != "error" or errors.type != pyarrow.string():
        raise UdfError(f"{signature.name}: the last column of the result is no column of errors: {result.schema}")
    return errors if errors.null_count != len(errors) else None


def call_table(instance: ModuleInstance, signature: Signature, columns: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """The batches of a table function, each with its errors as `call_scalar` gives them. The first column is the number
    of the row that each is for, the second the value.
    """
    pyarrow = late("pyarrow")

    batch = _batch(signature, columns)
    call = _Call(instance, signature)
    room, much, iterator, _ = call.begin(batch)
    step = call.export("record_batch_iterator_next")
    try:
        while True:
            step(iterator, room)
            pointer, size = call.out(room)
            if pointer == 0:
                break
            found = call.taken(pointer, size)
            if found.num_columns not in (2, 3) or found.schema.field(0).type != pyarrow.int32():
                raise UdfError(f"{signature.name}: the guest gave {found.schema}; the ABI wants row, value, and error")
            yield found.select([0, 1]), _errors(signature, found, 2)
    finally:
        if not instance.closed:
            call.free(room, much, _ALIGNMENT)
            call.export("record_batch_iterator_drop")(iterator)
