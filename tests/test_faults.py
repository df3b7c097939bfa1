"""Every operation of the engine table fails in turn, and the library copes.

The engine that fails on demand (csrc/wrt_fault.c) is in no usual build: these tests make one, in a folder of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pywasmrt import _shim

PROJECT = Path(__file__).resolve().parent.parent
HEADER = PROJECT / "csrc" / "wrt.h"

pytestmark = pytest.mark.skipif(
    not HEADER.exists() or _shim.unavailable_reason() is not None, reason="needs the sources and a C compiler"
)


def can_fail(header: str) -> list[str]:
    """The operations of the table that can fail: those that return a wrt_result, or whether something was there."""
    table = header[header.index("typedef struct wrt_engine_ops {") : header.index("} wrt_engine_ops;")]
    without_comments = re.sub(r"/\*.*?\*/", "", table, flags=re.DOTALL)
    return re.findall(r"^\s*(?:int|bool) \(\*(\w+)\)", without_comments, re.MULTILINE)


CORE = ("instance", "host_calls", "linking", "memory", "lifetimes", "edges")
OPERATIONS = can_fail(HEADER.read_text(encoding="utf-8")) if HEADER.exists() else []


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
        timeout=300,
    )
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


@pytest.fixture(scope="module")
def told(build: Path) -> Any:
    found = run(build, str(PROJECT / "tests" / "faulty.py"))
    assert found.returncode == 0, f"ended by {found.returncode} during {found.stderr[-2000:]}"
    return json.loads(found.stdout.splitlines()[-1])


def test_every_operation_that_can_fail_has_failed(told: Any) -> None:
    assert sorted(told) == sorted(OPERATIONS), "csrc/wrt_fault.c lacks some"
    assert [name for name, each in told.items() if not each["failed"]] == []


def test_errors_of_the_library_came_of_it(told: Any) -> None:
    assert [wrong for each in told.values() for wrong in each["wrong"]] == []


HALF_MADE = """
import gc
import faulty, pywasmrt
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
    tests = [str(PROJECT / "tests" / f"test_{name}.py") for name in CORE]
    options = ["-q", "--tb=no", "--no-summary", "-p", "faulty", "-p", "no:cacheprovider", "-m", "not slow"]
    found = run(build, "-m", "pytest", *options, *tests, PYWASMRT_FAULT=f"{operation}:1:20", timeout=600)
    assert found.returncode in (0, 1), found.stdout[-2000:] + found.stderr[-2000:]


def test_the_usual_build_has_no_such_engine() -> None:
    from pywasmrt._shim._wrt import lib

    assert not hasattr(lib, "wrt_fault_ops")
