"""The scenarios of `test_leaks`: `python leak_scenarios.py RUNTIME SCENARIO ROUNDS`.

Does the scenario's work that often. Prints as JSON how often it was, and what was in use at the end of each of a few
equal parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pywasmrt
from pywasmrt import Caller, FunctionType, GlobalType, HostModule, Limits, MemoryType, TableType, Trap, ValueType
from pywasmrt.testing import Module, guests

I32, EXTERNREF, FUNCREF = ValueType.I32, ValueType.EXTERNREF, ValueType.FUNCREF
PARTS = 6
NOTHING = FunctionType()
# For each number that can cross: its type, a value and the value's slots.
NUMBERS = [
    (ValueType.I32, 1 << 30, [1 << 30]),
    (ValueType.I64, 1 << 40, [1 << 40]),
    (ValueType.F32, 0.5, [0x3F000000]),
    (ValueType.F64, 2.5, [0x4004000000000000]),
    (ValueType.V128, bytes(range(16)), [1, 2]),
]
THROWING = """(module
  (import "env" "f" (func $f (param i32)))
  (import "env" "tag" (tag $t (param i32 externref)))
  (func (export "throw") (param i32) (throw $t (local.get 0) (ref.null extern)))
  (func (export "catch") (param i32) (result i32)
    (block $b (result i32 externref) (try_table (catch $t $b) (call $f (local.get 0))) (i32.const 0) (ref.null extern))
    (drop))
  (func (export "rethrow") (param i32)
    (block $b (result exnref) (try_table (catch_all_ref $b) (call $f (local.get 0))) (return)) (throw_ref)))"""
REFERRING = """(module
  (type $s (struct (field i32) (field externref)))
  (import "env" "f" (func $f (param (ref null $s)) (result anyref)))
  (tag $t (param i32))
  (global (export "g") (mut anyref) (ref.null any))
  (func (export "make") (param i32 externref) (result (ref $s)) (struct.new $s (local.get 0) (local.get 1)))
  (func (export "get") (param (ref $s)) (result i32) (struct.get $s 0 (local.get 0)))
  (func (export "through") (param (ref $s)) (result anyref) (call $f (local.get 0)))
  (func (export "caught") (param i32) (result exnref)
    (block $b (result exnref) (try_table (catch_all_ref $b) (throw $t (local.get 0))) unreachable)))"""
Work = tuple[Callable[[], object], int]
"""One turn, and how many of what the scenario counts it does."""


class Scenarios:
    """Each method sets one up. Where the engine frees at times of its own choosing, turns end with a close, which frees
    all.
    """

    def __init__(self, runtime: pywasmrt.Runtime) -> None:
        self.runtime = runtime
        self.features = runtime.info.features
        numbers = [each for each in NUMBERS if each[0] is not ValueType.V128 or "simd" in self.features]
        self.types = tuple(type for type, _, _ in numbers)
        self.values = tuple(value for _, value, _ in numbers)
        self.slots = [slot for _, _, slots in numbers for slot in slots]
        self.numbers = FunctionType(self.types, self.types)
        # What a global holds: a reference where the engine has them.
        self.held = EXTERNREF if "reference-types" in self.features else ValueType.I64

    def instantiate(self, guest: Module, *imports: Any) -> Any:
        return self.runtime.instantiate(self.runtime.compile(guest.encode()), *imports)

    def passing(self, type: FunctionType, function: Callable[..., Any]) -> Any:
        return self.instantiate(guests.passthrough(type), host(function)).exports

    def full_guest(self) -> pywasmrt.CompiledModule:
        guest = guests.passthrough(self.numbers)
        guest.memory(MemoryType(1, 2), export="memory")
        initial = ("ref.null", EXTERNREF) if self.held is EXTERNREF else ("i64.const", 0)
        guest.global_(GlobalType(self.held, True), initial, export="g")
        return self.runtime.compile(guest.encode())

    def something(self, *content: object) -> object:
        """A new value that `held` can hold."""
        return list(content) if self.held is EXTERNREF else 1 << 40

    def calls(self) -> Work:
        add = self.instantiate(guests.arithmetic()).exports.add
        every = self.instantiate(guests.identities(self.types)).exports.straight

        def turn() -> None:
            add(1 << 29, 1 << 20)
            add.call(1 << 29, 1 << 20)
            every(*self.values)
            every.call(*self.slots)

        return turn, 4

    def wrong_calls(self) -> Work:
        add = self.instantiate(guests.arithmetic()).exports.add

        def turn() -> None:
            for args in ((1,), (1, "2"), (1, 1 << 40)):
                with contextlib.suppress(TypeError, OverflowError):
                    add(*args)

        return turn, 3

    def callbacks(self) -> Work:
        exports = self.passing(self.numbers, lambda *args: args)
        direct, indirect = exports.direct, exports.indirect

        def turn() -> None:
            direct(*self.values)
            indirect(*self.values)

        return turn, 2

    def linked(self) -> Work:
        """Instances of a module that was linked once, each with an object of its own; and modules linked anew."""
        env = HostModule("env")

        class Owned:
            def __init__(self) -> None:
                self.instance: Any = None

            @env.method
            def f(self, value: Any) -> Any:
                return value

        guest = self.runtime.compile(guests.passthrough(FunctionType((I32,), (I32,))).encode())
        linked = self.runtime.link(guest, env.bind(Owned))

        def turn() -> None:
            for made in (linked, self.runtime.link(guest, env.bind(Owned))):
                instance = made.instantiate()
                instance.exports.direct(5)
                instance.state().instance = instance.exports  # a reference cycle, which closing breaks
                instance.close()

        return turn, 2

    def fresh_names(self) -> Work:
        """Guests whose exports have names that none had before, linked with others, with tables where there are any."""
        type, numbers = FunctionType((I32,), (I32,)), itertools.count()
        importing = self.runtime.compile(guests.passthrough(type).encode())
        tables = range(8 if "reference-types" in self.features else 0)

        def turn() -> None:
            name = f"name {next(numbers)}"
            guest = Module()
            guest.function(type, [("local.get", 0)], export=name)
            for n in tables:
                guest.table(TableType(FUNCREF, n), export=f"{name}, table {n}")
            with self.runtime.new_store() as store, self.runtime.compile(guest.encode()) as module:
                exporter = self.runtime.instantiate(module, store=store)
                linked = self.runtime.instantiate(importing, {"env": {"f": exporter.exports[name]}}, store=store)
                assert linked.exports.direct(5) == 5
                for n in tables:
                    assert len(exporter.exports[f"{name}, table {n}"]) == n

        return turn, 1

    def waiting(self) -> Work:
        """Calls that wait, that end in an exception where they wait, and that are cancelled there."""
        held = (EXTERNREF,) if "reference-types" in self.features else (I32,)
        guest = self.runtime.compile(guests.passthrough(FunctionType(held, held)).encode())
        loop = asyncio.new_event_loop()
        value = self.something() if held[0] is EXTERNREF else 5

        async def f(x: Any) -> Any:
            await asyncio.sleep(0)
            return x

        async def fails(x: Any) -> Any:
            await asyncio.sleep(0)
            raise LookupError

        async def waits(x: Any) -> Any:
            await asyncio.Event().wait()

        async def turn() -> None:
            for function, error in ((f, None), (fails, LookupError), (waits, asyncio.CancelledError)):
                instance = await self.runtime.instantiate_async(guest, host(function))
                call = asyncio.ensure_future(instance.exports.direct.call_async(value))
                for _ in range(2):
                    await asyncio.sleep(0)
                if error is asyncio.CancelledError:
                    call.cancel()
                with contextlib.suppress(*(error,) if error is not None else ()):
                    await call
                instance.close()
                del call, instance
            await asyncio.sleep(0.002)  # until the loop, and a worker, have let go of the last one

        return lambda: loop.run_until_complete(turn()), 3

    def callers(self) -> Work:
        def f(caller: Caller) -> None:
            caller.memory().write(0, b"x")
            caller.global_("g").value = 5  # type: ignore[union-attr]

        guest = guests.passthrough(NOTHING)
        guest.memory(MemoryType(1), export="memory")
        guest.global_(GlobalType(I32, True), ("i32.const", 1), export="g")
        env = HostModule("env")
        env.add_function("f", [], [], f)
        return self.instantiate(guest, env).exports.direct, 1

    def re_entry(self) -> Work:
        def f(n: int) -> Any:
            return n and direct(n - 1)

        direct = self.passing(FunctionType((I32,), (I32,)), f).direct
        return lambda: direct(3), 4

    def exceptions(self) -> Work:
        def f() -> None:
            raise ValueError("x" * 100)

        return self.raising(self.passing(NOTHING, f).nested), 1

    def wrong_results(self) -> Work:
        return self.raising(self.passing(FunctionType((), (I32,)), lambda: "x").nested), 1

    def raising(self, nested: Any) -> Callable[[], object]:
        def turn() -> None:
            with contextlib.suppress(ValueError, TypeError):
                nested(3)

        return turn

    def traps(self) -> Work:
        trap = self.instantiate(guests.traps()).exports.via_unreachable

        def turn() -> None:
            try:
                trap()
            except Trap as error:
                str(error)

        return turn, 1

    def references(self) -> Work:
        type = FunctionType((EXTERNREF, FUNCREF), (EXTERNREF, FUNCREF))
        passing = self.runtime.compile(guests.passthrough(type).encode())
        with_table = self.runtime.compile(guests.table(TableType(EXTERNREF, 1)).encode())

        def turn() -> None:
            instance = self.runtime.instantiate(passing, host(lambda a, b: (a, b)))
            with instance, self.runtime.instantiate(with_table) as other:
                direct, table = instance.exports.direct, other.exports.table
                for _ in range(100):
                    direct([1], direct)
                    table[0] = [2]
                    table[0]

        return turn, 300

    def memory(self) -> Work:
        memory = self.instantiate(guests.memories(MemoryType(1))).memory()
        data = bytes(1000)

        def turn() -> None:
            memory.write(7, data)
            memory.read(7, 1000)
            if "buffer" in self.features:
                memoryview(memory).release()
            with contextlib.suppress(IndexError):
                memory.read(1 << 20, 1)

        return turn, 4

    def globals(self) -> Work:
        module = self.runtime.compile(guests.globals_([I32, self.held]).encode())

        def turn() -> None:
            with self.runtime.instantiate(module) as instance:
                number, reference = instance.exports.g0, instance.exports.g1
                for _ in range(100):
                    number.value = number.value + 1 & 0xFFFF
                    reference.value = value = self.something()
                    assert reference.value == value

        return turn, 300

    def lookups(self) -> Work:
        instance = self.instantiate(guests.arithmetic())

        def turn() -> None:
            instance.function("add")
            instance.function("nothing there")
            instance.exports["sub"]
            getattr(instance.exports, "missing", None)

        return turn, 4

    def instances(self) -> Work:
        module = self.full_guest()

        def turn() -> None:
            with self.runtime.instantiate(module, host(lambda *args: args)) as instance:
                instance.exports.direct(*self.values)
                instance.exports.memory.write(0, b"x")
                instance.exports.g.value = self.something(instance)

        return turn, 1

    def dropped_instances(self) -> Work:
        module = self.full_guest()

        def turn() -> None:
            instance = self.runtime.instantiate(module, host(lambda *args: args))
            instance.exports.nested(3, *self.values)
            instance.exports.memory.write(0, b"x")

        return turn, 1

    def cycles(self) -> Work:
        module = self.full_guest()

        def make() -> None:
            instance = self.runtime.instantiate(module, host(lambda *args: instance and args))
            instance.exports.direct(*self.values)

        def turn() -> None:
            make()
            gc.collect()

        return turn, 1

    def failed_instances(self) -> Work:
        module = self.runtime.compile(guests.starting([("call", 0), ("unreachable",)], imports=NOTHING).encode())

        def turn() -> None:
            for imports in (host(lambda: None), host(lambda: 1 // 0), {}):
                with contextlib.suppress(Trap, ZeroDivisionError, pywasmrt.ModuleInstantiateError):
                    self.runtime.instantiate(module, imports)

        return turn, 3

    def guest_exceptions(self) -> Work:
        """Thrown by the guest, by the host for the guest to catch, and by the host for the guest to throw again."""
        store = self.runtime.new_store()
        tag = store.tag([I32, EXTERNREF])

        def f(n: int) -> None:
            raise pywasmrt.WasmException(tag, [n, [n]])

        imports = {"env": {"f": f, "tag": tag}}
        exports = self.runtime.instantiate(self.runtime.compile(THROWING), imports, store=store).exports

        def turn() -> None:
            with self.runtime.new_store() as other:  # a tag is its store's until that ends
                other.tag([I32])
            assert exports.catch(7) == 7
            for throw in (exports.throw, exports.rethrow):
                with contextlib.suppress(pywasmrt.WasmException):
                    throw(8)

        return turn, 3

    def diagnosed(self) -> Work:
        """Traces and, where there are any, profiles of an instance that goes on: begun and ended, within calls too."""
        begun: list[Any] = []

        def host_function(*args: Any) -> Any:
            with pywasmrt.trace(instance, io.StringIO()):
                begun.append(pywasmrt.trace(instance, io.StringIO()))
            return args if len(args) != 1 else args[0]

        instance = self.instantiate(guests.passthrough(self.numbers), host(host_function))

        def turn() -> None:
            with pywasmrt.trace(instance, io.StringIO()):
                instance.exports.direct(*self.values)
            begun.pop().close()
            if "profiling" in self.features:
                with pywasmrt.profile(instance):
                    instance.exports.direct(*self.values)
                begun.pop().close()

        return turn, 1

    def guest_references(self) -> Work:
        """Objects of the guest: handed out and back, read, compared, held by globals, and passed through the host."""
        exports = self.runtime.instantiate(self.runtime.compile(REFERRING), {"env": {"f": lambda x: x}}).exports

        def turn() -> None:
            made, other = exports.make(5, []), exports.make(6, None)
            assert exports.get(made) == made[0] == 5
            assert made != other
            assert len(list(made)) == 2
            exports.g.value = exports.through(made)
            exports.g.value = exports.g.value
            str(exports.caught(7))

        return turn, 1

    def stores(self) -> Work:
        def turn() -> None:
            store = self.runtime.new_store(Limits(memory_bytes=1 << 20))
            if "host-memory" in self.features:
                store.memory(1, 2)
            if "host-table" in self.features:
                store.table(3, element=EXTERNREF, init=[1])
            store.global_(I32, 5)
            store.close()

        return turn, 1

    def modules(self) -> Work:
        data = guests.arithmetic().encode()

        def turn() -> None:
            with self.runtime.compile(data) as module:
                str(module.exports)
            with contextlib.suppress(pywasmrt.ModuleCompileError):
                self.runtime.compile(data[:-1])

        return turn, 2

    def blobs(self) -> Work:
        blob = self.runtime.compile(guests.arithmetic().encode()).serialize()

        def turn() -> None:
            with self.runtime.deserialize(blob) as module:
                module.serialize()

        return turn, 1

    def runtimes(self) -> Work:
        data, name = guests.arithmetic().encode(), self.runtime.info.name

        def turn() -> None:
            with pywasmrt.new_runtime(name) as own:
                own.instantiate(own.compile(data)).exports.add(1, 2)

        return turn, 1


def host(function: Callable[..., Any]) -> dict[str, Any]:
    return {"env": {"f": function}}


def in_use() -> dict[str, int]:
    gc.collect()
    return {
        "bytes": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
        "references to None": sys.getrefcount(None),
    }


def main(name: str, scenario: str, rounds: str) -> None:
    turn, count = getattr(Scenarios(pywasmrt.new_runtime(name)), scenario)()
    turns = max(5, int(rounds) // count // PARTS)
    states = []
    for _ in range(PARTS):
        for _ in range(turns):
            turn()
        states.append(in_use())
    print(json.dumps([PARTS * turns * count, states]))


if __name__ == "__main__":
    main(*sys.argv[1:])
