"""The attacks work, for a moment each: `make attack` is for longer."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.sanitizers import ADDRESS_SANITIZER

import pywasmrt

FOLDER = Path(__file__).parent
NAMES = runpy.run_path(str(FOLDER / "__main__.py"))["NAMES"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="they use what Linux has")
@pytest.mark.parametrize("name", NAMES)
def test_an_attack_tries_something_and_finds_nothing(name: str) -> None:
    pytest.importorskip("hypothesis")
    if name == "allocations" and sys.version_info[:2] != (3, 11):
        pytest.skip("CPython itself ends in a fault there, or on 3.10 loses the exception")
    if name == "allocations" and ADDRESS_SANITIZER:
        pytest.skip("the sanitizer has an allocator of its own")
    if not any(info.name == "wasmtime" and info.available for info in pywasmrt.list_runtimes()):
        pytest.skip("there is no native engine")
    command = [sys.executable, str(FOLDER), "--attack", name, "--seconds", "0.4", "--seed", "13"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert "1 of 1 attacks found nothing" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert re.search(r": [1-9]", done.stdout), done.stdout  # it says how much it tried


def test_what_an_attack_finds_is_told() -> None:
    worker = (
        "import sys, worker\n"
        "def finds(attack):\n"
        "    attack.counts['tries'] += 3\n"
        "    raise worker.Found('a fault')\n"
        "worker.ATTACKS['finds'] = finds\n"
        "sys.exit(worker.main('finds', '1', '5'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", worker], capture_output=True, text=True, timeout=100, check=False, cwd=FOLDER
    )
    assert done.returncode == 1
    assert "a fault" in done.stderr
    assert done.stdout == "finds: found something after 3 tries, seed 5\n"


def test_a_child_that_ends_badly_is_told() -> None:
    from attack.attack import outcome_of_child

    def fails() -> None:
        raise LookupError("nothing there")

    def hangs() -> None:
        while True:
            pass

    assert outcome_of_child(lambda: None) == ""
    assert "nothing there" in outcome_of_child(fails)
    assert "signal 14" in outcome_of_child(hangs, 1)
