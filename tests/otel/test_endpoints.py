"""The URLs of OTLP endpoints: all of one is used, or it is refused."""

from __future__ import annotations

import base64
import re
import traceback
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pywasmrt import InvalidConfigurationError
from pywasmrt.otel.endpoints import Url, url_of_signal
from pywasmrt.otel.environment import otlp_sender
from pywasmrt.otel.http import OtlpHttpSender

PIECES = st.sampled_from([
    "http://", "https://", "h", "h.example", "\u00e4.example", "[::1]", "127.0.0.1", ":", "80", "65536", "/", "/v1",
    "?", "a=b", "#", "@", "user:word", "%41", "%zz", "%00", "\\", "*", ",", ";", '"', "<h>", " ", "\n", "\t", "\0",
    "..", "-", "\u00e9", "\ud800", "\u200b", "a" * 64, "a." * 130, "[", "]", "_", "xn--", "\uff48",
])  # fmt: skip
URL = re.compile(r"(https?)://(?:([^@/?#]*)@)?(\[[^]]*\]|[^:/?#]*)(?::([0-9]*))?(/[^?#]*)?(\?[^#]*)?")


@given(
    text=st.lists(PIECES, max_size=7).map("".join) | st.lists(PIECES, max_size=6).map("".join).map("http://".__add__)
)
@example("http://h#f")
@example("http://u\n:p@h")
@example("http://x[::1]y:80")
@example("http://h?")
def test_nothing_of_a_url_that_is_taken_is_left_out(text: str) -> None:
    try:
        url = Url(text)
    except InvalidConfigurationError:
        return
    parts = URL.fullmatch(text)
    assert parts is not None
    scheme, user, host, port, path, query = parts.groups()
    assert url.secure == (scheme == "https")
    assert url._host == host.strip("[]").lower()
    assert all(0 < len(label) < 64 for label in url._host.encode("idna").decode().removesuffix(".").split("."))
    assert url._port == (int(port) if port else None)
    assert url.path == (path or "/") + (query or "")
    assert bool(url.headers) == (user not in (None, "", ":"))


WRONG: list[Any] = [
    "http://h#f", "http://h\n", "http://h\t", "\thttp://h", "http://u\n:p@h", "http://*", 'http://"h"', "http://<h>",
    "http://%zz", "http://h%00", "http://h\\x", "http://h,i", "http://h;p", "http://h@i@j", f"http://{'a' * 64}",
    f"http://{'a.' * 128}", "http://[::1]x", "http://x[::1]", "http://::1", "http://u%0a@h", "http://a%3Ab:c@h",
    "http://\u00e9*", "http://h:1:2", 5, None, b"http://h", ["http://h"], {}, True, 1.5,
]  # fmt: skip


@pytest.mark.parametrize("url", WRONG)
def test_what_is_no_url_is_refused_for_one_signal_and_for_all(url: Any) -> None:
    with pytest.raises(InvalidConfigurationError, match="OTLP endpoint"):
        OtlpHttpSender({"traces": url})
    if url is not None:
        with pytest.raises(InvalidConfigurationError, match="OTLP endpoint"):
            otlp_sender("traces", url, {})
    if isinstance(url, str):
        with pytest.raises(InvalidConfigurationError, match="OTLP endpoint"):
            OtlpHttpSender(url)


@given(before=st.lists(PIECES, max_size=2).map("".join), after=st.lists(PIECES, max_size=4).map("".join))
@example("http://", "h:1:2")
@example("http:", "h")
@example("", "h?a=b")
@example("http://", "\u2100")
def test_errors_do_not_tell_the_password(before: str, after: str) -> None:
    url = f"{before}me:secret-word@{after}"
    for make in (Url, lambda url: url_of_signal(url, "traces"), OtlpHttpSender):
        told = ""
        try:
            make(url)
        except InvalidConfigurationError:
            told = traceback.format_exc()
        assert "secret-word" not in told


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://collector", "collector", None),
        ("https://Collector.Example.:4318/a", "collector.example.", 4318),
        ("http://my_service-1", "my_service-1", None),
        ("http://\u00e4.example", "\u00e4.example", None),
        ("http://[::1]:1", "::1", 1),
        ("http://[fe80::1%Eth0]", "fe80::1%Eth0", None),
        ("http://user:word@10.0.0.1:", "10.0.0.1", None),
        (f"http://{'.'.join(['a' * 63] * 3)}.{'a' * 61}.", f"{'.'.join(['a' * 63] * 3)}.{'a' * 61}.", None),
    ],
)
def test_hosts_are_names_and_addresses(url: str, host: str, port: int | None) -> None:
    made = Url(url)
    assert (made._host, made._port) == (host, port)


def test_a_query_belongs_to_the_url_of_one_signal() -> None:
    """OpenTelemetry has the URL of a signal used as it is, and `/v1/traces` appended to a base URL."""
    assert OtlpHttpSender({"traces": "http://h/t?key=1"})._urls["traces"].path == "/t?key=1"
    variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h/t?key=1"}
    assert otlp_sender("traces", None, variables)._urls["traces"].path == "/t?key=1"
    for base in ("http://h?key=1", "http://h/a?", "http://h/?a/"):
        with pytest.raises(InvalidConfigurationError, match="has no query"):
            OtlpHttpSender(base)
        with pytest.raises(InvalidConfigurationError, match="has no query"):
            otlp_sender("traces", None, {"OTEL_EXPORTER_OTLP_ENDPOINT": base})


@given(name=st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=":")), password=st.text())
def test_a_user_is_sent_whole_or_refused(name: str, password: str) -> None:
    from urllib.parse import quote

    url = f"http://{quote(name, safe='', errors='ignore')}:{quote(password, safe='', errors='ignore')}@h"
    try:
        headers = Url(url).headers
    except InvalidConfigurationError:
        assert re.search(r"[\0-\x1f\x7f]", password)
        return
    if name or password:
        assert base64.b64decode(headers["Authorization"].split()[1]).decode() == f"{name}:{password}"


def test_an_exporter_judges_its_endpoint_before_it_starts_a_guest() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.common", reason="needs the extra otel")
    from pywasmrt.otel import sdk

    for exporter in (sdk.WasmSpanExporter, sdk.WasmMetricExporter, sdk.WasmLogRecordExporter):
        for wrong in (5, {}, "", "http://h#f", b"http://h"):
            with pytest.raises(InvalidConfigurationError, match="OTLP endpoint"):
                exporter(processors=["/no/such/guest"], endpoint=wrong)  # type: ignore[arg-type]
        for wrong in (5, None, "guest.wasm", b"guest.wasm", {"path": "guest.wasm"}, iter(["guest.wasm"])):
            with pytest.raises(InvalidConfigurationError, match="processors is a sequence of guests"):
                exporter(processors=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidConfigurationError, match="processors: a guest is given as"):
            exporter(processors=[5])  # type: ignore[list-item]
