"""What is made of the processes that run the official scripts, where these end early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from . import runs

FIRST, SECOND, THIRD = Path("first"), Path("second"), Path("third")


def test_a_crash_costs_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second script crashes in its second command: it is run again without that, and the third after it."""
    asked: list[tuple[list[Path], list[int]]] = []

    def run_once(runtime: str, scripts: list[Path], left_out: list[int]) -> tuple[list[list[Any]], str | None]:
        asked.append((list(scripts), list(left_out)))
        reported: list[list[Any]] = []
        for script in scripts:
            reported.append([["commands", 3]])
            for number in range(3):
                if script == scripts[0] and number in left_out:
                    reported[-1].append(["skipped", number, "a crash"])
                    continue
                reported[-1].append(["begin", number, f"line {number}"])
                if script == SECOND and number == 1:
                    return reported, "exit code -11"
                reported[-1].append(["passed", number])
            reported[-1].append(["end"])
        return reported, None

    monkeypatch.setattr(runs, "_run_once", run_once)
    results = runs.run_scripts("any", [FIRST, SECOND, THIRD])
    assert asked == [([FIRST, SECOND, THIRD], []), ([SECOND, THIRD], [1])]
    assert {script: (result.passed, result.crashes) for script, result in results.items()} == {
        FIRST: (3, []),
        SECOND: (2, ["line 1: exit code -11"]),
        THIRD: (3, []),
    }


@pytest.mark.parametrize(("reported", "crash"), [([], "outside of the commands"), ([[["commands", 3]]], "outside")])
def test_who_ends_outside_of_commands_is_not_run_again(
    monkeypatch: pytest.MonkeyPatch, reported: list[list[Any]], crash: str
) -> None:
    monkeypatch.setattr(runs, "_run_once", lambda *asked: (list(reported), None))
    results = runs.run_scripts("any", [FIRST, SECOND])
    assert list(results) == [FIRST, SECOND]
    for result in results.values():
        assert len(result.crashes) == 1
        assert result.crashes[0].startswith(crash)
        assert "it ended early" in result.crashes[0]


def test_an_end_after_the_last_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = [[["commands", 0], ["end"]]]
    monkeypatch.setattr(runs, "_run_once", lambda *asked: (list(reported), "exit code 3"))
    assert runs.run_scripts("any", [FIRST])[FIRST].crashes == ["after the last command: exit code 3"]
