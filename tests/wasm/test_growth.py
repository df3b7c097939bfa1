"""Modules rewritten so that refused growth traps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")
from helpers.texts import wat
from hypothesis import given, settings
from hypothesis import strategies as st
from spec import child
from spec.embedding import Embedding
from spec.execute import Script, Skipped
from spec.runs import find_scripts

import pywasmrt
from pywasmrt import (
    PAGE_SIZE,
    FunctionType,
    InvalidConfigurationError,
    Limits,
    MemoryType,
    ModuleCompileError,
    Runtime,
    RuntimeConfig,
    TableType,
    Trap,
    TrapCode,
    UnsupportedFeatureError,
    ValueType,
)
from pywasmrt.runtimes.base.cache import ModuleCache
from pywasmrt.testing import FakeRuntime, Module, differential, guests
from pywasmrt.testing.strategies import modules, mutated
from pywasmrt.wasm.growth import trap_on_grow_failure
from pywasmrt.wasm.primitives import name, section, uleb, vector
from pywasmrt.wasm.reading import HEADER, sections

Needs = Callable[..., None]
I32 = ValueType.I32
ON = RuntimeConfig(trap_on_grow_failure=True)


@pytest.fixture(scope="module")
def trapping(runtime: Runtime) -> Iterator[Runtime]:
    with pywasmrt.new_runtime(runtime.info.name, ON) as made:
        yield made


def refused(function: Callable[..., Any], *args: Any) -> Trap:
    with pytest.raises(Trap) as caught:
        function(*args)
    assert caught.value.code is TrapCode.UNREACHABLE
    return caught.value


def in_words(runtime: Runtime, trap: Trap) -> list[str | None]:
    """The names of a trap's frames; none where the runtime tells none."""
    return [frame.func_name for frame in trap.frames] if "trap-frames" in runtime.info.features else []


def test_growing_a_memory_beyond_a_limit_traps(trapping: Runtime) -> None:
    guest = guests.memories(MemoryType(1))
    instance = trapping.instantiate(trapping.compile(guest.encode()), limits=Limits(memory_bytes=3 * PAGE_SIZE))
    grow, size = instance.exports.grow0, instance.exports.size0
    assert [grow(1), grow(0), size()] == [1, 2, 2]
    trap = refused(grow, 2)
    assert in_words(trapping, trap)[:1] in ([], ["memory.grow refused"])
    assert [size(), grow(1), size()] == [2, 2, 3]
    refused(grow, -1)


def test_growing_a_memory_beyond_its_own_maximum_traps(trapping: Runtime) -> None:
    instance = trapping.instantiate(trapping.compile(guests.memories(MemoryType(1, 2)).encode()))
    refused(instance.exports.grow0, 2)
    assert instance.exports.grow0(1) == 1


@pytest.mark.parametrize("element", [ValueType.FUNCREF, ValueType.EXTERNREF])
def test_growing_a_table_beyond_a_limit_traps(trapping: Runtime, needs: Needs, element: ValueType) -> None:
    needs("reference-types")
    guest = guests.table(TableType(element, 10))
    instance = trapping.instantiate(trapping.compile(guest.encode()), limits=Limits(table_elements=12))
    exports = instance.exports
    value: Any = exports.size if element is ValueType.FUNCREF else object()
    assert exports.grow(value, 2) == 10
    stored = exports.get(11)
    assert stored() == 12 if element is ValueType.FUNCREF else stored is value
    trap = refused(exports.grow, None, 1)
    assert in_words(trapping, trap)[:1] in ([], ["table.grow refused"])
    assert exports.size() == 12


def test_the_switch_is_off_unless_asked_for(runtime: Runtime) -> None:
    instance = runtime.instantiate(runtime.compile(guests.memories(MemoryType(1, 2)).encode()))
    assert instance.exports.grow0(2) == -1


def test_the_host_grows_as_ever(trapping: Runtime) -> None:
    instance = trapping.instantiate(trapping.compile(guests.memories(MemoryType(1, 2)).encode()))
    memory: Any = instance.memory()
    assert memory.grow(1) == 1
    with pytest.raises(pywasmrt.MemoryAccessError):
        memory.grow(1)


def test_growth_in_a_start_function_traps(trapping: Runtime) -> None:
    guest = guests.starting([("i32.const", 1), ("memory.grow", 0), ("drop",)])
    module = trapping.compile(guest.encode())
    refused(trapping.instantiate, module)


# Every kind of memory and table at once, between functions that have names and others that have not. The two long
# functions have an index beyond the first byte's.
KINDS = f"""(module
  (type $f (func (result i32)))
  (rec (type $struct (struct (field (ref null $f)))))
  (import "env" "memory" (memory $imported 1))
  (import "env" "f" (func $f))
  (memory $plain 1 2) (memory $wide i64 1 2)
  (table $functions 1 2 funcref) (table $wide i64 1 2 externref) (table $typed 1 2 (ref null $f))
  (table $structs 1 2 (ref null $struct)) (table $sure 1 2 (ref $f) (ref.func $one))
  (elem declare func $one)
  {"(func)" * 130}
  (func $one (type $f) (i32.const 1))
  (func (export "imported") (param $n i32) (result i32) (memory.grow $imported (local.get $n)))
  (func (export "plain") (param $n i32) (result i32) (memory.grow $plain (local.get $n)))
  (func (export "wide") (param $n i64) (result i64) (memory.grow $wide (local.get $n)))
  (func (export "functions") (param $n i32) (result i32) (table.grow $functions (ref.func $one) (local.get $n)))
  (func (export "wide_table") (param $n i64) (result i64) (table.grow $wide (ref.null extern) (local.get $n)))
  (func (export "typed") (param $n i32) (result i32) (table.grow $typed (ref.func $one) (local.get $n)))
  (func (export "structs") (param $n i32) (result i32)
    (table.grow $structs (struct.new $struct (ref.func $one)) (local.get $n)))
  (func (export "sure") (param $n i32) (result i32) (table.grow $sure (ref.func $one) (local.get $n)))
  (func (export "call") (param i32) (result i32) (call_ref $f (table.get $typed (local.get 0)))))
"""
GROWING = ("imported", "plain", "wide", "functions", "wide_table", "typed", "structs", "sure")


def test_every_kind_of_memory_and_table(trapping: Runtime, needs: Needs) -> None:
    needs("wat", "gc", "memory64", "multi-memory", "import-memory")
    module = trapping.compile(KINDS)
    store = trapping.new_store()
    imports = {"env": {"memory": store.memory(1, 2), "f": lambda: None}}
    exports = trapping.instantiate(module, imports, store=store).exports
    for each in GROWING:
        assert exports[each](1) == 1, each
        trap = refused(exports[each], 1)
        assert in_words(trapping, trap)[0] == f"{'table' if each not in GROWING[:3] else 'memory'}.grow refused"
    assert exports.call(1) == 1


EVERYTHING_ODD = """(module
  (type $f (func (param (ref null func)) (result i32 (ref null func))))
  (type $s (struct)) (tag $t (param i32)) (tag $e)
  (memory $a 1) (memory $b 1 1)
  (table 1 funcref)
  (func (export "odd") (param i32) (result i32)
    (local f64 f32) (local i64 v128 i64) (local (ref null $f)) (local anyref externref)
    (drop (i64.const -9223372036854775808)) (drop (i32.const 64)) (drop (f64.const 64)) (drop (f32.const 64))
    (drop (v128.const i32x4 64 64 64 64))
    (drop (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (v128.const i64x2 64 64) (v128.const i64x2 64 64)))
    (drop (v128.load8_lane $b offset=64 align=1 15 (i32.const 0) (v128.const i64x2 0 0)))
    (drop (i8x16.replace_lane 15 (v128.const i64x2 0 0) (i32.const 64)))
    (i32.store $b offset=64 (i32.const 0) (i32.const 64)) (i64.store offset=64 (i32.const 0) (i64.const 64))
    (drop (i32.atomic.rmw.add $b offset=64 (i32.const 0) (i32.const 64))) (atomic.fence)
    (memory.copy $a $b (i32.const 0) (i32.const 64) (i32.const 64)) (memory.fill $b (i32.const 0) (i32.const 0)
      (i32.const 64))
    (drop (select (result (ref null $s)) (ref.null $s) (struct.new $s) (local.get 0)))
    (block (result anyref) (br_on_cast 0 anyref (ref $s) (local.get 7)) (drop) (ref.null any)) (drop)
    (block $l (block $m (br_table $l $m $l $m (local.get 0))))
    (block $l (result (ref null func)) (drop (call_indirect (type $f) (ref.null func) (i32.const 0)))
      (unreachable)) (drop)
    (block $all (block $of_e (block $of_t (result i32)
      (try_table (catch $t $of_t) (catch $e $of_e) (catch_all $all) (throw $t (local.get 0)))
      (unreachable)) (drop)))
    (loop (param) (result (ref null $s)) (ref.null $s)) (drop)
    (i64.add128 (i64.const 64) (i64.const 64) (i64.const 64) (i64.const 64)) (drop) (drop)
    (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i64x2 64 64)))
    (memory.grow $b (local.get 0)))
  (func (export "grow") (param i32) (result i32) (if (local.get 0) (then)) (memory.grow $b (local.get 0))))
"""


def test_growth_is_found_behind_every_form_of_immediate(trapping: Runtime, needs: Needs) -> None:
    needs("wat", "gc", "multi-memory", "threads")
    instance = trapping.instantiate(trapping.compile(EVERYTHING_ODD))
    with pytest.raises(Trap):  # what matters is that it was valid still
        instance.exports.odd(0)
    refused(instance.exports.grow, 1)


def test_functions_keep_their_names(trapping: Runtime, needs: Needs) -> None:
    needs("wat", "trap-frames")
    text = """(module $inside (memory 1 1)
      (func $outer (export "outer") (param i32) (result i32) (call $inner (local.get 0)))
      (func $inner (param i32) (result i32) (memory.grow (local.get 0))))"""
    trap = refused(trapping.instantiate(trapping.compile(text)).exports.outer, 1)
    assert [str(frame).partition(" at ")[0] for frame in trap.frames] == [
        "inside!memory.grow refused",
        "inside!inner",
        "inside!outer",
    ]


@pytest.mark.parametrize("guest", [guests.arithmetic(), guests.loops(), guests.recursion(), Module()])
def test_a_module_without_growth_comes_back_as_it_is(guest: Module) -> None:
    binary = guest.encode()
    assert trap_on_grow_failure(binary) is binary


def test_what_looks_like_growth_is_left_alone() -> None:
    binary = wat(
        """(module (memory 1) (func (block unreachable) (drop (i32.const 8256)) (drop (f64.const 0x1.04000fc00fp+5)))
        (data (i32.const 0) "\\40\\00\\fc\\0f\\00"))"""
    )
    assert b"\x40\x00" in binary
    assert trap_on_grow_failure(binary) is binary


def customs(binary: bytes) -> list[bytes]:
    return [binary[begin + 1 : begin + 1 + binary[begin]] for _, id, begin, _ in sections(binary) if id == 0]


def test_what_tells_of_places_in_the_code_is_dropped(trapping: Runtime) -> None:
    """Source lines that are wrong would be worse than none. Names may be broken, which no engine minds."""
    others = [section(0, name(each) + b"\1") for each in (".debug_line", "name", "metadata.code.branch_hint")]
    rewritten = trap_on_grow_failure(guests.memories(MemoryType(1, 2)).encode() + b"".join(others))
    assert customs(rewritten) == [b"name", b"name"]
    refused(trapping.instantiate(trapping.compile(rewritten)).exports.grow0, 2)


def unlimited(module: Module) -> Module:
    module.memories[:] = [MemoryType(each.minimum) for each in module.memories]
    module.tables[:] = [TableType(each.element, each.minimum) for each in module.tables]
    return module


@given(data=st.data())
def test_guests_with_no_limit_in_the_way_do_the_same(runtime: Runtime, trapping: Runtime, data: st.DataObject) -> None:
    module = data.draw(modules(runtime.info.features).map(unlimited))
    differential([module], [runtime, trapping])


@given(
    deltas=st.lists(st.integers(0, 6) | st.sampled_from([65535, 65536, -1]), max_size=10),
    most=st.none() | st.integers(1, 12),
    limit=st.none() | st.integers(1, 12),
)
def test_growth_traps_exactly_where_it_was_refused(
    runtime: Runtime, trapping: Runtime, deltas: list[int], most: int | None, limit: int | None
) -> None:
    guest = guests.memories(MemoryType(1, most)).encode()
    limits = Limits(memory_bytes=None if limit is None else limit * PAGE_SIZE)
    with (
        runtime.instantiate(runtime.compile(guest), limits=limits) as plain,
        trapping.instantiate(trapping.compile(guest), limits=limits) as other,
    ):
        for delta in deltas:
            before = plain.exports.grow0(delta)
            if before == -1:
                refused(other.exports.grow0, delta)
            else:
                assert other.exports.grow0(delta) == before
            assert other.exports.size0() == plain.exports.size0()


class GrowthScript(Script):
    """A script of the official suite, whose guests trap where it expects growth to give -1."""

    refusals = 0

    def _assert_return(self, command: Any) -> None:
        expected = [(each["type"], each["value"]) for each in command["expected"]]
        try:
            super()._assert_return(command)
        except Trap as trap:
            if trap.code is not TrapCode.UNREACHABLE or expected not in ([], [("i32", 0xFFFF_FFFF)]):
                raise
            self.refusals += 1


GROWTH_SCRIPTS = [script for script in find_scripts() if re.search(rb"(memory|table)\.grow", script.read_bytes())]
REFUSALS = {
    "imports": 1,
    "linking": 1,
    "memory_grow": 4,
    "memory_size": 3,
    "memory_trap": 1,
    "table_grow": 3,
    "table_size": 3,
}


@pytest.mark.skipif(not GROWTH_SCRIPTS, reason="no spec scripts: see tests/spec")
@pytest.mark.parametrize("script", GROWTH_SCRIPTS, ids=lambda script: script.stem)
def test_spec_scripts(runtime: Runtime, script: Path) -> None:
    commands = child._commands(script, Path(__file__).parents[2] / "build" / "spec")
    skipped = 0
    embedding = Embedding(runtime.info.name, trap_on_grow_failure=True)
    with closing(embedding), closing(GrowthScript(embedding)) as running:
        for command in commands:
            try:
                running.run(command)
            except Skipped:
                skipped += 1
    if skipped == 0:
        assert running.refusals == REFUSALS.get(script.stem, 0)


def test_it_is_a_bool(runtime: Runtime) -> None:
    with pytest.raises(InvalidConfigurationError, match="trap_on_grow_failure is a bool, not 1"):
        pywasmrt.new_runtime(runtime.info.name, {"trap_on_grow_failure": 1})


def test_a_mapping_may_ask_for_it(runtime: Runtime) -> None:
    with pywasmrt.new_runtime(runtime.info.name, {"trap_on_grow_failure": True}) as made:
        instance = made.instantiate(made.compile(guests.memories(MemoryType(1, 2)).encode()))
        refused(instance.exports.grow0, 2)


def test_a_runtime_that_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FakeRuntime] = []

    def create(config: RuntimeConfig) -> FakeRuntime:
        made.append(FakeRuntime())
        return made[-1]

    monkeypatch.setattr("pywasmrt.registry._registered", {})
    pywasmrt.register_runtime("forgetful", create)
    assert pywasmrt.new_runtime("forgetful") is made[0]
    with pytest.raises(UnsupportedFeatureError, match="forgetful has no trap_on_grow_failure"):
        pywasmrt.new_runtime("forgetful", ON)
    assert made[1].closed


def test_compiled_modules_are_of_one_setting(runtime: Runtime, trapping: Runtime, needs: Needs) -> None:
    needs("serialize")
    guest = guests.memories(MemoryType(1, 2)).encode()
    blobs = [each.compile(guest).serialize() for each in (runtime, trapping)]
    for each, other in ((runtime, blobs[1]), (trapping, blobs[0])):
        with pytest.raises(ModuleCompileError, match="trap_on_grow_failure"):
            each.deserialize(other)
    instance = trapping.instantiate(trapping.deserialize(blobs[1]))
    refused(instance.exports.grow0, 2)


def test_the_cache_keeps_them_apart(runtime: Runtime, trapping: Runtime, needs: Needs) -> None:
    needs("serialize")
    keys = {ModuleCache.key(each.identity(), HEADER) for each in (runtime, trapping)}  # type: ignore[attr-defined]
    assert len(keys) == 2


def test_a_module_is_validated_as_it_was_given(trapping: Runtime) -> None:
    guest = guests.memories(MemoryType(1))
    guest.function(FunctionType((), (I32,)), [("i64.const", 0)])  # where it is depends on what is before it
    messages = []
    for way in (trapping.validate, trapping.compile):
        with pytest.raises(ModuleCompileError, match="offset 0x") as caught:
            way(guest.encode())
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    made = [guests.memories(MemoryType(1)), guests.table(TableType(ValueType.EXTERNREF, 1))]
    return [*(each.encode() for each in made), wat(KINDS), wat(EVERYTHING_ODD)]


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_modules_are_refused_or_stay_valid(
    validate: Callable[[bytes], str], originals: list[bytes], data: st.DataObject
) -> None:
    """What is valid stays so; what is not is an error of ours, or left to the engine."""
    damaged = data.draw(mutated(data.draw(st.sampled_from(originals))))
    try:
        rewritten = trap_on_grow_failure(damaged)
    except (ModuleCompileError, UnsupportedFeatureError):
        assert validate(damaged)
    else:
        assert validate(damaged) or not validate(rewritten)


@pytest.mark.parametrize(
    "content",
    [
        section(10, uleb(1 << 63)),
        section(10, b"\1" + uleb(1 << 62)),
        section(10, b"\1\2\0"),
        section(10, b"\1\2\0\x0b\0"),
        section(5, b"\1\0\1") + section(10, vector([b"\4\0\x40\0\x0b"])),
        section(5, b"\1\0\1") + section(10, vector([b"\4\xff\x40\0\x0b"])),
        section(5, b"\1\0\1") + section(10, vector([b"\6\0\x40\0\x0e\x80\x0b"])),
        section(5, b"\1\0\1") + section(10, vector([b"\6\0\x40\0\x44\0\x0b"])),
        section(5, b"\1\0\1") + section(10, vector([b"\4\0\x40\0\x0b"])) * 2,
        section(4, b"\1\x70\0\1") + section(10, vector([b"\5\0\xfc\x0f\1\x0b"])),
    ],
)
def test_what_is_malformed_is_refused(content: bytes) -> None:
    with pytest.raises(ModuleCompileError, match="malformed module"):
        trap_on_grow_failure(HEADER + content)
