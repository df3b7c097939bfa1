"""The constructors of the public API, with what they take, and values of every kind to feed them with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
from pywasmrt.otel import Counters, TelemetryError
from pywasmrt.otel.http import OtlpHttpSender
from pywasmrt.plugin import Dialect, GuestProtocolError, GuestStatusError, PluginConfig, WasmPlugin
from pywasmrt.testing import Difference, FakeRuntime

NOTHING = '(module (func (export "f")))'
NONE = type(None)
INT, STR, BOOL, MAYBE_INT, MAYBE_STR = (int,), (str,), (bool,), (int, NONE), (str, NONE)
TYPES = (FunctionType, MemoryType, GlobalType, pywasmrt.TableType)


class Odd:
    """An object whose methods answer nothing of use."""

    def __repr__(self) -> str:
        raise LookupError("no words")


VALUES: list[Any] = [
    None, True, 0, -1, 7, 1 << 200, 1.5, math.nan, "", "text", "\ud800", "a\0b", b"bytes", [], [1], [None], {},
    {"a": 1}, {1: 2}, (), (1,), ("x",), {1}, frozenset({"simd"}), 1j, object(), Odd(), int, len, lambda: None, ...,
    ValueType.I32, ExternKind.FUNCTION, FunctionType(), Limits(), RuntimeConfig(), Path("/nowhere"),
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
        {"values": (tuple, list, dict, set, frozenset, type), "message": STR, "tag": (NONE,)},
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
    "MemoryTree": (wasi.MemoryTree, {}, {"limit": INT}),
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
    "GuestStatusError": (
        GuestStatusError,
        {"function": "f", "status": 1, "reason": ""},
        {"function": STR, "status": INT, "reason": STR},
    ),
}
