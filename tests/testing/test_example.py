"""The example of an adapter: installed as a package, found through its entry point, and checked by the kit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pywasmrt

EXAMPLE = Path(__file__).parents[2] / "examples" / "pywasmrt-tiny"

PROGRAM = """
import pywasmrt
from hypothesis import settings
from pywasmrt.testing import check_host_function, check_runtime, common_features, differential
from pywasmrt.testing.conformance import PARTS
from pywasmrt.testing.strategies import modules

[info] = [info for info in pywasmrt.list_runtimes() if info.name == "tiny"]
assert info.available and info.version == "0.1.0", info
print(check_runtime("tiny", parts=[part for part in PARTS if part != "properties"]))
few = settings(max_examples=20, deadline=None, database=None)

def both(x: int, y: float) -> float:
    return x * y

check_host_function(both, runtimes=["tiny"], settings=few)
names = ["tiny", "auto"]
print(differential(modules(common_features(names)), names, settings=few))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools")
    if not EXAMPLE.is_dir():
        pytest.skip("the examples are not beside the tests")
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source")
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site", folder / "source"],
        check=True,
        timeout=120,
    )
    return folder / "site"


def test_it_conforms_through_its_entry_point(installed: Path) -> None:
    pytest.importorskip("hypothesis")
    root = Path(pywasmrt.__file__).parents[1]
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(installed)])},
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert "tiny: " in found.stdout
    assert "checks passed, 0 failed" in found.stdout
    assert "DifferentialReport(runtimes=('tiny', 'wasmtime" in found.stdout


def test_its_tests_can_use_the_plugin(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_it(wasm_runtime, wat):\n"
        "    module = wat('(module (func (export \"f\") (result i64) (i64.const -5)))')\n"
        "    assert wasm_runtime.instantiate(module).exports.f() == -5\n"
    )
    root = Path(pywasmrt.__file__).parents[1]
    options = ["-q", "-p", "pywasmrt.testing.pytest_plugin", "-p", "no:cacheprovider", "--wasm-runtime", "tiny"]
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(installed)])},
        timeout=120,
    )
    assert "1 passed" in found.stdout, found.stdout + found.stderr
