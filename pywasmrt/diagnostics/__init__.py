"""What a guest does while it runs: its host calls traced, its time profiled, its code covered by tests."""

from __future__ import annotations

from .coverage import Coverage
from .covered import CoveredModule
from .profiling import FunctionTime, FunctionTimes, Profile, profile
from .tracing import Trace, trace

__all__ = [
    "Coverage",
    "CoveredModule",
    "FunctionTime",
    "FunctionTimes",
    "Profile",
    "Trace",
    "profile",
    "trace",
]
