"""Do all runtimes agree? Runs the same modules, calls and host functions on each and compares everything observable."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from ..protocols import Runtime
from ..registry import list_runtimes, new_runtime
from ..types import FunctionType, RuntimeInfo
from ..values import shown
from ..wasm.module import Module
from .differences import KNOWN_DIFFERENCES, Difference
from .edge_values import sample_arguments
from .observation import Call, Observation, observe
from .reproducing import call_script

__all__ = ["DifferentialReport", "Disagreement", "common_features", "differential", "opened"]

RuntimeLike = Union[str, Runtime]
Guest = Union[Module, bytes, str]


class Disagreement(AssertionError):
    """Two runtimes differ. The message has what each saw, the module's text, and a program that shows it.

    `first` and `second` are the observations, `module` is the guest.
    """

    def __init__(self, message: str, first: Observation, second: Observation, module: Guest) -> None:
        super().__init__(message)
        self.first = first
        self.second = second
        self.module = module


@dataclass
class DifferentialReport:
    """What was compared: how many modules and calls, how many ended in traps, and what was left out on which runtime
    for want of a feature.
    """

    runtimes: tuple[str, ...]
    modules: int = 0
    calls: int = 0
    traps: int = 0
    unsupported: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def opened(runtimes: Iterable[RuntimeLike] | RuntimeLike | None) -> Iterator[list[Runtime]]:
    """The runtimes named or given, or all that are available; those made here are closed at the end."""
    if runtimes is None:
        runtimes = [info.name for info in list_runtimes() if info.available]
    elif isinstance(runtimes, (str, bytes, bytearray, memoryview)) or not isinstance(runtimes, Iterable):
        runtimes = [runtimes]  # type: ignore[list-item]  # refused below
    runtimes = list(runtimes)
    for each in runtimes:
        # A wrapper around a runtime serves as well, so this asks for what the kit needs first.
        if not isinstance(each, str) and not isinstance(getattr(each, "info", None), RuntimeInfo):
            raise TypeError(f"runtimes are runtimes or their names, not {shown(each)}")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(new_runtime(each)) if isinstance(each, str) else each for each in runtimes]


def common_features(runtimes: Iterable[RuntimeLike] | None = None) -> frozenset[str]:
    """The features that all of these runtimes have; by default, all that are available here."""
    with opened(runtimes) as found:
        return frozenset.intersection(*(runtime.info.features for runtime in found)) if found else frozenset()


def differential(
    modules: Guest | Iterable[Guest] | Any,
    runtimes: Iterable[RuntimeLike] | None = None,
    *,
    differences: Sequence[Difference] = KNOWN_DIFFERENCES,
    calls: int = 2,
    settings: Any = None,
) -> DifferentialReport:
    """Check that runtimes give the same results, traps, host calls, memories, globals and tables.

    `modules` is a module (`Module`, binary, or text), several, or a Hypothesis strategy of them, such as
    `strategies.modules(common_features())`. Each exported function is called `calls` times, with drawn arguments where
    there is a strategy, with fixed ones at the edges otherwise; imports are made for it. Guests must end by themselves.
    `runtimes` are names or runtimes; None takes all that are available. `settings` are Hypothesis's.

    Raises `Disagreement` for the first difference that is not in `differences`, shrunk where there is a strategy; and
    `ValueError` where fewer than two runtimes are given.

        differential(strategies.modules(common_features()), ["wasmtime", "wasm3"])
    """
    __tracebackhide__ = True
    with opened(runtimes) as found:
        if len(found) < 2:
            raise ValueError(f"there must be two runtimes to compare, not {[each.info.name for each in found]}")
        report = DifferentialReport(tuple(runtime.info.name for runtime in found))
        allowed = [each for each in differences if each.applies(report.runtimes)]
        if hasattr(modules, "example") and hasattr(modules, "map"):
            _drawn(modules, found, allowed, calls, settings, report)
        else:
            several = [modules] if isinstance(modules, (Module, bytes, str)) else modules
            if not isinstance(several, Iterable) or isinstance(several, (bytearray, memoryview)):
                raise TypeError(f"modules are modules, or a strategy that draws them, not {shown(several)}")
            for module in several:
                if not isinstance(module, (Module, bytes, str)):
                    raise TypeError(f"a module is a Module, or bytes, or text; not {shown(module)}")
                _compare(module, found, allowed, report, lambda functions: _fixed(functions, calls))
        return report


def _fixed(functions: Sequence[tuple[str, FunctionType]], calls: int) -> list[Call]:
    return [(name, sample_arguments(type, (name, n))) for n in range(calls) for name, type in functions]


def _drawn(
    strategy: Any,
    runtimes: Sequence[Runtime],
    differences: Sequence[Difference],
    calls: int,
    settings: Any,
    report: DifferentialReport,
) -> None:
    from .property_run import run_property
    from .strategies import arguments

    def example(draw: Callable[[Any], Any]) -> None:
        def choose(functions: Sequence[tuple[str, FunctionType]]) -> list[Call]:
            return [(name, draw(arguments(type))) for _ in range(calls) for name, type in functions]

        _compare(draw(strategy), runtimes, differences, report, choose)

    __tracebackhide__ = True
    run_property(example, settings, Disagreement)


def _compare(
    module: Guest,
    runtimes: Sequence[Runtime],
    differences: Sequence[Difference],
    report: DifferentialReport,
    choose: Callable[[Sequence[tuple[str, FunctionType]]], Sequence[Call]],
) -> None:
    binary = _binary(module, runtimes)
    made: list[Call] | None = None

    def once(functions: Sequence[tuple[str, FunctionType]]) -> Sequence[Call]:
        """The same calls for every runtime. They are chosen when the first runtime gets this far."""
        nonlocal made
        if made is None:
            made = list(choose(functions))
        return made

    report.modules += 1
    seen: list[Observation] = []
    for runtime in runtimes:
        observation = observe(runtime, binary, once, differences)
        if observation.unsupported is not None:
            report.unsupported[observation.runtime] = report.unsupported.get(observation.runtime, 0) + 1
            continue
        seen.append(observation)
        if observation.steps != seen[0].steps:
            raise Disagreement(_told(module, binary, seen[0], observation, made or []), seen[0], observation, module)
    report.calls += len(made or [])
    report.traps += seen[0].traps if seen else 0


def _binary(module: Guest, runtimes: Sequence[Runtime]) -> bytes:
    if isinstance(module, Module):
        return module.encode()
    if isinstance(module, str):
        from .text import to_binary

        return to_binary(module)
    return bytes(module)


def _told(module: Guest, binary: bytes, first: Observation, second: Observation, calls: Sequence[Call]) -> str:
    n = next(
        (n for n, (a, b) in enumerate(zip(first.steps, second.steps, strict=False)) if a != b),
        min(len(first.steps), len(second.steps)),
    )
    lines = [f"{first.runtime} and {second.runtime} differ at step {n + 1}:"]
    for each in (first, second):
        step, outcome = each.steps[n] if n < len(each.steps) else ("the end", "nothing more")
        lines.append(f"  {each.runtime}: {step}: {_shortened(outcome)}")
    text = module if isinstance(module, str) else module.wat() if isinstance(module, Module) else None
    lines += ["", call_script([first.runtime, second.runtime], binary, text, calls)]
    return "\n".join(lines)


def _shortened(outcome: object) -> str:
    text = repr(outcome)
    return text if len(text) < 400 else text[:200] + " ... " + text[-200:]
