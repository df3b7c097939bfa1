"""The native stack: what guests leave to Python, in every thread; each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.sanitizers import ADDRESS_SANITIZER

import pywasmrt

NEAR_THE_END = """
import copy, functools, json, pickle, resource, sys, threading
import pywasmrt
from pywasmrt import HostModule, i32

def nested(n):
    x = []
    for _ in range(n):
        x = [x]
    return x

def deep(n):
    return next(map(deep, [n - 1])) if n else 0

class Attribute:
    def __getattr__(self, name):
        return getattr(self, name + "x") if len(name) < 400 else 0

jobs = {
    "map": lambda: deep(430),
    "parse": lambda: compile("(" * 90 + "1" + ")" * 90, "x", "eval"),
    "json": lambda: json.loads("[" * 900 + "]" * 900),
    "dumps": lambda: json.dumps(nested(900)),
    "repr": lambda: repr(nested(900)),
    "compare": lambda: nested(900) == nested(900),
    "copy": lambda: copy.deepcopy(nested(200)),
    "attribute": lambda: Attribute().x,
    "nothing": lambda: None,
}
WAT = '''
  (module
    (import "env" "h" (func $h (result i32)))
    (func $f (export "f") (param i32) (result i32)
      (if (result i32) (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (call $h)))))
'''
name, job, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
runtime = pywasmrt.new_runtime(name)
env = HostModule("env")

@env.function
def h() -> i32:
    jobs[job]()
    return 1

again = HostModule("env")

@again.function(name="h")
def call_again() -> i32:  # deeper each time: what the host function itself uses of the stack counts
    return deepest.exports.f(10)

module = runtime.compile(WAT)
instance, deepest = runtime.instantiate(module, env), runtime.instantiate(module, again)
said = []

def run():
    jobs[job]()  # works here
    low, high = 0, 1 << 20
    while high - low > 1:
        middle = (low + high) // 2
        try:
            instance.exports.f(middle)
            low = middle
        except pywasmrt.Trap as trap:
            assert trap.code is pywasmrt.TrapCode.STACK_OVERFLOW, trap
            high = middle
            said.append(str(trap))
    try:
        deepest.exports.f(0)
    except (pywasmrt.Trap, RecursionError):
        pass
    said.append(low)

if size:
    threading.stack_size(size)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
else:
    run()
print(said[-1] > 0, any("call stack exhausted" in each for each in said[:-1]))
"""

LOWERED = """
import resource, sys
import pywasmrt
runtime = pywasmrt.new_runtime(sys.argv[1])
instance = runtime.instantiate(runtime.compile('(module (func $f (export "f") (call $f)) (func (export "g")))'))
instance.exports.g()
resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, resource.getrlimit(resource.RLIMIT_STACK)[1]))
for _ in range(2):
    try:
        instance.exports.f()
    except pywasmrt.Trap as trap:
        print(trap.code)
"""


def run(script: str, *args: str) -> str:
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", script, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("kib", [0, 700, 1024])
@pytest.mark.parametrize("job", ["map", "parse", "json", "dumps", "repr", "compare", "copy", "attribute", "nothing"])
def test_a_host_function_has_the_stack_that_python_may_need(runtime: pywasmrt.Runtime, job: str, kib: int) -> None:
    if "trap-frames" in runtime.info.features and "interruption" not in runtime.info.features and kib:
        pytest.skip("such a thread has too little stack for any guest here")
    # Elsewhere a guest's own calls take none of it, so that a million of them are not too deep.
    bounded = "stack-limit" in runtime.info.features
    if not bounded and kib and job != "map":
        pytest.skip("the size of the thread's stack matters to nothing but the host function")
    assert run(NEAR_THE_END, runtime.info.name, job, str(kib << 10)) == f"True {bounded}\n"


def test_a_stack_limit_that_is_lowered_meanwhile(runtime: pywasmrt.Runtime) -> None:
    pytest.importorskip("resource")
    assert run(LOWERED, runtime.info.name) == "stack_overflow\nstack_overflow\n"


SMALL_THREAD = """
import os, sys, threading
import pywasmrt
from pywasmrt import RuntimeConfig

name, kib, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
alone = {"parallel_compilation": False} if how == "alone" and name != "wasm3" else {}
source = "(module " + "".join(
    f'(func (export "f{k}") (param i32) (result i32) (local.get 0) {"(i32.const 3) i32.add " * 200})' for k in range(5)
) + ")"
recursion = '(module (func $f (export "f") (param i32) (result i32) (if (result i32) (i32.eqz (local.get 0))'
recursion += ' (then (i32.const 0)) (else (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1))))))))'
runtime = pywasmrt.new_runtime(RuntimeConfig(name, options=alone))
instance = runtime.instantiate(runtime.compile(recursion))
if how == "forked" and os.fork():
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]) & 255)
said = []

def run():
    for action in (
        lambda: runtime.compile(source),
        lambda: runtime.compile(runtime.compile(recursion).serialize()) and None,
        lambda: instance.exports.f(5000),
        lambda: runtime.instantiate(runtime.compile(recursion)).exports.f(5000),
    ):
        try:
            action()
        except (pywasmrt.WasmError, RecursionError) as error:
            said.append(len(str(error)) > 15)

threading.stack_size(kib << 10)
thread = threading.Thread(target=run)
thread.start()
thread.join()
assert all(said), said
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("how", ["alone", "forked"])
@pytest.mark.parametrize("kib", [64, 128, 192, 384, 640, 1024])
def test_a_thread_with_a_small_stack(runtime: pywasmrt.Runtime, kib: int, how: str) -> None:
    if runtime.info.name not in ("wasmtime", "wasm3", "wasmtime-py"):
        pytest.skip("has no stack of its own")
    if how == "forked" and ADDRESS_SANITIZER:
        pytest.skip("the sanitizer's allocator may be locked at a fork, and is so in the child for ever")
    run(SMALL_THREAD, runtime.info.name, str(kib), how)


IN_A_HANDLER = """
import os, signal, sys, threading, time
import pywasmrt
from pywasmrt import Limits

runtime = pywasmrt.new_runtime(sys.argv[1])
module = runtime.compile(
    '(module (func (export "spin") (loop (br 0))) (func (export "one") (result i32) (i32.const 1)))'
)
instance = runtime.instantiate(module, limits=Limits(timeout=float(sys.argv[2])))
others = []

def handler(number, frame):
    if number == signal.SIGALRM:
        assert instance.exports.one() == 1
        go.set()
        instance.exports.spin()
    else:
        raise KeyError("from the second handler")

signal.signal(signal.SIGALRM, handler)
signal.signal(signal.SIGUSR1, handler)
go = threading.Event()

def meddle():
    go.wait()
    time.sleep(0.1)
    others.append(1)
    if sys.argv[3] == "signalled":
        os.kill(os.getpid(), signal.SIGUSR1)
    elif sys.argv[3] == "interrupted":
        instance.interrupt()

threading.Thread(target=meddle, daemon=True).start()
signal.setitimer(signal.ITIMER_REAL, 0.1)

try:
    instance.exports.spin()
except BaseException as error:
    print(type(error).__name__, len(others))
signal.setitimer(signal.ITIMER_REAL, 0)
print(instance.exports.one())
"""


@pytest.mark.parametrize(
    ("timeouts", "how", "error"),
    [("0.6 6 50", "", "DeadlineExceeded"), ("50", "signalled", "KeyError"), ("50", "interrupted", "Interrupted")],
)
def test_a_guest_that_a_signal_handler_calls_is_stopped(
    runtime: pywasmrt.Runtime, timeouts: str, how: str, error: str
) -> None:
    """On a busy machine the other thread may have no turn before a short limit: then a longer one is tried."""
    if not {"interruption", "deadline"} <= set(runtime.info.features):
        pytest.skip(f"{runtime.info.name} runs no handlers during a call")
    wanted = f"{error} 1\n1\n"
    assert any(run(IN_A_HANDLER, runtime.info.name, timeout, how) == wanted for timeout in timeouts.split())
