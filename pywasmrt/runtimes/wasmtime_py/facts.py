"""What the files of this runtime share, and what is known of it without the package."""

from __future__ import annotations

import sys
from functools import cache

from ...values import late
from ..base.features import API_FEATURES
from ..base.options import ASYNC_THREADS, flag, number_of_bytes, one_of

__all__ = ["CAUTION", "DEFAULT_STACK", "NAME", "OPTIONS", "features", "wasmtime_version"]

NAME = "wasmtime-py"

# v128 cannot cross, as the package lacks it. A shared memory cannot be imported, as the package fails at that. Modules
# may use both inside. They may use exceptions, and their tags can be linked, but the package can neither read nor throw
# an exception. Python code can offer the buffer protocol since 3.12. ctypes makes signaling f32 NaNs quiet.
_LACKING = {
    *(
        "exception-values",
        "memory-sharing",
        "gc-references",
        "simd",
        "relaxed-simd",
        "threads",
        "f32-nan-bits",
        "trap-lines",
        "interruption",
        "suspension",
        "profiling",
    ),
    *(("pooling",) if sys.version_info >= (3, 12) else ("pooling", "buffer")),
}

DEFAULT_STACK = 512 << 10  # bytes that a guest may use, unless an option says otherwise

CAUTION = (
    "calls that run cannot be interrupted, not by Ctrl-C either; and a signal handler that raises while the package's "
    "own callbacks and finalizers run can damage the memory of the process: let none raise while guests run"
)

# Named as in wasmtime.Config.
OPTIONS = {
    "strategy": one_of("auto", "cranelift"),
    "cranelift_opt_level": one_of("none", "speed", "speed_and_size"),
    "cranelift_nan_canonicalization": flag(),
    "debug_info": flag(),
    "consume_fuel": flag(),  # counting makes the guest slower
    "parallel_compilation": flag(),
    "memory_init_cow": flag(),
    "async_threads": ASYNC_THREADS,
    # The package ends the process if this is too little, or more than the 2 MiB that the engine gives to its own
    # stacks.
    "max_wasm_stack": number_of_bytes(1 << 14, 1 << 21),
}


def features(proposals: frozenset[str], interruptible: bool, fuel: bool) -> frozenset[str]:
    off = (set() if interruptible else {"deadline"}) | (set() if fuel else {"fuel"})
    return (proposals | API_FEATURES) - _LACKING - off


@cache
def wasmtime_version() -> str:
    version: str = late("importlib.metadata").version("wasmtime")
    return version
