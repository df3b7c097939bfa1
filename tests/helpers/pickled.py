"""The imports of modules that go to other processes, where the imports are found by name."""

from __future__ import annotations

import os
from typing import Any

from pywasmrt import Caller, HostModule, i32

env = HostModule("env")


@env.function
def f0(x: i32) -> i32:
    return x + 1


class Account:
    def __init__(self) -> None:
        self.balance = 100

    @env.method
    def pay(self, caller: Caller, amount: i32) -> i32:
        self.balance -= amount
        return self.balance


def run(module: Any, n: int) -> tuple[int, int]:
    """Instantiate a module in this process: what it computes, and which object it is here."""
    with module.runtime.instantiate(module) as instance:
        return instance.exports.add(n, 2), id(module)


def run_linked(linked: Any, n: int) -> int:
    with linked.instantiate() as instance:
        result: int = instance.exports.run(n)
        return result


def process() -> int:
    return os.getpid()
