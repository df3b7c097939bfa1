"""The child of a fork has one thread: what another thread was in must neither keep it waiting nor be gone on with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.plugin_guests import binary

import pywasmrt

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

# Gives back three bytes, and sees by a counter how many batches its instance has had.
GUEST = """(module
  (import "opentelemetry.io/wasm" "setResultTraces" (func $set (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "processTraces") (result i32)
    (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
    (call $set (i32.const 0) (i32.const 3))
    (i32.const 0)))"""

COMMON = """
import os, signal, sys, threading

def in_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a hang ends as a failure
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

PLUGIN = """
from pywasmrt.plugin import Stack, WasmPlugin
plugin = WasmPlugin({"path": sys.argv[1], "cache": False, "runtime_config": {"type": sys.argv[2]}}, ["processTraces"])

def results():
    stack = Stack()
    plugin.process_function_call("processTraces", stack)
    return stack.result_traces
"""

BESIDE = """
inside, go_on = threading.Event(), threading.Event()

def wait(data):
    inside.set()
    go_on.wait()

def child():
    assert results() == b"\\x01\\0\\0"  # of a new instance: nobody knows where the other one stopped
    assert results() == b"\\x02\\0\\0"
    assert plugin.restarts == 1
    plugin.shutdown()

call = lambda: plugin.process_function_call("processTraces", Stack(on_result_traces=wait))
thread = threading.Thread(target=call)
thread.start()
inside.wait()
in_child(child)
go_on.set()
thread.join()
assert results() == b"\\x02\\0\\0"
assert plugin.restarts == 0
"""

WITHIN = """
forked = []
plugin.process_function_call("processTraces", Stack(on_result_traces=lambda data: forked.append(os.fork())))
assert results() == b"\\x02\\0\\0"
assert plugin.restarts == 0
if forked == [0]:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(forked[0], 0)[1]) == 0
"""

SENDER = """
from pywasmrt.otel.http import OtlpHttpSender
sender = OtlpHttpSender(sys.argv[1])
sender.send("traces", b"")
kept = sender._connections["traces"].sock.getsockname()
sender._lock.acquire()  # as a thread does that is sending

def child():
    sender.send("traces", b"")
    assert sender._connections["traces"].sock.getsockname() != kept

in_child(child)
sender._lock.release()
sender.send("traces", b"")
assert sender._connections["traces"].sock.getsockname() == kept
"""


def run(script: str, *args: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMMON + script, *args],
        env={**os.environ, "PYTHONPATH": str(Path(pywasmrt.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", [BESIDE, WITHIN], ids=["beside a call", "within a call"])
def test_a_plugin_serves_the_child_of_a_fork(
    tmp_path: Path, runtime: pywasmrt.Runtime, needs: Callable[..., None], script: str
) -> None:
    needs("fork")
    guest = tmp_path / "guest.wasm"
    guest.write_bytes(binary(GUEST))
    run(PLUGIN + script, str(guest), runtime.info.name)


def test_a_sender_leaves_its_connection_to_the_parent() -> None:
    pytest.importorskip("opentelemetry.proto", reason="needs the extra otel")
    from helpers.plugin_endpoint import otlp_endpoint

    with otlp_endpoint() as endpoint:
        run(SENDER, endpoint.url)
        assert len(endpoint.raw) == 3
