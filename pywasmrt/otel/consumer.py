"""What comes next after a component: anything that takes OTLP payloads."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ..plugin.abi import SIGNALS
from ..values import shown

__all__ = ["Consumer", "check_consumer"]


@runtime_checkable
class Consumer(Protocol):
    """An object that takes telemetry: a processor or exporter that comes next, or a program's own object.

    Each method gets one OTLP payload (`TracesData`, `MetricsData` or `LogsData` in protobuf), whole. It may be called
    from any thread, though not from two at once by the same component. It raises if the batch was not
    taken; if the exception has an attribute `permanent` that is false, the batch may be offered again. An object with
    only some of the three methods consumes only those signals.
    """

    def consume_traces(self, data: bytes) -> object:
        """Take one batch of traces."""

    def consume_metrics(self, data: bytes) -> object:
        """Take one batch of metrics."""

    def consume_logs(self, data: bytes) -> object:
        """Take one batch of logs."""


def check_consumer(parameter: str, value: object) -> None:
    """Raise `TypeError` for an object that takes no signal at all."""
    names = [f"consume_{signal}" for signal in SIGNALS]
    if not any(callable(getattr(value, name, None)) for name in names):
        raise TypeError(f"{parameter} is a Consumer, with {', '.join(names)} or some of them, not {shown(value)}")
