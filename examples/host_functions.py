"""Python functions that a guest calls: with exact types, with the calling instance, with an exception that comes back.

python examples/host_functions.py
"""

from __future__ import annotations

import pywasmrt
from pywasmrt import Caller, HostModule, i32

GUEST = """
(module
  (import "env" "price" (func $price (param i32) (result i32)))
  (import "env" "log" (func $log (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "two of them")
  (func (export "two") (param $article i32) (result i32)
    (call $log (i32.const 0) (i32.const 11))
    (i32.mul (i32.const 2) (call $price (local.get $article)))))
"""

PRICES = {7: 250, 8: 99}


def main() -> None:
    env = HostModule("env")

    @env.function
    def price(article: i32) -> i32:
        return PRICES[article]

    @env.function
    def log(caller: Caller, offset: i32, size: i32) -> None:
        print("guest:", caller.memory().read(offset, size).decode())

    for info in pywasmrt.list_runtimes():
        if not info.available:
            continue
        runtime = pywasmrt.new_runtime(info.name)
        instance = runtime.instantiate(runtime.compile(GUEST), env)
        print(info.name, "two(7) =", instance.exports.two(7))
        try:
            instance.exports.two(9)
        except KeyError as error:
            print("the host function's own exception:", repr(error))
        runtime.close()


if __name__ == "__main__":
    main()
