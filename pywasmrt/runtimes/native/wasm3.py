"""wasm3, an interpreter that starts in microseconds. What it needs besides `native`: a validator, and its features.

wasm3 trusts the module that it is given. So Wasmtime validates every module first, with the proposals off that wasm3
does not have. Where the package `wasmtime` is missing, `RuntimeConfig(options={"trust_modules": True})` says that no
module needs to be validated. That is a promise about every module that this runtime will ever get: an invalid one can
read and write any memory of the process.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from ... import _shim
from ..._shim import wasmtime_library as library
from ...errors import RuntimeNotFoundError
from ...types import RuntimeConfig, RuntimeInfo
from ...values import late
from ..base.features import API_FEATURES, WASMTIME_FIXED, allowed_proposals
from ..base.needs import Judge
from ..base.options import ASYNC_THREADS, checked_options, flag, number_of_bytes
from .wasmtime import open_engine, validate

__all__ = ["NAME", "create", "describe"]

NAME = "wasm3"

_FIXED = frozenset({"sign-extension", "saturating-float-to-int", "mutable-globals"})
_WRT = f"{_shim.__name__}._wrt"
_STACK_NEEDED = 192 << 10  # native stack to begin with: wasm3 uses all there is, except a rest for the host
_OPTIONS = {
    "trust_modules": flag(),
    "max_wasm_stack": number_of_bytes(1 << 14, 1 << 28, "2**28"),
    "async_threads": ASYNC_THREADS,
}

_CAUTION = "it is made for modules that are trusted, and has a public record of memory faults: not for hostile guests"


def describe() -> RuntimeInfo:
    """Describe this runtime, without loading Wasmtime."""
    reason = _shim.unavailable_reason() or _shim.wasm3_reason()
    if reason is not None:
        return RuntimeInfo(NAME, False, reason=reason)
    version, proposals = _built()
    wat = library.wasmtime_library_reason() is None
    return RuntimeInfo(NAME, True, version, proposals | _api_features(wat, True), caution=_CAUTION)


def create(config: RuntimeConfig) -> Any:
    """Make a runtime. Raises `InvalidConfigurationError`, or `RuntimeNotFoundError` with what is missing here."""
    info = describe()
    if not info.available:
        raise RuntimeNotFoundError(f"the runtime {NAME!r} is not available: {info.reason}")
    _, known = _built()
    proposals = allowed_proposals(config.features, known, known, _FIXED, NAME)
    options = checked_options(NAME, _OPTIONS, config.options)
    trust, stack = options.get("trust_modules", False), options.get("max_wasm_stack", 1 << 20)
    reason = library.wasmtime_library_reason()
    if reason is not None and not trust:
        raise RuntimeNotFoundError(
            f"the runtime {NAME!r} cannot validate modules: {reason}; if every module comes from where you trust it, "
            'say so by RuntimeConfig(options={"trust_modules": True})'
        )

    lib = late(_WRT).lib
    Engine = late(f"{__package__}.engine").Engine
    Wasm3Runtime = late(f"{__package__}.wasm3_runtime").Wasm3Runtime
    engine = Engine(lib.wrt_wasm3_ops(), {"max_wasm_stack": stack}, _STACK_NEEDED, _explain)
    validator = None if reason is not None else _validator(proposals, config.features is None)
    info = replace(info, features=proposals | _api_features(validator is not None, config.interruptible))
    settings = f"max_wasm_stack={stack}"
    runtime = Wasm3Runtime(engine, info, settings, validator, trust, trap_on_grow_failure=config.trap_on_grow_failure)
    runtime._most_threads = options.get("async_threads", runtime._most_threads)
    return runtime


@cache
def _built() -> tuple[str, frozenset[str]]:
    """The version of the built-in wasm3, and its proposals."""
    ffi, lib = late(_WRT).ffi, late(_WRT).lib
    version = ffi.string(lib.wrt_wasm3_version()).decode()
    return version, frozenset(ffi.string(lib.wrt_wasm3_proposals()).decode().split(","))


def _api_features(wat: bool, interruptible: bool) -> frozenset[str]:
    """What the library can do with wasm3. Only the newer version links immutable globals."""
    _, proposals = _built()
    lacking = {
        "serialize",
        "exception-values",
        "gc-references",
        "trap-frames",
        "trap-offsets",
        "trap-lines",
        "profiling",
        "fuel",
        "host-memory",
        "host-table",
    }
    lacking |= {"suspension", "component-model", "pooling", "memory-sharing", "constant-externref"}
    lacking |= {"import-memory", "import-table", "import-mutable-global"}
    if not interruptible:
        lacking |= {"interruption", "deadline"}
    if "bulk-memory" not in proposals:
        lacking.add("import-global")
    if not wat:
        lacking.add("wat")
    return API_FEATURES - lacking


@cache
def _validator(proposals: frozenset[str], long_indexes: bool) -> Any:
    """The validator for these proposals. It is kept, since making one takes longer than wasm3 takes for most modules.

    `long_indexes`: the index of a memory may be encoded in more than one byte, as since WebAssembly 3.0.
    """
    Validator = late(f"{__package__}.wasm3_runtime").Validator
    _, known = _built()
    # 0.5.0 has memory.copy and memory.fill. When it compiles, it refuses the rest of that proposal, and references.
    allowed = proposals | {"bulk-memory", "reference-types"}
    # The validator reads these indexes as one byte unless it has several memories; the engine refuses those itself.
    engine = open_engine(allowed | {"multi-memory"} if long_indexes else allowed)
    lacking = (WASMTIME_FIXED | {"bulk-memory"}) - known
    return Validator(engine, Judge(NAME, allowed, known, validate, lacking, copies=False))


def _explain(message: str) -> str:
    return message
