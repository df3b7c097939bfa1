"""No growth: of resident memory, of the objects that Python counts, or of references, over many rounds of the same thing.

Each scenario runs in a process of its own. It warms up, and then the growth over its last rounds is compared with what noise can
explain. The suite runs a scaled-down version in seconds; `-m slow` does a million calls and ten thousand rounds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pywasmrt import Runtime

STATM = Path("/proc/self/statm")
pytestmark = pytest.mark.skipif(not STATM.exists(), reason="there is no /proc/self/statm here")

# How much resident memory may grow while all rounds but the first third run: what the allocator and the operating system do by
# themselves. A leak of even 16 bytes a call would be 4 MB over 250,000 calls.
NOISE = 1_500_000

CHILD = r'''
import gc, json, os, sys
import pywasmrt
from pywasmrt import FunctionType, HostModule, MemoryType, TableType, ValueType, Trap, GlobalType
from pywasmrt.testing import guests

name, scenario, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
I32, EXTERNREF, FUNCREF = ValueType.I32, ValueType.EXTERNREF, ValueType.FUNCREF
runtime = pywasmrt.new_runtime(name)
features = runtime.info.features
types = [each for each in (ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64, ValueType.V128)
         if each is not ValueType.V128 or "simd" in features]
values = tuple({ValueType.V128: bytes(range(16)), ValueType.F32: 0.5, ValueType.F64: 2.5}.get(each, 1 << 30) for each in types)
numbers = FunctionType(tuple(types), tuple(types))
PAGE = os.sysconf("SC_PAGE_SIZE")

def instantiate(guest, imports=None, **kwargs):
    return runtime.instantiate(runtime.compile(guest.encode()), *([] if imports is None else [imports]), **kwargs)

def host(function):
    return {"env": {"f": function}}

def calls():
    add = instantiate(guests.arithmetic()).exports.add
    every = instantiate(guests.identities(types)).exports.straight
    raw = [1 << 30, 1 << 30, 0x3f000000, 0x4004000000000000, 1, 2][:len(types) + (len(types) == 5)]
    def one():
        add(1 << 29, 1 << 20)
        add.call(1 << 29, 1 << 20)
        every(*values)
        every.call(*raw)
    return one, 4

def wrong_calls():
    add = instantiate(guests.arithmetic()).exports.add
    def one():
        for args in ((1,), (1, "2"), (1, 1 << 40)):
            try:
                add(*args)
            except (TypeError, OverflowError):
                pass
    return one, 3

def callbacks():
    instance = instantiate(guests.passthrough(numbers), host(lambda *args: args))
    direct, indirect = instance.exports.direct, instance.exports.indirect
    def one():
        direct(*values)
        indirect(*values)
    return one, 2

def callers():
    env = HostModule("env")
    @env.function
    def f(caller: pywasmrt.Caller) -> None:
        caller.memory().write(0, b"x")
        caller.global_("g").value = 5
    guest = guests.passthrough(FunctionType())
    guest.memory(MemoryType(1), export="memory")
    guest.global_(GlobalType(I32, True), ("i32.const", 1), export="g")
    return instantiate(guest, env).exports.direct, 1

def re_entry():
    def f(n):
        return n and direct(n - 1)
    direct = instantiate(guests.passthrough(FunctionType((I32,), (I32,))), host(f)).exports.direct
    return lambda: direct(3), 4

def exceptions():
    def f():
        raise ValueError("x" * 100)
    nested = instantiate(guests.passthrough(FunctionType()), host(f)).exports.nested
    def one():
        try:
            nested(3)
        except ValueError:
            pass
    return one, 1

def wrong_results():
    nested = instantiate(guests.passthrough(FunctionType((), (I32,))), host(lambda: "x")).exports.nested
    def one():
        try:
            nested(3)
        except TypeError:
            pass
    return one, 1

def traps():
    exports = instantiate(guests.traps()).exports
    trap = exports.via_unreachable
    def one():
        try:
            trap()
        except Trap as error:
            error.frames
    return one, 1

# The engine frees references when it sees fit, so these end each turn with a close, which frees them all.
def references():
    passing = runtime.compile(guests.passthrough(FunctionType((EXTERNREF, FUNCREF), (EXTERNREF, FUNCREF))).encode())
    with_table = runtime.compile(guests.table(TableType(EXTERNREF, 1)).encode())
    def one():
        with runtime.instantiate(passing, host(lambda a, b: (a, b))) as instance, runtime.instantiate(with_table) as other:
            direct, table = instance.exports.direct, other.table("table")
            for _ in range(100):
                direct([1], direct)
                table[0] = [2]
                table[0]
    return one, 300

def memory():
    memory = instantiate(guests.memories(MemoryType(1))).memory()
    data = bytes(1000)
    def one():
        memory.write(7, data)
        memory.read(7, 1000)
        if "buffer" in features:
            memoryview(memory).release()
        try:
            memory.read(1 << 20, 1)
        except IndexError:
            pass
    return one, 4

def globals_():
    module = runtime.compile(guests.globals_([I32, EXTERNREF]).encode())
    def one():
        with runtime.instantiate(module) as instance:
            number, reference = instance.exports.g0, instance.exports.g1
            for _ in range(100):
                number.value = number.value + 1 & 0xffff
                reference.value = [1]
                reference.value
    return one, 300

def lookups():
    instance = instantiate(guests.arithmetic())
    def one():
        instance.function("add")
        instance.function("nothing there")
        instance.exports["sub"]
        instance.exports.add64
        try:
            instance.exports.missing
        except AttributeError:
            pass
    return one, 5

def full_guest():
    guest = guests.passthrough(numbers)
    guest.memory(MemoryType(1, 2), export="memory")
    guest.global_(GlobalType(EXTERNREF, True), ("ref.null", EXTERNREF), export="g")
    return guest

def instances():
    module = runtime.compile(full_guest().encode())
    def one():
        with runtime.instantiate(module, host(lambda *args: args)) as instance:
            instance.exports.direct(*values)
            instance.memory().write(0, b"x")
            instance.global_("g").value = [instance]
    return one, 1

def dropped_instances():
    module = runtime.compile(full_guest().encode())
    def one():
        instance = runtime.instantiate(module, host(lambda *args: args))
        instance.exports.nested(3, *values)
        instance.memory().write(0, b"x")
    return one, 1

def cycles():
    module = runtime.compile(full_guest().encode())
    def one():
        instance = runtime.instantiate(module, host(lambda *args: instance and args))
        instance.exports.direct(*values)
        del instance
        gc.collect()
    return one, 1

def failed_instances():
    module = runtime.compile(guests.starting([("call", 0), ("unreachable",)], imports=FunctionType()).encode())
    def one():
        for imports in (host(lambda: None), host(lambda: 1 // 0), {}):
            try:
                runtime.instantiate(module, imports)
            except (Trap, ZeroDivisionError, pywasmrt.ModuleInstantiateError):
                pass
    return one, 3

def stores():
    def one():
        with_limits = runtime.new_store(pywasmrt.Limits(memory_bytes=1 << 20))
        with_limits.memory(1, 2)
        with_limits.table(3, element=EXTERNREF, init=[1])
        with_limits.global_(I32, 5)
        with_limits.close()
    return one, 1

def modules():
    data = guests.arithmetic().encode()
    def one():
        with runtime.compile(data) as module:
            str(module.imports) + str(module.exports)
        try:
            runtime.compile(data[:-1])
        except pywasmrt.ModuleCompileError:
            pass
    return one, 2

def blobs():
    blob = runtime.compile(guests.arithmetic().encode()).serialize()
    def one():
        module = runtime.deserialize(blob)
        module.serialize()
        module.close()
    return one, 1

def runtimes():
    data = guests.arithmetic().encode()
    def one():
        with pywasmrt.new_runtime(name) as own:
            own.instantiate(own.compile(data)).exports.add(1, 2)
    return one, 1

def state():
    gc.collect()
    return {"bytes": int(open("/proc/self/statm").read().split()[1]) * PAGE, "objects": len(gc.get_objects()),
            "blocks": sys.getallocatedblocks(), "none": sys.getrefcount(None)}

one, count = globals()[scenario]()
steps, states = 6, []
turns = max(1, rounds // count // steps)
for _ in range(steps):
    for _ in range(turns):
        one()
    states.append(state())
print(json.dumps([steps * turns * count, states]))
'''

# Each with the rounds of the suite and of the long run.
SCENARIOS = {
    "calls": (150_000, 1_000_000),
    "wrong_calls": (30_000, 300_000),
    "callbacks": (100_000, 1_000_000),
    "callers": (30_000, 300_000),
    "re_entry": (60_000, 500_000),
    "exceptions": (30_000, 1_000_000),
    "wrong_results": (20_000, 300_000),
    "traps": (12_000, 1_000_000),
    "references": (60_000, 1_000_000),
    "memory": (60_000, 1_000_000),
    "globals_": (60_000, 1_000_000),
    "lookups": (60_000, 500_000),
    "instances": (900, 10_000),
    "dropped_instances": (900, 10_000),
    "cycles": (150, 10_000),
    "failed_instances": (900, 10_000),
    "stores": (900, 10_000),
    "modules": (120, 10_000),
    "blobs": (300, 10_000),
    "runtimes": (60, 1_000),
}


def measured(runtime: Runtime, scenario: str, rounds: int, timeout: float) -> tuple[int, list[dict[str, Any]]]:
    child = [sys.executable, "-c", CHILD, runtime.info.name, scenario, str(rounds)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(child, capture_output=True, text=True, timeout=timeout, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    count, states = json.loads(done.stdout)
    return count, states


def check(runtime: Runtime, scenario: str, rounds: int, timeout: float) -> None:
    if scenario == "blobs" and "serialize" not in runtime.info.features:
        pytest.skip("the runtime cannot serialise")
    count, states = measured(runtime, scenario, rounds, timeout)
    # The first two are the warm-up: caches fill, the allocator takes its arenas, the engine's collector finds its threshold.
    settled, last = states[2], states[-1]
    growth = {key: last[key] - settled[key] for key in last}
    later_half = {key: last[key] - states[3][key] for key in last}
    print(f"\n{runtime.info.name}: {scenario}: {count} times: {growth}")
    # Growth must be more than noise in both spans to be a leak: one jump in between is none.
    assert min(growth["bytes"], later_half["bytes"] * 3 / 2) < NOISE, states
    for key in ("objects", "blocks", "none"):
        assert min(growth[key], later_half[key] * 3 / 2) < max(100, count * 0.02), (key, states)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_growth(runtime: Runtime, scenario: str) -> None:
    rounds = SCENARIOS[scenario][0]
    check(runtime, scenario, rounds, 120)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_growth_in_the_long_run(runtime: Runtime, scenario: str) -> None:
    check(runtime, scenario, SCENARIOS[scenario][1], 1800)
