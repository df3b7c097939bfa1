"""A guest of bytes and text: every form in which a guest gives a row's result back, over an allocator that counts."""

from __future__ import annotations

import random

# The allocator gives from the end of what it gave before, and begins again when all is freed; `live` counts the
# others.
TEXT = """(module
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 1024))
  (global $live (mut i32) (i32.const 0))
  (func $malloc (export "malloc") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -8)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1)))))
    (global.set $live (i32.add (global.get $live) (i32.const 1)))
    (local.get $at))
  (func $free (export "free") (param i32)
    (global.set $live (i32.sub (global.get $live) (i32.const 1)))
    (if (i32.eqz (global.get $live)) (then (global.set $next (i32.const 1024)))))
  (func (export "live") (result i32) (global.get $live))

  ;; A copy of the bytes with every letter from a to z made great.
  (func $upper (param $from i32) (param $size i32) (result i32) (local $to i32) (local $n i32) (local $c i32)
    (local.set $to (call $malloc (local.get $size)))
    (block $done (loop $again
      (br_if $done (i32.ge_u (local.get $n) (local.get $size)))
      (local.set $c (i32.load8_u (i32.add (local.get $from) (local.get $n))))
      (i32.store8 (i32.add (local.get $to) (local.get $n))
        (i32.sub (local.get $c)
          (i32.shl (i32.lt_u (i32.sub (local.get $c) (i32.const 97)) (i32.const 26)) (i32.const 5))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br $again)))
    (local.get $to))
  (func $pack (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1))))

  (func $copy (param $to i32) (param $from i32) (param $size i32)
    (block $done (loop $again
      (br_if $done (i32.eqz (local.get $size)))
      (local.set $size (i32.sub (local.get $size) (i32.const 1)))
      (i32.store8 (i32.add (local.get $to) (local.get $size))
        (i32.load8_u (i32.add (local.get $from) (local.get $size))))
      (br $again))))
  (func (export "upper") (param i32 i32) (result i64)
    (call $pack (call $upper (local.get 0) (local.get 1)) (local.get 1)))
  (func (export "upper_low") (param i32 i32) (result i64)
    (call $pack (local.get 1) (call $upper (local.get 0) (local.get 1))))
  (func (export "upper_pair") (param i32 i32) (result i32 i32)
    (call $upper (local.get 0) (local.get 1)) (local.get 1))
  (func $write (param $out i32) (param i32 i32)
    (i32.store (local.get $out) (call $upper (local.get 1) (local.get 2)))
    (i32.store offset=4 (local.get $out) (local.get 2)))
  (func (export "upper_first") (param $out i32) (param i32 i32)
    (call $write (local.get $out) (local.get 1) (local.get 2)))
  (func (export "upper_last") (param i32 i32) (param $out i32) (result i32)
    (call $write (local.get $out) (local.get 0) (local.get 1))
    (i32.mul (i32.const 7) (i32.eq (local.get 1) (i32.const 3))))  ;; a row of three bytes is an error to it
  (func (export "upper_given") (param i32 i32) (result i64) (local i64)
    (local.set 2 (call $pack (call $upper (local.get 0) (local.get 1)) (local.get 1)))
    (call $free (local.get 0))
    (local.get 2))
  ;; The part of the argument from `from` on, where it lies.
  (func (export "rest") (param i32 i32) (param $from i32) (result i64)
    (if (i32.gt_u (local.get $from) (local.get 1)) (then (local.set $from (local.get 1))))
    (call $pack (i32.add (local.get 0) (local.get $from)) (i32.sub (local.get 1) (local.get $from))))
  (func (export "size") (param i32 i32) (result i32) (local.get 1))
  (func (export "sizes") (param i32 i32 i32 i32) (result i32 f64)
    (local.get 1) (f64.convert_i32_u (local.get 3)))
  ;; Both texts in one.
  (func (export "join") (param $a i32) (param $m i32) (param $b i32) (param $n i32) (result i64) (local $to i32)
    (local.set $to (call $malloc (i32.add (local.get $m) (local.get $n))))
    (call $copy (local.get $to) (local.get $a) (local.get $m))
    (call $copy (i32.add (local.get $to) (local.get $m)) (local.get $b) (local.get $n))
    (call $pack (local.get $to) (i32.add (local.get $m) (local.get $n))))
  ;; No text at all for an empty one, and else the same.
  (func (export "maybe") (param i32 i32) (result i64)
    (if (result i64) (local.get 1) (then (call $pack (local.get 0) (local.get 1))) (else (i64.const 0))))
  (func (export "fails") (param i32 i32) (result i64)
    (if (i32.eq (local.get 1) (i32.const 3)) (then unreachable))
    (call $pack (local.get 0) (local.get 1)))
  (func (export "outside") (param i32 i32) (result i64)
    (if (result i64) (i32.eq (local.get 1) (i32.const 3))
      (then (call $pack (i32.const -16) (i32.const 32)))
      (else (call $pack (local.get 0) (local.get 1)))))
  (func (export "wrong") (param i32 i32) (result i64)
    (i32.store8 (local.get 0) (i32.const 255)) (call $pack (local.get 0) (local.get 1)))
  (func (export "grow") (param i32 i32) (result i64) (local $to i32)
    (local.set $to (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)))
    (call $copy (local.get $to) (local.get 0) (local.get 1))
    (call $pack (local.get $to) (local.get 1)))
  (func (export "spin") (param i32 i32) (result i64) (loop (br 0)) (i64.const 0))
  (func (export "number") (param i64) (result i64) (local.get 0)))"""


def words(count: int, seed: int = 0) -> list[str]:
    """Texts of up to 20 characters, of all lengths in UTF-8, some empty."""
    chosen = random.Random(seed)
    letters = "abcxyzABC 019äß€🎉"
    return ["".join(chosen.choices(letters, k=chosen.randrange(20))) for _ in range(count)]


def upper(text: str) -> str:
    return "".join(each.upper() if each.isascii() else each for each in text)
