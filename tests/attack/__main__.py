"""Attacks the library for a time: `python tests/attack [--seconds 300] [--attack NAME]... [--seed N]`.

Each attack runs in a process of its own, which may die of what it finds, and says how much it tried. With the seed
that it printed an attack makes the same choices again, though threads and signals come as they come. The exit code is
1 where something was found.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
NAMES = ("fuzz", "signals", "threads", "forks", "stacks", "stores", "paths", "allocations", "limits")


def attack(name: str, seconds: float, seed: int) -> bool:
    """Whether nothing was found."""
    if name == "fuzz":
        command = [sys.executable, str(FOLDER.parent / "fuzz"), "--seconds", str(seconds), "--seed", str(seed)]
    else:
        command = [sys.executable, "-X", "faulthandler", str(FOLDER / "worker.py"), name, str(seconds), str(seed)]
    try:
        code = subprocess.run(command, timeout=seconds * 2 + 300, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"{name}: did not end, seed {seed}", flush=True)
        return False
    if code not in (0, 1):
        print(f"{name}: ended its process ({code}), seed {seed}", flush=True)
    return code == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/attack", description="attack the library for a time")
    parser.add_argument("--seconds", type=float, default=300, help="for all attacks together")
    parser.add_argument("--attack", choices=NAMES, action="append", help="by default, all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    asked = parser.parse_args()
    chosen = asked.attack or NAMES
    results = [attack(name, asked.seconds / len(chosen), asked.seed) for name in chosen]
    print(f"{sum(results)} of {len(results)} attacks found nothing", flush=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
