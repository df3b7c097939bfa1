"""A WASI command in a simulated world: arguments, streams, a file system in memory, a clock that stands still."""

from __future__ import annotations

import io

import pywasmrt
from pywasmrt import wasi

# Copies standard input to the file "copy" in its first directory, says so, and exits with 3.
COMMAND = """
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\00\\04\\00\\00\\00\\10\\00\\00")      ;; a buffer of 4096 bytes at 1024
  (data (i32.const 16) "\\20\\00\\00\\00\\07\\00\\00\\00")     ;; the text at 32
  (data (i32.const 32) "copied\\0a")
  (data (i32.const 48) "copy")
  (func (export "_start")
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)))
    (i32.store (i32.const 4) (i32.load (i32.const 64)))
    ;; open(3, "copy", CREAT | TRUNC) for writing
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 48) (i32.const 4) (i32.const 9)
          (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 68))
      (then (call $exit (i32.const 1))))
    (drop (call $write (i32.load (i32.const 68)) (i32.const 0) (i32.const 1) (i32.const 72)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 72)))
    (call $exit (i32.const 3))))
"""

runtime = pywasmrt.new_runtime()
command = runtime.compile(COMMAND)

tree = wasi.MemoryTree({"notes/today.txt": "nothing yet"})
output = io.StringIO()
config = wasi.WasiConfig(
    args=["copy"],
    stdin=b"from the host",
    stdout=output,
    preopens={"/": tree},
    clock=wasi.FixedClock(realtime=1_700_000_000 * 10**9),
    random=42,
)
with runtime.instantiate(command, wasi=config) as instance:
    print("exit code:", instance.run())
print("output:", output.getvalue().strip())
print("files:", tree.files())

# The same guest, with nothing given: it finds no directory, and says so by its exit code.
with runtime.instantiate(command, wasi=wasi.WasiConfig()) as instance:
    print("without a directory:", instance.run())

# A read-only directory.
read_only = wasi.WasiConfig(stdin=b"x", preopens={"/": wasi.Preopen(tree, readonly=True)})
with runtime.instantiate(command, wasi=read_only) as instance:
    print("in a read-only directory:", instance.run())
