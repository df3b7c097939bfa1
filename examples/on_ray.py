"""A guest's function over a data set of Ray, on two workers of this machine.

    python examples/on_ray.py

Each worker gets the function with its tasks, compiles the module once, and runs it over batches of Arrow data.
"""

from __future__ import annotations

import logging
from typing import Any

from pywasmrt.columns import Udf

TEXT = """
(module
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 1024))
  (func (export "malloc") (param $size i32) (result i32)
    (global.get $next)
    (global.set $next (i32.add (global.get $next) (local.get $size))))
  ;; How many letters of a text are vowels.
  (func (export "vowels") (param $text i32) (param $size i32) (result i32) (local $count i32) (local $letter i32)
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $size)))
        (local.set $size (i32.sub (local.get $size) (i32.const 1)))
        (local.set $letter (i32.load8_u (i32.add (local.get $text) (local.get $size))))
        ;; The letters a, e, i, o and u are bits 1, 5, 9, 15 and 21.
        (local.set $count (i32.add (local.get $count)
          (i32.and (i32.const 1) (i32.shr_u (i32.const 0x208222) (i32.and (local.get $letter) (i32.const 31))))))
        (br $again)))
    (local.get $count)))
"""


def main() -> None:
    try:
        import ray
        import ray.data
    except ImportError:
        print("pip install 'ray[data]'")
        return
    vowels = Udf(TEXT, "vowels")

    def count(batch: Any) -> Any:
        return batch.append_column("vowels", vowels(batch["item"]))

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        words = ray.data.from_items(["module", "instance", "memory", "table"] * 100)
        counted = words.map_batches(count, batch_format="pyarrow")
        print(f"{counted.count()} words, {counted.sum('vowels')} vowels")
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
