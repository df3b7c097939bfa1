;; Opens a till of the host's with some cents and pays out of it twice; the till is dropped at the end.
(component
  (import "local:shop/tills" (instance $tills
    (export "till" (type $till (sub resource)))
    (export "[constructor]till" (func (param "cents" u32) (result (own $till))))
    (export "[method]till.pay" (func
      (param "self" (borrow $till)) (param "cents" u32) (result (result u32 (error string)))))))
  (alias export $tills "till" (type $till))
  (alias export $tills "[constructor]till" (func $open))
  (alias export $tills "[method]till.pay" (func $pay))
  (core module $libc
    (memory (export "memory") 1)
    (global $at (mut i32) (i32.const 64))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $at)
      (global.set $at (i32.add (global.get $at) (local.get 3))))
    (func (export "reset") (param i32) (global.set $at (i32.const 64))))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (alias core export $libc "reset" (core func $reset))
  (core func $open' (canon lower (func $open)))
  (core func $pay' (canon lower (func $pay) (memory $memory) (realloc $realloc)))
  (core func $close (canon resource.drop $till))
  (core module $main
    (import "tills" "open" (func $open (param i32) (result i32)))
    (import "tills" "pay" (func $pay (param i32 i32 i32)))
    (import "tills" "close" (func $close (param i32)))
    (func (export "pay-twice") (param $cents i32) (param $amount i32) (result i32) (local $till i32)
      (local.set $till (call $open (local.get $cents)))
      (call $pay (local.get $till) (local.get $amount) (i32.const 16))
      (call $pay (local.get $till) (local.get $amount) (i32.const 16))
      (call $close (local.get $till))
      (i32.const 16)))
  (core instance $main (instantiate $main (with "tills" (instance
    (export "open" (func $open')) (export "pay" (func $pay')) (export "close" (func $close))))))
  (func (export "pay-twice") (param "cents" u32) (param "amount" u32) (result (result u32 (error string)))
    (canon lift (core func $main "pay-twice") (memory $memory) (post-return $reset)))
)
