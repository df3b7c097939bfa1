"""A guest that changes telemetry on its way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plugin.abi import Role
from ..plugin.config import PluginConfig
from .component import Payload, WasmComponent
from .consumer import Consumer, check_consumer

__all__ = ["WasmProcessor"]


class WasmProcessor(WasmComponent):
    """A guest that changes telemetry on its way: OTLP payloads in, OTLP payloads out.

    `config` is a `PluginConfig` or a mapping. `signals` are those the guest must handle (`"traces"`, `"metrics"`,
    `"logs"`); None takes those that it does. `next`, a `Consumer`, is what `consume_*` hands its results to, so that
    processors chain. Raises as `WasmPlugin` does.

        with WasmProcessor({"path": "attributes.wasm", "plugin_config": {...}}) as processor:
            changed = processor.process_traces(payload)

    May be used from any thread; a batch waits until an instance of the guest is free. A batch that fails raises
    `TelemetryError` and is counted; the next one is handled as if nothing had happened. If the guest sets no result,
    the result is the unchanged payload for a guest of version 1, and an empty payload for one of the experimental ABI.
    """

    _role = Role.PROCESSOR

    def __init__(
        self,
        config: PluginConfig | Mapping[str, Any],
        signals: Any = None,
        *,
        next: Consumer | None = None,
    ) -> None:
        if next is not None:
            check_consumer("next", next)
        super().__init__(config, signals)
        self._next = next

    def process_traces(self, data: Payload) -> bytes:
        """Return the traces that the guest makes of `data`. Raises `TelemetryError`."""
        result = self._call("traces", data).result_traces
        return self._unchanged(data) if result is None else result

    def process_metrics(self, data: Payload) -> bytes:
        """Return the metrics that the guest makes of `data`. Raises `TelemetryError`."""
        result = self._call("metrics", data).result_metrics
        return self._unchanged(data) if result is None else result

    def process_logs(self, data: Payload) -> bytes:
        """Return the logs that the guest makes of `data`. Raises `TelemetryError`."""
        result = self._call("logs", data).result_logs
        return self._unchanged(data) if result is None else result

    def _unchanged(self, data: Payload) -> bytes:
        return bytes(data) if self.plugin.dialect.passes_through else b""

    def consume_traces(self, data: Payload) -> None:
        """Process one batch and hand the result to `next`, unless it is empty."""
        self._pass_on("traces", self.process_traces(data))

    def consume_metrics(self, data: Payload) -> None:
        """Process one batch and hand the result to `next`, unless it is empty."""
        self._pass_on("metrics", self.process_metrics(data))

    def consume_logs(self, data: Payload) -> None:
        """Process one batch and hand the result to `next`, unless it is empty."""
        self._pass_on("logs", self.process_logs(data))

    def _pass_on(self, signal: str, data: bytes) -> None:
        if self._next is None:
            raise TypeError(f"the processor {self.name} has no consumer behind it: make it with next=...")
        if data:
            getattr(self._next, f"consume_{signal}")(data)
