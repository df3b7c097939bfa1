"""Wasmtime through its C API: the default runtime. What it needs besides `native`: settings, features, and the reading
of its messages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from ... import _shim
from ..._shim import wasmtime_library as library
from ...errors import InvalidConfigurationError, RuntimeNotFoundError
from ...types import RuntimeConfig, RuntimeInfo
from ...values import late
from ..base.features import (
    API_FEATURES,
    WASMTIME_DEFAULT,
    WASMTIME_FIXED,
    WASMTIME_PROPOSALS,
    WASMTIME_SWITCHES,
    allowed_proposals,
)
from ..base.forking import environment, forks
from ..base.needs import Judge
from ..base.options import ASYNC_THREADS, checked_options, flag, number_of_bytes, one_of
from ..wasmtime_text import compile_error_text, frame_lines, trap_text
from .pool import compiling_settings, exhausted_text, pool_settings

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["NAME", "create", "describe", "open_engine", "validate"]

NAME = "wasmtime"

_DEFAULT_STACK = 512 << 10
_STACK_MARGIN = 128 << 10  # for the host's frames around the guest's
_OWN_STACK_MARGIN = 1 << 20  # for the engine's frames on the stack of a guest that can be suspended


def describe() -> RuntimeInfo:
    """Describe this runtime, without loading the engine."""
    reason = _shim.unavailable_reason() or library.wasmtime_library_reason()
    if reason is not None:
        return RuntimeInfo(NAME, False, reason=reason)
    version = library.find().version
    return RuntimeInfo(NAME, True, version, WASMTIME_DEFAULT | _api_features(version, True, False))


def _api_features(version: str, interruptible: bool, fuel: bool) -> frozenset[str]:
    lacking = (set() if interruptible else {"interruption", "deadline", "profiling"}) | (set() if fuel else {"fuel"})
    if library.major(version) < library.COMPONENT_MAJOR:
        lacking |= {"component-model"}
    return API_FEATURES - lacking


def create(config: RuntimeConfig) -> Any:
    """Make a runtime. Raises `InvalidConfigurationError`, or `RuntimeNotFoundError` with what is missing here."""
    info = describe()
    if not info.available:
        raise RuntimeNotFoundError(f"the runtime {NAME!r} is not available: {info.reason}")
    proposals = allowed_proposals(config.features, WASMTIME_PROPOSALS, WASMTIME_DEFAULT, WASMTIME_FIXED, NAME)
    settings = {**_switches(proposals), "epoch_interruption": int(config.interruptible)}
    options = checked_options(NAME, _OPTIONS, config.options)
    threads = options.pop("async_threads", None)
    settings.update(_settings_of(options))
    stack = settings.setdefault("max_wasm_stack", _DEFAULT_STACK)
    own_stack = settings.setdefault("async_stack_size", stack + _OWN_STACK_MARGIN)
    if own_stack < stack + _STACK_MARGIN:
        raise InvalidConfigurationError(
            f"the option 'async_stack_size' of {NAME} is at least {stack + _STACK_MARGIN} where 'max_wasm_stack' is "
            f"{stack}: the engine needs {_STACK_MARGIN} bytes beyond the guest's; not {own_stack}"
        )

    def make_engine(alone: bool) -> Engine:
        own = {"parallel_compilation": 0} if alone else {}
        return _open(settings | own, stack + _STACK_MARGIN)

    def make_compiler() -> Engine:
        own = {"parallel_compilation": 0, **compiling_settings(settings)}
        return _open(settings | own, stack + _STACK_MARGIN)

    if config.pool is not None:
        settings.update(pool_settings(config.pool, settings.get("memory_reservation")))
    identity = ",".join(f"{name}={value}" for name, value in sorted(settings.items()) if not _is_of_pool(name))
    if config.pool is not None:
        identity += ",pool"  # compiled code depends on whether there is a pool, not on its size
    features = proposals | _api_features(info.version or "", config.interruptible, bool(settings.get("consume_fuel")))
    runtime = late(f"{__package__}.runtime").NativeRuntime(
        make_engine(forks() > 0),
        replace(info, features=features),
        identity,
        make_compiler,
        trap_on_grow_failure=config.trap_on_grow_failure,
    )
    if threads is not None:
        runtime._most_threads = threads
    runtime._judge = Judge(NAME, proposals, WASMTIME_PROPOSALS, validate)
    return runtime


@contextmanager
def _backtrace_details() -> Iterator[None]:
    """Have Wasmtime keep debug information for its backtraces: its C API has no setting, only this environment
    variable."""
    name = "WASMTIME_BACKTRACE_DETAILS"
    with environment():
        if name in os.environ:  # the user's own choice
            yield
            return
        os.environ[name] = "1"
        try:
            yield
        finally:
            del os.environ[name]


@lru_cache(maxsize=32)
def _validator(proposals: frozenset[str]) -> Any:
    return open_engine(proposals)


def validate(proposals: frozenset[str], data: bytes) -> None:
    """Validate a module with an engine with these proposals. Raises `ModuleCompileError`, or `RuntimeNotFoundError`."""
    _validator(proposals).validate(data)


def open_engine(proposals: frozenset[str]) -> Any:
    """An engine with these proposals, to validate modules and read text with. Raises `RuntimeNotFoundError`."""
    # Compiling small modules must not wait until other threads wake up.
    return _open({**_switches(proposals), "parallel_compilation": 0}, _DEFAULT_STACK)


def _switches(proposals: frozenset[str]) -> dict[str, int]:
    settings = {switch: int(proposal in proposals) for proposal, switch in WASMTIME_SWITCHES.items()}
    settings["shared_memory"] = int("threads" in proposals)
    # While this is off, a guest that waits is unwound with its call. Only components with asynchronous functions of
    # their own need it; the C API cannot call these, so such components are refused when they are compiled.
    settings["concurrency_support"] = 0
    settings.update(dict.fromkeys(_ASYNC_PROPOSALS, 0))
    # A memory keeps its address when it grows, so that views of it never dangle. It grows within its reserved space.
    settings["memory_may_move"] = 0
    return settings


@cache
def _native() -> Any:
    """The module that reaches engines; only an install with the native part can load it. It is kept, since nothing can
    be imported any more while the interpreter ends.
    """
    return late(f"{__package__}.engine")


@cache
def _library() -> library.Library:
    """The one library of Wasmtime that the process opens."""
    return library.find()


def _open(settings: dict[str, int], stack: int) -> Engine:
    ffi, lib = _native().ffi, _native().lib
    path = os.fsencode(_library().path)
    with environment():  # for one thread at a time; a lock that does not stay held in the child of a fork
        problem = lib.wrt_wasmtime_load(path)
    if problem != ffi.NULL:
        raise RuntimeNotFoundError(f"the runtime {NAME!r} is not available: {ffi.string(problem).decode()}")
    component_ops = _component_ops()
    with _backtrace_details():
        engine: Engine = _native().Engine(lib.wrt_wasmtime_ops(), settings, stack, _explain, frame_lines, component_ops)
    return engine


def _component_ops() -> Any:
    """The table for components, or None where this Wasmtime is too old for it."""
    ffi, lib = _native().ffi, _native().lib
    if library.major(_library().version) < library.COMPONENT_MAJOR:
        return None
    with environment():
        problem = lib.wrt_wasmtime_component_load()
    return None if problem != ffi.NULL else lib.wrt_wasmtime_component_ops()


_ASYNC_PROPOSALS = (
    "wasm_component_model_async",
    "wasm_component_model_async_stackful",
    "wasm_component_model_more_async_builtins",
)

# For the engine, the number of a name is its position here.
_NAMES = {"strategy": ("auto", "cranelift"), "cranelift_opt_level": ("none", "speed", "speed_and_size")}
_OPTIONS = {
    **{name: one_of(*names) for name, names in _NAMES.items()},
    "consume_fuel": flag(),  # counting makes the guest slower
    "cranelift_nan_canonicalization": flag(),
    "cranelift_debug_verifier": flag(),
    "parallel_compilation": flag(),
    # With less the engine cannot start; no thread has more.
    "max_wasm_stack": number_of_bytes(1 << 14, 1 << 22),
    # The whole stack of a guest in an asynchronous store; only address space until it is used.
    "async_stack_size": number_of_bytes(1 << 16, 1 << 26),
    # For components that are not suspended because they import WASI or export resources.
    "async_threads": ASYNC_THREADS,
    # The address space kept for each memory, which bounds its growth.
    "memory_reservation": number_of_bytes(1 << 16, 1 << 40, "2**40"),
}


def _settings_of(options: dict[str, Any]) -> dict[str, int]:
    return {name: _NAMES[name].index(value) if name in _NAMES else int(value) for name, value in options.items()}


def _is_of_pool(setting: str) -> bool:
    return setting.startswith("pool_")


def _explain(message: str) -> str:
    if "cannot enter component instance" in message:
        return "the component trapped before, and so cannot be entered again; make a new instance"
    if message.startswith("error while executing"):
        return trap_text(message)
    text = exhausted_text(compile_error_text(message.removeprefix("wasm trap: ")))
    if "(os error 12)" in message:
        text += (
            "; the system gives this process no more memory, or no more mappings: each instance takes a few, and on "
            "Linux vm.max_map_count bounds them"
        )
    return text
