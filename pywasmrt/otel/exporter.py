"""A guest that sends telemetry somewhere."""

from __future__ import annotations

from ..plugin.abi import Role
from .component import Payload, WasmComponent

__all__ = ["WasmExporter"]


class WasmExporter(WasmComponent):
    """A guest that sends telemetry somewhere.

    `config` is a `PluginConfig` or a mapping. `signals` are those the guest must handle; None takes those that it does.
    Raises as `WasmPlugin` does. May be used from any thread; a batch waits until an instance of the guest is free. A
    batch that fails raises `TelemetryError`, which tells whether it may be tried again, and is counted. It is a
    `Consumer`.

        config = {"path": "otlphttp.wasm", "plugin_config": {"endpoint": "http://127.0.0.1:4318"}}
        with WasmExporter(config) as exporter:
            exporter.push_traces(payload)
    """

    _role = Role.EXPORTER

    def push_traces(self, data: Payload) -> None:
        """Send one batch of traces. Raises `TelemetryError`."""
        self._call("traces", data)

    def push_metrics(self, data: Payload) -> None:
        """Send one batch of metrics. Raises `TelemetryError`."""
        self._call("metrics", data)

    def push_logs(self, data: Payload) -> None:
        """Send one batch of logs. Raises `TelemetryError`."""
        self._call("logs", data)

    consume_traces = push_traces
    consume_metrics = push_metrics
    consume_logs = push_logs
