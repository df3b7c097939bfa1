"""Every operation of the engine table fails in turn, and the library copes.

The engine that fails on demand (csrc/engines/fault) is in no usual build: these tests make one, in a folder of their
own.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pywasmrt import _shim

PROJECT = Path(__file__).resolve().parents[2]
HEADER = PROJECT / "csrc" / "wrt.h"
WAZERO = PROJECT / "pywasmrt" / "_shim" / "_wrt_wazero.so"

pytestmark = pytest.mark.skipif(
    not HEADER.exists() or _shim.unavailable_reason() is not None, reason="needs the sources and a C compiler"
)


def can_fail(header: str, name: str) -> list[str]:
    """The operations of the table that can fail: those that return a wrt_result, or whether something was there."""
    table = header[header.index(f"typedef struct {name} {{") : header.index(f"}} {name};")]
    without_comments = re.sub(r"/\*.*?\*/", "", table, flags=re.DOTALL)
    return re.findall(r"^\s*(?:int|bool) \(\*(\w+)\)", without_comments, re.MULTILINE)


CORE = (
    *("instance", "imports", "stores", "host_calls", "host_values", "linking", "linked"),
    *("memory", "lifetimes", "collector"),
)
OPERATIONS: list[str] = []
if HEADER.exists():
    OPERATIONS += can_fail(HEADER.read_text(encoding="utf-8"), "wrt_engine_ops")
    TASKS = HEADER.with_name("wrt_task.h").read_text(encoding="utf-8")
    OPERATIONS += [f"task_{name}" for name in can_fail(TASKS, "wrt_task_ops")]


# What wazero never does, or does itself and tells of: its operations answer that it is not there.
NOT_IN_WAZERO = {"text_to_binary", "serialize", "deserialize", "fuel_set", "fuel_get"}


def operations_of_wazero() -> list[str]:
    """Those that can fail and that its table has."""
    table = (PROJECT / "csrc" / "engines" / "wazero" / "table.c").read_text(encoding="utf-8")
    there = set(re.findall(r"^    \.(\w+) = ", table, re.MULTILINE))
    return [name for name in OPERATIONS if name in there - NOT_IN_WAZERO]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, built with the engine that fails."""
    folder = tmp_path_factory.mktemp("faults")
    for name in ("csrc", "pywasmrt"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__", "_build_info.py")
        shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, folder)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "PYWASMRT_FAULTS": "1", "PYWASMRT_NO_WASM3": "1", "CFLAGS": "-O0"},
        check=True,
        timeout=1500,
    )
    if WAZERO.exists():  # which knows nothing of the engine around it
        shutil.copy(WAZERO, folder / WAZERO.relative_to(PROJECT))
    return folder


def run(build: Path, *arguments: str, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(build), str(PROJECT / "tests")])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=build,
        env={**os.environ, "PYTHONPATH": path, "PYWASMRT_NO_PLUGINS": "1", **environment},
        timeout=timeout,
    )


@pytest.fixture(scope="module", params=["wasmtime", "wazero"])
def failed(request: pytest.FixtureRequest, build: Path) -> tuple[str, Any]:
    """The engine that failed, and what came of it."""
    if request.param == "wazero" and not WAZERO.exists():
        pytest.skip("wazero was not built")
    found = run(build, "-m", "helpers.faulty", request.param)
    assert found.returncode == 0, f"ended by {found.returncode} during {found.stderr[-2000:]}"
    return request.param, json.loads(found.stdout.splitlines()[-1])


def test_every_operation_that_can_fail_has_failed(failed: tuple[str, Any]) -> None:
    engine, told = failed
    assert sorted(told) == sorted(OPERATIONS), "csrc/engines/fault/fault.c lacks some"
    never = {name for name, each in told.items() if not each["failed"]}
    assert never == (set() if engine == "wasmtime" else set(OPERATIONS) - set(operations_of_wazero()))


def test_errors_of_the_library_came_of_it(failed: tuple[str, Any]) -> None:
    _, told = failed
    assert [wrong for each in told.values() for wrong in each["wrong"]] == []


HALF_MADE = """
import gc
import pywasmrt
from helpers import faulty
from pywasmrt._shim import _fastcall
lib = faulty.install()
engine = pywasmrt.new_runtime("wasmtime").engine
found = []

def fail(*why):
    for store in gc.get_objects():
        if type(store) is _fastcall.Store:
            try:
                store.memory(1, None, False, False)
            except pywasmrt.ClosedError as error:
                found.append(error)
    raise LookupError

faulty.arm(lib, "store_new")
try:
    _fastcall.Store(engine.owner, fail, -1, -1, -1, 0, engine.stack_needed, True)
except LookupError:
    assert len(found) == 1
    print("refused")
"""


def test_a_store_that_could_not_be_made_is_of_no_use(build: Path) -> None:
    """Not even to the code that tells why, which finds it by way of the collector."""
    found = run(build, "-c", HALF_MADE)
    assert (found.returncode, found.stdout, found.stderr) == (0, "refused\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_tests_of_the_core_survive_them(build: Path, operation: str) -> None:
    """Some fail, where the operation does at its first twenty calls; the process does not."""
    tests = [str(PROJECT / "tests" / "runtimes" / f"test_{name}.py") for name in CORE]
    options = ["-q", "--tb=no", "--no-summary", "-p", "helpers.faulty", "-p", "no:cacheprovider", "-m", "not slow"]
    found = run(build, "-m", "pytest", *options, *tests, PYWASMRT_FAULT=f"{operation}:1:20", timeout=600)
    assert found.returncode in (0, 1), found.stdout[-2000:] + found.stderr[-2000:]


# What a run over whole tests must see, and what it must not take for wrong.
TESTS = """
import os
from pathlib import Path

import pytest

import pywasmrt
from pywasmrt._shim._wrt import ffi

inside = {"WasmError": pywasmrt.WasmError}
source = "def quietly(work):\\n  try: work()\\n  except WasmError: pass\\ndef imports(module): module.imports"
exec(compile(source, str(Path(pywasmrt.__file__).parent / "inside.py"), "exec"), inside)
EMPTY = b"\\0asm\\1\\0\\0\\0"


@pytest.fixture(scope="module")
def runtime():
    with pywasmrt.new_runtime("wasmtime") as runtime:
        yield runtime


def test_hears_of_it(runtime):
    runtime.validate(EMPTY)


def test_expects_it(runtime):
    with pytest.raises(pywasmrt.WasmError):
        runtime.compile(EMPTY)


def test_breaks_the_interpreters_rules(runtime):
    try:
        runtime.validate(EMPTY)
    except pywasmrt.WasmError:
        raise SystemError("returned NULL without setting an exception")


def test_ends_the_process(runtime):
    try:
        runtime.validate(EMPTY)
    except pywasmrt.WasmError:
        os.abort()


def test_keeps_quiet(runtime):
    inside["quietly"](lambda: runtime.validate(EMPTY))


def test_does_not_look(runtime):
    runtime.engine.ops.validate(runtime.engine.handle, EMPTY, len(EMPTY), ffi.new("wrt_failure *"))


def test_takes_it_for_granted(runtime):
    module = None
    try:
        module = runtime.compile(EMPTY)
    except pywasmrt.WasmError:
        pass
    inside["imports"](module)


def test_uses_nothing(runtime):
    assert "calls nothing" in os.environ.get("PYWASMRT_FAULT_PLAN", "calls nothing")
"""


def test_a_run_over_tests_tells_what_is_wrong(build: Path, tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    (tmp_path / "test_it.py").write_text(TESTS)
    arguments = ["--passes", "3", "--processes", "1", "--seconds", "1200", str(tmp_path)]
    found = run(build, str(PROJECT / "tests" / "faults"), *arguments, timeout=1500)
    assert found.returncode == 1
    wrong = set(re.findall(r"^\S+::(test_\w+), (\w+) failing at call (\d): (.*)$", found.stdout, re.MULTILINE))
    assert wrong == {
        (
            "test_breaks_the_interpreters_rules",
            "validate",
            "1",
            "SystemError: returned NULL without setting an exception",
        ),
        ("test_ends_the_process", "validate", "1", "the process ended"),
        (
            "test_takes_it_for_granted",
            "compile",
            "1",
            "AttributeError in inside.py, imports: 'NoneType' object has no attribute 'imports'",
        ),
        ("test_keeps_quiet", "validate", "1", "caught by inside.py, quietly"),
        ("test_does_not_look", "validate", "1", "nobody heard of it: no error was made"),
    }, found.stdout + found.stderr
    failed = dict(re.findall(r"^(\w+) +failed in +(\d+) tests$", found.stdout, re.MULTILINE))
    assert {name: int(tests) for name, tests in failed.items() if tests != "0"} == {"validate": 5, "compile": 2}
    assert sorted(failed) == sorted(OPERATIONS)
    missing = re.findall(r"^(\w+) has failed in no test$", found.stdout, re.MULTILINE)
    assert sorted(missing) == sorted(set(OPERATIONS) - {"validate", "compile"})


def test_a_plan_has_everything_fail_once_and_the_rare_first() -> None:
    Planner = runpy.run_path(str(PROJECT / "tests" / "faults" / "__main__.py"), run_name="faults")["Planner"]
    calls = {"a": {"call": 9, "compile": 1}, "b": {"call": 4}, "c": {"call": 1, "compile": 5}, "d": {}}
    planner = Planner({test: {"calls": each} for test, each in calls.items()})
    plans = []
    while plan := planner.next_pass():
        plans.append(plan)
    assert plans[0] == {"a": ("call", 1), "b": ("call", 1), "c": ("compile", 1)}
    chosen = [(test, *choice) for plan in plans for test, choice in plan.items()]
    wanted = {
        (test, operation, first)
        for test, each in calls.items()
        for operation, count in each.items()
        for first in (1, 2, 5)
        if first <= count
    }
    assert len(chosen) == len(set(chosen))
    assert set(chosen) == wanted


def test_the_usual_build_has_no_such_engine() -> None:
    from pywasmrt._shim._wrt import lib

    assert not hasattr(lib, "wrt_fault_ops")
