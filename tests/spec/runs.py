"""Finding the scripts, and running them in other processes, so that a crash costs one command and not the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = ["Result", "find_scripts", "run_scripts", "total"]

_ROOT = Path(__file__).resolve().parents[2]
_WHERE = ("", "core2", "test/core")
_TIMEOUT = 600  # seconds that one process may take
_ENVIRONMENT = dict(os.environ)  # copied here, as pytest changes it while the workers run
_MOST_CRASHES = 10


def find_scripts() -> list[Path]:
    """The scripts in WASM_SPEC_DIR or else beside the repository, by name; none where there is neither."""
    given = os.environ.get("WASM_SPEC_DIR")
    folder = Path(given) if given else _ROOT.parent / "shared" / "spec"
    for part in _WHERE:
        scripts = sorted((folder / part).glob("*.wast"))
        if scripts:
            return scripts
    if given:
        raise FileNotFoundError(f"WASM_SPEC_DIR: there are no .wast files in {folder}, nor in its core2 or test/core")
    return []


@dataclass
class Result:
    """How the commands of a script ended: how many `passed`, and what was wrong with the others."""

    commands: int = 0
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        parts = [
            f"{self.passed} of {self.commands} passed",
            f"{len(self.failures)} failed",
            f"{len(self.crashes)} crashed",
        ]
        parts += [f"{count} skipped for {reason}" for reason, count in sorted(self.skipped.items())]
        return ", ".join(parts)


def total(results: Iterable[Result]) -> Result:
    """The sum of results."""
    whole = Result()
    for result in results:
        whole.commands += result.commands
        whole.passed += result.passed
        whole.failures += result.failures
        whole.crashes += result.crashes
        whole.skipped.update(result.skipped)
    return whole


def run_scripts(runtime: str, scripts: Sequence[Path]) -> dict[Path, Result]:
    """Run scripts on a runtime, in one process as long as that lives. One in which it ends is run again in the next,
    without the command that crashed.
    """
    results: dict[Path, Result] = {}
    left = list(scripts)
    left_out: list[int] = []
    crashes: list[str] = []
    while left:
        reported, ending = _run_once(runtime, left, left_out)
        while reported and reported[0][-1] == ["end"]:
            results[left.pop(0)] = replace(_read(reported.pop(0)), crashes=crashes)
            left_out, crashes = [], []
        if not left:
            if ending is not None:
                results[scripts[-1]].crashes.append(f"after the last command: {ending}")
            break
        records = reported[0] if reported else []
        begun = [record for record in records if record[0] == "begin"]
        ended = {record[1] for record in records if record[0] in ("passed", "failed", "skipped")}
        crashed = begun[-1] if begun and begun[-1][1] not in ended else None
        crashes.append(f"{crashed[2] if crashed else 'outside of the commands'}: {ending or 'it ended early'}")
        if crashed is None or len(crashes) >= _MOST_CRASHES:
            results[left.pop(0)] = replace(_read(records), crashes=crashes)
            left_out, crashes = [], []
        else:
            left_out.append(crashed[1])
    return results


def _run_once(runtime: str, scripts: list[Path], left_out: list[int]) -> tuple[list[list[Any]], str | None]:
    """What the child reported, a list for each script that it began, and how it ended if not well. `left_out` are
    commands of the first script.
    """
    cache = _ROOT / "build" / "spec"
    child = [sys.executable, "-m", f"{__package__}.child", runtime, str(cache)]
    asked = json.dumps({"scripts": [str(script) for script in scripts], "left_out": left_out})
    environment = {**_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            child, input=asked.encode(), capture_output=True, timeout=_TIMEOUT, env=environment, check=False
        )
        output, ending = done.stdout, None
        if done.returncode:
            ending = f"exit code {done.returncode}: {done.stderr[-500:].decode(errors='replace').strip()}"
    except subprocess.TimeoutExpired as error:
        output, ending = error.stdout or b"", f"took more than {_TIMEOUT} seconds"
    reported: list[list[Any]] = []
    for line in output.splitlines():
        if line.startswith(b"[") and line.endswith(b"]"):
            record = json.loads(line)
            if record[0] == "commands":
                reported.append([])
            if reported:
                reported[-1].append(record)
    return reported, ending


def _read(records: list[Any]) -> Result:
    result = Result()
    for record in records:
        if record[0] == "commands":
            result.commands = record[1]
        elif record[0] == "passed":
            result.passed += 1
        elif record[0] == "failed":
            result.failures.append(record[2])
        elif record[0] == "skipped":
            result.skipped[record[2]] += 1
    return result
