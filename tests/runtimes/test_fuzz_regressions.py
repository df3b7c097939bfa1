"""What fuzzing once found stays found; and the fuzz targets work."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pywasmrt

FOLDER = Path(__file__).parents[1] / "fuzz"
REGRESSIONS = sorted((FOLDER / "regressions").glob("*.txt"))


@pytest.fixture(scope="module")
def fuzz() -> Iterator[Any]:
    """The modules of the fuzzing folder, and the targets."""
    if not any(info.name == "wasmtime" and info.available for info in pywasmrt.list_runtimes()):
        pytest.skip("there is no native engine")
    sys.path.insert(0, str(FOLDER))
    try:
        import fuzz_targets
        import guiding

        yield fuzz_targets, guiding
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_found_does_not_come_back(fuzz: Any, path: Path) -> None:
    name, data = path.read_text().split()
    getattr(fuzz[0].Targets(), name)(bytes.fromhex(data.strip("-")))


def test_every_target_takes_any_bytes(fuzz: Any) -> None:
    targets, guiding = fuzz
    made = targets.Targets()
    for name in targets.TARGETS:
        fuzzer = guiding.Fuzzer(getattr(made, name), lambda data: None, random.Random(7))
        assert getattr(made, name)(b"")
        for _ in range(40):
            data = fuzzer.next()
            outcome = fuzzer.target(data)
            if outcome not in fuzzer.seen:
                fuzzer.seen.add(outcome)
                fuzzer.corpus.append(data)
        assert len(fuzzer.seen) > 3, name


def test_failures_are_found_and_made_smaller(fuzz: Any) -> None:
    _, guiding = fuzz

    def target(data: bytes) -> str:
        if b"\x07" in data[5:] and len(data) > 9:
            raise ValueError
        return str(len(data))

    found = guiding.Fuzzer(target, lambda data: None, random.Random(1)).run(30)
    assert found is not None
    small = guiding.smaller(found[0], lambda data: b"\x07" in data[5:] and len(data) > 9)
    assert small.replace(b"\0", b"") == b"\x07"
    assert len(small) == 10
