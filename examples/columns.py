"""A scoring rule that somebody else wrote, run over columns of data, on every core.

    python examples/columns.py

The guest computes, for each customer, a score from the number of orders and the days since the last. Columns go in and
come out as NumPy arrays; each thread has an instance of its own, and the threads run at the same time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import pywasmrt

RULE = """
(module
  (func (export "score") (param $orders i32) (param $days i32) (result f64)
    (f64.div
      (f64.convert_i32_s (i32.mul (local.get $orders) (i32.const 100)))
      (f64.convert_i32_s (i32.add (local.get $days) (i32.const 1))))))
"""


def main() -> None:
    orders = np.arange(100_000, dtype=np.int32) % 17
    days = np.arange(100_000, dtype=np.int32) % 365
    with pywasmrt.new_runtime() as runtime:
        module = runtime.compile(RULE)

        def scores(part: slice) -> np.ndarray:
            with runtime.instantiate(module) as instance:
                return instance.exports.score.map(orders[part], days[part])

        parts = [slice(start, start + 25_000) for start in range(0, len(orders), 25_000)]
        with ThreadPoolExecutor(2) as pool:
            result = np.concatenate(list(pool.map(scores, parts)))
    best = int(result.argmax())
    print(f"{len(result)} scores, the best {result[best]:.1f} for customer {best}")


if __name__ == "__main__":
    main()
