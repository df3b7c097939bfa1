"""wazero, an engine in Go: a compiler and an interpreter. What it needs besides `native`: its features and messages."""

from __future__ import annotations

import platform
from dataclasses import replace
from functools import cache
from typing import Any

from ... import _shim
from ..._shim import wasmtime_library, wazero_library
from ...errors import RuntimeNotFoundError
from ...types import RuntimeConfig, RuntimeInfo
from ...values import late
from ..base.features import API_FEATURES, WASMTIME_FIXED, allowed_proposals
from ..base.forking import inside
from ..base.needs import Judge
from ..base.options import ASYNC_THREADS, checked_options, one_of
from .wasmtime import open_engine, validate

__all__ = ["NAME", "create", "declared_features", "describe"]

NAME = "wazero"

# wazero's own numbers of the proposals (api.CoreFeatures).
_BITS = {
    "bulk-memory": 1 << 0,
    "multi-value": 1 << 1,
    "mutable-globals": 1 << 2,
    "saturating-float-to-int": 1 << 3,
    "reference-types": 1 << 4,
    "sign-extension": 1 << 5,
    "simd": 1 << 6,
    "threads": 1 << 7,
    "tail-call": 1 << 8,
    "extended-const": 1 << 9,
    "exceptions": 1 << 10,
}
_KNOWN = frozenset(_BITS)
# The host needs these to read and set tables.
_FIXED = frozenset({"bulk-memory", "reference-types", "mutable-globals"})
_STACK_NEEDED = 192 << 10  # native stack; guests have stacks of their own, which Go keeps
_MODES = ("compiler", "interpreter", "compiled")  # the last is wazero's own name of the first
_OPTIONS = {"mode": one_of(*_MODES), "async_threads": ASYNC_THREADS}
_COMPILES_FOR = {"x86_64", "AMD64", "aarch64", "arm64"}

_CAUTION = "Go ends the process where it gets no memory, and this runtime is new: not for hostile guests"


def describe() -> RuntimeInfo:
    """Describe this runtime, without opening its library."""
    reason = _shim.unavailable_reason() or wazero_library.wazero_reason()
    if reason is not None:
        return RuntimeInfo(NAME, False, reason=reason)
    wat = wasmtime_library.wasmtime_library_reason() is None
    features = declared_features(wat)
    return RuntimeInfo(NAME, True, wazero_library.ENGINE_VERSION, features, caution=_CAUTION)


def declared_features(wat: bool) -> frozenset[str]:
    """The features of a new runtime, whether it is built here or not. `wat`: Wasmtime is there to read text."""
    return _KNOWN | _api_features(wat, True)


def create(config: RuntimeConfig) -> Any:
    """Make a runtime. Raises `InvalidConfigurationError`, or `RuntimeNotFoundError` with what is missing here."""
    info = describe()
    if not info.available:
        raise RuntimeNotFoundError(f"the runtime {NAME!r} is not available: {info.reason}")
    proposals = allowed_proposals(config.features, _KNOWN, _KNOWN, _FIXED, NAME)
    options = checked_options(NAME, _OPTIONS, config.options)
    mode = options.get("mode", _MODES[0] if platform.machine() in _COMPILES_FOR else _MODES[1])

    ffi = late(f"{_shim.__name__}._wrt").ffi
    Engine = late(f"{__package__}.engine").Engine
    WazeroRuntime = late(f"{__package__}.wazero_runtime").WazeroRuntime

    settings = {
        "interpreter": int(mode == "interpreter"),
        "features": sum(_BITS[name] for name in proposals),
        "polls": int(config.interruptible),
        "long_indexes": int(config.features is None),  # as in WebAssembly 3.0, and as linkers write them
    }
    with inside:  # a fork waits: its child would find a library that was opened by halves
        table = wazero_library.open_table()
    ops = ffi.cast("wrt_engine_ops *", table)
    engine = Engine(ops, settings, _STACK_NEEDED, _explain)
    reader, judge = None, None
    if wasmtime_library.wasmtime_library_reason() is None:
        # As for wasm3: the reader takes the index of a memory for one byte unless it allows several memories; the
        # engine refuses several.
        allowed = proposals | {"multi-memory"} if config.features is None else proposals
        reader = _reader(allowed)
        judge = Judge(NAME, proposals, _KNOWN, validate, lacking=WASMTIME_FIXED - proposals, foreign=True)
    info = replace(info, features=proposals | _api_features(reader is not None, config.interruptible))
    growth = config.trap_on_grow_failure
    runtime = WazeroRuntime(engine, info, f"mode={mode}", reader, judge, trap_on_grow_failure=growth)
    runtime._most_threads = options.get("async_threads", runtime._most_threads)
    return runtime


def _api_features(wat: bool, interruptible: bool) -> frozenset[str]:
    lacking = {"serialize", "trap-offsets", "trap-null-element", "trap-lines", "stack-limit", "fuel"}
    lacking |= {"fork", "externref-release", "memory-sharing", "constant-externref", "partial-instantiation"}
    lacking |= {"exception-values", "gc-references", "profiling"}
    lacking |= {"suspension", "component-model", "pooling"}
    if not interruptible:
        lacking |= {"interruption", "deadline"}
    if not wat:
        lacking.add("wat")
    return API_FEATURES - lacking


@cache
def _reader(proposals: frozenset[str]) -> Any:
    """An engine that reads the text format; made once for each set of proposals."""
    return open_engine(proposals)


def _explain(message: str) -> str:
    return message
