"""What one call hands to the guest and takes back from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

__all__ = ["Stack"]

ResultCallback = Optional[Callable[[bytes], object]]


class Stack:
    """The state of one call into a plugin; a new one for each call, a receiver's lives as long as it runs.

    `current_*` is the OTLP payload that the guest is given, any bytes-like object; it must not change during the call.
    `result_*` is what the guest set, or None; for a receiver, whose callbacks get each result, it stays None.
    `on_result_*` is called with each result as it is set, on the thread that runs the guest; what it raises comes out
    of the call. `status_reason` is the reason that the guest gave last. `requested_shutdown` may be set from any
    thread.
    """

    __slots__ = (
        "current_logs",
        "current_metrics",
        "current_traces",
        "on_result_logs",
        "on_result_metrics",
        "on_result_traces",
        "requested_shutdown",
        "result_logs",
        "result_metrics",
        "result_traces",
        "status_reason",
    )

    def __init__(
        self,
        *,
        current_traces: bytes | bytearray | memoryview = b"",
        current_metrics: bytes | bytearray | memoryview = b"",
        current_logs: bytes | bytearray | memoryview = b"",
        on_result_traces: ResultCallback = None,
        on_result_metrics: ResultCallback = None,
        on_result_logs: ResultCallback = None,
    ) -> None:
        self.current_traces = current_traces
        self.current_metrics = current_metrics
        self.current_logs = current_logs
        self.on_result_traces = on_result_traces
        self.on_result_metrics = on_result_metrics
        self.on_result_logs = on_result_logs
        self.result_traces: bytes | None = None
        self.result_metrics: bytes | None = None
        self.result_logs: bytes | None = None
        self.status_reason = ""
        self.requested_shutdown = False

    def __repr__(self) -> str:
        parts = []
        for signal in ("traces", "metrics", "logs"):
            current, result = getattr(self, f"current_{signal}"), getattr(self, f"result_{signal}")
            if len(current) or result is not None:
                parts.append(f"{signal}: {len(current)} in, {'nothing' if result is None else len(result)} out")
        return f"<Stack {'; '.join(parts) or 'empty'}>"
