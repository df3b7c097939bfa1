"""Little stack, little memory, the child of a fork."""

from __future__ import annotations

import os
import sys

import pytest
from helpers.children import Needs, run_in_child
from helpers.sanitizers import ADDRESS_SANITIZER

from pywasmrt import (
    Runtime,
)

STACKS = """
import sys, threading, pywasmrt
from pywasmrt.testing import guests

runtime = pywasmrt.new_runtime(sys.argv[1])
instance = runtime.instantiate(runtime.compile('''(module
  (func $deep (export "deep") (result i32) (i32.add (i32.const 1) (call $deep)))
  (func (export "nothing")))'''))
names, stop, met = set(), threading.Event(), threading.Event()

def start(kib, function):
    threading.stack_size(kib << 10)
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread

def large():
    names.add(threading.get_ident())
    instance.exports.nothing()

def small(done):
    if threading.get_ident() in names:  # the place of a thread that had more
        met.set()
        try:
            instance.exports.deep()
        except pywasmrt.Trap as trap:
            assert trap.code is pywasmrt.TrapCode.STACK_OVERFLOW
    done.set()
    stop.wait()

for _ in range(12):
    start(65536, large).join()
    for _ in range(2):  # after which the C library gives the large stack back
        start(1024, int).join()
    for _ in range(8):
        done = threading.Event()
        start(192, lambda: small(done))
        assert done.wait(30)
        if met.is_set():
            break
"""


def test_a_thread_in_the_place_of_one_with_more_stack_keeps_within_its_own(native: Runtime) -> None:
    run_in_child(STACKS, native.info.name)


FORK = """
import os, sys, pywasmrt
from pywasmrt import registry
from pywasmrt.testing import guests

runtime = pywasmrt.new_runtime(sys.argv[1])
guest = guests.passthrough(pywasmrt.FunctionType()).encode()
runtime.compile(guests.arithmetic().encode())
registry._lock.acquire()  # as a thread may hold it at this moment
child = os.fork()
if child == 0:
    status = 1
    try:
        with runtime if sys.argv[2] == "inherited" else pywasmrt.new_runtime(sys.argv[1]) as compiler:
            compiler.validate(guest)
            module = compiler.compile(guest)
            called = []
            host = {"env": {"f": lambda: called.append(1)}}
            compiler.instantiate(module, host).exports.nested(3)
            blob = module.serialize()
            compiler.instantiate(compiler.deserialize(blob), host).exports.direct()
            status = 0 if called == [1, 1] else 2
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("which", ["inherited", "new"])
def test_the_child_of_a_fork_compiles(runtime: Runtime, needs: Needs, which: str) -> None:
    """Though the threads that its parent compiles on are not there."""
    needs("serialize")
    run_in_child(FORK, runtime.info.name, which)


NO_MEMORY = """
import sys
import _testcapi, pywasmrt
from pywasmrt import Caller, ValueType

runtime = pywasmrt.new_runtime(sys.argv[1])
module = runtime.compile('''(module
  (import "env" "f" (func $f (param externref i32) (result i64 externref)))
  (import "env" "g" (func $g (param i64)))
  (memory (export "memory") 1 4)
  (global (export "global") (mut externref) (ref.null extern))
  (table (export "table") 3 20 externref)
  (func (export "mix") (param externref i32 f64 v128) (result externref i64 v128)
    (local.get 0) (i64.const -1) (local.get 3))
  (func (export "host") (param externref) (result externref)
    (call $g (i64.const 99999999999)) (call $f (local.get 0) (i32.const 3)) (local.set 0) (drop) (local.get 0))
  (func (export "trap") unreachable)
  (func (export "long") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
    (result i64 i64) (i64.const 1) (i64.const 9999999999)))''')

def g(caller: Caller, x):
    caller.memory().read(0, 3)
    caller.function("mix")

imports = {"env": {"f": lambda o, x: [1 << 40, o], "g": g}}
it = runtime.instantiate(module, imports).exports
store = runtime.new_store()
uses = [
    lambda: it.mix(object(), 1, 2.0, bytes(16)), lambda: it.mix(1), lambda: it.host([1]), lambda: it.trap(),
    lambda: it.long(*[1] * 18), lambda: it.long.call(*[1] * 18), lambda: it.long.call(1),
    lambda: it.memory.read(0, 100), lambda: it.memory.read(70000, 1), lambda: memoryview(it.memory).release(),
    lambda: it.memory.type, lambda: it.memory.grow(9), lambda: repr(it.memory),
    lambda: it.global_.value, lambda: it.table[0], lambda: it.table.__setitem__(0, {}),
    lambda: len(it.table) < 19 and it.table.grow(1, [1]), lambda: runtime.instantiate(module, imports).close(),
    lambda: store.memory(1, 2), lambda: store.table(1, 2, ValueType.EXTERNREF, [1]),
    lambda: store.global_(ValueType.EXTERNREF, [1]), lambda: runtime.new_store().close(),
]
for use in uses:
    for n in range(60):
        try:
            _testcapi.set_nomemory(n, n + 1)
            try:
                use()
            finally:
                _testcapi.remove_mem_hooks()
        except BaseException:
            pass
assert it.mix(3, 1, 2, bytes(16)) == (3, -1, bytes(16))
"""


def test_lack_of_memory_anywhere_is_an_error(native: Runtime) -> None:
    pytest.importorskip("_testcapi")
    if sys.version_info >= (3, 12):
        pytest.skip("CPython itself ends in a fault here, in a generator of its own")
    if ADDRESS_SANITIZER:
        pytest.skip("the sanitizer has an allocator of its own")
    run_in_child(NO_MEMORY, native.info.name)
