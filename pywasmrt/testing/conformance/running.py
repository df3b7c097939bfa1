"""Running the checks against one runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Union

from ...errors import UnsupportedFeatureError
from ...protocols import Runtime
from ...registry import new_runtime
from ...types import RuntimeConfig
from ...values import did_you_mean, shown
from . import (
    exceptions,
    externs,
    functions,
    host_functions,
    lifetimes,
    linking,
    memory,
    modules,
    properties,
    references,
    stopping,
    traps,
    waiting,
)
from .checking import Check, ConformanceError, Part, Report, Result, Subject

__all__ = ["PARTS", "check_runtime"]

RuntimeFactory = Union[str, Callable[[RuntimeConfig], Runtime]]

_PARTS: tuple[Part, ...] = (
    modules.PART,
    functions.PART,
    host_functions.PART,
    memory.PART,
    externs.PART,
    linking.PART,
    traps.PART,
    exceptions.PART,
    references.PART,
    lifetimes.PART,
    stopping.PART,
    waiting.PART,
    properties.PART,
)
PARTS: tuple[str, ...] = tuple(part.name for part in _PARTS)
"""The names of the parts, in the order in which they run. `properties` needs Hypothesis, and is skipped without it and
where something failed before."""


def check_runtime(factory: RuntimeFactory, *, parts: Iterable[str] | None = None) -> Report:
    """Check that a runtime keeps the contracts of `pywasmrt.protocols`, and return the report.

    `factory` is the name of a registered runtime, or a callable that takes a `RuntimeConfig` and returns a runtime; it
    is called for every part, and the runtimes are closed. `parts` are names of `PARTS`; None runs all. A check that
    needs features which the runtime does not have is skipped.

    Raises `ConformanceError`, which lists all that failed, if any check failed; `ValueError` for a part that does not
    exist; and whatever the factory raises.
    """
    if not isinstance(factory, str) and not callable(factory):
        raise TypeError(f"check_runtime takes a runtime's name or its factory, not {shown(factory)}")
    chosen = _chosen(parts)

    def make() -> Runtime:
        return new_runtime(factory) if isinstance(factory, str) else factory(RuntimeConfig())

    with make() as runtime:
        report = Report(runtime.info.name)
    for part in chosen:
        for check in part.checks:
            if part is properties.PART and report.failed:
                report.results.append(Result(part.name, check.name, "skipped", "plainer checks failed"))
                continue
            subject = Subject(make)
            try:
                report.results.append(_result(part, check, subject))
            finally:
                subject.close()
    if report.failed:
        raise ConformanceError(report)
    return report


def _chosen(parts: Iterable[str] | None) -> list[Part]:
    by_name = {part.name: part for part in _PARTS}
    for name in [] if parts is None else (parts := list(parts)):
        if name not in by_name:
            raise ValueError(f"there is no part {name!r}, only {', '.join(by_name)}{did_you_mean(name, by_name)}")
    return list(_PARTS) if parts is None else [by_name[name] for name in parts]


def _result(part: Part, check: Check, subject: Subject) -> Result:
    features = subject.runtime.info.features
    missing = sorted(check.needs - features)
    if missing:
        return Result(part.name, check.name, "skipped", f"needs {', '.join(missing)}")
    try:
        check.run(subject)
    except UnsupportedFeatureError as error:
        # A runtime may refuse what it does not claim to have.
        outcome = "failed" if error.feature is None or error.feature in features else "skipped"
        return Result(part.name, check.name, outcome, f"{error}", error)
    except ImportError as error:
        if error.name != "hypothesis":
            return Result(part.name, check.name, "failed", f"{error}", error)
        return Result(part.name, check.name, "skipped", "needs the package hypothesis")
    except Exception as error:
        told = f"{error}" if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return Result(part.name, check.name, "failed", told, error)
    return Result(part.name, check.name, "passed")
