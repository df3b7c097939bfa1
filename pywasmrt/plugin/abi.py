"""The three dialects of the otelwasm ABI, as data: which functions there are, how they are called, what they mean.

Functions have one canonical name each, that of the experimental dialect; `Dialect.exported` gives the name by which a
guest of another dialect exports it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..types import ExternKind, FunctionType, ValueType, expect

if TYPE_CHECKING:
    from ..protocols import CompiledModule

__all__ = [
    "CALLS",
    "EXPERIMENTAL",
    "IMPORT_MODULES",
    "MARKER",
    "SIGNALS",
    "SUPPORTED_TELEMETRY",
    "V1",
    "V1_AS_CODED",
    "Call",
    "Dialect",
    "Role",
    "Telemetry",
    "canonical_name",
    "dialect_of",
]

MARKER = "otelwasm_abi_version_0_1_0"
IMPORT_MODULES = ("opentelemetry.io/wasm", "otelwasm")
SIGNALS = ("traces", "metrics", "logs")
SUPPORTED_TELEMETRY = "getSupportedTelemetry"

_I32 = ValueType.I32
_NOTHING = FunctionType()
_TO_I32 = FunctionType((), (_I32,))
_SPAN_TO_I32 = FunctionType((_I32, _I32), (_I32,))


class Telemetry(enum.IntFlag):
    """The kinds of telemetry, as a guest tells which it supports."""

    NONE = 0
    METRICS = 1
    LOGS = 2
    TRACES = 4

    @property
    def signals(self) -> tuple[str, ...]:
        """The names of the signals, in the order of `SIGNALS`."""
        return tuple(signal for signal in SIGNALS if self & Telemetry[signal.upper()])


class Role(enum.Enum):
    """What a component does with telemetry, and so what a guest may do during its calls."""

    PROCESSOR = "processor"
    EXPORTER = "exporter"
    RECEIVER = "receiver"


@dataclass(frozen=True)
class Call:
    """A guest function that handles telemetry: what for, and of which signal."""

    name: str
    role: Role
    signal: str


CALLS: dict[str, Call] = {
    name: Call(name, role, signal)
    for signal in SIGNALS
    for name, role in (
        (f"process{signal.capitalize()}", Role.PROCESSOR),
        (f"push{signal.capitalize()}", Role.EXPORTER),
        (f"start{signal.capitalize()}Receiver", Role.RECEIVER),
    )
}
"""The calls that handle telemetry, by canonical name."""


@dataclass(frozen=True)
class Dialect:
    """One dialect of the ABI.

    `pushes`: the host allocates guest memory and writes the payload there; else the guest fetches it. `passes_through`:
    where a processor sets no result, what it was given goes on; else the result is empty. `starts`: the guest has
    functions for its start and its shutdown.
    """

    name: str
    pushes: bool = False
    passes_through: bool = False
    starts: bool = False
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expect("Dialect", "a str", str, name=self.name)
        flags = {"pushes": self.pushes, "passes_through": self.passes_through, "starts": self.starts}
        expect("Dialect", "a bool", bool, **flags)
        expect("Dialect", "a mapping", Mapping, names=self.names)

    def exported(self, name: str) -> str:
        """The name by which guests of this dialect export the function `name`, itself canonical or of the dialect."""
        return self.names.get(name, name)

    def type_of(self, name: str) -> FunctionType | None:
        """The signature that the function of the canonical `name` must have; None for one that the ABI does not
        know.
        """
        if name == SUPPORTED_TELEMETRY:
            return _TO_I32
        call = CALLS.get(name)
        if call is None:
            return None
        if call.role is Role.RECEIVER:
            return _NOTHING
        return _SPAN_TO_I32 if self.pushes else _TO_I32


def _v1_names() -> dict[str, str]:
    names = {SUPPORTED_TELEMETRY: "otelwasm_get_supported_telemetry"}
    for call in CALLS.values():
        receives = call.role is Role.RECEIVER
        names[call.name] = f"otelwasm_start_{call.signal}_receiver" if receives else f"otelwasm_consume_{call.signal}"
    return names


EXPERIMENTAL = Dialect("experimental")
V1 = Dialect("v1", pushes=True, passes_through=True, starts=True, names=_v1_names())
V1_AS_CODED = Dialect("v1 as coded", pushes=True, passes_through=True, starts=True, names=_v1_names())

# The functions of v1 that have no counterpart in the experimental dialect.
V1_FUNCTIONS: dict[str, FunctionType] = {
    MARKER: _NOTHING,
    "otelwasm_memory_allocate": FunctionType((_I32,), (_I32,)),
    "otelwasm_start": _TO_I32,
    "otelwasm_shutdown": _TO_I32,
}


def dialect_of(module: CompiledModule) -> Dialect:
    """The dialect that a module speaks, by its marker and by the module name it imports from."""
    if not any(export.name == MARKER and export.kind is ExternKind.FUNCTION for export in module.exports):
        return EXPERIMENTAL
    imported = {each.module for each in module.imports}
    return V1_AS_CODED if IMPORT_MODULES[0] in imported and IMPORT_MODULES[1] not in imported else V1


def canonical_name(dialect: Dialect, name: str, role: Role | None = None) -> str:
    """The canonical name of a function that may be given by its name in `dialect`.

    Version 1 has one name for processing and exporting: `role` decides, a processor where it is None.
    """
    if name in CALLS or name == SUPPORTED_TELEMETRY:
        return name
    found = [canonical for canonical, exported in dialect.names.items() if exported == name]
    for canonical in found:
        if role is None or (canonical in CALLS and CALLS[canonical].role is role):
            return canonical
    return found[0] if found else name


def roles_of(names: Iterable[str]) -> set[Role]:
    """The roles of the canonical `names` that handle telemetry."""
    return {CALLS[name].role for name in names if name in CALLS}
