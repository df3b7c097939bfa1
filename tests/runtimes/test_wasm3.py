"""What is particular to wasm3: what it refuses, what bounds it, and that no module can crash it.

PYWASMRT_MUTATIONS is the number of damaged modules to try; 10000 in a build with the address sanitizer is what a
release wants.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.sanitizers import ADDRESS_SANITIZER

import pywasmrt
from pywasmrt import FunctionType, Limits, MemoryType, Runtime, Trap, TrapCode, ValueType
from pywasmrt.testing import guests
from pywasmrt.testing.guests import Module

pytestmark = pytest.mark.skipif(
    not any(info.name == "wasm3" and info.available for info in pywasmrt.list_runtimes()),
    reason="built without wasm3",
)
I32 = ValueType.I32
NONE = FunctionType((), ())


@pytest.fixture(scope="module")
def wasm3() -> Iterator[Runtime]:
    with pywasmrt.new_runtime("wasm3") as runtime:
        yield runtime


@pytest.mark.parametrize(
    ("wat", "feature"),
    [
        ("(module (func (result v128) v128.const i32x4 0 0 0 0))", "simd"),
        ("(module (memory i64 1))", "memory64"),
        ("(module (memory 1) (memory 1))", "multi-memory"),
        ("(module (memory 1 1 shared))", "threads"),
        ('(module (import "a" "m" (memory 1)))', "import-memory"),
        ('(module (import "a" "t" (table 1 funcref)))', "import-table"),
        ('(module (import "a" "g" (global (mut i32))))', "import-"),
        ("(module (func (param externref)))", "reference-types"),
        ("(module (tag))", "exceptions"),
        ("(module (type (struct)))", "gc"),
    ],
)
def test_what_it_cannot_run_is_refused_by_name(wasm3: Runtime, wat: str, feature: str) -> None:
    with pytest.raises(pywasmrt.UnsupportedFeatureError) as caught:
        wasm3.compile(wat)
    assert caught.value.feature is not None
    assert caught.value.feature.startswith(feature)
    assert caught.value.feature not in wasm3.info.features


def test_an_invalid_module_is_no_unsupported_one(wasm3: Runtime) -> None:
    with pytest.raises(pywasmrt.ModuleCompileError, match="type mismatch"):
        wasm3.compile("(module (func i32.add))")


@pytest.mark.parametrize("stack", [0, 512 << 10, 8 << 20])
def test_recursion_ends_in_a_trap_on_every_stack(wasm3: Runtime, stack: int) -> None:
    exports = wasm3.instantiate(wasm3.compile(guests.recursion().encode())).exports
    found: list[Any] = []

    def run() -> None:
        for _ in range(3):
            with pytest.raises(Trap) as caught:
                exports.forever()
            found.append(caught.value.code)
        found.append(exports.deep(100))

    if stack == 0:
        run()
    else:
        before = threading.stack_size(stack)
        try:
            thread = threading.Thread(target=run)
            thread.start()
        finally:
            threading.stack_size(before)
        thread.join()
    assert found == [TrapCode.STACK_OVERFLOW] * 3 + [100]


def test_recursion_through_the_host_ends_in_a_trap(wasm3: Runtime) -> None:
    """The host grows the memory on the way, which must not move the bounds of the stack."""
    guest = Module()
    guest.import_("env", "f", NONE)
    guest.memory(MemoryType(1, 1000), export="memory")
    guest.function(NONE, [("call", 0)], export="again")
    guest.function(NONE, [("call", 2)], export="forever")

    def f() -> None:
        instance.memory().grow(1)
        instance.exports.forever()

    instance = wasm3.instantiate(wasm3.compile(guest.encode()), {"env": {"f": f}})
    for _ in range(10):
        with pytest.raises(Trap) as caught:
            instance.exports.again()
        assert caught.value.code is TrapCode.STACK_OVERFLOW


def test_nested_blocks_without_end_are_refused(wasm3: Runtime) -> None:
    guest = Module()
    guest.function(NONE, [("loop", NONE)] * 100_000 + [("end",)] * 100_000, export="f")
    with pytest.raises(pywasmrt.WasmError):
        wasm3.compile(guest.encode())


def test_a_view_outlives_growth(wasm3: Runtime) -> None:
    instance = wasm3.instantiate(wasm3.compile('(module (memory (export "memory") 1))'))
    memory = instance.memory()
    view = memoryview(memory)
    memory.grow(500)
    memory.write(0, b"abc")
    assert bytes(view[:3]) == b"abc"
    assert memory.size == 501 << 16


def test_functions_of_other_instances_run_in_their_own(wasm3: Runtime) -> None:
    store = wasm3.new_store()
    first = wasm3.instantiate(
        wasm3.compile(
            '(module (memory (export "memory") 1) (func (export "get") (result i32) i32.const 0 i32.load)'
            ' (table (export "t") 2 funcref))'
        ),
        store=store,
    )
    second = wasm3.instantiate(
        wasm3.compile(
            '(module (import "first" "get" (func $get (result i32))) (memory 1) (table (export "t") 1 funcref)'
            ' (func (export "both") (result i32) call $get i32.const 0 call_indirect (result i32) i32.add))'
        ),
        {"first": first},
        store=store,
    )
    first.memory().write(0, b"\x05")
    second.table("t")[0] = first.function("get")
    assert second.exports.both() == 10


def test_trust_is_for_those_who_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from pywasmrt._shim import wasmtime_library as library

    monkeypatch.setattr(library, "wasmtime_library_reason", lambda: "there is none")
    with pytest.raises(pywasmrt.RuntimeNotFoundError, match=r"cannot validate modules: there is none; .*trust_modules"):
        pywasmrt.new_runtime("wasm3")
    config = pywasmrt.RuntimeConfig(options={"trust_modules": True})
    with pywasmrt.new_runtime("wasm3", config) as runtime:
        assert runtime.instantiate(runtime.compile(guests.arithmetic().encode())).exports.add(1, 2) == 3
        assert "wat" not in runtime.info.features


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="there is no /proc/self/statm here")
@pytest.mark.skipif(ADDRESS_SANITIZER, reason="the sanitizer keeps what was freed")
def test_ten_thousand_rounds_leave_nothing(wasm3: Runtime) -> None:
    data = guests.recursion().encode()

    def pages() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1])

    def rounds(count: int) -> None:
        for _ in range(count):
            with wasm3.compile(data) as module, wasm3.instantiate(module) as instance:
                instance.exports.deep(3)

    rounds(2000)
    before = pages()
    rounds(10_000)
    assert pages() - before < 200


def test_damaged_modules_do_not_crash_it(wasm3: Runtime) -> None:
    numbers = random.Random(5)
    originals = [guests.recursion(), guests.arithmetic(), guests.passthrough(FunctionType((I32,), (I32,)))]
    originals += [guests.starting(), guests.traps(), guests.globals_([I32, ValueType.F64])]
    for _ in range(int(os.environ.get("PYWASMRT_MUTATIONS", "500"))):
        data = bytearray(numbers.choice(originals).encode())
        for _ in range(numbers.randint(1, 4)):
            place = numbers.randrange(8, len(data))
            kind = numbers.random()
            if kind < 0.5:
                data[place] ^= 1 << numbers.randrange(8)
            elif kind < 0.8:
                data[place] = numbers.choice([0, 1, 2, 0x0B, 0x7F, 0x80, 0xFF])
            else:
                data[place:place] = bytes([numbers.randrange(256)])
        try:
            module = wasm3.compile(bytes(data))
            instance = wasm3.instantiate(module, {"env": {"f": lambda *args: args[0]}}, limits=Limits(timeout=0.5))
        except (pywasmrt.WasmError, OverflowError, TypeError):
            continue
        for name in instance.exports:
            function = instance.exports[name]
            if callable(function) and name != "forever":
                with contextlib.suppress(pywasmrt.WasmError, TypeError, OverflowError):
                    function(*(1 for _ in function.type.params))
        instance.close()


# What wasm3's compiler did wrong, and is changed to do right (pywasmrt/_shim/wasm3_changes.py).
COMPILED_WRONGLY = {
    "a local of 64 bits that waits twice": (
        """(func (export "f") (param i32 i64) (result f64 i32 i64)
             f64.const 0 i32.const 9 local.get 0
             (if (result i64) (then i64.const 7) (else local.get 1 local.get 1 local.tee 1 drop)))""",
        [(1, 5), (0, 5)],
    ),
    "results that trade places": (
        """(func (export "f") (param i32 i32 i64) (result i64 i32 i32) (local i32 i32 i64)
             (i32.add (local.get 0) (i32.const 1)) (i32.add (local.get 1) (i32.const 1))
             (i64.add (local.get 2) (i64.const 1))
             (block (param i32 i32 i64) (result i64 i32 i32)
               local.set 5 local.set 4 local.set 3 local.get 5 local.get 3 local.get 4))""",
        [(1, 2, 3)],
    ),
    "a branch to a loop that takes a value": (
        """(func (export "f") (param i32) (result i32)
             i32.const 0
             (loop (param i32) (result i32)
               i32.const 2 i32.add local.get 0 i32.const 1 i32.sub local.tee 0
               (if (param i32) (result i32) (then br 1))))""",
        [(1,), (5,)],
    ),
    "a float that waits at a branch": (
        """(func (export "f") (param f64 f64 i32) (result f64)
             (block (result f64) local.get 0 local.get 1 f64.mul local.get 1 local.get 2 br_if 0 f64.add))""",
        [(2.0, 3.0, 0), (2.0, 3.0, 1)],
    ),
    "a float that waits at a table of branches": (
        """(func (export "f") (param f64 f64 i32) (result f64 f64)
             (block (result f64 f64)
               (block (result f64 f64) local.get 0 local.get 1 f64.mul local.get 1 local.get 2 br_table 0 1 0)
               f64.const 1 f64.add))""",
        [(2.0, 3.0, 0), (2.0, 3.0, 1), (2.0, 3.0, 2)],
    ),
    "a value shared with a loop": (
        """(func (export "f") (param i32) (result i32 i32)
             local.get 0 local.get 0
             (loop (param i32) (result i32)
               i32.const 10 i32.add local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0))""",
        [(1,), (4,)],
    ),
    "code that is never reached": (
        """(func (export "f") (param i32) (result i32)
             local.get 0 i32.const 1 i32.add
             (block (result i32) i32.const 5 br 0 (block (param i32) (result i32) nop) i32.add)
             i32.mul)""",
        [(1,), (4,)],
    ),
}


@pytest.mark.parametrize("name", COMPILED_WRONGLY)
def test_what_was_compiled_wrongly_is_right(wasm3: Runtime, name: str) -> None:
    text, calls = COMPILED_WRONGLY[name]
    with pywasmrt.new_runtime("wasmtime") as other:
        expected = other.instantiate(other.compile(f"(module {text})")).exports.f
        found = wasm3.instantiate(wasm3.compile(f"(module {text})")).exports.f
        for args in calls:
            assert found(*args) == expected(*args)
