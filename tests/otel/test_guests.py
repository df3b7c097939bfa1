"""The processors of examples/guests against the same edits made with protobuf."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers.plugin_guests import ABIS, GUESTS, builder, c_guest, config, go_guest, kept_folder

hypothesis = pytest.importorskip("hypothesis")
pytest.importorskip("opentelemetry.proto", reason="needs opentelemetry-proto")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue  # noqa: E402
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData  # noqa: E402
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData  # noqa: E402
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData  # noqa: E402

import pywasmrt  # noqa: E402
from pywasmrt.otel import TelemetryError, WasmProcessor, WasmReceiver  # noqa: E402
from pywasmrt.plugin import GuestStatusError  # noqa: E402

KEYS = ["a", "b", "service.name", "ä", "k" * 130]


@pytest.fixture
def name(runtime: pywasmrt.Runtime) -> str:
    return runtime.info.name


# Payloads


def any_values() -> st.SearchStrategy[AnyValue]:
    simple = st.one_of(
        st.text(max_size=8).map(lambda v: AnyValue(string_value=v)),
        st.booleans().map(lambda v: AnyValue(bool_value=v)),
        st.integers(-(2**63), 2**63 - 1).map(lambda v: AnyValue(int_value=v)),
        st.floats(allow_nan=False).map(lambda v: AnyValue(double_value=v)),
        st.binary(max_size=8).map(lambda v: AnyValue(bytes_value=v)),
        st.just(AnyValue()),
    )
    listed = st.lists(simple, max_size=3)

    def array(values: list[AnyValue]) -> AnyValue:
        made = AnyValue()
        made.array_value.values.extend(values)
        return made

    return st.one_of(simple, listed.map(array))


@st.composite
def attributes(draw: Any) -> list[KeyValue]:
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=4))
    return [KeyValue(key=key, value=draw(any_values())) for key in keys]


@st.composite
def traces(draw: Any) -> TracesData:
    data = TracesData()
    for _ in range(draw(st.integers(0, 2))):
        resource = data.resource_spans.add(schema_url=draw(st.sampled_from(["", "https://schema"])))
        resource.resource.attributes.extend(draw(attributes()))
        for _ in range(draw(st.integers(0, 2))):
            scope = resource.scope_spans.add()
            scope.scope.name = "scope"
            scope.scope.attributes.extend(draw(attributes()))
            for _ in range(draw(st.integers(0, 3))):
                span = scope.spans.add(name=draw(st.text(max_size=200)), trace_id=bytes(16), kind=2)
                span.attributes.extend(draw(attributes()))
                span.events.add(name="event").attributes.extend(draw(attributes()))
                span.status.message = "m"
    return data


@st.composite
def logs(draw: Any) -> LogsData:
    data = LogsData()
    scope = data.resource_logs.add().scope_logs.add()
    for _ in range(draw(st.integers(0, 4))):
        record = scope.log_records.add(severity_text="INFO", body=draw(any_values()))
        record.attributes.extend(draw(attributes()))
    return data


@st.composite
def metrics(draw: Any) -> MetricsData:
    data = MetricsData()
    scope = data.resource_metrics.add().scope_metrics.add()
    for kind in draw(
        st.lists(st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram", "summary"]), max_size=4)
    ):
        metric = scope.metrics.add(name=kind, unit="s")
        getattr(metric, kind).SetInParent()
        for _ in range(draw(st.integers(0, 3))):
            getattr(metric, kind).data_points.add(time_unix_nano=5).attributes.extend(draw(attributes()))
        metric.metadata.extend(draw(attributes()))
    return data


def items(data: Any) -> list[Any]:
    """What has attributes that the processor edits."""
    if isinstance(data, TracesData):
        return [span for r in data.resource_spans for s in r.scope_spans for span in s.spans]
    if isinstance(data, LogsData):
        return [record for r in data.resource_logs for s in r.scope_logs for record in s.log_records]
    kinds = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    return [
        point
        for r in data.resource_metrics
        for s in r.scope_metrics
        for metric in s.metrics
        for kind in kinds
        if metric.HasField(kind)
        for point in getattr(metric, kind).data_points
    ]


# Actions, by protobuf

VALUES = st.one_of(
    st.text(min_size=0, max_size=6),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.sampled_from([0.5, -1.25, 1e3, 2.5e-1]),
)


@st.composite
def actions(draw: Any) -> dict[str, Any]:
    action: dict[str, Any] = {"key": draw(st.sampled_from(KEYS))}
    action["action"] = draw(st.sampled_from(["insert", "update", "upsert", "delete"]))
    if action["action"] != "delete":
        if draw(st.booleans()):
            action["value"] = draw(VALUES)
        else:
            action["from_attribute"] = draw(st.sampled_from(KEYS))
    return action


def any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)


def apply(listed: list[dict[str, Any]], data: Any) -> Any:
    edited = type(data)()
    edited.CopyFrom(data)
    for item in items(edited):
        for action in listed:
            found = {each.key: each for each in item.attributes}
            if action["action"] == "delete":
                kept = [each for each in item.attributes if each.key != action["key"]]
                del item.attributes[:]
                item.attributes.extend(kept)
                continue
            if "value" in action:
                value = any_value(action["value"])
            elif action["from_attribute"] in found:
                value = found[action["from_attribute"]].value
            else:
                continue
            if action["key"] in found:
                if action["action"] != "insert":
                    made = AnyValue()
                    made.CopyFrom(value)
                    found[action["key"]].value.CopyFrom(made)
            elif action["action"] != "update":
                item.attributes.add(key=action["key"]).value.CopyFrom(value)
    return edited


@pytest.mark.parametrize("abi", ["experimental", "v1"])
def test_attributes_are_edited_as_protobuf_edits_them(abi: str, name: str) -> None:
    guest = c_guest("attributesprocessor", abi)

    @settings(max_examples=settings.default.max_examples // (2 if name == "wasmtime" else 5))
    @given(st.lists(actions(), min_size=1, max_size=4), st.lists(st.one_of(traces(), logs(), metrics()), max_size=3))
    def check(listed: list[dict[str, Any]], payloads: list[Any]) -> None:
        with WasmProcessor(
            config(guest, name, plugin_config={"actions": listed}, cache=kept_folder() / "compiled")
        ) as processor:
            for data in payloads:
                signal = type(data).__name__.removesuffix("Data").lower()
                result = getattr(processor, f"process_{signal}")(data.SerializeToString())
                assert type(data).FromString(result) == apply(listed, data)

    check()


def test_a_payload_that_needs_no_change_comes_back_as_it_was(name: str) -> None:
    data = TracesData()
    spans = data.resource_spans.add().scope_spans.add().spans
    for n in range(3):
        spans.add(name=f"span {n}").attributes.add(key="a").value.int_value = n
    listed = [{"key": "a", "value": 1, "action": "insert"}, {"key": "b", "value": 1, "action": "update"}]
    payload = data.SerializeToString() + b"\x0a\x00"
    with WasmProcessor(config(c_guest("attributesprocessor"), name, plugin_config={"actions": listed})) as processor:
        assert processor.process_traces(payload) == payload


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize(
    ("plugin_config", "reason"),
    [
        ({}, "actions is required: a list"),
        ({"actions": []}, "actions is required: a list of at least one action"),
        ({"actions": [{"action": "insert", "value": 1}]}, "an action needs a key"),
        ({"actions": [{"key": "a", "action": "hash"}]}, "an action is one of insert, update, upsert and delete"),
        ({"actions": [{"key": "a", "action": "insert"}]}, "an action needs either a value or from_attribute"),
        ({"actions": [{"key": "a", "action": "insert", "pattern": "x"}]}, "others are not supported here"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_told(abi: str, plugin_config: Any, reason: str) -> None:
    made = config(c_guest("attributesprocessor", abi), plugin_config=plugin_config, cache=kept_folder() / "compiled")
    if abi != "experimental":
        with pytest.raises(GuestStatusError, match=f"otelwasm_start answered INVALID_ARGUMENT: .*{reason}"):
            WasmProcessor(made)
        return
    with WasmProcessor(made) as processor:
        for _ in range(2):
            with pytest.raises(TelemetryError, match=reason) as caught:
                processor.process_traces(b"")
            assert caught.value.permanent


def test_a_malformed_payload_is_an_invalid_argument(name: str) -> None:
    listed = [{"key": "a", "value": 1, "action": "insert"}]
    with WasmProcessor(config(c_guest("attributesprocessor"), name, plugin_config={"actions": listed})) as processor:
        with pytest.raises(TelemetryError, match=r"the payload is malformed") as caught:
            processor.process_logs(b"\x0a\x05\x12")
        assert caught.value.permanent
        assert processor.process_logs(b"") == b""


@given(data=traces(), value=st.text(min_size=1, max_size=300))
@settings(max_examples=15)
def test_add_new_attribute(data: TracesData, value: str) -> None:
    plugin_config = {"attribute_name": 'ä "quoted"', "attribute_value": value}
    with WasmProcessor(config(c_guest("add_new_attribute"), plugin_config=plugin_config)) as processor:
        result = TracesData.FromString(processor.process_traces(data.SerializeToString()))
        assert processor.signals == ("traces",)
    assert result == apply([{"key": 'ä "quoted"', "action": "upsert", "value": value}], data)


def test_add_new_attribute_wants_both_keys(name: str) -> None:
    with (
        WasmProcessor(config(c_guest("add_new_attribute"), name, plugin_config={"attribute_name": "a"})) as processor,
        pytest.raises(TelemetryError, match=r"attribute_value is required"),
    ):
        processor.process_traces(b"")


def test_the_guest_that_the_documentation_shows() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "howto" / "plugins.md"
    (source,) = re.findall(r"^```c\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for abi in ABIS:
        with WasmProcessor(config(c_guest("limit", abi, source), plugin_config={"max_bytes": 10})) as processor:
            assert processor.process_logs(b"0123456789") == b"0123456789"
            with pytest.raises(TelemetryError, match=r"INVALID_ARGUMENT .*: the batch is too large"):
                processor.process_traces(b"0123456789a")


def test_guests_are_built_where_they_are_wanted(tmp_path: Path) -> None:
    """As a user does: from a folder of their own, with a path that begins there."""
    script = GUESTS / "build.py"
    if builder().c_compiler() is None:
        pytest.skip("needs the package ziglang, to build guests in C")
    before = sorted(GUESTS.iterdir())
    for names, code in ((["echo"], 0), (["eco"], 2)):
        done = subprocess.run(
            [sys.executable, str(script), "made", *names], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stderr
    assert "there is no guest eco; there are add_new_attribute, attributesprocessor, echo, " in done.stderr
    assert sorted(GUESTS.iterdir()) == before
    with WasmProcessor(config(tmp_path / "made" / "echo.wasm")) as processor:
        assert processor.process_traces(b"x") == b"x"


@pytest.mark.slow
def test_the_twin_in_go(name: str) -> None:
    guest = go_guest("echo_go")
    with WasmProcessor(config(guest, name, cache=kept_folder() / "compiled")) as processor:
        for size in (0, 1, 3000, 100_000, 4 << 20):
            payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
            assert processor.process_traces(payload) == payload
            assert processor.process_logs(payload) == payload


@pytest.mark.slow
def test_a_receiver_in_go_with_goroutines(name: str, caplog: pytest.LogCaptureFixture) -> None:
    guest = go_guest("ticker_go")
    came = threading.Event()
    names: list[str] = []

    class Consumer:
        def consume_traces(self, data: bytes) -> None:
            names.append(TracesData.FromString(data).resource_spans[0].scope_spans[0].spans[0].name)
            if len(names) == 5:
                came.set()

    made = config(guest, name, cache=kept_folder() / "compiled", plugin_config={"interval_ms": 5}, name="ticker")
    receiver = WasmReceiver(made, Consumer())  # type: ignore[arg-type]
    with caplog.at_level("INFO", "pywasmrt"):
        receiver.start()
        assert came.wait(30)
        receiver.shutdown()
    assert names[:5] == [f"tick {n}" for n in range(5)]
    assert receiver.error is None
    logged = [each for each in caplog.records if each.name == "pywasmrt.guest.ticker"]
    assert [each.getMessage() for each in logged] == ["ticking interval_ms=5", "stopped"]
    assert "interrupted" not in caplog.text
