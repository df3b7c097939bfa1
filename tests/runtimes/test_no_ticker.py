"""Where no thread can be started: a timer keeps deadlines, or the call does not begin; it is said."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import pywasmrt

SCRIPT = """
import os, resource, signal, sys, threading, time, warnings
import pywasmrt
from pywasmrt import Limits, RuntimeConfig

name, what, pending = sys.argv[1:]
options = {"parallel_compilation": False} if name == "wasmtime" else {}
runtime = pywasmrt.new_runtime(RuntimeConfig(name, options=options))
module = runtime.compile('(module (func (export "spin") (loop (br 0))) (func (export "f") (result i32) (i32.const 7)))')
timed = runtime.instantiate(module, limits=Limits(timeout=0.3))
free = runtime.instantiate(module)
if os.fork():  # the child has no ticker
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
if os.getuid() == 0:
    os.setresuid(54321, 54321, 54321)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
if pending == "none":
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    if what == "timed":
        try:
            timed.exports.spin()
        except pywasmrt.WasmError as error:
            print(type(error).__name__)
        try:
            print(timed.exports.f())
        except pywasmrt.WasmError as error:
            print(type(error).__name__)
    elif what == "free":
        print(free.exports.f(), free.exports.f())
    else:
        signal.signal(signal.SIGALRM, lambda *unused: 1 / 0)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            free.exports.spin()
        except ZeroDivisionError as error:
            print(type(error).__name__)
print(len(caught))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's limits")
@pytest.mark.parametrize(
    ("what", "pending", "said"),
    [
        ("timed", "some", "DeadlineExceeded\n7\n1\n"),
        ("timed", "none", "WasmError\nWasmError\n0\n"),
        ("free", "some", "7 7\n1\n"),
        ("free", "none", "7 7\n1\n"),
        ("signalled", "some", "ZeroDivisionError\n1\n"),
    ],
)
def test_without_a_thread(runtime: pywasmrt.Runtime, what: str, pending: str, said: str) -> None:
    if not {"interruption", "deadline", "fork"} <= set(runtime.info.features):
        pytest.skip(f"{runtime.info.name} has no thread of the native kind")
    if "fork" not in runtime.info.features:
        pytest.skip(f"{runtime.info.name} cannot do without threads that it has started itself")
    assert run(runtime, what, pending) == said


@pytest.mark.parametrize(("what", "said"), [("timed", "WasmError\nWasmError\n0\n"), ("free", "7 7\n0\n")])
def test_without_a_thread_and_without_interrupts(runtime: pywasmrt.Runtime, what: str, said: str) -> None:
    """There a call without a deadline sees no signal anyhow, so nothing is lost that would have to be said."""
    if runtime.info.name != "wasmtime-py":
        pytest.skip("it is the one that has deadlines and no interrupts")
    assert run(runtime, what, "some") == said


def run(runtime: pywasmrt.Runtime, what: str, pending: str) -> str:
    if os.getuid() != 0:
        pytest.skip("to limit the threads of one process alone, it takes another user")
    quiet = ["-W", "ignore::DeprecationWarning"]  # of Python 3.12 and later: that threads run beside a fork
    command = [sys.executable, "-X", "faulthandler", *quiet, "-c", SCRIPT, runtime.info.name, what, pending]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
