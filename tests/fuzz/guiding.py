"""Varying inputs: those that had something new come of them are kept, and varied further."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Fuzzer", "smaller"]

_MOST = 700  # bytes of an input


@dataclass
class Fuzzer:
    """One target. `before` is told each input before it is tried, so that one that ends the process is known."""

    target: Callable[[bytes], str]
    before: Callable[[bytes], None]
    random: random.Random
    corpus: list[bytes] = field(default_factory=lambda: [b""])
    seen: set[str] = field(default_factory=set)
    tried: int = 0

    def run(self, seconds: float) -> tuple[bytes, Exception] | None:
        """Try inputs for so long. The first that fails, with what it raised, or None."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            data = self.next()
            self.before(data)
            self.tried += 1
            try:
                outcome = self.target(data)
            except Exception as error:
                return data, error
            if outcome not in self.seen:
                self.seen.add(outcome)
                self.corpus.append(data)
        return None

    def next(self) -> bytes:
        """An input: a new one, or a variation of one that was kept."""
        pick = self.random
        if pick.random() < 0.3:
            return pick.randbytes(pick.randrange(_MOST))
        data = bytearray(pick.choice(self.corpus))
        for _ in range(1 + pick.randrange(4)):
            at = pick.randrange(len(data) + 1)
            way = pick.randrange(4)
            if way == 0:
                data[at : at + 1] = pick.randbytes(1)
            elif way == 1:
                data[at:at] = pick.randbytes(1 + pick.randrange(16))
            elif way == 2:
                del data[at : at + 1 + pick.randrange(16)]
            else:
                other = pick.choice(self.corpus)
                data[at:] = other[at:]
        return bytes(data[:_MOST])


def smaller(data: bytes, fails: Callable[[bytes], bool], seconds: float = 10) -> bytes:
    """An input that still fails, with as much as possible removed or zero."""
    end = time.monotonic() + seconds
    size = max(1, len(data) // 2)
    while size and time.monotonic() < end:
        at, shrunk = 0, False
        while at < len(data) and time.monotonic() < end:
            rest = data[at + size :]
            for candidate in (data[:at] + rest, data[:at] + bytes(len(data[at : at + size])) + rest):
                if candidate != data and fails(candidate):
                    data, shrunk = candidate, True
                    break
            else:
                at += size
        if not shrunk:
            size //= 2
    return data
