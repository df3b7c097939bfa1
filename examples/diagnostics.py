"""Look into a guest: what it asks of the host, where its time goes, and which of its code the calls have reached.

Run it with `python examples/diagnostics.py`; it writes a flame graph and a tracefile into a folder of its own.
"""

import sys
import tempfile
from pathlib import Path

import pywasmrt

GUEST = """
(module
  (import "shop" "discount" (func $discount (param i32) (result f64)))
  (import "shop" "log" (func $log (param i32)))
  (func $primes (param $n i32) (result i32) (local $i i32) (local $d i32) (local $count i32)
    (local.set $i (i32.const 2))
    (loop $next
      (local.set $d (i32.const 2))
      (block $done
        (loop $divide
          (if (i32.eq (local.get $d) (local.get $i))
            (then (local.set $count (i32.add (local.get $count) (i32.const 1))) (br $done)))
          (br_if $done (i32.eqz (i32.rem_u (local.get $i) (local.get $d))))
          (local.set $d (i32.add (local.get $d) (i32.const 1)))
          (br $divide)))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $count))
  (func $price (export "price") (param $customer i32) (param $cents i32) (result f64)
    (if (i32.lt_s (local.get $cents) (i32.const 0)) (then (call $log (i32.const -1)) (unreachable)))
    (f64.mul (f64.convert_i32_s (local.get $cents)) (call $discount (local.get $customer))))
  (func $work (export "work") (param i32) (result i32) (call $log (local.get 0)) (call $primes (local.get 0))))
"""
IMPORTS = {"shop": {"discount": lambda customer: 0.9 if customer == 7 else 1.0, "log": lambda code: None}}

runtime = pywasmrt.new_runtime()
folder = Path(tempfile.mkdtemp())

print("== its host calls")
instance = runtime.instantiate(runtime.compile(GUEST), IMPORTS)
with pywasmrt.trace(instance, sys.stdout):
    instance.exports.price(7, 1000)
    try:
        instance.exports.price(7, -1)
    except pywasmrt.Trap as trap:
        print(f"trapped: {trap.code}")

print("== where its time goes")
if "profiling" in runtime.info.features:
    with pywasmrt.profile(instance) as profile:
        while profile.running_samples < 3:
            instance.exports.work(3000)
    print(profile.top(3))
    profile.flamegraph(folder / "guest.svg")
    print(f"flame graph: {(folder / 'guest.svg').stat().st_size > 0}")

print("== what was reached")
coverage = pywasmrt.Coverage()
covered = runtime.instantiate(coverage.compile(runtime, GUEST, name="shop"), IMPORTS)
covered.exports.price(7, 1000)
print(coverage.report())
print(*(line for line in coverage.listing().splitlines() if "#####" in line and "unreachable" in line), sep="\n")
coverage.lcov(folder / "guest.info")
print(f"for LCOV: {'FNDA:0,work' in (folder / 'guest.info').read_text()}")
