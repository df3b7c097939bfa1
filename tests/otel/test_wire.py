"""The wire tools: the C twin against the Python one, both against protobuf's own parser, on hostile bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from pywasmrt.otel import wire, wire_python  # noqa: E402
from pywasmrt.otel.wire_schema import ROOTS, table  # noqa: E402

TWINS = [pytest.param(wire_python, id="python")]
try:
    from pywasmrt._shim import _wire
except ImportError:
    pass
else:
    TWINS.append(pytest.param(_wire, id="c"))

needs_c = pytest.mark.skipif(len(TWINS) < 2, reason="the native parts are not built")
each_twin = pytest.mark.parametrize("twin", TWINS)


# Payloads


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def other_fields() -> st.SearchStrategy[bytes]:
    """Fields that the tools must carry along: known ones, unknown ones, groups."""
    number = st.integers(3, 5000)
    return st.one_of(
        st.builds(lambda n, v: varint(n << 3) + varint(v), number, st.integers(0, 2**64 - 1)),
        st.builds(lambda n, v: varint(n << 3 | 1) + v, number, st.binary(min_size=8, max_size=8)),
        st.builds(lambda n, v: varint(n << 3 | 5) + v, number, st.binary(min_size=4, max_size=4)),
        st.builds(field, number, st.binary(max_size=20)),
        st.builds(lambda n, v: varint(n << 3 | 3) + field(1, v) + varint(n << 3 | 4), number, st.binary(max_size=8)),
        st.builds(field, st.just(1), st.binary(max_size=5)),
    )


def holders(number: int, inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    framed = inner.map(lambda content: field(number, content))
    return st.lists(st.one_of(framed, framed, other_fields()), max_size=4).map(b"".join)


ITEMS = st.binary(max_size=30)
SCOPES = holders(2, ITEMS)
RESOURCES = holders(2, SCOPES)
PAYLOADS = st.lists(RESOURCES.map(lambda content: field(1, content)), max_size=3).map(b"".join)


@st.composite
def hostile(draw: Any) -> bytes:
    """Bytes that begin well and may end badly."""
    data = bytearray(draw(st.one_of(PAYLOADS, st.binary(max_size=60))))
    for _ in range(draw(st.integers(0, 3))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        action = draw(st.sampled_from(["set", "cut", "insert", "end"]))
        if action == "set":
            data[at] = draw(st.integers(0, 255))
        elif action == "cut":
            del data[at : at + draw(st.integers(1, 4))]
        elif action == "insert":
            data[at:at] = draw(st.sampled_from([b"\xff" * 11, b"\x0b", b"\x0c", b"\x00", b"\x0a\xff\xff\xff\xff\x0f"]))
        else:
            del data[at:]
    return bytes(data)


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except ValueError as error:
        return str(error)


@needs_c
@given(hostile(), st.integers(1, 5))
def test_the_twins_agree(data: bytes, max_items: int) -> None:
    assert outcome(_wire.count, data) == outcome(wire_python.count, data)
    assert outcome(_wire.count_data_points, data) == outcome(wire_python.count_data_points, data)
    assert outcome(_wire.split, data, max_items) == outcome(wire_python.split, data, max_items)
    for root in ROOTS.values():
        assert outcome(_wire.validate, data, table(), root) == outcome(wire_python.validate, data, table(), root)


# What the tools do


def structure(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Each item with the other fields of its scope and resource."""
    found = []
    for number, kind, _, start, end in wire_python.fields(data, 0, len(data)):
        if number == 1 and kind == 2:
            resource, scopes = pick(data[start:end])
            for scope in scopes:
                rest, items = pick(scope)
                found += [(resource, rest, item) for item in items]
    return found


def pick(data: bytes) -> tuple[bytes, list[bytes]]:
    rest, inner = b"", []
    for number, kind, begin, start, end in wire_python.fields(data, 0, len(data)):
        if number == 2 and kind == 2:
            inner.append(data[start:end])
        else:
            rest += data[begin:end]
    return rest, inner


@each_twin
@given(data=PAYLOADS, max_items=st.integers(1, 5))
def test_split_keeps_every_item_with_its_resource_and_scope(twin: Any, data: bytes, max_items: int) -> None:
    whole = structure(data)
    assert twin.count(data) == len(whole)
    pieces = twin.split(data, max_items)
    assert [item for piece in pieces for item in structure(piece)] == whole
    counts = [twin.count(piece) for piece in pieces]
    assert sum(counts) == len(whole)
    assert all(0 < count <= max_items for count in counts[:-1])
    assert counts[-1] <= max_items
    assert counts[:-1] == [max_items] * (len(counts) - 1)


@given(st.lists(PAYLOADS, max_size=4))
def test_concatenation_counts_and_holds_all(payloads: list[bytes]) -> None:
    whole = wire.concatenate(payloads)
    assert structure(whole) == [item for payload in payloads for item in structure(payload)]
    assert wire.count(whole) == sum(map(wire.count, payloads))


def test_concatenation_refuses_what_would_swallow_its_successor() -> None:
    with pytest.raises(ValueError, match=r"^payload 1: malformed OTLP at byte 1: a length reaches beyond the end$"):
        wire.concatenate([b"", b"\x0a\x05", field(1, b"")])


def test_a_small_payload_is_not_split() -> None:
    data = field(1, field(2, field(2, b"") * 3))
    assert wire.split(data, 3) == [data]
    assert wire.split(bytearray(data), 2) == [field(1, field(2, field(2, b"") * 2)), field(1, field(2, field(2, b"")))]
    assert wire.split(b"", 1) == [b""]


def test_data_points_are_counted_under_each_kind_of_metric() -> None:
    metrics = b"".join(field(2, field(kind, field(1, b"") * 2)) for kind in (5, 7, 9, 10, 11, 6))
    data = field(1, field(2, metrics))
    assert wire.count(data) == 6
    assert wire.count_data_points(memoryview(data)) == 10


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a", "malformed OTLP at byte 1: the data ends within a number"),
        (b"\x0a\x02\x00", "malformed OTLP at byte 1: a length reaches beyond the end"),
        (b"\x02\x00", "malformed OTLP at byte 0: a field has no valid number"),
        (b"\x0f", "malformed OTLP at byte 1: a wire type that does not exist"),
        (b"\x0c", "malformed OTLP at byte 1: a group ends that did not begin"),
        (b"\x0b\x14", "malformed OTLP at byte 1: a group ends that did not begin"),
        (b"\x08" + b"\xff" * 10, "malformed OTLP at byte 1: a number has more than 64 bits"),
        (b"\x09" + bytes(7), "malformed OTLP at byte 1: the data ends within a number"),
        (b"\x0b" * 102, "malformed OTLP at byte 101: nested too deeply"),
    ],
)
def test_what_is_malformed_is_told_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        wire.count(data)


@pytest.mark.parametrize(
    "call", [lambda: wire.count("text"), lambda: wire.split(3, 1), lambda: wire.validate("logs", None)]
)
def test_only_bytes_are_payloads(call: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"^a payload is bytes, not "):
        call()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_items is an int of 1 or more, not 0"):
        wire.split(b"", 0)
    with pytest.raises(ValueError, match=r"a signal is one of traces, metrics, logs, not 'profiles'"):
        wire.validate("profiles", b"")


# Against protobuf


@pytest.fixture(scope="module")
def messages() -> dict[str, Any]:
    pytest.importorskip("opentelemetry.proto", reason="needs opentelemetry-proto")
    from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    return {"traces": TracesData, "metrics": MetricsData, "logs": LogsData}


def accepted(message: Any, data: bytes) -> bool:
    from google.protobuf.message import DecodeError

    try:
        message.FromString(data)
    except DecodeError:
        return False
    return True


@st.composite
def shaped(draw: Any, rows: bytes = table()) -> tuple[str, bytes]:
    """Bytes along the schema: every field may be right, of another wire type, or of any content."""
    signal = draw(st.sampled_from(sorted(ROOTS)))

    def message(index: int, depth: int) -> bytes:
        out = b""
        for _ in range(draw(st.integers(0, 3))):
            number = draw(st.integers(1, 16))
            row = (index * 16 + number) * 2
            kind = rows[row] if number < 16 else 0
            if kind == 4 and depth and draw(st.booleans()):
                content = message(rows[row + 1], depth - 1)
            elif kind == 1:
                content = draw(st.one_of(st.text(max_size=5).map(str.encode), st.binary(max_size=5)))
            else:
                content = draw(st.one_of(st.binary(max_size=10), st.just(bytes(8)), st.just(b"\x80\x01")))
            out += field(number, content) if draw(st.integers(0, 5)) else draw(other_fields())
        return out

    return signal, message(ROOTS[signal], 6)


@each_twin
@given(case=shaped())
def test_validation_agrees_with_protobuf(twin: Any, messages: dict[str, Any], case: tuple[str, bytes]) -> None:
    signal, data = case
    ours = outcome(twin.validate, data, table(), ROOTS[signal]) is None
    assert ours == accepted(messages[signal], data), data.hex()


@each_twin
@given(data=hostile(), signal=st.sampled_from(sorted(ROOTS)))
def test_validation_agrees_with_protobuf_on_hostile_bytes(
    twin: Any, messages: dict[str, Any], data: bytes, signal: str
) -> None:
    ours = outcome(twin.validate, data, table(), ROOTS[signal]) is None
    assert ours == accepted(messages[signal], data), data.hex()


@each_twin
@pytest.mark.parametrize("depth", [30, 60, 90, 94, 95, 96, 97, 98, 99, 100, 101, 120])
def test_nesting_is_bounded_where_protobuf_bounds_it(twin: Any, messages: dict[str, Any], depth: int) -> None:
    value = b""
    for _ in range(depth):
        value = field(5, field(1, value))  # an array in an array
    data = field(1, field(2, field(2, field(5, value))))
    assert (outcome(twin.validate, data, table(), ROOTS["logs"]) is None) == accepted(messages["logs"], data)
    groups = b"\x0b" * depth + b"\x0c" * depth
    assert (outcome(twin.validate, groups, table(), ROOTS["logs"]) is None) == accepted(messages["logs"], groups)


@pytest.mark.parametrize("text", ["", "ä€😀", "\x00"])
def test_texts_in_utf_8_are_valid(text: str) -> None:
    wire.validate("traces", field(1, field(3, text.encode())))


@each_twin
@given(text=st.binary(max_size=6))
def test_the_check_of_utf_8_is_pythons(twin: Any, text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        valid = False
    else:
        valid = True
    data = field(1, field(3, text))
    assert (outcome(twin.validate, data, table(), ROOTS["traces"]) is None) == valid
