"""Exceptions that cross: Python reads what a guest throws, and a guest catches what Python throws.

python examples/exceptions.py
"""

from __future__ import annotations

import pywasmrt
from pywasmrt import HostModule, ValueType, WasmException, i32

SHOP = """
(module
  (import "shop" "sold_out" (tag $sold_out (param i32)))
  (import "shop" "take" (func $take (param i32 i32) (result i32)))
  (tag $too_dear (export "too_dear") (param i32 i32))
  ;; Buys `count` of an article, or as many as there are. More than 100 cents are too dear.
  (func (export "buy") (param $article i32) (param $count i32) (result i32) (local $price i32)
    (block $fewer (result i32)
      (try_table (catch $sold_out $fewer) (local.set $price (call $take (local.get $article) (local.get $count))))
      (if (i32.gt_s (local.get $price) (i32.const 100))
        (then (throw $too_dear (local.get $article) (local.get $price))))
      (return (local.get $price)))
    (local.set $count)
    (call $take (local.get $article) (local.get $count))))
"""


def main() -> None:
    runtime = pywasmrt.new_runtime("wasmtime")
    store = runtime.new_store()
    sold_out = store.tag([ValueType.I32])
    stock = {1: 3, 2: 50}
    shop = HostModule("shop")

    @shop.function
    def take(article: i32, count: i32) -> i32:
        if article not in stock:
            raise LookupError(f"there is no article {article}")
        if count > stock[article]:
            raise WasmException(sold_out, [stock[article]])  # the guest catches it, and takes what is left
        stock[article] -= count
        return count * 10

    instance = runtime.instantiate(runtime.compile(SHOP), shop, {"shop": {"sold_out": sold_out}}, store=store)
    too_dear = instance.tag("too_dear")
    print("five of article 1, of which there are three:", instance.exports.buy(1, 5), "cents")
    try:
        instance.exports.buy(2, 20)
    except WasmException as error:
        if error.tag != too_dear:
            raise
        article, price = error.values
        print(f"article {article} for {price} cents is too dear; thrown in {error.frames[0].func_name or 'the guest'}")
    try:
        instance.exports.buy(9, 1)
    except LookupError as error:
        print("no guest catches what has no tag:", error)


if __name__ == "__main__":
    main()
