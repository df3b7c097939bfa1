"""Three loops that compute: recursion, integer hashing, and loads from memory."""

from __future__ import annotations

__all__ = ["SIZES", "kernels_module"]

_LOOPS = """(module
  (memory 1)
  (func $fib (export "recursion") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add
        (call $fib (i32.sub (local.get 0) (i32.const 1)))
        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func (export "hashing") (param i32) (result i32) (local i32 i32)
    (local.set 2 (i32.const 0x811c9dc5))
    (loop
      (local.set 2 (i32.mul (i32.xor (local.get 2) (local.get 1)) (i32.const 0x01000193)))
      (local.set 2 (i32.xor (local.get 2) (i32.shr_u (local.get 2) (i32.const 15))))
      (local.set 1 (i32.add (local.get 1) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get 1) (local.get 0))))
    (local.get 2))
  (func (export "loads") (param i32) (result i32) (local i32 i32)
    (loop
      (local.set 2 (i32.add (local.get 2) (i32.load (i32.and (local.get 1) (i32.const 0xfffc)))))
      (local.set 1 (i32.add (local.get 1) (i32.const 4)))
      (br_if 0 (i32.lt_u (local.get 1) (local.get 0))))
    (local.get 2)))"""
# What to call each with, so that it takes about a millisecond on Wasmtime.
SIZES = {"recursion": 22, "hashing": 300_000, "loads": 1_200_000}


def kernels_module() -> bytes:
    """The module in the binary format, as some runtimes read no text."""
    import wasmtime

    return bytes(wasmtime.wat2wasm(_LOOPS))
