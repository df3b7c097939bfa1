"""One small API over several WebAssembly engines.

    import pywasmrt
    from pywasmrt import HostModule, i32

    env = HostModule("env")

    @env.function
    def add_one(x: i32) -> i32:
        return x + 1

    runtime = pywasmrt.new_runtime()
    module = runtime.compile(pathlib.Path("guest.wasm"))
    instance = runtime.instantiate(module, env)
    instance.exports.run(41)

The contracts are in `pywasmrt.protocols`, the records in `pywasmrt.types`, the errors in `pywasmrt.errors`. Importing
this package loads no engine.
"""

from __future__ import annotations

import sys
from importlib import import_module

from ._version import __version__

TYPE_CHECKING = False  # type checkers take it for typing's, which takes long to import
if TYPE_CHECKING:
    from typing import Any

    from .annotated import externref, f32, f64, funcref, i32, i64, v128
    from .diagnostics import Coverage, Profile, Trace, profile, trace, write_coredump
    from .errors import (
        BusyError,
        ClosedError,
        ComponentError,
        DeadlineExceeded,
        Exit,
        FuelExhausted,
        FunctionNotExportedError,
        HostFunctionNotFoundError,
        Interrupted,
        InvalidConfigurationError,
        MemoryAccessError,
        MemoryExportNotFoundError,
        ModuleCompileError,
        ModuleInstantiateError,
        RowError,
        RuntimeNotFoundError,
        Trap,
        UdfError,
        UnsupportedFeatureError,
        UnsupportedRuntimeTypeError,
        WasmError,
        WasmException,
    )
    from .host import HostModule
    from .protocols import (
        Caller,
        CompiledModule,
        Component,
        ComponentInstance,
        Context,
        Exports,
        FunctionInstance,
        Global,
        GuestBuffer,
        LinkedComponent,
        LinkedModule,
        Memory,
        ModuleInstance,
        Reference,
        Runtime,
        Store,
        Table,
        Tag,
    )
    from .registry import list_runtimes, new_runtime, register_runtime
    from .types import (
        PAGE_SIZE,
        ExportType,
        ExternKind,
        Frame,
        FunctionType,
        GlobalType,
        HostFunction,
        ImportType,
        Limits,
        LooseType,
        MemoryType,
        Pool,
        RuntimeConfig,
        RuntimeInfo,
        TableType,
        TrapCode,
        ValueType,
    )

__all__ = [
    "PAGE_SIZE",
    "BusyError",
    "Caller",
    "ClosedError",
    "CompiledModule",
    "Component",
    "ComponentError",
    "ComponentInstance",
    "Context",
    "Coverage",
    "DeadlineExceeded",
    "Exit",
    "ExportType",
    "Exports",
    "ExternKind",
    "Frame",
    "FuelExhausted",
    "FunctionInstance",
    "FunctionNotExportedError",
    "FunctionType",
    "Global",
    "GlobalType",
    "GuestBuffer",
    "HostFunction",
    "HostFunctionNotFoundError",
    "HostModule",
    "ImportType",
    "Interrupted",
    "InvalidConfigurationError",
    "Limits",
    "LinkedComponent",
    "LinkedModule",
    "LooseType",
    "Memory",
    "MemoryAccessError",
    "MemoryExportNotFoundError",
    "MemoryType",
    "ModuleCompileError",
    "ModuleInstance",
    "ModuleInstantiateError",
    "Pool",
    "Profile",
    "Reference",
    "RowError",
    "Runtime",
    "RuntimeConfig",
    "RuntimeInfo",
    "RuntimeNotFoundError",
    "Store",
    "Table",
    "TableType",
    "Tag",
    "Trace",
    "Trap",
    "TrapCode",
    "UdfError",
    "UnsupportedFeatureError",
    "UnsupportedRuntimeTypeError",
    "ValueType",
    "WasmError",
    "WasmException",
    "__version__",
    "externref",
    "f32",
    "f64",
    "funcref",
    "i32",
    "i64",
    "list_runtimes",
    "new_runtime",
    "profile",
    "register_runtime",
    "trace",
    "v128",
    "write_coredump",
]

_HOMES = {
    "annotated": ("externref", "f32", "f64", "funcref", "i32", "i64", "v128"),
    "diagnostics": ("Coverage", "Profile", "Trace", "profile", "trace", "write_coredump"),
    "errors": (
        "BusyError",
        "ClosedError",
        "ComponentError",
        "DeadlineExceeded",
        "Exit",
        "FuelExhausted",
        "FunctionNotExportedError",
        "HostFunctionNotFoundError",
        "Interrupted",
        "InvalidConfigurationError",
        "MemoryAccessError",
        "MemoryExportNotFoundError",
        "ModuleCompileError",
        "ModuleInstantiateError",
        "RowError",
        "RuntimeNotFoundError",
        "Trap",
        "UdfError",
        "UnsupportedFeatureError",
        "UnsupportedRuntimeTypeError",
        "WasmError",
        "WasmException",
    ),
    "host": ("HostModule",),
    "protocols": (
        "Caller",
        "CompiledModule",
        "Component",
        "ComponentInstance",
        "Context",
        "Exports",
        "FunctionInstance",
        "Global",
        "GuestBuffer",
        "LinkedComponent",
        "LinkedModule",
        "Memory",
        "ModuleInstance",
        "Reference",
        "Runtime",
        "Store",
        "Table",
        "Tag",
    ),
    "registry": (
        "list_runtimes",
        "new_runtime",
        "register_runtime",
    ),
    "types": (
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
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use, so that importing the package stays cheap.

    Loading the registry also loads what every runtime needs. A name that is first used while the interpreter ends, as
    in a destructor's `except pywasmrt.Trap`, can no longer be loaded: that is a `ClosedError`.
    """
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for each in (home,) if home != "registry" else ("annotated", "errors", "host", "protocols", "registry", "types"):
        module = _home(each)
        globals().update({name: getattr(module, name) for name in _HOMES[each]})
    return globals()[name]


def _home(name: str) -> Any:
    """The module `name` of the package, even if the interpreter has forgotten it as it ends."""
    known = globals().get(name)
    if known is not None:
        return known
    try:
        return import_module(f".{name}", __name__)
    except ImportError:
        if sys.meta_path is not None:
            raise
        loaded = globals().get("errors")
        error: type[Exception] = RuntimeError if loaded is None else loaded.ClosedError
        text = f"the interpreter is ending, and loads no modules any more: {__name__}.{name} was not used before"
        raise error(text) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
