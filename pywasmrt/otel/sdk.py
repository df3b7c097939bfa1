"""Exporters for the OpenTelemetry SDK that run guests (needs the extra `otel`).

`OTEL_TRACES_EXPORTER=wasm`, `OTEL_METRICS_EXPORTER=wasm` and `OTEL_LOGS_EXPORTER=wasm` choose them by their entry
points; without arguments they are set up by the variables that `pywasmrt.otel.environment` lists. A program or a
declarative configuration gives these arguments instead:

* `module`: the guest to export with: a path, a mapping as `PluginConfig.from_mapping` takes, or a `PluginConfig`.
* `config`: its `plugin_config`; `runtime`: the name of the runtime of guests that do not name one.
* `processors`: guests to process with before, in their order, each given like `module`.
* `endpoint`: the base URL of OTLP over HTTP, where there is no `module`.

A guest that fails is logged and counted (`exporter.counters`), never raised into the application. While guests run,
instrumentation is suppressed, so that nothing they do is traced in turn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ..errors import InvalidConfigurationError
from ..plugin.config import PluginConfig
from ..values import is_list, shown
from .chain import ExportChain
from .component import Counters
from .endpoints import url_of_signal
from .environment import Settings, settings_from_environment

__all__ = ["WasmLogRecordExporter", "WasmMetricExporter", "WasmSpanExporter"]

Guest = str | os.PathLike[str] | Mapping[str, Any] | PluginConfig


@contextmanager
def _suppressed() -> Iterator[None]:
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        detach(token)


def _guest(parameter: str, given: object, runtime: str | None, config: Mapping[str, Any] | None = None) -> PluginConfig:
    if isinstance(given, PluginConfig):
        made = given
    elif isinstance(given, Mapping):
        try:
            made = PluginConfig.from_mapping(given)
        except InvalidConfigurationError as error:
            raise InvalidConfigurationError(f"{parameter}: {error}") from None
    elif isinstance(given, (str, os.PathLike)):
        made = PluginConfig(given)
    else:
        raise InvalidConfigurationError(
            f"{parameter}: a guest is given as a path, a mapping or a PluginConfig, not as {shown(given)}"
        )
    if runtime is not None and not made.runtime_config:
        made = replace(made, runtime_config={"type": runtime})
    if config is not None:
        made = replace(made, plugin_config=config)
    return made


def _chain(
    signal: str,
    module: Guest | None,
    config: Mapping[str, Any] | None,
    runtime: str | None,
    processors: Sequence[Guest],
    endpoint: str | None,
) -> ExportChain:
    if not is_list(processors):
        raise InvalidConfigurationError(f"processors is a sequence of guests, such as a list, not {shown(processors)}")
    if runtime is not None and not isinstance(runtime, str):
        raise InvalidConfigurationError(f"runtime is the name of a runtime, a str, or None, not {shown(runtime)}")
    if config is not None and not isinstance(config, Mapping):
        raise InvalidConfigurationError(f"config is a mapping, the plugin_config of module, not {shown(config)}")
    if endpoint is not None:
        url_of_signal(endpoint, signal)  # before any guest is started
    if module is None and not processors:
        if config is not None or runtime is not None or endpoint is not None:
            raise InvalidConfigurationError("module or processors is required: the guests to export or process with")
        return ExportChain(signal, settings_from_environment(signal), _suppressed)
    last = None if module is None else _guest("module", module, runtime, config)
    guests = tuple(_guest("processors", each, runtime) for each in processors)
    return ExportChain(signal, Settings(guests, last, endpoint), _suppressed)


class _Exporter:
    """The common base of the three exporters."""

    _chain: ExportChain

    @property
    def counters(self) -> Counters:
        """How many items and batches succeeded and failed so far."""
        return self._chain.counters


class WasmSpanExporter(_Exporter, SpanExporter):
    """Exports spans through guests; see the module's documentation for the arguments."""

    def __init__(
        self,
        module: Guest | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        runtime: str | None = None,
        processors: Sequence[Guest] = (),
        endpoint: str | None = None,
    ) -> None:
        self._chain = _chain("traces", module, config, runtime, processors, endpoint)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand one batch to the guests."""
        done = self._chain.export(lambda: encode_spans(spans).SerializeToString())
        return SpanExportResult.SUCCESS if done else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the guests down. Idempotent."""
        self._chain.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept back here."""
        return True


class WasmMetricExporter(_Exporter, MetricExporter):
    """Exports metrics through guests; see the module's documentation for the arguments."""

    def __init__(
        self,
        module: Guest | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        runtime: str | None = None,
        processors: Sequence[Guest] = (),
        endpoint: str | None = None,
        preferred_temporality: Any = None,
        preferred_aggregation: Any = None,
    ) -> None:
        MetricExporter.__init__(self, preferred_temporality, preferred_aggregation)
        self._chain = _chain("metrics", module, config, runtime, processors, endpoint)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Hand one batch to the guests. Their own time limit holds, not `timeout_millis`."""
        done = self._chain.export(lambda: encode_metrics(metrics_data).SerializeToString())
        return MetricExportResult.SUCCESS if done else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the guests down. Idempotent."""
        self._chain.shutdown()

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Nothing is kept back here."""
        return True


class WasmLogRecordExporter(_Exporter, LogRecordExporter):
    """Exports log records through guests; see the module's documentation for the arguments."""

    def __init__(
        self,
        module: Guest | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        runtime: str | None = None,
        processors: Sequence[Guest] = (),
        endpoint: str | None = None,
    ) -> None:
        self._chain = _chain("logs", module, config, runtime, processors, endpoint)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Hand one batch to the guests."""
        done = self._chain.export(lambda: encode_logs(batch).SerializeToString())
        return LogRecordExportResult.SUCCESS if done else LogRecordExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the guests down. Idempotent."""
        self._chain.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept back here."""
        return True
