"""`pywasmrt.trace`: what the log says of each host call, on every runtime, and what it leaves alone."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pywasmrt
from pywasmrt import BusyError, ClosedError, Exit, HostModule, i32, values
from pywasmrt.testing.text import to_binary
from pywasmrt.wasi import WasiConfig

GUEST = to_binary(
    """
(module
  (import "env" "add" (func $add (param i32 i32) (result i32)))
  (import "env" "say" (func $say (param f64)))
  (memory (export "memory") 1)
  (func (export "run") (result i32) (call $say (f64.const 1.5)) (call $add (i32.const 40) (i32.const -2)))
  (func (export "add") (param i32 i32) (result i32) (call $add (local.get 0) (local.get 1))))
"""
)

STARTS = to_binary(
    '(module (import "env" "say" (func $say (param f64))) (func $go (call $say (f64.const 3))) (start $go))'
)

COMMAND = to_binary(
    r"""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\06\00\00\00\80\00\00\00\10\00\00\00")
  (data (i32.const 64) "hi \22\ff\nsecret.txt")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 200)))
    (drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 200)))
    (drop (call $open (i32.const 3) (i32.const 1) (i32.const 70) (i32.const 10) (i32.const 1) (i64.const 2)
      (i64.const 0) (i32.const 1) (i32.const 200)))
    (drop (call $write (i32.const 1) (i32.const 65534) (i32.const 1) (i32.const 200)))
    (call $exit (i32.const 3))))
"""
)


class Env:
    """The host's side of GUEST."""

    def __init__(self) -> None:
        self.module = HostModule("env")
        self.hook: Any = None
        self.said: list[float] = []

        @self.module.function
        def add(a: i32, b: i32) -> i32:
            return a + b if self.hook is None else self.hook(a, b)

        @self.module.function
        def say(value: float) -> None:
            self.said.append(value)


@pytest.fixture
def env() -> Env:
    return Env()


@pytest.fixture
def instance(wasm_runtime: pywasmrt.Runtime, env: Env) -> Any:
    with wasm_runtime.instantiate(wasm_runtime.compile(GUEST), env.module) as made:
        yield made


def test_each_call_is_a_line_with_arguments_and_results(instance: Any) -> None:
    log = io.StringIO()
    with pywasmrt.trace(instance, log) as trace:
        assert instance.exports.run() == 38
        assert trace.calls == 2
    assert log.getvalue() == "env.say(1.5) = None\nenv.add(40, -2) = 38\n"
    assert instance.exports.run() == 38  # not traced any more
    assert trace.calls == 2
    assert trace.closed
    assert repr(trace) == "<Trace calls=2 closed>"


def test_a_call_within_a_call_cuts_its_line_in_two(instance: Any, env: Env) -> None:
    env.hook = lambda a, b: a + b if a else instance.exports.add(1, b)
    log = io.StringIO()
    with pywasmrt.trace(instance, log):
        assert instance.exports.add(0, 5) == 6
    assert log.getvalue() == "env.add(0, 5) <unfinished ...>\nenv.add(1, 5) = 6\n<... env.add resumed> = 6\n"


def test_an_exception_is_told_and_passes_unchanged(instance: Any, env: Env) -> None:
    error = ValueError("no\nsuch thing")

    def fail(a: int, b: int) -> int:
        raise error

    env.hook = fail
    log = io.StringIO()
    with pywasmrt.trace(instance, log), pytest.raises(ValueError, match="such thing") as caught:
        instance.exports.add(1, 2)
    assert caught.value is error
    assert log.getvalue() == "env.add(1, 2) raises ValueError: no\\nsuch thing\n"


def test_wasi_is_shown_by_names_with_paths_data_and_errnos(wasm_runtime: pywasmrt.Runtime, tmp_path: Path) -> None:
    wasi = WasiConfig(preopens={"/": tmp_path}, stdin=b"typed", stdout=io.BytesIO())
    log = io.StringIO()
    with wasm_runtime.instantiate(wasm_runtime.compile(COMMAND), wasi=wasi) as instance:
        with pywasmrt.trace(instance, log), pytest.raises(Exit):
            instance.exports._start()
        assert instance.run() == 3
    lines = [line.removeprefix("wasi_snapshot_preview1.") for line in log.getvalue().splitlines()]
    assert lines == [
        r'fd_write(1, "hi \"\xff\n") = SUCCESS, 6',
        'fd_read(0) = SUCCESS, "typed"',
        'path_open(3, SYMLINK_FOLLOW, "secret.txt", CREAT, 0x2, 0x0, APPEND) = SUCCESS, 4',
        "fd_write(1, <1 buffers at 0xfffe, out of bounds>) = FAULT (21)",
        "proc_exit(3) exits (3)",
    ]


def test_a_limit_bounds_what_is_shown_of_a_buffer(wasm_runtime: pywasmrt.Runtime) -> None:
    log = io.StringIO()
    instance = wasm_runtime.instantiate(wasm_runtime.compile(COMMAND), wasi=WasiConfig(stdout=io.BytesIO()))
    with instance, pywasmrt.trace(instance, log, limit=2):
        instance.run()
    lines = log.getvalue().splitlines()
    assert lines[0].endswith('fd_write(1, "hi"... (6 bytes)) = SUCCESS, 6')
    assert 'path_open(3, SYMLINK_FOLLOW, "se"... (10 bytes), CREAT' in lines[2]
    assert lines[2].endswith("= BADF (8)")


def test_a_store_is_traced_from_the_start_functions_on(wasm_runtime: pywasmrt.Runtime, env: Env) -> None:
    log = io.StringIO()
    with wasm_runtime.new_store() as store:
        trace = pywasmrt.trace(store, log)
        wasm_runtime.instantiate(wasm_runtime.compile(STARTS), env.module, store=store)
        first = wasm_runtime.instantiate(wasm_runtime.compile(GUEST), env.module, store=store)
        second = wasm_runtime.instantiate(wasm_runtime.compile(GUEST), env.module, store=store)
        first.exports.add(1, 1)
        second.exports.add(2, 2)
        trace.close()
        with pywasmrt.trace(second, log):
            first.exports.add(3, 3)  # another instance of the store
            second.exports.add(4, 4)
    shown = ["env.say(3.0) = None", "env.add(1, 1) = 2", "env.add(2, 2) = 4", "env.add(4, 4) = 8"]
    assert log.getvalue().splitlines() == shown
    assert env.said == [3.0]


def test_several_traces_at_once_each_see_all(instance: Any) -> None:
    first, second = io.StringIO(), io.StringIO()
    with pywasmrt.trace(instance, first):
        with pywasmrt.trace(instance, second):
            instance.exports.add(1, 2)
        instance.exports.add(3, 4)
    assert first.getvalue() == "env.add(1, 2) = 3\nenv.add(3, 4) = 7\n"
    assert second.getvalue() == "env.add(1, 2) = 3\n"


def test_a_trace_may_begin_and_end_within_host_calls(instance: Any, env: Env) -> None:
    log = io.StringIO()
    traces: list[pywasmrt.Trace] = []

    def toggle(a: int, b: int) -> int:
        for _ in range(5):  # what stands in for this function is exchanged while it runs
            traces.append(pywasmrt.trace(instance, log))
            gc.collect()
            traces.pop().close()
        traces.append(pywasmrt.trace(instance, log))
        return a + b

    env.hook = toggle
    assert instance.exports.add(1, 2) == 3
    assert log.getvalue() == ""

    def end(a: int, b: int) -> int:
        traces.pop().close()
        gc.collect()
        return a - b

    env.hook = end
    assert instance.exports.add(5, 2) == 3
    assert log.getvalue() == "env.add(5, 2) <trace closed>\n"
    env.hook = None
    assert instance.exports.add(1, 2) == 3
    assert log.getvalue() == "env.add(5, 2) <trace closed>\n"


class Failing(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "no space left")


def test_a_file_that_fails_ends_the_trace_and_not_the_guest(instance: Any) -> None:
    trace = pywasmrt.trace(instance, Failing())
    assert instance.exports.run() == 38
    assert trace.closed
    assert trace.calls == 1
    with pytest.raises(OSError, match="no space left"):
        trace.close()
    trace.close()  # told once
    assert instance.exports.run() == 38


def test_a_path_is_written_anew_and_closed(instance: Any, tmp_path: Path) -> None:
    path = tmp_path / "calls.txt"
    path.write_text("old\n" * 100)
    with pywasmrt.trace(instance, path, times=True):
        instance.exports.add(1, 2)
    first, took = path.read_text().rstrip().split(" <")
    assert first == "env.add(1, 2) = 3"
    assert float(took.rstrip(">")) >= 0


def test_a_trace_that_is_refused_leaves_the_file_and_one_without_a_file_ends(
    instance: Any, env: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "calls.txt"
    path.write_text("old")
    refused: list[object] = []

    def refuse(a: int, b: int) -> int:
        with ThreadPoolExecutor(1) as pool:
            refused.append(pool.submit(pywasmrt.trace, instance, path).exception())
        return 0

    env.hook = refuse
    instance.exports.add(1, 2)
    assert isinstance(refused[0], BusyError)
    assert path.read_text() == "old"
    env.hook = None

    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)  # not installed
    monkeypatch.delitem(values._late, "opentelemetry.trace", raising=False)  # and not used before
    tracer: Any = SimpleNamespace(start_as_current_span=print)
    with pytest.raises(ImportError):
        pywasmrt.trace(instance, path, tracer=tracer)
    assert path.read_text() == "old"

    with pytest.raises(OSError, match="directory"):
        pywasmrt.trace(instance, tmp_path)
    assert not instance.store._observers
    assert instance.exports.add(1, 2) == 3


def test_closing_what_is_traced_and_tracing_what_is_closed(wasm_runtime: pywasmrt.Runtime, env: Env) -> None:
    log = io.StringIO()
    instance = wasm_runtime.instantiate(wasm_runtime.compile(GUEST), env.module)
    trace = pywasmrt.trace(instance, log)

    def close(a: int, b: int) -> int:
        instance.close()
        return 1

    env.hook = close
    with pytest.raises(ClosedError):
        instance.exports.add(1, 2)
    trace.close()
    assert log.getvalue().startswith("env.add(1, 2) ")
    with pytest.raises(ClosedError):
        pywasmrt.trace(instance, log)


def test_a_traced_store_goes_with_its_last_reference(wasm_runtime: pywasmrt.Runtime, env: Env) -> None:
    instance = wasm_runtime.instantiate(wasm_runtime.compile(GUEST), env.module)
    trace = pywasmrt.trace(instance, io.StringIO())
    store = weakref.ref(instance.store)
    gc.disable()
    try:
        instance.exports.add(1, 2)
        del instance
        assert store() is None
    finally:
        gc.enable()
    trace.close()


def test_another_thread_is_refused_and_may_close(instance: Any, env: Env) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def wait(a: int, b: int) -> int:
        inside.set()
        assert go_on.wait(20)
        return a + b

    env.hook = wait
    log = io.StringIO()
    trace = pywasmrt.trace(instance, log)
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(instance.exports.add(1, 2)))
    thread.start()
    try:
        assert inside.wait(20)
        with pytest.raises(BusyError):
            pywasmrt.trace(instance, log)
        trace.close()
    finally:
        go_on.set()
        thread.join(20)
    assert results == [3]
    env.hook = None
    instance.exports.add(3, 4)
    assert log.getvalue() == "env.add(1, 2) <trace closed>\n"


@pytest.mark.parametrize(
    ("target", "more", "error"),
    [
        (None, {}, TypeError),
        (3, {}, TypeError),
        ("instance", {"file": 5}, TypeError),
        ("instance", {"tracer": object()}, TypeError),
        ("instance", {"limit": -1}, ValueError),
        ("instance", {"limit": "much"}, TypeError),
        ("instance", {"file": "/no/such/folder/file"}, OSError),
    ],
)
def test_bad_arguments_are_refused(instance: Any, target: Any, more: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        pywasmrt.trace(instance if target == "instance" else target, **more)


@pytest.mark.parametrize("operation", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_trace_is_not_copied(instance: Any, operation: Callable[[Any], Any]) -> None:
    with (
        pywasmrt.trace(instance, io.StringIO()) as trace,
        pytest.raises(TypeError, match=r"^a trace cannot be copied or pickled: it belongs to this process; hand over"),
    ):
        operation(trace)


def test_untraced_calls_reach_the_very_function(wasm_runtime: pywasmrt.Runtime, env: Env) -> None:
    instance = wasm_runtime.instantiate(wasm_runtime.compile(GUEST), env.module)
    fast = getattr(instance.store, "fast", None)
    if fast is None:
        pytest.skip("this runtime has no call path in C")
    original = env.module.functions["add"].callable
    before = sum(each is original for each in gc.get_referents(fast))
    with pywasmrt.trace(instance, io.StringIO()):
        assert sum(each is original for each in gc.get_referents(fast)) == before - 1
    assert sum(each is original for each in gc.get_referents(fast)) == before
