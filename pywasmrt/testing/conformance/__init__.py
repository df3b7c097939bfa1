"""Does a runtime keep the contracts of `pywasmrt.protocols`? For authors of adapters; without pytest or Hypothesis.

    from pywasmrt.testing.conformance import check_runtime

    print(check_runtime("mine"))

The checks are grouped in parts, each a module of this package. What needs a feature that the runtime does not have
(`RuntimeInfo.features`) is skipped, with the reason in the report.
"""

from __future__ import annotations

from .checking import Check, ConformanceError, Report, Result, Subject
from .running import PARTS, check_runtime

__all__ = ["PARTS", "Check", "ConformanceError", "Report", "Result", "Subject", "check_runtime"]
