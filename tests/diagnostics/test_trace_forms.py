"""Traces of coroutines, traces as OpenTelemetry spans, what WASI's arguments may be, and the command line's option."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from helpers.asynchronous import doubled, run, start

import pywasmrt
from pywasmrt.cli.dispatch import main
from pywasmrt.diagnostics.wasi_calls import _CALLS, WasiCall, errno_name, wasi_call
from pywasmrt.testing.text import to_binary
from pywasmrt.wasi import abi, files, paths, polling, process, sockets

GUEST = to_binary(
    """
(module
  (import "env" "outer" (func $outer (param i32) (result i32)))
  (import "env" "inner" (func $inner (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "close") (param i32) (result i32) (call $close (local.get 0)))
  (func (export "outer") (param i32) (result i32) (call $outer (local.get 0)))
  (func (export "inner") (param i32) (result i32) (call $inner (local.get 0))))
"""
)


def test_a_coroutine_ends_its_line_when_it_is_done(runtime: pywasmrt.Runtime, needs: Any) -> None:
    needs("wat")

    async def fail(x: int) -> int:
        raise KeyError(x)

    async def main() -> None:
        log = io.StringIO()
        instance = await start(runtime, doubled)
        with pywasmrt.trace(instance, log):
            assert await instance.exports.twice.call_async(3) == 12
        assert log.getvalue() == "env.wait(3) = 6\nenv.wait(6) = 12\n"
        failing = await start(runtime, fail)
        log = io.StringIO()
        with pywasmrt.trace(failing, log), pytest.raises(KeyError):
            await failing.exports.run.call_async(1)
        assert log.getvalue() == "env.wait(1) raises KeyError: 1\n"

    run(main)


@pytest.fixture
def spans() -> Any:
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test"), exporter.get_finished_spans


def test_calls_become_spans_with_those_within_them_as_children(wasm_runtime: pywasmrt.Runtime, spans: Any) -> None:
    tracer, finished = spans

    def inner(x: int) -> int:
        if x < 0:
            raise ValueError("negative")
        return x + 1

    imports = {"env": {"outer": lambda x: instance.exports.inner(x) * 2, "inner": inner}}
    with (
        wasm_runtime.instantiate(wasm_runtime.compile(GUEST), imports, wasi=pywasmrt.wasi.WasiConfig()) as instance,
        pywasmrt.trace(instance, tracer=tracer),
    ):
        assert instance.exports.outer(4) == 10
        assert instance.exports.close(77) == 8
        with pytest.raises(ValueError, match="negative"):
            instance.exports.inner(-1)
    child, parent, close, failed = finished()
    assert (parent.name, child.name) == ("env.outer", "env.inner")
    assert child.parent.span_id == parent.context.span_id
    assert parent.parent is None
    assert dict(child.attributes) == {
        "wasm.module": "env",
        "wasm.function": "inner",
        "wasm.arguments": ("4",),
        "wasm.result": "5",
    }
    assert child.status.is_ok
    assert close.attributes["error.type"] == "BADF"
    assert not close.status.is_ok
    assert failed.attributes["error.type"] == "ValueError"
    assert failed.parent is None  # the context of each was left again
    assert [event.name for event in failed.events] == ["exception"]


def test_a_span_ends_though_the_trace_was_closed_within_it(wasm_runtime: pywasmrt.Runtime, spans: Any) -> None:
    tracer, finished = spans
    from opentelemetry.trace import get_current_span

    before = get_current_span()
    imports = {"env": {"outer": lambda x: trace.close() or x, "inner": lambda x: x}}
    with wasm_runtime.instantiate(wasm_runtime.compile(GUEST), imports, wasi=pywasmrt.wasi.WasiConfig()) as instance:
        trace = pywasmrt.trace(instance, tracer=tracer)
        assert instance.exports.outer(4) == 4
    assert [span.name for span in finished()] == ["env.outer"]
    assert get_current_span() is before


def test_every_function_of_wasi_is_described_with_its_own_parameters() -> None:
    known = {
        name: function
        for module in (files, paths, polling, process, sockets)
        for name, function in module.FUNCTIONS.items()
    }
    assert known.keys() == _CALLS.keys()
    for name, function in known.items():
        assert wasi_call("wasi_snapshot_preview1", name, len(function.params)) is not None, name
        assert wasi_call("wasi_snapshot_preview1", name, len(function.params) + 1) is None
        assert wasi_call("env", name, len(function.params)) is None


def test_errnos_have_names() -> None:
    assert errno_name(0) == "SUCCESS"
    assert errno_name(44) == "NOENT (44)"
    assert errno_name(65535) == "65535"
    assert errno_name(-1) == "-1"


class Bytes:
    """A memory of so many bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, at: int, size: int) -> bytes:
        if at + size > len(self.data):
            raise pywasmrt.MemoryAccessError("out of bounds")
        return self.data[at : at + size]


def test_no_argument_of_wasi_breaks_a_trace() -> None:
    pytest.importorskip("hypothesis")
    from hypothesis import given
    from hypothesis import strategies as st

    from pywasmrt.diagnostics.tracing import _quoted

    number = st.one_of(st.integers(0, 80), st.integers(-(1 << 63), (1 << 63) - 1))

    @given(st.sampled_from(sorted(_CALLS)), st.data(), st.one_of(st.none(), st.binary(min_size=0, max_size=64)))
    def check(name: str, data: Any, content: bytes | None) -> None:
        kinds = _CALLS[name].split()
        count = sum(2 if kind in ("text", "data", "vectors", "filled") else 1 for kind in kinds)
        values = tuple(data.draw(st.lists(number, min_size=count, max_size=count)))
        memory = None if content is None else Bytes(content)
        call = WasiCall(kinds)
        for each in (*call.arguments(memory, values, 8, _quoted), *call.results(memory, values, 8, _quoted)):
            assert each.isprintable()
            assert len(each) < 120

    check()


COMMAND = r"""
(module
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $begin (drop (call $close (i32.const 9))))
  (start $begin)
  (func (export "_start") (call $exit (i32.const 5))))
"""


def test_run_traces_on_standard_error_and_to_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "command.wasm"
    file.write_bytes(to_binary(COMMAND))
    lines = "wasi_snapshot_preview1.fd_close(9) = BADF (8)\nwasi_snapshot_preview1.proc_exit(5) exits (5)\n"
    assert main(["run", "--trace", str(file)]) == 5
    assert capfd.readouterr().err == lines
    log = tmp_path / "calls.txt"
    assert main(["run", "--trace-to", str(log), str(file)]) == 5
    assert capfd.readouterr().err == ""
    assert log.read_text() == lines
    assert main(["run", "--trace-to", str(tmp_path / "no" / "file"), str(file)]) == 1
    assert "No such file" in capfd.readouterr().err


def test_names_of_flags_are_those_of_the_specification() -> None:
    call = wasi_call("wasi_snapshot_preview1", "path_open", 9)
    assert call is not None
    flags = abi.OFlags.CREAT | abi.OFlags.EXCL
    values = (3, 0, 0, 1, flags, 0, 0, 0x80 | abi.FdFlags.APPEND, 0)
    assert call.arguments(Bytes(b"a"), values, 8, lambda data, size: repr(data)) == [
        *("3", "0", "b'a'", "CREAT|EXCL", "0x0", "0x0", "APPEND|0x80")
    ]
