"""Makes one attack, in a process that may die of it: `worker.py NAME SECONDS SEED`; see `__main__`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(TESTS), str(TESTS.parent)]

from attack import hammers, paths, scarcity, stacks, stores  # noqa: E402
from attack.attack import Attack, Found  # noqa: E402

__all__ = ["ATTACKS", "Found", "main"]

ATTACKS: dict[str, Callable[[Attack], None]] = {
    "signals": hammers.signals,
    "threads": hammers.threads,
    "forks": hammers.forks,
    "stacks": stacks.stacks,
    "stores": stores.stores,
    "paths": paths.paths,
    "allocations": scarcity.allocations,
    "limits": scarcity.limits,
}


def main(name: str, seconds: str, seed: str) -> int:
    attack = Attack(float(seconds), int(seed))
    try:
        ATTACKS[name](attack)
    except Exception:
        traceback.print_exc()
        print(f"{name}: found something after {attack.told()}, seed {seed}", flush=True)
        return 1
    print(f"{name}: {attack.told()}, seed {seed}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
