"""What the tests of threads, signals and coroutines share: a guest on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from helpers.long_calls import LONG, beside, loops
from pywasmrt import Runtime


class Guest(threading.Thread):
    """A thread on which a guest runs without end, until it is stopped; `end` is how it ended."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self.call = call
        self.entered = threading.Event()
        self.end: BaseException | None = None

    def run(self) -> None:
        try:
            self.call()
        except BaseException as error:
            self.end = error

    @classmethod
    def begin(cls, runtime: Runtime, export: str = "call_then_loop") -> tuple[Guest, Any]:
        """Start one, and return when it is in the guest."""
        entered = threading.Event()
        instance = loops(runtime, entered.set)
        guest = cls(instance.exports[export])
        guest.start()
        if not entered.wait(LONG):
            stop(guest, instance)
            raise AssertionError(f"the guest did not begin: {guest.end!r}")
        return guest, instance


def stop(guest: Guest, instance: Any) -> None:
    while guest.is_alive():
        instance.interrupt()
        guest.join(0.01)


def others_run_during(work: Callable[[], object]) -> bool:
    """Whether another thread has turns while `work` runs. Other programs may take them, but not each of 20 times."""
    turns = [0]

    def take_turns(left: threading.Event) -> None:
        while not left.is_set():
            turns[0] += 1
            time.sleep(0.001)

    with beside(take_turns):
        for _ in range(20):
            before = turns[0]
            work()
            if turns[0] > before:
                return True
    return False
