"""The pytest plugin, used as others use it: in a test run of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pywasmrt
from pywasmrt.testing import to_binary

TESTS = """
import pytest
import pywasmrt

seen = []


def test_every_runtime(wasm_runtime):
    seen.append(wasm_runtime.info.name)
    assert wasm_runtime.validate(b"\\0asm\\1\\0\\0\\0") is None


def test_text(wasm_runtime, wat):
    module = wat('(module (func (export "f") (result i32) (i32.const 7)))')
    assert wasm_runtime.instantiate(module).exports.f() == 7


@pytest.mark.wasm_features("multi-value", "nothing-has-this")
def test_a_missing_feature(wasm_runtime):
    raise AssertionError


def test_a_refused_feature(wasm_runtime):
    raise pywasmrt.UnsupportedFeatureError("not that", "nothing-has-this")


def test_a_refusal_of_what_is_claimed(wasm_runtime):
    raise pywasmrt.UnsupportedFeatureError("not that", sorted(wasm_runtime.info.features)[0])


def test_without_a_runtime():
    pass
"""


def run(folder: Path, *arguments: str, tests: str = TESTS, cache: bool = False, **environment: str) -> str:
    (folder / "test_it.py").write_text(tests)
    root = str(Path(pywasmrt.__file__).parents[1])
    options = ["-p", "pywasmrt.testing.pytest_plugin", "-v", "-rs", "--rootdir", str(folder)]
    if not cache:
        options += ["-p", "no:cacheprovider"]
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments, str(folder / "test_it.py")],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, "PYWASMRT_TEST_RUNTIMES": "", **environment},
        timeout=120,
    )
    return found.stdout + found.stderr


def test_tests_run_on_every_runtime_and_skip_by_feature(tmp_path: Path) -> None:
    names = [info.name for info in pywasmrt.list_runtimes() if info.available]
    output = run(tmp_path)
    for name in names:
        for test in ("test_every_runtime", "test_text"):
            assert f"{test}[{name}] PASSED" in output
        assert f"test_a_missing_feature[{name}] SKIPPED" in output
        assert f"test_a_refused_feature[{name}] SKIPPED" in output
        assert f"test_a_refusal_of_what_is_claimed[{name}] FAILED" in output
        assert f"{name} lacks nothing-has-this" in output
    assert "test_without_a_runtime PASSED" in output


@pytest.mark.parametrize("way", ["option", "variable"])
def test_runtimes_can_be_chosen(tmp_path: Path, way: str) -> None:
    name = next(info.name for info in pywasmrt.list_runtimes() if info.available)
    chosen = "-k", "test_every_runtime"
    if way == "option":
        output = run(tmp_path, *chosen, "--wasm-runtime", name)
    else:
        output = run(tmp_path, *chosen, PYWASMRT_TEST_RUNTIMES=name)
    assert f"test_every_runtime[{name}] PASSED" in output
    assert "1 passed" in output


def test_a_runtime_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    output = run(tmp_path, "--wasm-runtime", "imaginary")
    assert "--wasm-runtime asks for 'imaginary': there is no such runtime, only wasmtime" in output


def test_the_fixtures_of_this_run(wasm_runtime: pywasmrt.Runtime, wat: object, runtime: pywasmrt.Runtime) -> None:
    assert wasm_runtime is runtime
    assert callable(wat)


def test_text_that_is_none() -> None:
    with pytest.raises(pywasmrt.ModuleCompileError):
        to_binary("(module")
    with pytest.raises(pywasmrt.ModuleCompileError):
        to_binary("\ud800")


def test_loading_the_plugin_loads_neither_engine_nor_hypothesis() -> None:
    program = (
        "import sys, pywasmrt.testing.pytest_plugin as plugin; import pywasmrt.testing;"
        "print(sorted({'hypothesis', 'wasmtime', 'pywasmrt.registry', 'cffi'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_kit_says_what_to_install_where_hypothesis_is_missing() -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from pywasmrt.testing import check_host_function, check_runtime, differential, guests\n"
        "print(check_runtime('auto', parts=['modules', 'properties']))\n"
        "differential([guests.arithmetic()], ['wasmtime-py', 'wasmtime-py'])\n"
        "try: check_host_function(lambda: None)\n"
        "except ImportError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'pywasmrt[testing]'" in found.stdout, found.stderr
    assert "needs the package hypothesis" in found.stdout


# Every fixture, in every way in which tests are written.
WAYS = """
import os
import unittest

import pytest
from hypothesis import given, settings, strategies as st

SAME = '(module (func (export "same") (param i32) (result i32) (local.get 0)))'


@given(x=st.integers(-2**31, 2**31 - 1))
@settings(max_examples=5, deadline=None, database=None)
def test_given(wasm_runtime, wat, x):
    assert wasm_runtime.instantiate(wat(SAME)).exports.same(x) == x


class TestPlain:
    def test_method(self, wasm_runtime, wat):
        assert wasm_runtime.instantiate(wat(SAME)).exports.same(3) == 3

    @given(x=st.integers(0, 5))
    @settings(max_examples=5, deadline=None, database=None)
    def test_given_method(self, wasm_runtime, wat, x):
        assert wasm_runtime.instantiate(wat(SAME)).exports.same(x) == x


class TestUnit(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def take(self, wasm_runtime, wat):
        self.runtime, self.wat = wasm_runtime, wat

    def test_unittest(self):
        self.assertEqual(self.runtime.instantiate(self.wat(SAME)).exports.same(4), 4)
        print("unittest ran on", self.runtime.info.name)

    @given(x=st.integers(0, 5))
    @settings(max_examples=5, deadline=None, database=None)
    def test_unittest_given(self, x):
        self.assertEqual(self.runtime.instantiate(self.wat(SAME)).exports.same(x), x)

    @pytest.mark.wasm_features("nothing-has-this")
    def test_unittest_without_a_feature(self):
        raise AssertionError


def test_asked_for_later(request):
    module = request.getfixturevalue("wat")(SAME)
    assert request.getfixturevalue("wasm_runtime").instantiate(module).exports.same(5) == 5


def test_failing(wasm_runtime, wat):
    wat(SAME)
    assert not os.environ["FAILS"]
"""


@pytest.mark.parametrize("way", [(), ("-n", "2")], ids=["here", "xdist"])
def test_the_fixtures_serve_however_tests_are_written(tmp_path: Path, way: tuple[str, ...]) -> None:
    pytest.importorskip("xdist")
    names = [info.name for info in pywasmrt.list_runtimes() if info.available]
    output = run(tmp_path, *way, "-rA", tests=WAYS, FAILS="")
    assert f"{4 * len(names) + 3} passed, 1 skipped" in output, output
    assert f"unittest ran on {names[0]}" in output
    assert "lacks nothing-has-this" in output


def test_what_failed_last_runs_again_and_nothing_else(tmp_path: Path) -> None:
    count = sum(info.available for info in pywasmrt.list_runtimes())
    first = run(tmp_path, tests=WAYS, cache=True, FAILS="yes")
    assert f"{count} failed, {3 * count + 3} passed, 1 skipped" in first, first
    again = run(tmp_path, "--lf", tests=WAYS, cache=True, FAILS="")
    assert f"{count} passed" in again.splitlines()[-1], again


def test_unittest_takes_the_runtime_that_is_chosen(tmp_path: Path) -> None:
    name = [info.name for info in pywasmrt.list_runtimes() if info.available][-1]
    output = run(tmp_path, "-rA", "-k", "unittest", "--wasm-runtime", name, tests=WAYS, FAILS="")
    assert f"unittest ran on {name}" in output, output


CHOSEN = """
import pytest

@pytest.mark.parametrize("wasm_runtime", ["NAME"], indirect=True)
def test_one(wasm_runtime):
    assert wasm_runtime.info.name == "NAME"

@pytest.mark.parametrize(("n", "wasm_runtime"), [(1, "NAME"), (2, "NAME")], indirect=["wasm_runtime"])
def test_two(wasm_runtime, wat, n):
    assert wasm_runtime.info.name == "NAME"

def test_every(wasm_runtime):
    pass
"""


def test_a_test_may_name_its_runtimes(tmp_path: Path) -> None:
    names = [info.name for info in pywasmrt.list_runtimes() if info.available]
    output = run(tmp_path, tests=CHOSEN.replace("NAME", names[-1]))
    assert f"{3 + len(names)} passed" in output
    assert f"test_one[{names[-1]}] PASSED" in output
