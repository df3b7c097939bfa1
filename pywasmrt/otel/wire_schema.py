"""The OTLP messages, as far as a validator of their wire format must know them.

Source: the `opentelemetry/proto` definitions, version 1 of trace, metrics, logs, resource and common. A field that is
not listed is valid in any wire format (numbers, bytes, unknown fields). `string` must be UTF-8; `fixed64*` and
`varint*` may come packed; other words name messages.
"""

from __future__ import annotations

__all__ = ["FIELDS", "KINDS", "ROOTS", "table"]

_MESSAGES = {
    "TracesData": "1 ResourceSpans",
    "ResourceSpans": "1 Resource, 2 ScopeSpans, 3 string",
    "ScopeSpans": "1 Scope, 2 Span, 3 string",
    "Span": "3 string, 5 string, 9 KeyValue, 11 Event, 13 Link, 15 Status",
    "Event": "2 string, 3 KeyValue",
    "Link": "3 string, 4 KeyValue",
    "Status": "2 string",
    "MetricsData": "1 ResourceMetrics",
    "ResourceMetrics": "1 Resource, 2 ScopeMetrics, 3 string",
    "ScopeMetrics": "1 Scope, 2 Metric, 3 string",
    "Metric": "1 string, 2 string, 3 string, 5 Numbers, 7 Numbers, 9 Histogram, 10 Exponential, 11 Summary,"
    " 12 KeyValue",
    "Numbers": "1 NumberPoint",
    "NumberPoint": "5 Exemplar, 7 KeyValue",
    "Histogram": "1 HistogramPoint",
    "HistogramPoint": "6 fixed64*, 7 fixed64*, 8 Exemplar, 9 KeyValue",
    "Exponential": "1 ExponentialPoint",
    "ExponentialPoint": "1 KeyValue, 8 Buckets, 9 Buckets, 11 Exemplar",
    "Buckets": "2 varint*",
    "Summary": "1 SummaryPoint",
    "SummaryPoint": "6 Quantile, 7 KeyValue",
    "Quantile": "",
    "Exemplar": "7 KeyValue",
    "LogsData": "1 ResourceLogs",
    "ResourceLogs": "1 Resource, 2 ScopeLogs, 3 string",
    "ScopeLogs": "1 Scope, 2 LogRecord, 3 string",
    "LogRecord": "3 string, 5 AnyValue, 6 KeyValue, 12 string",
    "Resource": "1 KeyValue, 3 EntityRef",
    "EntityRef": "1 string, 2 string, 3 string, 4 string",
    "Scope": "1 string, 2 string, 3 KeyValue",
    "KeyValue": "1 string, 2 AnyValue",
    "AnyValue": "1 string, 5 ArrayValue, 6 KeyValueList",
    "ArrayValue": "1 AnyValue",
    "KeyValueList": "1 KeyValue",
}

FIELDS = 16
"""Fields numbered below this are in the table; no field with more to check than its wire format is beyond."""

KINDS = {"any": 0, "string": 1, "fixed64*": 2, "varint*": 3, "message": 4}

_INDEX = {name: n for n, name in enumerate(_MESSAGES)}
ROOTS = {"traces": _INDEX["TracesData"], "metrics": _INDEX["MetricsData"], "logs": _INDEX["LogsData"]}


def table() -> bytes:
    """For each message and field number two bytes: the kind, and for a message which one."""
    rows = bytearray(len(_MESSAGES) * FIELDS * 2)
    for name, listed in _MESSAGES.items():
        for entry in filter(None, listed.split(", ")):
            number, kind = entry.split()
            at = (_INDEX[name] * FIELDS + int(number)) * 2
            if kind in KINDS:
                rows[at] = KINDS[kind]
            else:
                rows[at : at + 2] = bytes((KINDS["message"], _INDEX[kind]))
    return bytes(rows)
