"""Untrusted code of many tenants: a fresh instance for each request, with its tenant's account behind it.

python examples/tenants.py
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pywasmrt
from pywasmrt import Caller, HostModule, Limits, ModuleInstance, Trap, i32

SCRIPT = """
(module
  (import "env" "pay" (func $pay (param i32) (result i32)))
  (import "env" "log" (func $log (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "paid")
  (global $served (mut i32) (i32.const 0))
  (func (export "handle") (param $amount i32) (result i32)
    (global.set $served (i32.add (global.get $served) (i32.const 1)))
    (if (i32.lt_s (call $pay (local.get $amount)) (i32.const 0)) (then unreachable))
    (call $log (i32.const 8) (i32.const 4))
    (global.get $served)))
"""

env = HostModule("env")


class Account:
    """The state of one instance: one is made for each, and the guest imports its methods."""

    def __init__(self) -> None:
        self.balance = 100
        self.lines: list[str] = []

    @env.method
    def pay(self, amount: i32) -> i32:
        self.balance -= amount
        return self.balance

    @env.method
    def log(self, caller: Caller, at: i32, size: i32) -> None:
        self.lines.append(caller.memory().read(at, size).decode())


def main() -> None:
    runtime = pywasmrt.new_runtime()
    # Once: the imports are resolved and checked.
    linked = runtime.link(runtime.compile(SCRIPT), env.bind(Account), limits=Limits(memory_bytes=1 << 20, timeout=1))

    def request(amount: int) -> str:
        # For each request, on any thread: memory, globals and account are new.
        with linked.instantiate() as instance:
            account: Account = instance.state("env")
            try:
                served = handle(instance, amount)
            except Trap as trap:
                return f"{amount}: refused ({trap.code}), balance {account.balance}"
            return f"{amount}: request {served}, balance {account.balance}, log {account.lines}"

    with ThreadPoolExecutor(4) as pool:
        for line in pool.map(request, [30, 99, 170, 5]):
            print(line)


def handle(instance: ModuleInstance, amount: int) -> int:
    served: int = instance.exports.handle(amount)
    return served


if __name__ == "__main__":
    main()
