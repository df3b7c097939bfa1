"""What a guest does while it runs: its host calls traced, its time profiled, its code covered, its state dumped."""

from __future__ import annotations

from .coredumps import Coredump, CoreFrame, CoreInstance, CoreMemory, dumpable, read_coredump, write_coredump
from .coverage import Coverage
from .covered import CoveredModule
from .profiling import FunctionTime, FunctionTimes, Profile, profile
from .tracing import Trace, trace

__all__ = [
    "CoreFrame",
    "CoreInstance",
    "CoreMemory",
    "Coredump",
    "Coverage",
    "CoveredModule",
    "FunctionTime",
    "FunctionTimes",
    "Profile",
    "Trace",
    "dumpable",
    "profile",
    "read_coredump",
    "trace",
    "write_coredump",
]
