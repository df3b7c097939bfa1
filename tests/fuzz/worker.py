"""Fuzzes one target, in a process that may die of it: `worker.py NAME SECONDS SEED FILE RUNTIME...`; see
`__main__`.

FILE holds the input that is being tried: its length in four bytes, and it. With `atheris` for a seed, that package
chooses the inputs.
"""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fuzz_targets import Targets
from guiding import Fuzzer, smaller


def work(target: Callable[[bytes], str], name: str, seconds: float, seed: int, file: BinaryIO) -> int:
    """Fuzz for a time; 1 where something was found, which is then in the file, made smaller."""

    def before(data: bytes) -> None:
        file.seek(0)
        file.write(len(data).to_bytes(4, "little") + data)

    fuzzer = Fuzzer(target, before, random.Random(seed))
    found = fuzzer.run(seconds)
    print(f"{name}: {fuzzer.tried} inputs, {len(fuzzer.seen)} kinds of outcomes, seed {seed}", flush=True)
    if found is None:
        return 0
    data, error = found

    def fails(candidate: bytes) -> bool:
        before(candidate)
        try:
            target(candidate)
        except Exception as other:
            return type(other) is type(error)
        return False

    data = smaller(data, fails)
    before(data)
    try:
        target(data)
    except Exception:
        traceback.print_exc()
    return 1


def by_atheris(target: Callable[[bytes], str], seconds: float, file: BinaryIO) -> None:
    import atheris

    def traced(data: bytes) -> None:
        file.seek(0)
        file.write(len(data).to_bytes(4, "little") + data)
        target(data)

    atheris.instrument_all()
    # The engine turns the guest's faults into traps by these signals.
    signals = [f"-handle_{signal}=0" for signal in ("segv", "bus", "fpe", "ill")]
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", "-max_len=700", *signals], traced)
    atheris.Fuzz()


def main(name: str, seconds: str, seed: str, current: str, *runtimes: str) -> int:
    target = getattr(Targets(runtimes), name)
    with open(current, "r+b", buffering=0) as file:
        if seed == "atheris":
            by_atheris(target, float(seconds), file)
            return 0
        return work(target, name, float(seconds), int(seed), file)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
