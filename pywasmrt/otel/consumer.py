"""What comes next after a component: anything that takes OTLP payloads."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["Consumer"]


@runtime_checkable
class Consumer(Protocol):
    """What takes telemetry: a processor or exporter chained behind, or a program's own object.

    Each method gets one OTLP payload (`TracesData`, `MetricsData` or `LogsData` in protobuf), whole. It may be called
    from any thread, though not from two at once by the same component. Raising tells that the batch was not taken; an
    attribute `permanent` of the exception that is false says that it may be offered again. An object that has not all
    three methods consumes the signals that it has.
    """

    def consume_traces(self, data: bytes) -> object:
        """Take one batch of traces."""

    def consume_metrics(self, data: bytes) -> object:
        """Take one batch of metrics."""

    def consume_logs(self, data: bytes) -> object:
        """Take one batch of logs."""
