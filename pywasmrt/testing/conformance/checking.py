"""Checks, the subject that each is given, and their results."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...protocols import ModuleInstance, Runtime
from ...types import FunctionType, ValueType
from ...wasm.module import Module

__all__ = [
    "Check",
    "ConformanceError",
    "Part",
    "Report",
    "Result",
    "Subject",
    "equal",
    "expect",
    "one_to_one",
    "require",
    "same_bits",
]


@dataclass(frozen=True)
class Check:
    """One thing that must hold. `needs` are the features without which it is skipped."""

    name: str
    run: Callable[[Subject], None]
    needs: frozenset[str] = frozenset()


class Part:
    """The checks of one subject, in order. It is a decorator: `@PART` or `@PART.needs("simd")`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checks: list[Check] = []

    def __call__(self, run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        return self.needs()(run)

    def needs(self, *features: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
        """The decorator for a check that needs features."""

        def add(run: Callable[[Subject], None]) -> Callable[[Subject], None]:
            self.checks.append(Check(run.__name__, run, frozenset(features)))
            return run

        return add


class Subject:
    """What a check is given: a runtime of its part, and the means to make more."""

    def __init__(self, make: Callable[[], Runtime]) -> None:
        self._make = make
        self._made: list[Runtime] = []
        self.runtime = self.fresh()

    def fresh(self) -> Runtime:
        """A runtime that the check may close; it is closed at the end in any case."""
        runtime = self._make()
        self._made.append(runtime)
        return runtime

    def instance(self, guest: Module, *imports: Any, **options: Any) -> ModuleInstance:
        """An instance of the guest."""
        return self.runtime.instantiate(self.runtime.compile(guest.encode()), *imports, **options)

    def close(self) -> None:
        """Close every runtime that was made."""
        for runtime in self._made:
            runtime.close()


@dataclass(frozen=True)
class Result:
    """The result of one check: `outcome` is passed, failed or skipped; `reason` says why, where it is not passed."""

    part: str
    check: str
    outcome: str
    reason: str = ""
    error: BaseException | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return (
            f"{self.outcome:7} {self.part}: {self.check.replace('_', ' ')}{f': {self.reason}' if self.reason else ''}"
        )


@dataclass
class Report:
    """The results of all checks, of one runtime."""

    runtime: str
    results: list[Result] = field(default_factory=list)

    def _with(self, outcome: str) -> list[Result]:
        return [result for result in self.results if result.outcome == outcome]

    @property
    def passed(self) -> list[Result]:
        """The checks that passed."""
        return self._with("passed")

    @property
    def failed(self) -> list[Result]:
        """The checks that failed."""
        return self._with("failed")

    @property
    def skipped(self) -> list[Result]:
        """The checks that were skipped."""
        return self._with("skipped")

    def __str__(self) -> str:
        told = "".join(f"\n  {result}" for result in [*self.failed, *self.skipped])
        return (
            f"{self.runtime}: {len(self.passed)} checks passed, {len(self.failed)} failed, "
            f"{len(self.skipped)} skipped{told}"
        )


class ConformanceError(AssertionError):
    """A runtime does not keep the contracts; `report` has every result."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


# The assertions of the checks. They raise AssertionError themselves, since `python -O` takes assert statements away.


def require(condition: object, what: str) -> None:
    """Fail with `what` unless the condition holds."""
    if not condition:
        raise AssertionError(what)


def equal(found: object, wanted: object, what: str) -> None:
    """Fail unless the two are equal and of one class."""
    if found != wanted or found.__class__ is not wanted.__class__:
        raise AssertionError(f"{what} gave {found!r} instead of {wanted!r}")


def expect(
    error: type[BaseException] | tuple[type[BaseException], ...], what: str, call: Callable[..., Any], *args: Any
) -> Any:
    """Fail unless the call with these arguments raises such an error, which is returned."""
    names = " or ".join(each.__name__ for each in (error if isinstance(error, tuple) else (error,)))
    try:
        returned = call(*args)
    except error as found:
        return found
    except BaseException as other:
        raise AssertionError(f"{what} raised {other!r} instead of {names}") from other
    raise AssertionError(f"{what} returned {returned!r} instead of raising {names}")


def same_bits(found: object, wanted: float, what: str) -> None:
    """Fail unless a float has exactly these bits."""
    require(isinstance(found, float), f"{what} gave {found!r}, which is no float")
    if struct.pack("<d", found) != struct.pack("<d", wanted):
        raise AssertionError(f"{what} gave {found!r} ({struct.pack('>d', found).hex()}) instead of {wanted!r}")


def one_to_one(*types: ValueType) -> FunctionType:
    """The signature that takes these types and returns them."""
    return FunctionType(types, types)
