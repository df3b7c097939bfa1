"""The interpreters that the project promises, and those that CI finds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
# Of the script's text, the function alone.
FIND = "eval \"$(sed -n '/^interpreters() {/,/^}/p' .ci/run)\"; interpreters"


@pytest.fixture(scope="module")
def project() -> str:
    if not (PROJECT / "pyproject.toml").exists():
        pytest.skip("needs the checkout")
    return (PROJECT / "pyproject.toml").read_text(encoding="utf-8")


def promised(project: str) -> list[str]:
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)


def test_the_oldest_is_the_same_everywhere(project: str) -> None:
    oldest = promised(project)[0]
    assert f'requires-python = ">={oldest}"' in project
    assert f'target-version = "py{oldest.replace(".", "")}"' in project
    assert f"You need Python {oldest} or later" in (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"with Python {oldest} or later" in (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_promised_are_in_order_and_without_a_gap(project: str) -> None:
    minors = [int(version.partition(".")[2]) for version in promised(project)]
    assert minors == list(range(minors[0], minors[-1] + 1))


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
class TestMake:
    @staticmethod
    def command(*arguments: str, **settings: str) -> str:
        if not (PROJECT / "Makefile").exists():
            pytest.skip("needs the checkout")
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "VENV", "MAKEFLAGS")}
        child = subprocess.run(
            ["make", "--dry-run", "test", *arguments],
            cwd=PROJECT,
            env={**kept, **settings},
            text=True,
            capture_output=True,
            check=True,
            timeout=300,
        )
        return next(line for line in child.stdout.splitlines() if " -m pytest " in line)

    def test_an_interpreter_that_is_named_has_an_environment_of_its_own(self) -> None:
        assert self.command().startswith(".venv/bin/python ")
        assert self.command(f"PYTHON={sys.executable}").startswith(f".venv-{VERSION}/bin/python ")
        assert self.command(PYTHON=sys.executable).startswith(f".venv-{VERSION}/bin/python ")

    def test_an_environment_that_is_named_is_taken(self) -> None:
        assert self.command(f"PYTHON={sys.executable}", "VENV=other").startswith("other/bin/python ")
        assert self.command(VENV="other").startswith("other/bin/python ")


@pytest.mark.skipif(shutil.which("bash") is None or shutil.which("sed") is None, reason="needs bash and sed")
class TestCI:
    """`.ci/run` on a machine with nothing but what a test puts there."""

    @pytest.fixture
    def machine(self, tmp_path: Path, project: str) -> Path:
        if not (PROJECT / ".ci").exists():
            pytest.skip("needs the checkout")
        if VERSION not in promised(project) or not Path(sysconfig.get_path("include"), "Python.h").exists():
            pytest.skip("needs a promised interpreter with its headers")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "sed").symlink_to(shutil.which("sed") or "")
        return tmp_path

    @staticmethod
    def found(machine: Path) -> list[list[str]]:
        child = subprocess.run(
            [shutil.which("bash") or "", "-euo", "pipefail", "-c", FIND],
            cwd=PROJECT,
            env={"HOME": str(machine), "PATH": str(machine / "bin")},
            text=True,
            capture_output=True,
            check=True,
            timeout=300,
        )
        return [line.split(" ", 1) for line in child.stdout.splitlines()]

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def test_without_a_named_interpreter_nothing_is_found(self, machine: Path) -> None:
        assert self.found(machine) == []

    def test_one_on_the_path_is_found(self, machine: Path) -> None:
        self.write(machine / "bin" / f"python{VERSION}", f'exec "{sys.executable}" "$@"')
        assert self.found(machine) == [[VERSION, sys.executable]]

    def test_one_of_pyenv_is_found_though_its_command_on_the_path_works_nowhere(self, machine: Path) -> None:
        self.write(machine / "bin" / f"python{VERSION}", "exit 127")
        self.write(machine / f".pyenv/versions/{VERSION}.1/bin/python3", f'exec "{sys.executable}" "$@"')
        assert self.found(machine) == [[VERSION, sys.executable]]

    def test_one_that_is_another_than_its_name_says_is_left_out(self, machine: Path, project: str) -> None:
        for version in promised(project):
            if version != VERSION:
                self.write(machine / "bin" / f"python{version}", f'exec "{sys.executable}" "$@"')
        assert self.found(machine) == []

    def test_one_without_what_environments_need_is_left_out(self, machine: Path) -> None:
        self.write(machine / "bin" / f"python{VERSION}", f'exec "{sys.executable}" -S -c "import absent"')
        assert self.found(machine) == []
