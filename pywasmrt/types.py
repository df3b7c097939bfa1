"""The values and records that cross the API: value types, signatures, configuration.

Nothing here knows an engine; everything here is immutable and may be shared by threads.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

__all__ = [
    "PAGE_SIZE",
    "ExportType",
    "ExternKind",
    "Frame",
    "FunctionType",
    "GlobalType",
    "HostFunction",
    "ImportType",
    "Limits",
    "LooseType",
    "MemoryType",
    "Pool",
    "RuntimeConfig",
    "RuntimeInfo",
    "TableType",
    "TrapCode",
    "ValueType",
]

PAGE_SIZE = 65536
"""Bytes in one page of linear memory (WebAssembly core specification, section 4.2.8)."""


def expect(owner: str, phrase: str, kinds: type | tuple[type, ...], /, **values: object) -> None:
    """Raise `TypeError` for a value that is of none of the kinds, naming the parameter: `phrase` says what it has to
    be. A bool counts as an int only where bools are among the kinds.
    """
    listed = kinds if isinstance(kinds, tuple) else (kinds,)
    for name, value in values.items():
        if not isinstance(value, listed) or (isinstance(value, bool) and bool not in listed and object not in listed):
            try:
                text = printable(repr(value)[:60])
            except Exception:  # its __repr__ is not ours
                text = "an object"
            raise TypeError(f"{name} of {owner} is {phrase}, not {text} ({type(value).__name__})")


_OPTIONAL_STR, _OPTIONAL_INT = (str, type(None)), (int, type(None))


class ValueType(enum.Enum):
    """The type of one WebAssembly value (core specification, section 2.3).

    `ANYREF` to `EXNREF` are the reference types of the garbage-collection and exception-handling proposals. `REF`
    stands for every other one: a reference that may not be null, and one to a type that the module defines. They cross
    where the runtime has the feature "gc-references"; elsewhere a function that has one in its signature can be linked
    to other instances but not called.
    """

    I32 = "i32"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"
    V128 = "v128"
    FUNCREF = "funcref"
    EXTERNREF = "externref"
    REF = "ref"
    ANYREF = "anyref"
    EQREF = "eqref"
    I31REF = "i31ref"
    STRUCTREF = "structref"
    ARRAYREF = "arrayref"
    EXNREF = "exnref"

    @property
    def judged(self) -> bool:
        """Whether only the engine can tell if a value has this type, as subtypes and the module's own types count."""
        return self in _JUDGED

    def __repr__(self) -> str:
        return f"ValueType.{self.name}"

    def __str__(self) -> str:
        return self.value


_JUDGED = frozenset(
    {
        *(ValueType.REF, ValueType.ANYREF, ValueType.EQREF, ValueType.I31REF),
        *(ValueType.STRUCTREF, ValueType.ARRAYREF, ValueType.EXNREF),
    }
)


def _listed(types: tuple[ValueType, ...]) -> str:
    return ", ".join(map(str, types))


@dataclass(frozen=True)
class FunctionType:
    """The signature of a function: the types of its parameters and of its results, in order."""

    params: tuple[ValueType, ...] = ()
    results: tuple[ValueType, ...] = ()

    def __post_init__(self) -> None:
        for name, types in (("params", self.params), ("results", self.results)):
            if type(types) is not tuple:
                expect("FunctionType", "a tuple of ValueType", (tuple, list), **{name: types})
                object.__setattr__(self, name, tuple(types))
            for each in types:
                if type(each) is not ValueType:
                    expect("FunctionType", "a tuple of ValueType", ValueType, **{name: each})

    def __str__(self) -> str:
        return f"({_listed(self.params)}) -> ({_listed(self.results)})"


@dataclass(frozen=True)
class MemoryType:
    """A linear memory: its limits in pages, and whether it is 64-bit or shared between threads."""

    minimum: int
    maximum: int | None = None
    is_64: bool = False
    shared: bool = False
    page_size: int = PAGE_SIZE

    def __post_init__(self) -> None:
        expect("MemoryType", "an int, in pages", int, minimum=self.minimum)
        expect("MemoryType", "an int, in pages, or None", _OPTIONAL_INT, maximum=self.maximum)
        expect("MemoryType", "True or False", bool, is_64=self.is_64, shared=self.shared)
        expect("MemoryType", "an int, in bytes", int, page_size=self.page_size)

    def __str__(self) -> str:
        words = ["memory64" if self.is_64 else "memory", str(self.minimum)]
        if self.maximum is not None:
            words.append(str(self.maximum))
        if self.shared:
            words.append("shared")
        if self.page_size != PAGE_SIZE:
            words.append(f"(pagesize {self.page_size})")
        return " ".join(words)


@dataclass(frozen=True)
class TableType:
    """A table of references: its element type and its limits in elements."""

    element: ValueType
    minimum: int
    maximum: int | None = None
    is_64: bool = False

    def __post_init__(self) -> None:
        expect("TableType", "a ValueType", ValueType, element=self.element)
        expect("TableType", "an int", int, minimum=self.minimum)
        expect("TableType", "an int or None", _OPTIONAL_INT, maximum=self.maximum)
        expect("TableType", "True or False", bool, is_64=self.is_64)

    def __str__(self) -> str:
        limits = f"{self.minimum}" if self.maximum is None else f"{self.minimum} {self.maximum}"
        return f"{'table64' if self.is_64 else 'table'} {limits} {self.element}"


@dataclass(frozen=True)
class GlobalType:
    """A global variable: the type of its value, and whether it may be set."""

    content: ValueType
    mutable: bool = False

    def __post_init__(self) -> None:
        expect("GlobalType", "a ValueType", ValueType, content=self.content)
        expect("GlobalType", "True or False", bool, mutable=self.mutable)

    def __str__(self) -> str:
        return f"global (mut {self.content})" if self.mutable else f"global {self.content}"


class ExternKind(enum.Enum):
    """What an import or export is."""

    FUNCTION = "function"
    MEMORY = "memory"
    TABLE = "table"
    GLOBAL = "global"
    TAG = "tag"

    def __repr__(self) -> str:
        return f"ExternKind.{self.name}"

    def __str__(self) -> str:
        return self.value


# A tag (exception-handling proposal) is described by the function type of its payload.
ExternType = Union[FunctionType, MemoryType, TableType, GlobalType]
_TYPES = (FunctionType, MemoryType, TableType, GlobalType)


def printable(text: str, keep: str = "") -> str:
    """`text` with escapes for characters that would control a terminal or forge a line of a log, since names and
    reasons come from guests and from servers. The characters in `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text
    )


def _shown(kind: ExternKind, type: ExternType) -> str:
    return f"{kind} {type}" if isinstance(type, FunctionType) else str(type)  # the other texts name their kind


@dataclass(frozen=True)
class ImportType:
    """One import that a module asks for, in the module's order."""

    module: str
    name: str
    kind: ExternKind
    type: ExternType

    def __post_init__(self) -> None:
        if type(self.module) is type(self.name) is str and type(self.kind) is ExternKind and type(self.type) in _TYPES:
            return  # the fast path for readers of modules, which make thousands
        expect("ImportType", "a str", str, module=self.module, name=self.name)
        expect("ImportType", "an ExternKind", ExternKind, kind=self.kind)
        expect("ImportType", "a type of a function, memory, table or global", _TYPES, type=self.type)

    def __str__(self) -> str:
        return printable(f"{self.module}.{self.name}: {_shown(self.kind, self.type)}")


@dataclass(frozen=True)
class ExportType:
    """One export that a module offers, in the module's order."""

    name: str
    kind: ExternKind
    type: ExternType

    def __post_init__(self) -> None:
        if type(self.name) is str and type(self.kind) is ExternKind and type(self.type) in _TYPES:
            return
        expect("ExportType", "a str", str, name=self.name)
        expect("ExportType", "an ExternKind", ExternKind, kind=self.kind)
        expect("ExportType", "a type of a function, memory, table or global", _TYPES, type=self.type)

    def __str__(self) -> str:
        return printable(f"{self.name}: {_shown(self.kind, self.type)}")


@dataclass(frozen=True)
class HostFunction:
    """A Python function offered to guests.

    `params` and `results` are None where the annotations leave the WebAssembly type to the guest's import; inside them,
    a `LooseType` stands for one such value. `pass_caller` says that the calling instance is handed over as the first
    argument. `takes_state` says that the object that a bound host module makes for each instance (`HostModule.bind`)
    comes before it.
    """

    name: str
    callable: Callable[..., Any]
    params: tuple[ValueType | LooseType, ...] | None = None
    results: tuple[ValueType | LooseType, ...] | None = None
    pass_caller: bool = False
    takes_state: bool = False

    def __post_init__(self) -> None:
        expect("HostFunction", "a str", str, name=self.name)
        if not callable(self.callable):
            expect("HostFunction", "a function", (), callable=self.callable)
        for name, types in (("params", self.params), ("results", self.results)):
            expect("HostFunction", "a tuple of ValueType and LooseType, or None", (tuple, type(None)), **{name: types})
            for each in types or ():
                expect("HostFunction", "a tuple of ValueType and LooseType", (ValueType, LooseType), **{name: each})
        expect("HostFunction", "True or False", bool, pass_caller=self.pass_caller, takes_state=self.takes_state)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}  # without what linking has cached


class LooseType(enum.Enum):
    """What a loose annotation (`int`, `float`, none at all) admits of the guest's import. A `bool` is an i32 that comes
    as True where it is not zero.
    """

    INT = (ValueType.I32, ValueType.I64)
    BOOL = (ValueType.I32,)
    FLOAT = (ValueType.F32, ValueType.F64)
    BYTES = (ValueType.V128,)
    ANY = tuple(ValueType)

    def __str__(self) -> str:
        return {"INT": "int", "BOOL": "bool", "FLOAT": "float", "BYTES": "bytes", "ANY": "any"}[self.name]


class TrapCode(enum.Enum):
    """Why a guest trapped. The value is the same on every engine; messages are the engine's own."""

    STACK_OVERFLOW = "stack_overflow"
    MEMORY_OUT_OF_BOUNDS = "memory_out_of_bounds"
    HEAP_MISALIGNED = "heap_misaligned"
    TABLE_OUT_OF_BOUNDS = "table_out_of_bounds"
    INDIRECT_CALL_TO_NULL = "indirect_call_to_null"
    BAD_SIGNATURE = "bad_signature"
    INTEGER_OVERFLOW = "integer_overflow"
    INTEGER_DIVISION_BY_ZERO = "integer_division_by_zero"
    BAD_CONVERSION_TO_INTEGER = "bad_conversion_to_integer"
    UNREACHABLE = "unreachable"
    INTERRUPT = "interrupt"
    OUT_OF_FUEL = "out_of_fuel"
    NULL_REFERENCE = "null_reference"
    ARRAY_OUT_OF_BOUNDS = "array_out_of_bounds"
    ALLOCATION_TOO_LARGE = "allocation_too_large"
    CAST_FAILURE = "cast_failure"
    UNCAUGHT_EXCEPTION = "uncaught_exception"
    OTHER = "other"

    def __repr__(self) -> str:
        return f"TrapCode.{self.name}"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Frame:
    """One guest frame of a trap, innermost first.

    `func_index` counts the module's functions, imports included. The offsets are in bytes, from the start of the
    function's body and of the module; None where the engine does not tell. `file`, `line` and `column` come from the
    module's debug information and are None without it.
    """

    func_index: int
    func_name: str | None = None
    module_name: str | None = None
    func_offset: int | None = None
    module_offset: int | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __post_init__(self) -> None:
        expect("Frame", "an int", int, func_index=self.func_index)
        names = {"func_name": self.func_name, "module_name": self.module_name, "file": self.file}
        expect("Frame", "a str or None", _OPTIONAL_STR, **names)
        offsets = {"func_offset": self.func_offset, "module_offset": self.module_offset}
        expect("Frame", "an int or None", _OPTIONAL_INT, **offsets, line=self.line, column=self.column)

    def __str__(self) -> str:
        name = self.func_name or f"<function {self.func_index}>"
        text = f"{self.module_name}!{name}" if self.module_name else name
        if self.module_offset is not None:
            text += f" at 0x{self.module_offset:x}"
        if self.file is not None and self.line is not None:
            text += f" ({self.file}:{self.line})"
        return printable(text)


@dataclass(frozen=True)
class Limits:
    """What the instances of one store may use; None leaves the engine's own limit, and for tables 10,000,000 elements.

    `memory_bytes` bounds each linear memory, `table_elements` each table, `instances` their number in the store.
    Growing beyond a limit gives the guest -1, or a trap with `RuntimeConfig.trap_on_grow_failure`; instantiating beyond
    it raises `ModuleInstantiateError`. `timeout`, in seconds, bounds every call from Python into the store, start
    functions and nested calls included; beyond it the call raises `DeadlineExceeded` (the feature "deadline"). `fuel`
    is what the guests may use up in all, in the engine's own units, before `FuelExhausted`; the runtime must have been
    made to count it (the feature "fuel").
    """

    memory_bytes: int | None = None
    table_elements: int | None = None
    instances: int | None = None
    timeout: float | None = None
    fuel: int | None = None


@dataclass(frozen=True)
class Pool:
    """Room for instances that is set aside when a runtime is made, and reused by one instance after another (the
    feature "pooling").

    `instances` is how many may live at a time in the whole runtime. `memory_bytes` bounds each of their memories, and
    `table_elements` each of their tables; a module that declares more is refused when it is compiled. `memories` and
    `tables` are how many there may be at a time altogether; None is as many as instances. References that a guest
    keeps (externref, the GC proposal) take the place of a memory in each store. `keep_resident` is how many bytes of a
    memory, and of a table, are cleared by hand and kept for the next instance, instead of being given back to the
    system.

    An instance beyond a bound raises `ModuleInstantiateError`, which names the bound. The pool costs address space,
    some 4 GiB for each memory, and no memory until it is used.
    """

    instances: int = 1000
    memory_bytes: int = 1 << 24
    memories: int | None = None
    tables: int | None = None
    table_elements: int = 20_000
    keep_resident: int = 1 << 16


@dataclass(frozen=True)
class RuntimeConfig:
    """How to set up a runtime. Building one acquires nothing and cannot fail; `new_runtime` checks it.

    `type` names the runtime where the configuration itself is handed to `new_runtime`. `features` names the proposals
    to allow (`RuntimeInfo.features` lists what there is); None allows every stable one the engine has. `options` are
    the engine's own, by name; an unknown one is an error that lists the known. With `interruptible` false guests run
    without the checks by which they are stopped, and the interpreter's lock is released around every call.

    With `trap_on_grow_failure` a guest's `memory.grow` and `table.grow` trap where they are refused, by a limit or
    otherwise, instead of giving -1 (the feature "growth-traps"). The code is `TrapCode.UNREACHABLE`; where the engine
    tells frames, the innermost is "memory.grow refused" or "table.grow refused". Modules are rewritten for that: in a
    module that grows a memory or a table, offsets in frames are not those of the source, and there are no source lines.

    With `cache` compiled modules are kept on disk, where the engine has a compiled form (the feature "serialize"):
    True keeps them in the user's own folder, a path keeps them there. The folder must be the user's alone, since its
    files are code. `pywasmrt cache` tells where it is, lists and clears it.

    With `pool` instances live in room that is set aside for them: making one takes half as long, and there may be so
    many at a time and no more.
    """

    type: str = "auto"
    features: frozenset[str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    interruptible: bool = True
    trap_on_grow_failure: bool = False
    cache: Union[bool, str, os.PathLike[str], None] = None
    pool: Pool | None = None


@dataclass(frozen=True)
class RuntimeInfo:
    """What `list_runtimes` tells of one runtime: `reason` says why it is not available, and is None where it is.

    `caution` is what a program that runs untrusted guests has to know beforehand, and None where there is nothing.
    """

    name: str
    available: bool
    version: str | None = None
    features: frozenset[str] = frozenset()
    reason: str | None = None
    caution: str | None = None

    def __post_init__(self) -> None:
        expect("RuntimeInfo", "a str", str, name=self.name)
        expect("RuntimeInfo", "True or False", bool, available=self.available)
        told = {"version": self.version, "reason": self.reason, "caution": self.caution}
        expect("RuntimeInfo", "a str or None", _OPTIONAL_STR, **told)
        expect("RuntimeInfo", "a set of names", (frozenset, set), features=self.features)
        for each in self.features:
            expect("RuntimeInfo", "a set of names", str, features=each)
