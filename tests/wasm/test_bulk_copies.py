"""Large copies and fills, which are done in pieces."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("hypothesis")
from helpers.long_calls import interrupting
from helpers.texts import wat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import DeadlineExceeded, Interrupted, Limits, Runtime, RuntimeConfig, Trap, WasmError
from pywasmrt.runtimes.base.store import MOST_ELEMENTS
from pywasmrt.wasm.bulk_copies import PIECES, Pieces
from pywasmrt.wasm.reading import sections
from pywasmrt.wasm.rewriting import rewritten

LARGE = wat("""(module
  (memory (export "memory") 32768)
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x7fff0000)))
  (func (export "copy") (memory.copy (i32.const 65536) (i32.const 0) (i32.const 0x7ffe0000)))
  (func (export "copy_down") (memory.copy (i32.const 0) (i32.const 65536) (i32.const 0x7ffe0000)))
  (func (export "move") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func (export "set") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2))))""")
# What each writes last.
LAST = {"fill": 0x7FFF0000 - 1, "copy": 65536, "copy_down": 0x7FFE0000 - 1}

SMALL = """(module
  (memory $a (export "a") 1) (memory $b (export "b") {wide} 1)
  (table $t (export "t") 40 funcref) (table $u (export "u") {wide} 30 funcref)
  (elem (table $t) (i32.const 0) func $f0 $f1 $f2 $f3 $f4 $f5 $f6 $f7 $f8 $f9)
  {functions}
  (func (export "fill_a") (param i32 i32 i32) (memory.fill $a (local.get 0) (local.get 1) (local.get 2)))
  (func (export "fill_b") (param {at} i32 {at}) (memory.fill $b (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy_aa") (param i32 i32 i32) (memory.copy $a $a (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy_ab") (param i32 {at} i32) (memory.copy $a $b (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy_ba") (param {at} i32 i32) (memory.copy $b $a (local.get 0) (local.get 1) (local.get 2)))
  (func (export "fill_t") (param i32 funcref i32) (table.fill $t (local.get 0) (local.get 1) (local.get 2)))
  (func (export "fill_u") (param {at} funcref {at}) (table.fill $u (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy_tt") (param i32 i32 i32) (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy_tu") (param i32 {at} i32) (table.copy $t $u (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy_ut") (param {at} i32 i32) (table.copy $u $t (local.get 0) (local.get 1) (local.get 2))))"""

Make = Callable[[bytes], Any]


@pytest.fixture
def large(runtime: Runtime, needs: Callable[..., None]) -> Iterator[Any]:
    needs("bulk-memory") if runtime.info.name != "wasm3" else None  # 0.5.0 has these two of the proposal
    with runtime.instantiate(runtime.compile(LARGE)) as instance:
        yield instance


@pytest.mark.parametrize("name", LAST)
def test_one_instruction_ends_at_the_deadline(large: Any, needs: Callable[..., None], name: str) -> None:
    needs("deadline")
    memory = large.memory()
    memory.write(0, b"\x01")
    memory.write(memory.size - 1, b"\x01")
    with pytest.raises(DeadlineExceeded), large.deadline(0.02):
        large.exports[name]()
    assert memory.read(LAST[name], 1) == b"\x00"  # so it was stopped on the way


def test_one_instruction_lets_other_threads_run_and_ends_at_an_interrupt(
    large: Any, needs: Callable[..., None]
) -> None:
    needs("interruption")
    with interrupting(large), pytest.raises(Interrupted):
        large.exports.fill()
    assert large.memory().read(LAST["fill"], 1) == b"\x00"


def test_what_overlaps_is_copied_from_the_right_end(large: Any) -> None:
    memory, move, fill = large.memory(), large.exports.move, large.exports.set
    size = 2 * PIECES.size + 5
    marks = {at: bytes([1 + n % 250]) for n, at in enumerate(range(0, size, size // 100))}
    for start, to in ((0, 70_000), (70_000, 0), (0, PIECES.size + 3), (PIECES.size + 3, 0), (9, 9)):
        fill(0, 0, size + PIECES.size + 70_000)
        for at, mark in marks.items():
            memory.write(start + at, mark)
        move(to, start, size)
        assert {at: memory.read(to + at, 1) for at in marks} == marks
    fill(1, 7, size)
    assert [memory.read(at, 1) == b"\x07" for at in (0, 1, size // 2, size, size + 1)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_what_is_out_of_bounds_writes_nothing(large: Any) -> None:
    memory, size = large.memory(), large.memory().size
    for function, arguments in (
        ("set", (1, 7, size)),
        ("set", (size - 5, 7, PIECES.size * 3)),
        ("set", (0xFFFF_FFFF, 7, 0xFFFF_FFFF)),
        ("move", (1, 0, size)),
        ("move", (0, 1, size)),
        ("move", (0, 0xFFFF_FFF0, PIECES.size + 1)),
    ):
        memory.write(0, b"\x05")
        with pytest.raises(Trap, match="out of bounds"):
            large.exports[function](*arguments)
        assert memory.read(0, 2) == b"\x05\x00"


# The rewriting itself, with pieces so small that every size has some.


def _sizes(name: str) -> st.SearchStrategy[int]:
    near = {"a": 65536, "b": 65536, "t": 40, "u": 30}[name]
    return st.one_of(
        st.integers(0, 40), st.integers(near - 20, near + 2), st.sampled_from([(1 << 32) - 1, (1 << 32) - 10, 1 << 31])
    )


_STEPS = st.one_of(
    *[
        st.tuples(st.just(f"fill_{to}"), _sizes(to), st.integers(0, 9), _sizes(to))
        for to in "abtu"
    ],
    *[
        st.tuples(st.just(f"copy_{to}{source}"), _sizes(to), _sizes(source), _sizes(to))
        for to, source in ("aa", "ab", "ba", "tt", "tu", "ut")
    ],
)  # fmt: skip


@pytest.fixture(scope="module", params=[("i32", 1), ("i64", 1), ("i32", 2)], ids=str)
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """The module as it is, and with tiny pieces."""
    at, at_once = request.param
    functions = " ".join(f"(func $f{n} (result i32) (i32.const {n}))" for n in range(10))
    text = SMALL.format(at=at, wide="" if at == "i32" else at, functions=functions)
    with pywasmrt.new_runtime("wasmtime") as runtime, pytest.MonkeyPatch.context() as patch:
        if at == "i64" and "memory64" not in runtime.info.features:
            pytest.skip("no 64-bit memories")
        data = wat(text)
        changed = rewritten(data, [Pieces(4, 3, at_once)])
        assert changed != data
        patch.setattr("pywasmrt.runtimes.base.rewrites.has_copies", lambda data: None)
        yield runtime.instantiate(runtime.compile(data)), runtime.instantiate(runtime.compile(changed))


def _state(instance: Any) -> tuple[Any, ...]:
    tables = [
        [None if each is None else each() for each in (instance.table(name)[n] for n in range(size))]
        for name, size in (("t", 40), ("u", 30))
    ]
    return instance.memory("a").read(0, 65536), instance.memory("b").read(0, 65536), tables


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_STEPS, min_size=1, max_size=12))
def test_pieces_change_nothing_for_the_guest(both: tuple[Any, Any], steps: list[tuple[str, int, int, int]]) -> None:
    for memory in "ab":
        for instance in both:
            instance.memory(memory).write(0, bytes(range(200)))
            instance.memory(memory).write(65536 - 200, bytes(range(200)))
    for name, to, second, size in steps:
        outcomes = []
        for instance in both:
            given: Any = second
            if name in ("fill_t", "fill_u"):
                given = instance.table("t")[second]
            try:
                instance.exports[name](to, given, size)
                outcomes.append(None)
            except Trap as trap:
                outcomes.append(trap.code)
        assert outcomes[0] == outcomes[1], (name, to, second, size)
    assert _state(both[0]) == _state(both[1])


def test_no_code_moves() -> None:
    before = wat('(module (memory 1) (func (export "f") (memory.fill (i32.const 0) (i32.const 1) (i32.const 2))))')
    after = rewritten(before, [PIECES])
    code = [next((start, end) for start, id, _, end in sections(data) if id == 10) for data in (before, after)]
    (first, end), (second, _) = code
    assert len(after) > len(before)
    assert after[second + 3 :].startswith(before[first + 3 : first + 5])
    assert b"\xfc\x0b" not in after[second : second + end - first]


def test_the_frame_has_the_instructions_name(runtime: Runtime) -> None:
    if runtime.info.name.startswith("wasmtime"):
        with runtime.instantiate(runtime.compile(LARGE)) as instance, pytest.raises(Trap) as caught:
            instance.exports.set(-1, 0, 2)
        assert caught.value.frames[0].func_name == "memory.fill"


# What is not done in pieces.


@pytest.mark.parametrize(("limits", "given_away"), [(None, True), (Limits(memory_bytes=64 << 20), False)])
def test_work_on_large_arrays_lets_other_threads_run(limits: Limits | None, given_away: bool) -> None:
    known = {info.name: info.features for info in pywasmrt.list_runtimes()}.get("wasmtime", frozenset())
    if "gc" not in known:
        pytest.skip("no arrays")
    guest = """(module (type $a (array (mut i8)))
      (func (export "new") (param i32) (drop (array.new $a (i32.const 1) (local.get 0)))))"""
    turns = [0]
    ended = threading.Event()

    def take_turns() -> None:
        while not ended.is_set():
            turns[0] += 1
            time.sleep(0)

    with pywasmrt.new_runtime(RuntimeConfig(type="wasmtime")) as runtime:
        instance = runtime.instantiate(runtime.compile(guest), limits=limits)
        new = instance.exports.new
        interval = sys.getswitchinterval()
        other = threading.Thread(target=take_turns)
        sys.setswitchinterval(60)  # who has the GIL keeps it until they give it away
        try:
            other.start()
            while turns[0] == 0:
                time.sleep(0.001)
            before = turns[0]
            end = time.monotonic() + 60
            for n in itertools.count():
                new(1 << 14)
                # Who waits for the GIL need not get it at the first time that it is given away.
                if turns[0] > before or (n > 200 and not given_away) or time.monotonic() > end:
                    break
            assert (turns[0] > before) is given_away
        finally:
            ended.set()
            sys.setswitchinterval(interval)
            other.join()


def test_tables_have_a_limit_where_none_is_given(runtime: Runtime, needs: Callable[..., None]) -> None:
    needs("reference-types", "table-limit")
    guest = """(module (table 0 funcref)
      (func (export "grow") (param i32) (result i32) (table.grow (ref.null func) (local.get 0))))"""
    module = runtime.compile(guest)
    assert runtime.instantiate(module).exports.grow(MOST_ELEMENTS + 1) == -1
    assert (
        runtime.instantiate(module, limits=Limits(table_elements=MOST_ELEMENTS + 1)).exports.grow(MOST_ELEMENTS + 1)
        == 0
    )
    with pytest.raises(WasmError):
        runtime.new_store().table(MOST_ELEMENTS + 1)
