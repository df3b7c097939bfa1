"""Nothing that fails inside wazero's library ends the process: Go functions panic, C gets no memory.

The library with the faults in it is made here from the sources (see `helpers.go_panics`); no usual build has them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import go_panics

import pywasmrt

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = PROJECT / "csrc" / "engines" / "wazero"
INFO = {info.name: info for info in pywasmrt.list_runtimes()}["wazero"]

pytestmark = pytest.mark.skipif(not SOURCES.exists(), reason="the sources are not beside the tests")

# How an exported function may begin: with what turns a panic into a failure, or into a result that says so.
RECOVERS = re.compile(
    r"defer recovered\(&result, failure\)\n"
    r"|defer func\(\) \{ _ = recover\(\) \}\(\)\n"
    r"|defer func\(\) \{\n\t\tif recover\(\) != nil \{\n\t\t\tfound = false\n\t\t\}\n\t\}\(\)\n"
)


def exports() -> dict[str, str]:
    """The exported functions of the Go half: their parameters and results, and their bodies."""
    found = {}
    for path in SOURCES.glob("*.go"):
        text = path.read_text(encoding="utf-8")
        for name in go_panics.exports_of(text):
            begin = text.index(f"\nfunc {name}(")
            found[name] = text[begin : text.index("\n}\n", begin)]
    return found


def test_every_export_recovers_before_it_does_anything() -> None:
    found = exports()
    assert len(found) > 20
    for name, text in found.items():
        head, _, body = text.partition(" {\n\t")
        assert RECOVERS.match(body), f"{name} does not recover first"
        if "failure *C.wrt_failure" in head:
            assert body.startswith("defer recovered(&result, failure)\n"), f"{name} tells of no failure"
            assert head.endswith("(result C.int)"), f"{name} has no result for a failure"


def test_nothing_else_is_called_from_c() -> None:
    """What C calls is exported, so it is among those."""
    called = set(re.findall(r"\b(wz[A-Z]\w+)\(", (SOURCES / "table.c").read_text(encoding="utf-8")))
    assert called == set(exports())


SOURCE = """package main

import "C"

//export wzOne
func wzOne(failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	return 1
}

//export wzTwo
func wzTwo() {
	defer func() {
		_ = recover()
	}()
	one := func() {
	}
	one()
}

//export wzThree
func wzThree() {
	one()
}

func one() { two() }
"""


def test_a_site_stands_where_a_panic_is_recovered_and_first_where_none_is() -> None:
    sites = ["before"]
    made = go_panics.with_sites(SOURCE, sites, go_panics.exports_of(SOURCE))
    assert sites == ["before", "wzOne", "wzTwo", "one", "wzThree", "one"]
    assert "defer recovered(&result, failure)\n\tfault(1)\n" in made
    assert "\n\t}()\n\tfault(2)\n" in made
    assert "func wzThree() {\n\tfault(4)\n" in made
    assert "func one() { fault(5); two() }" in made
    assert re.sub(r"\n\tfault\(\d\)| fault\(\d\);", "", made) == SOURCE


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("panics")
    before = Path.cwd()
    os.chdir(PROJECT)
    try:
        go_panics.build(folder)
    except go_panics.build_wazero.Unavailable as error:
        pytest.skip(str(error))
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="module")
def told(library: Path) -> Any:
    path = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "helpers.go_panics", str(library)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYWASMRT_NO_PLUGINS": "1"},
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"ended by {done.returncode} at {done.stderr[-3000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not INFO.available, reason=str(INFO.reason))
def test_every_export_has_failed(told: Any) -> None:
    failed = {each["name"] for each in told if each["failed"]}
    assert set(exports()) <= failed
    assert len(failed) > 120


@pytest.mark.slow
@pytest.mark.skipif(not INFO.available, reason=str(INFO.reason))
def test_only_errors_of_the_library_came_of_it(told: Any) -> None:
    assert [wrong for each in told for wrong in each["wrong"]] == []
