"""The constructors of the public API, with what they take, and values of every kind to feed them with."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pywasmrt
from pywasmrt import (
    ExternKind,
    Frame,
    FunctionType,
    GlobalType,
    Limits,
    MemoryType,
    Pool,
    RuntimeConfig,
    ValueType,
    wasi,
)
from pywasmrt import component as wit
from pywasmrt.columns import Udf
from pywasmrt.diagnostics import CoveredModule, Profile, Trace
from pywasmrt.host import BoundHostModule
from pywasmrt.otel import Counters, TelemetryError, WasmExporter, WasmProcessor, WasmReceiver
from pywasmrt.otel.http import OtlpHttpSender
from pywasmrt.plugin import Dialect, GuestProtocolError, GuestStatusError, PluginConfig, WasmPlugin
from pywasmrt.plugin.abi import SIGNALS
from pywasmrt.runtimes.base.instance import InstanceState
from pywasmrt.runtimes.base.store import BaseStore
from pywasmrt.testing import Difference, FakeRuntime, to_binary
from pywasmrt.wasm.probes import Plan, probed

NOTHING = '(module (func (export "f")))'
NONE = type(None)
INT, STR, BOOL, MAYBE_INT, MAYBE_STR = (int,), (str,), (bool,), (int, NONE), (str, NONE)
TYPES = (FunctionType, MemoryType, GlobalType, pywasmrt.TableType)


class Odd:
    """An object whose methods answer nothing of use."""

    def __repr__(self) -> str:
        raise LookupError("no words")


def released(data: bytes = b"data") -> memoryview:
    """A view that holds nothing any more."""
    view = memoryview(data)
    view.release()
    return view


# The words of Python, and of what the library is made of, in errors about a value of the wrong kind.
INSIDES = re.compile(
    "object has no attribute|has no attribute|not iterable|has no len|not subscriptable|not callable|cannot unpack|cffi"
    "|cdata|ctypes|_fastcall|object cannot be interpreted|cannot convert|no words|not supported between|unhashable"
    "|codec can't|weak reference|weakref|operation forbidden|bytes-like object is required|required argument"
    "|not support the buffer|embedded null|must be real number|an integer is required|'NoneType'"
)

VALUES: list[Any] = [
    None, True, 0, -1, 7, 1 << 200, 1.5, math.nan, "", "text", "\ud800", "a\0b", b"bytes", [], [1], [None], {},
    {"a": 1}, {1: 2}, (), (1,), ("x",), {1}, frozenset({"simd"}), 1j, object(), Odd(), int, len, lambda: None, ...,
    ValueType.I32, ExternKind.FUNCTION, FunctionType(), Limits(), RuntimeConfig(), Path("/nowhere"), released(),
    bytearray(b"x"), range(3), b"http://h", "http://h?q", "http://h#f", "http://h\n", "http://*", [[]], {"a": []},
]  # fmt: skip


def used_by_store(**given: Any) -> object:
    return runtime_for_stores().new_store(Limits(**given)).close()


@cache
def runtime_for_stores() -> pywasmrt.Runtime:
    return pywasmrt.new_runtime("auto")


def used_by_runtime(**given: Any) -> object:
    return pywasmrt.new_runtime(RuntimeConfig(**given)).close()


def used_by_pool(**given: Any) -> object:
    return pywasmrt.new_runtime(RuntimeConfig(pool=Pool(**given))).close()


def used_by_wasi(**given: Any) -> object:
    return wasi.WasiConfig(**given).validate()


def used_as_preopen(**given: Any) -> object:
    return wasi.WasiConfig(preopens={"/": wasi.Preopen(**given)}).validate()


def used_as_network(**given: Any) -> object:
    return wasi.WasiConfig(network=wasi.Network(**given)).validate()


def used_by_plugin(**given: Any) -> object:
    return PluginConfig(**{"path": "guest.wasm", **given}).validate()


@cache
def instance_to_observe() -> Any:
    return runtime_for_stores().instantiate(runtime_for_stores().compile(NOTHING))


def used_by_profile(**given: Any) -> None:
    with suppress(pywasmrt.UnsupportedFeatureError):
        Profile(**{"instances": (instance_to_observe(),), **given}).close()


def used_by_trace(**given: Any) -> None:
    with suppress(pywasmrt.UnsupportedFeatureError):
        Trace(
            **{"store": instance_to_observe().store, "only": instance_to_observe()._state, "sinks": [], "limit": 1}
            | given
        ).close()


def used_by_coverage(**given: Any) -> object:
    data = to_binary(NOTHING)
    return CoveredModule(**{"name": "x", "data": data, "plan": probed(data)[1], **given})


@cache
def guest_of_plugins() -> Path:
    """A guest that takes every signal and changes nothing. The folder goes with the process."""
    folder = tempfile.TemporaryDirectory()
    GUESTS.append(folder)
    path = Path(folder.name, "guest.wat")
    takes = [
        f'(func (export "otelwasm_consume_{each}") (param i32 i32) (result i32) (i32.const 0))' for each in SIGNALS
    ]
    path.write_text(f"""(module (memory (export "memory") 1) (func (export "otelwasm_abi_version_0_1_0"))
      (func (export "otelwasm_get_supported_telemetry") (result i32) (i32.const 7))
      (func (export "otelwasm_memory_allocate") (param i32) (result i32) (i32.const 1024)) {" ".join(takes)})""")
    return path


GUESTS: list[Any] = []


def used_by_sdk(name: str) -> Callable[..., object]:
    def make(**given: Any) -> object:
        sdk: Any = importlib.import_module("pywasmrt.otel.sdk")
        return getattr(sdk, name)(**{"processors": [guest_of_plugins()], **given}).shutdown()

    return make


BYTE = wit.PrimitiveType("u8")
RESOURCE = wit.ResourceType("file")
WIT_TYPES = wit.WitType.__args__  # type: ignore[attr-defined]
PAIRS = (tuple,)
NUMBERS_OF_POOL = dict.fromkeys(["instances", "memory_bytes", "table_elements", "keep_resident"], INT)

# What makes an object; what it takes besides; and for each parameter the kinds that it may be of. A value of such a
# kind may still be refused, for what it says.
CONSTRUCTORS: dict[str, tuple[Callable[..., object], dict[str, Any], dict[str, tuple[type, ...]]]] = {
    "FunctionType": (FunctionType, {}, {"params": (tuple, list), "results": (tuple, list)}),
    "MemoryType": (
        MemoryType,
        {"minimum": 1},
        {"minimum": INT, "maximum": MAYBE_INT, "is_64": BOOL, "shared": BOOL, "page_size": INT},
    ),
    "TableType": (
        pywasmrt.TableType,
        {"element": ValueType.FUNCREF, "minimum": 1},
        {"element": (ValueType,), "minimum": INT, "maximum": MAYBE_INT, "is_64": BOOL},
    ),
    "GlobalType": (GlobalType, {"content": ValueType.I32}, {"content": (ValueType,), "mutable": BOOL}),
    "ImportType": (
        pywasmrt.ImportType,
        {"module": "m", "name": "n", "kind": ExternKind.FUNCTION, "type": FunctionType()},
        {"module": STR, "name": STR, "kind": (ExternKind,), "type": TYPES},
    ),
    "ExportType": (
        pywasmrt.ExportType,
        {"name": "n", "kind": ExternKind.FUNCTION, "type": FunctionType()},
        {"name": STR, "kind": (ExternKind,), "type": TYPES},
    ),
    "HostFunction": (
        pywasmrt.HostFunction,
        {"name": "f", "callable": len},
        {"name": STR, "params": (tuple, NONE), "results": (tuple, NONE), "pass_caller": BOOL, "takes_state": BOOL},
    ),
    "HostModule": (pywasmrt.HostModule, {}, {"name": STR}),
    "Frame": (
        Frame,
        {"func_index": 1},
        {"func_index": INT, "func_name": MAYBE_STR, "file": MAYBE_STR, "line": MAYBE_INT, "module_offset": MAYBE_INT},
    ),
    "RuntimeInfo": (
        pywasmrt.RuntimeInfo,
        {"name": "x", "available": True},
        {"name": STR, "available": BOOL, "version": MAYBE_STR, "features": (frozenset, set), "reason": MAYBE_STR},
    ),
    "Trap": (
        pywasmrt.Trap,
        {"message": "x"},
        {"message": STR, "code": (pywasmrt.TrapCode,), "frames": (tuple, list, type(len), type(lambda: 0), type)},
    ),
    "WasmException": (
        pywasmrt.WasmException,
        {"tag": None},
        {"values": (tuple, list, dict, set, frozenset, type, range), "message": STR, "tag": (NONE,)},
    ),
    "Exit": (pywasmrt.Exit, {"code": 1}, {"code": INT}),
    "RowError": (pywasmrt.RowError, {"message": "x", "row": 1}, {"message": STR, "row": INT}),
    "FuelExhausted": (pywasmrt.FuelExhausted, {}, {"message": STR}),
    "ModuleInstantiateError": (
        pywasmrt.ModuleInstantiateError,
        {"message": "x"},
        {"message": STR, "problems": (tuple, list)},
    ),
    "UnsupportedFeatureError": (
        pywasmrt.UnsupportedFeatureError,
        {"message": "x"},
        {"message": STR, "feature": MAYBE_STR},
    ),
    "Limits": (
        used_by_store,
        {},
        dict.fromkeys(["memory_bytes", "table_elements", "instances", "fuel"], MAYBE_INT)
        | {"timeout": (int, float, NONE)},
    ),
    "RuntimeConfig": (
        used_by_runtime,
        {},
        {"type": STR, "options": (Mapping,), "pool": (Pool, NONE)},
    ),
    "WasiConfig": (
        used_by_wasi,
        {},
        {
            "args": (Sequence,),
            "env": (Mapping,),
            "preopens": (Mapping,),
            "max_descriptors": INT,
            "threads": INT,
            "clock": (wasi.Clock,),
            "network": (wasi.Network,),
        },
    ),
    "Preopen": (used_as_preopen, {"host": "/"}, {"host": (str, Path), "limit": MAYBE_INT}),
    "Network": (used_as_network, {}, {"connect": (Sequence,), "listen": (Sequence,)}),
    "FixedClock": (wasi.FixedClock, {}, {"realtime": INT, "monotonic": INT}),
    "SteppingClock": (wasi.SteppingClock, {}, {"realtime": INT, "monotonic": INT, "step": INT}),
    "MemoryTree": (wasi.MemoryTree, {}, {"files": (Mapping, NONE), "limit": INT}),
    "PluginConfig": (
        used_by_plugin,
        {},
        {
            "path": (str, Path),
            "plugin_config": (Mapping,),
            "runtime_config": (RuntimeConfig, Mapping),
            "name": MAYBE_STR,
            "timeout": (int, float, NONE),
            "memory_bytes": MAYBE_INT,
            "cache": (bool, str, Path),
        },
    ),
    "FakeRuntime": (
        FakeRuntime,
        {},
        {
            "functions": (Mapping, NONE),
            "globals": (Mapping, NONE),
            "features": (frozenset, set, tuple, list),
            "name": STR,
        },
    ),
    "Difference": (
        Difference,
        {"name": "x", "source": "y"},
        {"name": STR, "source": STR, "types": (frozenset, set), "bits": (tuple,), "traps": (frozenset, set)},
    ),
    "Udf": (
        Udf,
        {"source": NOTHING, "name": "f"},
        {"name": STR, "runtime": (str, RuntimeConfig, Mapping), "limits": (Limits, NONE), "on_error": STR},
    ),
    "GuestProtocolError": (GuestProtocolError, {"message": "x"}, {"message": STR, "transient": BOOL}),
    "WasmPlugin": (
        WasmPlugin,
        {"config": {}},
        {
            "config": (PluginConfig, Mapping),
            "required_functions": (str, tuple, list, set, frozenset, dict),
            "role": (NONE,),
        },
    ),
    "TelemetryError": (
        TelemetryError,
        {"component": "c", "signal": "traces", "status": None, "reason": "", "permanent": False},
        {"component": STR, "signal": STR, "status": MAYBE_INT, "reason": STR, "permanent": BOOL},
    ),
    "OtlpHttpSender": (
        OtlpHttpSender,
        {"endpoint": "https://localhost:4318"},
        {
            "endpoint": (str, Mapping),
            "headers": (Mapping, NONE),
            "timeout": (int, float),
            "compression": STR,
            "certificate": (str, Path, NONE),
        },
    ),
    "Pool": (used_by_pool, {}, NUMBERS_OF_POOL | dict.fromkeys(["memories", "tables"], MAYBE_INT)),
    "Counters": (
        Counters,
        {},
        dict.fromkeys(["succeeded_items", "succeeded_batches", "failed_items", "failed_batches"], INT),
    ),
    "Dialect": (
        Dialect,
        {"name": "x"},
        {"name": STR, "names": (Mapping,)} | dict.fromkeys(["pushes", "passes_through", "starts"], BOOL),
    ),
    "PrimitiveType": (wit.PrimitiveType, {}, {"name": STR}),
    "ListType": (wit.ListType, {}, {"element": WIT_TYPES}),
    "TupleType": (wit.TupleType, {}, {"elements": PAIRS}),
    "OptionType": (wit.OptionType, {}, {"payload": WIT_TYPES}),
    "ResultType": (wit.ResultType, {}, dict.fromkeys(["ok", "err"], (*WIT_TYPES, NONE))),
    "RecordType": (wit.RecordType, {}, {"fields": PAIRS}),
    "VariantType": (wit.VariantType, {}, {"cases": PAIRS}),
    "EnumType": (wit.EnumType, {}, {"names": PAIRS}),
    "FlagsType": (wit.FlagsType, {}, {"names": PAIRS}),
    "OtherType": (wit.OtherType, {}, {"text": STR}),
    "NamedType": (wit.NamedType, {"name": "n", "target": BYTE}, {"name": STR, "target": WIT_TYPES, "owner": MAYBE_STR}),
    "ResourceType": (wit.ResourceType, {}, {"name": STR, "owner": MAYBE_STR}),
    "OwnType": (wit.OwnType, {"resource": RESOURCE}, {"resource": (wit.ResourceType,)}),
    "BorrowType": (wit.BorrowType, {"resource": RESOURCE}, {"resource": (wit.ResourceType,)}),
    "ComponentFunctionType": (
        wit.ComponentFunctionType,
        {},
        {"params": PAIRS, "result": (*WIT_TYPES, NONE), "is_async": BOOL},
    ),
    "InterfaceType": (wit.InterfaceType, {"name": "n"}, {"name": STR, "functions": (Mapping,), "types": (Mapping,)}),
    "WorldItem": (
        wit.WorldItem,
        {"name": "n", "type": RESOURCE},
        {
            "name": STR,
            "type": (wit.InterfaceType, wit.ComponentFunctionType, wit.NamedType, wit.ResourceType),
        },
    ),
    "World": (wit.World, {}, dict.fromkeys(["imports", "exports"], PAIRS)),
    "BoundHostModule": (
        BoundHostModule,
        {"module": pywasmrt.HostModule(), "factory": dict},
        {"module": (pywasmrt.HostModule,), "factory": (Callable,)},  # type: ignore[dict-item]
    ),
    "Profile": (used_by_profile, {}, {"instances": (tuple, list), "max_samples": INT}),
    "Trace": (
        used_by_trace,
        {},
        {"store": (BaseStore,), "only": (InstanceState, NONE), "sinks": (list,), "limit": INT},
    ),
    "CoveredModule": (used_by_coverage, {}, {"name": STR, "data": (bytes,), "plan": (Plan,)}),
    "WasmExporter": (WasmExporter, {"config": {}}, {"config": (PluginConfig, Mapping)}),
    "WasmProcessor": (WasmProcessor, {"config": {}}, {"config": (PluginConfig, Mapping), "next": (NONE,)}),
    "WasmReceiver": (
        WasmReceiver,
        {"config": {}, "consumer": OtlpHttpSender()},
        {"config": (PluginConfig, Mapping), "consumer": ()},
    ),
    "GuestStatusError": (
        GuestStatusError,
        {"function": "f", "status": 1, "reason": ""},
        {"function": STR, "status": INT, "reason": STR},
    ),
}


EXPORTERS = ("WasmSpanExporter", "WasmMetricExporter", "WasmLogRecordExporter")
if importlib.util.find_spec("opentelemetry") is not None:
    for exporter in EXPORTERS:
        CONSTRUCTORS[exporter] = (
            used_by_sdk(exporter),
            {},
            {
                "module": (Mapping, str, Path, NONE),
                "config": (Mapping, NONE),
                "runtime": MAYBE_STR,
                "processors": (Sequence,),
                "endpoint": MAYBE_STR,
            },
        )

# Classes that need no entry, and why.
OTHERS = {
    "ComponentError": "its payload is any value",
    "ConformanceError": "check_runtime raises it, with its report",
    "CoreFrame": "a record of read_coredump",
    "CoreInstance": "a record of read_coredump",
    "CoreMemory": "a record of read_coredump",
    "Coredump": "a record of read_coredump",
    "DifferentialReport": "a record of differential",
    "Disagreement": "differential raises it, with what it saw",
    "Err": "its value is any value",
    "FunctionTime": "a record of Profile.top",
    "FunctionTimes": "a tuple of such records",
    "Ok": "its value is any value",
    "RecordingFunction": "strategies make it",
    "Report": "a record of check_runtime",
    "Some": "its value is any value",
    "Stack": "a record that costs next to nothing, whose values are those of one call",
}
MODULES = ["", ".columns", ".component", ".diagnostics", ".host", ".otel", ".otel.http", ".otel.sdk", ".plugin"]
MODULES += [".testing", ".testing.strategies", ".wasi"]

# What holds a value where it belongs, for a parameter that takes a mapping or a sequence.
HOLDING: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("FunctionType", "params"): lambda value: [value],
    ("HostFunction", "params"): lambda value: (value,),
    ("ModuleInstantiateError", "problems"): lambda value: [value],
    ("RuntimeConfig", "options"): lambda value: {"fuel": value},
    ("WasiConfig", "args"): lambda value: ["guest", value],
    ("WasiConfig", "env"): lambda value: {"NAME": value},
    ("WasiConfig", "preopens"): lambda value: {"/": value},
    ("Network", "connect"): lambda value: [value],
    ("Network", "listen"): lambda value: [value],
    ("MemoryTree", "files"): lambda value: {"files": value},
    ("PluginConfig", "plugin_config"): lambda value: {"key": value},
    ("PluginConfig", "runtime_config"): lambda value: {"type": value},
    ("OtlpHttpSender", "endpoint"): lambda value: {"traces": value},
    ("OtlpHttpSender", "headers"): lambda value: {"key": value},
    ("Profile", "instances"): lambda value: (value,),
    ("Trace", "sinks"): lambda value: [value],
    ("WasmPlugin", "required_functions"): lambda value: [value],
    ("WasmSpanExporter", "processors"): lambda value: [value],
    ("WasmLogRecordExporter", "processors"): lambda value: [value],
    ("WasmMetricExporter", "processors"): lambda value: [value],
}
