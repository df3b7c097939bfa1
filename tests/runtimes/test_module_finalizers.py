"""A signal handler raises while compiled modules are freed: every one of its exceptions comes out."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pywasmrt

SCRIPT = """
import random, signal, sys, time
import pywasmrt

class Boom(Exception):
    pass

armed, lost, caught = False, 0, 0

def unraisable(info):
    global lost
    lost += info.exc_type is Boom

def handler(number, frame):
    global armed
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
    if armed:
        armed = False  # one at a time, since it may come while an earlier one is on its way out
        raise Boom

def compile_until_the_end():  # a function, as a try of Python 3.13 does not cover the jump back of a loop right in it
    while time.monotonic() < end:
        runtime.compile('(module (func (export "f")))')

sys.unraisablehook = unraisable
runtime = pywasmrt.new_runtime(sys.argv[1])
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001)
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        try:
            armed = True
            compile_until_the_end()
        finally:
            armed = False
    except Boom:
        caught += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)  # first: a handler that was due would set the timer again
signal.setitimer(signal.ITIMER_REAL, 0)
print(caught > 0, lost)
"""


def test_no_exception_is_lost(runtime: pywasmrt.Runtime) -> None:
    if runtime.info.name not in ("wasmtime", "wasm3"):
        pytest.skip("the package's finalizers are Python code")
    command = [sys.executable, "-c", SCRIPT, runtime.info.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True 0\n")
