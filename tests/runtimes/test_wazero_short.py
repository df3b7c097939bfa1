"""Which functions wazero takes for short, and what becomes of the interpreter's lock during their calls.

A short function keeps the lock where guests are not interruptible. What the analysis says is compared, over random call
graphs, with a count made by another rule, and with the fuel that Wasmtime uses up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import example, given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import Limits, Runtime
from pywasmrt.testing import to_binary

INFO = {info.name: info for info in pywasmrt.list_runtimes()}
pytestmark = pytest.mark.skipif(
    not (INFO["wazero"].available and INFO["wasmtime"].available), reason="needs wazero, and Wasmtime to read the text"
)

MOST_STEPS = 4096  # csrc/engines/wazero/short.go


@pytest.fixture(scope="module", params=["compiler", "interpreter"])
def free(request: pytest.FixtureRequest) -> Any:
    """wazero without interruption."""
    options = {"mode": request.param}
    with pywasmrt.new_runtime(pywasmrt.RuntimeConfig("wazero", interruptible=False, options=options)) as runtime:
        yield runtime


def short_functions(runtime: Any, text: str, names: list[str]) -> list[bool]:
    """What the engine says of the functions that a module without imports exports."""
    from pywasmrt._shim._wrt import ffi

    ops = runtime.engine.ops
    failure, store = ffi.new("wrt_failure *"), ffi.new("wrt_store **")
    assert ops.store_new(runtime.engine.handle, -1, -1, -1, store, failure) == 0
    try:
        module = runtime.engine.compile(to_binary(text))
        instance, found = ffi.new("wrt_instance *"), ffi.new("wrt_extern *")
        native = ffi.cast("wrt_module *", module.address)
        runtime.engine._do(ops.instantiate, store[0], native, ffi.NULL, 0, instance)
        said = []
        for name in names:
            assert ops.instance_export(store[0], instance, name.encode(), len(name), found)
            said.append(bool(ops.call_is_short(store[0], found)))
        return said
    finally:
        ops.store_delete(store[0])


CASES = {
    "(i32.add (local.get 0) (i32.const 1))": True,
    "(i32.div_s (i32.const 1) (local.get 0))": True,
    "(if (result i32) (local.get 0) (then (i32.const 1)) (else (unreachable)))": True,
    "(block $b (br_table $b $b (local.get 0))) (i32.const 0)": True,
    "(i32.load (local.get 0))": True,
    "(i32.trunc_sat_f64_s (f64.const 1))": True,
    "(data.drop 0) (table.size 0)": True,
    "(call $leaf (call $leaf (local.get 0)))": True,
    "(return_call $leaf (local.get 0))": True,
    "(loop (br_if 0 (local.get 0))) (i32.const 0)": False,
    "(loop) (i32.const 0)": False,
    "(call $self (local.get 0))": False,
    "(return_call $self (local.get 0))": False,
    "(call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))": False,
    "(return_call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))": False,
    "(memory.fill (i32.const 0) (i32.const 0) (local.get 0)) (i32.const 0)": False,
    "(memory.copy (i32.const 0) (i32.const 0) (local.get 0)) (i32.const 0)": False,
    "(memory.init 0 (i32.const 0) (i32.const 0) (local.get 0)) (i32.const 0)": False,
    "(table.fill 0 (i32.const 0) (ref.null func) (local.get 0)) (i32.const 0)": False,
    "(memory.grow (local.get 0))": False,
    "(table.grow 0 (ref.null func) (local.get 0))": False,
    "(memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))": False,
    "(call $loops (local.get 0))": False,
}


@pytest.mark.parametrize(("body", "short"), CASES.items())
def test_what_makes_a_function_long(free: Runtime, body: str, short: bool) -> None:
    text = f"""(module (memory 1 2 shared) (table 1 2 funcref) (data "x")
      (func $self (export "f") (param i32) (result i32) {body})
      (func $leaf (param i32) (result i32) (local.get 0))
      (func $loops (param i32) (result i32) (loop) (local.get 0)))"""
    try:
        free.compile(text)
    except pywasmrt.WasmError as error:
        pytest.skip(f"wazero refuses it: {error}")
    assert short_functions(free, text, ["f"]) == [short]


def test_what_is_imported_is_long(free: Runtime) -> None:
    """A host function may take any time; so may a function of another guest."""
    text = '(module (import "e" "f" (func $f (result i32))) (func (export "g") (result i32) (call $f)))'
    seen = []

    def f() -> int:
        seen.append(1)
        return 5

    instance = free.instantiate(free.compile(text), {"e": {"f": f}})
    again = free.instantiate(free.compile(text), {"e": {"f": instance.exports.g}}, store=instance.store)
    assert (instance.exports.g(), again.exports.g()) == (5, 5)
    assert seen == [1, 1]


@pytest.mark.parametrize(("count", "short"), [(1, True), (1000, True), (3000, False)])
def test_locals_count_since_they_are_set_to_zero(free: Runtime, count: int, short: bool) -> None:
    text = f'(module (func (export "f") (local {"i64 " * count})))'
    assert short_functions(free, text, ["f"]) == [short]


def test_values_that_blocks_pass_count(free: Runtime) -> None:
    types = "i32 " * 100
    block = "(block (type $many) (br_if 0 (local.get 0)))"
    text = f"""(module (type $many (func (param {types}) (result {types})))
      (func (export "few") (param i32) {"(i32.const 1)" * 100} {block * 5} {"(drop)" * 100})
      (func (export "many") (param i32) {"(i32.const 1)" * 100} {block * 50} {"(drop)" * 100}))"""
    assert short_functions(free, text, ["few", "many"]) == [True, False]


def test_an_exponential_chain_of_calls_is_long_and_is_analysed_at_once(free: Runtime) -> None:
    """Each of 20,000 functions calls the next one twice: 2 to the 20,000 calls."""
    count = 20_000
    chain = "\n".join(f'(func $f{n} (export "f{n}") (call $f{n + 1}) (call $f{n + 1}))' for n in range(count))
    text = f"(module {chain} (func $f{count}))"
    names = [f"f{n}" for n in (0, count // 2, count - 11, count - 5, count - 1)]
    assert short_functions(free, text, names) == [False, False, False, True, True]


# ---- random call graphs ----


@dataclass(frozen=True)
class Body:
    """A function: so many instructions of its own, calls by the numbers of functions, and something without a bound."""

    plain: int
    calls: tuple[int, ...]
    loops: bool

    def text(self, number: int) -> str:
        calls = " ".join(f"(call $f{each})" for each in self.calls)
        loop = "(loop)" if self.loops else ""
        return f'(func $f{number} (export "f{number}") {"(nop) (drop (i32.const 1))" * self.plain} {calls} {loop})'


def bodies(count: int) -> st.SearchStrategy[list[Body]]:
    calls = st.lists(st.integers(0, count - 1), max_size=4).map(tuple)
    body = st.builds(Body, st.integers(0, 60), calls, st.integers(0, 9).map(lambda n: n == 0))
    return st.lists(body, min_size=count, max_size=count)


def reaching(graph: list[Body], root: int) -> set[int]:
    found, waiting = set(), [root]
    while waiting:
        for callee in graph[waiting.pop()].calls:
            if callee not in found:
                found.add(callee)
                waiting.append(callee)
    return found


def instructions(graph: list[Body], root: int) -> float:
    """How many instructions a call runs at least, ends of functions not counted; infinite where it may not end."""

    @cache
    def total(number: int) -> float:
        body = graph[number]
        return 3 * body.plain + sum(1 + total(callee) for callee in body.calls)

    reached = {root} | reaching(graph, root)
    if any(graph[each].loops or each in reaching(graph, each) for each in reached):
        return float("inf")
    return total(root)


@settings(max_examples=50, deadline=None)
@given(graph=st.integers(1, 12).flatmap(bodies))
@example(graph=[Body(10, (1, 1, 1, 1), False), Body(10, (2,) * 4, False), Body(60, (), False)])
@example(graph=[Body(0, (n + 1, n + 1), False) for n in range(30)] + [Body(0, (), False)])
@example(graph=[Body(0, (1,), False), Body(0, (2,), False), Body(0, (1,), False), Body(0, (0,), False)])
def test_a_short_function_never_runs_long(free: Runtime, graph: list[Body]) -> None:
    text = "(module " + "\n".join(body.text(number) for number, body in enumerate(graph)) + ")"
    names = [f"f{number}" for number in range(len(graph))]
    said = short_functions(free, text, names)
    for number, short in enumerate(said):
        least = instructions(graph, number)
        if short:
            assert least <= MOST_STEPS
        else:  # the ends of functions count too, so twice the steps are enough for any that it takes for long
            assert 2 * least + 2 * len(graph) > MOST_STEPS
    config = pywasmrt.RuntimeConfig("wasmtime", options={"consume_fuel": True})
    with pywasmrt.new_runtime(config) as runtime:
        store = runtime.new_store(Limits(fuel=MOST_STEPS))
        exports = runtime.instantiate(runtime.compile(text), store=store).exports
        for number, short in enumerate(said):
            if short:
                store.fuel = MOST_STEPS
                exports[f"f{number}"]()  # does not run out of it


# ---- the lock ----

KEEPS = """
    config = pywasmrt.RuntimeConfig("wazero", interruptible=False)
    runtime = pywasmrt.new_runtime(config)
    exports = runtime.instantiate(runtime.compile(TEXT)).exports
    sys.setswitchinterval(1000)  # so that a thread gets the lock only where another one gives it away
    counted, stop = [0], []

    def count():
        while not stop:
            counted[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    time.sleep(0.01)

    def counted_during(function, calls):
        before = counted[0]
        for _ in range(calls):
            function(1)
        return counted[0] - before

    assert counted_during(exports.short, 10_000) == 0
    assert any(counted_during(exports.long, 10_000) for _ in range(10_000))
    stop.append(True)
    thread.join()
"""

# As many guests that cannot be stopped as Go has processors: then each other call waits for one of them. Each ends when
# its memory says so, which only the timer's thread does.
YIELDS = """
    config = pywasmrt.RuntimeConfig("wazero", interruptible=False)
    runtime = pywasmrt.new_runtime(config)
    module = runtime.compile(TEXT)
    short = runtime.instantiate(module).exports.short
    waiting = [runtime.instantiate(module) for _ in range(2)]
    flags = [memoryview(instance.memory()) for instance in waiting]
    threads = [threading.Thread(target=instance.exports.wait) for instance in waiting]
    for thread in threads:
        thread.start()
    while not all(flag[4] for flag in flags):
        time.sleep(0.001)

    def end():
        for flag in flags:
            flag[0] = 1

    threading.Timer(0.3, end).start()
    assert short(1) == 2
    for thread in threads:
        thread.join()
    assert short(2) == 3
"""

PROGRAM = '''
    import sys, threading, time
    import pywasmrt

    TEXT = """(module (memory (export "memory") 1)
      (func (export "short") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
      (func (export "long") (param i32) (loop))
      (func (export "wait")
        (i32.store8 (i32.const 4) (i32.const 1))
        (loop (br_if 0 (i32.eqz (i32.load8_u (i32.const 0)))))))"""
'''


@pytest.mark.parametrize("rest", [KEEPS, YIELDS], ids=["keeps it alone", "yields it beside calls without end"])
def test_the_lock_during_short_calls(rest: str) -> None:
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(rest)
    environment = {**os.environ, "GOMAXPROCS": "2"}
    done = subprocess.run([sys.executable, "-c", program], timeout=100, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
