"""function.map against a call a row: which rows run, in which order, and what a batch leaves that ends in the middle.

Engines may take many rows at a time, so the batches are longer than what any of them takes at once.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import example, given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import HostModule, RowError, Runtime

numpy = pytest.importorskip("numpy")

TEXT = """(module
  (import "env" "seen" (func $seen (param i32)))
  (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "both") (param i64 f64) (result f64 i64) (local.get 1) (local.get 0))
  (func (export "watched") (param i32 i32) (result i32)
    (call $seen (local.get 0)) (i32.div_s (local.get 0) (local.get 1))))"""

ROWS = 700
LEFT = -7  # what the rows of a result have that no call wrote


@pytest.fixture(scope="module", params=[True, False], ids=["interruptible", "uninterruptible"])
def guest(request: pytest.FixtureRequest, wasm_runtime: Runtime) -> Any:
    config = pywasmrt.RuntimeConfig(wasm_runtime.info.name, interruptible=request.param)
    env, seen = HostModule("env"), []

    @env.function(name="seen")
    def note(number: int) -> None:
        seen.append(number)
        if number == closing[0]:
            instance.close()

    closing: list[int | None] = [None]
    runtime = pywasmrt.new_runtime(config)
    module = runtime.compile(TEXT)

    def fresh() -> tuple[Any, list[int], list[int | None]]:
        nonlocal instance
        instance = runtime.instantiate(module, env)
        seen.clear()
        closing[0] = None
        return instance.exports, seen, closing

    instance: Any = None
    yield fresh
    runtime.close()


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(0, ROWS),
    zeros=st.sets(st.integers(0, ROWS), max_size=3),
    misfit=st.none() | st.integers(0, ROWS),
    masked=st.booleans(),
    watched=st.booleans(),
)
@example(rows=ROWS, zeros={0, 255, 256, 511}, misfit=512, masked=True, watched=True)
@example(rows=257, zeros=set(), misfit=256, masked=False, watched=False)
@example(rows=17, zeros={15, 16}, misfit=16, masked=False, watched=True)
def test_a_batch_does_what_its_calls_do(
    guest: Any, rows: int, zeros: set[int], misfit: int | None, masked: bool, watched: bool
) -> None:
    exports, seen, _ = guest()
    numbers = numpy.arange(rows, dtype="i8")
    divisors = numpy.full(rows, 3, dtype="i4")
    divisors[[n for n in zeros if n < rows]] = 0
    if misfit is not None and misfit < rows:
        numbers[misfit] = 2**40
    out = numpy.full(rows, LEFT, dtype="i4")
    run = exports.watched if watched else exports.div

    fatal = [(misfit, OverflowError)] if misfit is not None and misfit < rows else []
    fatal += [] if masked else [(n, RowError) for n in zeros if n < rows]
    end, error = min(fatal, key=lambda each: (each[0], each[1] is RowError), default=(rows, None))
    on_error = "mask" if masked else "raise"
    if error is None:
        result = run.map(numbers, divisors, out=out, on_error=on_error)
        failed = result[1] if masked else numpy.zeros(rows, dtype=bool)
        assert failed.tolist() == [n in zeros for n in range(rows)]
    else:
        with pytest.raises(error, match=f"row {end} of"):
            run.map(numbers, divisors, out=out, on_error=on_error)
    assert out.tolist() == [0 if n in zeros else n // 3 for n in range(end)] + [LEFT] * (rows - end)
    if watched:
        assert seen == list(range(end if error is not RowError else end + 1))


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, ROWS), number=st.integers(0, ROWS))
@example(rows=1, number=0)
@example(rows=300, number=255)
@example(rows=300, number=256)
def test_no_row_runs_after_its_instance_was_closed(guest: Any, rows: int, number: int) -> None:
    exports, seen, closing = guest()
    closing[0] = number
    if number >= rows:
        assert len(exports.watched.map(numpy.arange(rows), 1)) == rows
        return
    with pytest.raises(pywasmrt.ClosedError):
        exports.watched.map(numpy.arange(rows), 1)
    assert seen == list(range(number + 1))


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(0, ROWS), step=st.sampled_from([1, 2, 3, -1]))
def test_several_results_and_any_strides(guest: Any, rows: int, step: int) -> None:
    exports, _, _ = guest()
    wide, real = numpy.arange(3 * rows, dtype="i8")[::step][:rows], numpy.arange(rows, dtype="f4")
    first, second = exports.both.map(wide, real)
    assert (first.tolist(), second.tolist()) == (real.tolist(), wide.tolist())
