"""No growth of resident memory, of the objects that Python counts, or of references, over many rounds of the same.

Each scenario runs in a process of its own (`leak_scenarios`). It warms up, and then the growth over its last rounds is
compared with what noise can explain. How many rounds there are is fixed, so it does not matter how fast the machine is;
`-m slow` does a million calls and ten thousand rounds.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.sanitizers import ADDRESS_SANITIZER

from pywasmrt import Runtime

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc/self/statm here"),
    pytest.mark.skipif(ADDRESS_SANITIZER, reason="the sanitizer keeps what was freed"),
]

SCENARIOS = Path(__file__).parents[1] / "helpers" / "leak_scenarios.py"
ROUNDS = {
    "calls": 1_000_000,
    "wrong_calls": 1_000_000,
    "callbacks": 1_000_000,
    "callers": 1_000_000,
    "re_entry": 1_000_000,
    "exceptions": 1_000_000,
    "guest_exceptions": 1_000_000,
    "guest_references": 1_000_000,
    "wrong_results": 1_000_000,
    "traps": 1_000_000,
    "references": 1_000_000,
    "memory": 1_000_000,
    "globals": 1_000_000,
    "lookups": 1_000_000,
    "waiting": 10_000,
    "instances": 10_000,
    "linked": 10_000,
    "fresh_names": 10_000,
    "dropped_instances": 10_000,
    "cycles": 10_000,
    "failed_instances": 10_000,
    "diagnosed": 10_000,
    "stores": 10_000,
    "modules": 10_000,
    "blobs": 10_000,
    "runtimes": 3_000,
}
# How much may be more in use at the end than after the first half: what allocators do by themselves. A leak of 16 bytes
# a call would be 8 MB over half a million calls, and one object a round would be a thousand.
NOISE = {"bytes": 1_500_000, "objects": 20, "blocks": 150, "references to None": 20}


# The shares of the rounds that the suite does: at first, and then where something seems to grow. Caches still fill in
# the first rounds, and a leak grows however often it is looked for. A call of wasmtime-py costs 500 times one in C.
SHARES = {"wasmtime-py": (0.01, 0.2, 1)}
SHARES_IN_C = (0.05, 0.4, 1)
FEW = 0.5  # growth in one round, of what is counted by the piece: a leak loses at least one


def measured(runtime: Runtime, scenario: str, share: float) -> tuple[int, list[dict[str, Any]]]:
    rounds = int(ROUNDS[scenario] * share)
    child = [sys.executable, str(SCENARIOS), runtime.info.name, scenario, str(rounds)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(child, capture_output=True, text=True, timeout=3600, env=environment, check=False)
    lacking = re.search(r"UnsupportedFeatureError: .*\n\Z", done.stderr)
    if lacking is not None:
        pytest.skip(f"{runtime.info.name} cannot run this: {lacking[0].strip()}")
    assert done.returncode == 0, done.stderr
    count, states = json.loads(done.stdout)
    return count, states


def check(runtime: Runtime, scenario: str, share: float) -> None:
    if scenario == "blobs" and "serialize" not in runtime.info.features:
        pytest.skip("the runtime cannot serialise")
    count, states = measured(runtime, scenario, share)
    # The first half is the warm-up: caches fill, allocators take their arenas. A leak takes as much in each part that
    # follows. Allocators, and Go's heap most of all, take memory in steps, and tables grow by leaps: so the least of
    # the parts counts, times their number.
    parts = list(itertools.pairwise(states[2:]))
    growth = {key: len(parts) * min(later[key] - earlier[key] for earlier, later in parts) for key in NOISE}
    print(f"\n{runtime.info.name}: {scenario}: {count} times: {growth}")
    for key, noise in NOISE.items():
        bound = noise if key == "bytes" else min(noise, max(10, FEW * count / 2))
        assert growth[key] <= bound, f"{key} grow: {states}"


@pytest.mark.parametrize("scenario", ROUNDS)
def test_no_growth(runtime: Runtime, scenario: str) -> None:
    """What seems to grow is measured again with more rounds, before it is judged."""
    *shares, last = SHARES.get(runtime.info.name, SHARES_IN_C)
    for share in shares:
        try:
            check(runtime, scenario, share)
        except AssertionError as error:
            print(f"measured again: {error}")
        else:
            return
    check(runtime, scenario, last)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ROUNDS)
def test_no_growth_in_the_long_run(runtime: Runtime, scenario: str) -> None:
    check(runtime, scenario, 1)
