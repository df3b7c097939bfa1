"""OpenTelemetry components that are WebAssembly guests: processors, exporters and receivers of otelwasm, on any
runtime.

`WasmProcessor`, `WasmExporter` and `WasmReceiver` handle OTLP payloads as opaque bytes and need no protobuf. The
exporters for the OpenTelemetry SDK are in `pywasmrt.otel.sdk` (the extra `otel`), the tools for payloads in
`pywasmrt.otel.wire`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..values import late

if TYPE_CHECKING:
    from .component import Counters
    from .consumer import Consumer
    from .errors import TelemetryError
    from .exporter import WasmExporter
    from .processor import WasmProcessor
    from .receiver import WasmReceiver

__all__ = ["Consumer", "Counters", "TelemetryError", "WasmExporter", "WasmProcessor", "WasmReceiver"]

_HOME = {
    "Consumer": "consumer",
    "Counters": "component",
    "TelemetryError": "errors",
    "WasmExporter": "exporter",
    "WasmProcessor": "processor",
    "WasmReceiver": "receiver",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(late(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
