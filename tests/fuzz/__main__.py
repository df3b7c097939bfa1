"""Fuzzes for a time: `python tests/fuzz --seconds 60 [--target NAME] [--runtime NAME] [--seed N] [--atheris]`.

Each target runs in a process of its own, which may die of what it finds. What fails is made smaller where it can be,
and written as hex to `regressions/`, from where `tests/runtimes/test_fuzz_regressions.py` tries it again for ever.

Inputs are varied by what came of earlier ones. With `--atheris`, where that package is installed (it instruments Python
code only), they are chosen by the lines of this library that they reach.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
REGRESSIONS = FOLDER / "regressions"


def names_in(variable: str) -> list[str]:
    """The names that a variable of fuzz_targets.py lists, read without importing what that needs."""
    for node in ast.parse((FOLDER / "fuzz_targets.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == variable:
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"fuzz_targets.py has no {variable}")


def save(name: str, data: bytes) -> Path:
    """Keep an input that failed."""
    REGRESSIONS.mkdir(exist_ok=True)
    path = REGRESSIONS / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.txt"
    path.write_text(f"{name}\n{data.hex() or '-'}\n", encoding="utf-8")
    return path


def fuzz(name: str, seconds: float, seed: str, runtimes: list[str]) -> bool:
    """Whether nothing was found."""
    with tempfile.NamedTemporaryFile() as current:
        command = [sys.executable, str(FOLDER / "worker.py"), name, str(seconds), seed, current.name, *runtimes]
        try:
            code = subprocess.run(command, timeout=seconds + 120).returncode
            how = "failed" if code == 1 else f"ended its process ({code})"
        except subprocess.TimeoutExpired:
            code, how = -1, "did not end"
        if code == 0:
            return True
        size = int.from_bytes(os.pread(current.fileno(), 4, 0), "little")
        data = os.pread(current.fileno(), size, 4)
    print(f"{name}: an input {how}; kept as {save(name, data)}", flush=True)
    return False


def main() -> int:
    names, native = names_in("TARGETS"), names_in("NATIVE")
    parser = argparse.ArgumentParser(prog="tests/fuzz", description="fuzz for a time")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--target", choices=names, action="append", help="by default, all")
    parser.add_argument(
        "--runtime", choices=[*native, "wazero:interpreter"], action="append", help="by default, all native ones"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--atheris", action="store_true", help="choose inputs by the lines that they reach")
    asked = parser.parse_args()
    chosen = asked.target or names
    seed = "atheris" if asked.atheris else str(asked.seed)
    results = [fuzz(name, asked.seconds / len(chosen), seed, asked.runtime or native) for name in chosen]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
