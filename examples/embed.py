"""A guest from text to results: compile, instantiate, call, share memory.

python examples/embed.py
"""

from __future__ import annotations

import pywasmrt

GUEST = """
(module
  (memory (export "memory") 1)
  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))
  (func (export "divide") (param i32 i32) (result i32 i32)
    (i32.div_s (local.get 0) (local.get 1))
    (i32.rem_s (local.get 0) (local.get 1)))
  (func (export "sum") (param $at i32) (param $count i32) (result i32) (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (local.get $sum)))
"""


def main() -> None:
    with pywasmrt.new_runtime() as runtime:
        module = runtime.compile(GUEST)
        print("exports:", ", ".join(export.name for export in module.exports))

        instance = runtime.instantiate(module)
        print("add(40, 2) =", instance.exports.add(40, 2))
        print("divide(17, 5) =", instance.exports.divide(17, 5))

        memory = instance.memory()
        assert memory is not None
        data = bytes(range(100))
        memory.write(0, data)
        print("sum =", instance.exports.sum(0, len(data)))

        try:
            instance.exports.divide(1, 0)
        except pywasmrt.Trap as trap:
            print("trap:", trap.code)


if __name__ == "__main__":
    main()
