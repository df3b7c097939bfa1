"""WASI preview 1 for every runtime: standard streams, files, clocks, randomness and sockets for guests.

    from pywasmrt import wasi

    config = wasi.WasiConfig(args=["cat", "/data/hello.txt"], preopens={"/data": "data"}, stdout=wasi.INHERIT)
    code = runtime.instantiate(module, wasi=config).run()

A guest sees nothing of the host but what its `WasiConfig` gives it.
"""

from __future__ import annotations

from .clocks import Clock, FixedClock, SteppingClock, SystemClock
from .config import Preopen, WasiConfig, context_module
from .memory_tree import MemoryTree
from .network import Network
from .stdio import INHERIT

context_module()

__all__ = [
    "INHERIT",
    "Clock",
    "FixedClock",
    "MemoryTree",
    "Network",
    "Preopen",
    "SteppingClock",
    "SystemClock",
    "WasiConfig",
]
