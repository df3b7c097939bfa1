"""The child of a fork: it goes on with components, and is told where WASI cannot serve it. Nothing hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pywasmrt

TESTS = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")

BEGIN = """
import gc, os, signal, sys
import pywasmrt
from pywasmrt import wasi
from component.guests import COMMAND, CALLS_HOST, SLEEPER
from component.test_imports import Host

runtime = pywasmrt.new_runtime(sys.argv[1])

def sleeper():
    component = runtime.compile_component(SLEEPER)
    return runtime.instantiate_component(component, {"note": lambda x: x + 41}, wasi=wasi.WasiConfig())

def in_child(work):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0) == (child, 0), "the child failed, or hung until its alarm"
        return
    signal.alarm(60)
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
"""

WITHOUT = """
def work():
    component = runtime.compile_component(CALLS_HOST)
    with runtime.instantiate_component(component, {"local:demo/host": Host()}) as instance:
        assert instance.exports.twice(1) == 3
    assert inherited.exports.twice(1) == 3
    with sleeper() as instance:  # the parent has not used WASI
        assert instance.exports.sleep(1000) == 42

inherited = runtime.instantiate_component(runtime.compile_component(CALLS_HOST), {"local:demo/host": Host()})
assert inherited.exports.twice(1) == 3
in_child(work)
print("fine")
"""

WITH = """
def refused(work):
    try:
        work()
    except pywasmrt.UnsupportedFeatureError as error:
        assert error.feature == "fork" and "threads for that are gone" in str(error), error
    else:
        raise AssertionError("it was not refused")

def work():
    global inherited
    for _ in range(2):
        refused(lambda: inherited.exports.sleep(1000))
        refused(sleeper)
    component = runtime.compile_component(CALLS_HOST)
    with runtime.instantiate_component(component, {"local:demo/host": Host()}) as instance:
        assert instance.exports.twice(1) == 3  # without WASI
    inherited.close()
    del inherited
    gc.collect()
    runtime.close()

inherited = sleeper()
assert inherited.exports.sleep(1000) == 42
in_child(work)
assert inherited.exports.sleep(1000) == 42  # the parent goes on
with sleeper() as another:
    assert another.exports.sleep(1000) == 42
print("fine")
"""


@pytest.mark.parametrize("script", [WITHOUT, WITH], ids=["without WASI", "with WASI"])
def test_a_fork(components: pywasmrt.Runtime, script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script, components.info.name],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path[1:]])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr
