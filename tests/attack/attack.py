"""What every attack has: a time, random choices, and counts of what was tried."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pywasmrt
from pywasmrt import Runtime

__all__ = ["SANITIZED", "Attack", "Found", "outcome_of_child"]

SANITIZED = "san.so" in os.environ.get("LD_PRELOAD", "")
"""Whether this runs in a build with sanitizers, which keep address space and an allocator of their own."""


class Found(Exception):
    """Something that must not happen has happened."""


class Attack:
    """One attack under way."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.end = time.monotonic() + seconds
        self._fresh = True
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()

    def going(self) -> bool:
        """Whether there is time left; there is for one round."""
        fresh, self._fresh = self._fresh, False
        return fresh or time.monotonic() < self.end

    def shares(self, parts: Sequence[Any]) -> Iterator[Any]:
        """Each of the parts, with an equal share of the time that is left: `going` is of the share."""
        end = self.end
        for n, part in enumerate(parts):
            self.end = time.monotonic() + (end - time.monotonic()) / (len(parts) - n)
            self._fresh = True
            yield part

    @staticmethod
    def runtimes(*features: str) -> list[Runtime]:
        """A new runtime of each kind that is here and has the features."""
        here = [info for info in pywasmrt.list_runtimes() if info.available]
        return [pywasmrt.new_runtime(info.name) for info in here if info.features.issuperset(features)]

    def told(self) -> str:
        """The counts in words."""
        return ", ".join(f"{count:,} {what}" for what, count in sorted(self.counts.items())) or "nothing"


def outcome_of_child(work: Callable[[], None], seconds: int = 60) -> str:
    """Do `work` in a fork: "" where it returned, what it raised, or the signal that ended the process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            import signal

            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, seconds)  # who hangs is ended by it
            work()
            code = 0
        except BaseException as error:
            import traceback

            text = "".join(traceback.format_exception(error))
            os.write(writing, text[-4000:].encode(errors="replace"))
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 0:
        return ""
    return said or (f"the process was ended by signal {-status}" if status < 0 else f"the process ended with {status}")
