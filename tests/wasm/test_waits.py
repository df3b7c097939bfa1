"""Waits on shared memories that can be stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.long_calls import interrupting
from helpers.texts import wat

import pywasmrt
from pywasmrt import ClosedError, DeadlineExceeded, Interrupted, Limits, Runtime, Trap
from pywasmrt.wasm.reading import sections
from pywasmrt.wasm.rewriting import rewritten
from pywasmrt.wasm.waits import SLICE, STOPPABLE_WAITS

FOREVER = -1
SHARING = [
    each.name
    for each in pywasmrt.list_runtimes()
    if each.available and {"threads", "deadline", "interruption"} <= each.features
]

GUEST = """(module
  (memory (export "memory") {memory} 1 1 shared)
  (func (export "wait32") (param {at} i32 i64) (result i32)
    (memory.atomic.wait32 offset=8 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "wait64") (param {at} i64 i64) (result i32)
    (memory.atomic.wait64 offset=16 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "store") (param {at} i32) (i32.atomic.store offset=8 (local.get 0) (local.get 1)))
  (func (export "notify") (param {at} i32) (result i32)
    (memory.atomic.notify offset=8 (local.get 0) (local.get 1))))"""
IMPORTING = GUEST.format(memory='(import "env" "memory")', at="i32").replace("i64 1 1", "1 1")


@pytest.fixture(scope="module", params=SHARING)
def sharing(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with pywasmrt.new_runtime(request.param) as runtime:
        yield runtime


@pytest.fixture(params=["i32", "i64"])
def guest(sharing: Runtime, request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "i64" and "memory64" not in sharing.info.features:
        pytest.skip("no 64-bit memories")
    text = GUEST.format(memory="" if request.param == "i32" else "i64", at=request.param)
    with sharing.instantiate(sharing.compile(text)) as instance:
        yield instance


def test_an_answer_is_the_engines(guest: Any) -> None:
    wait = guest.exports.wait32
    assert wait(0, 1, FOREVER) == 1
    assert wait(0, 0, 0) == 2
    assert wait(0, 0, 1000) == 2
    assert wait(0, 0, SLICE) == 2
    assert wait(0, 0, SLICE + 1000) == 2
    begun = time.monotonic_ns()
    assert wait(0, 0, 3 * SLICE) == 2
    assert time.monotonic_ns() - begun >= 3 * SLICE
    assert guest.exports.wait64(0, 1, FOREVER) == 1
    assert guest.exports.wait64(0, 0, 3 * SLICE) == 2
    with pytest.raises(Trap, match="unaligned"):
        wait(1, 0, 0)
    with pytest.raises(Trap, match="out of bounds"):
        wait(65532, 0, 0)


@pytest.mark.parametrize("name", ["wait32", "wait64"])
def test_a_wait_ends_at_the_deadline(guest: Any, name: str) -> None:
    with pytest.raises(DeadlineExceeded), guest.deadline(0.05):
        guest.exports[name](0, 0, FOREVER)
    assert guest.exports[name](0, 0, 0) == 2
    with pytest.raises(DeadlineExceeded), guest.deadline(0.05):
        guest.exports[name](0, 0, (1 << 63) - 1)


def test_a_wait_is_interrupted_and_closed(guest: Any) -> None:
    with interrupting(guest), pytest.raises(Interrupted):
        guest.exports.wait32(0, 0, FOREVER)
    timer = threading.Timer(0.03, guest.close)
    timer.start()
    with pytest.raises(ClosedError):
        guest.exports.wait32(0, 0, FOREVER)
    timer.join()


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals are the main thread's")
def test_a_signal_handlers_exception_ends_a_wait(guest: Any) -> None:
    class Alarm(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(Alarm):  # noqa: PT012 - it may ring before the call
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            guest.exports.wait32(0, 0, FOREVER)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("slices", [0, 3])
def test_a_wait_is_woken_by_another_instance(sharing: Runtime, slices: int) -> None:
    """In the first slice, and in a later one; by those who change the value first, and those who do not."""
    if "memory-sharing" not in sharing.info.features:
        pytest.skip("its shared memories stay in their store")
    module = sharing.compile(IMPORTING)
    holder = sharing.new_store()
    memory = holder.memory(1, 1, shared=True)
    one, two = (sharing.instantiate(module, {"env": {"memory": memory}}, limits=Limits(timeout=60)) for _ in range(2))
    for changes in (False, True):
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(one.exports.wait32(0, 0, FOREVER)))  # noqa: B023
        thread.start()
        time.sleep(slices * SLICE / 1e9)
        while thread.is_alive():
            if changes and slices:
                two.exports.store(0, 1)
            two.exports.notify(0, 1)
            thread.join(0.001)
        assert answers == [0]
        two.exports.store(0, 0)


def test_no_code_moves() -> None:
    from pywasmrt.wasm.primitives import name, section

    text = GUEST.format(memory="", at="i32")
    note = section(0, name("producers-like") + b"kept")
    module = wat(text) + note
    made = rewritten(module, [STOPPABLE_WAITS])
    assert made != module
    assert note in made

    def code(data: bytes) -> bytes:
        return next(data[begin:end] for _, id, begin, end in sections(data) if id == 10)

    before, after = code(module), code(made)
    assert len(after) > len(before)
    changed = [n for n, (one, other) in enumerate(zip(before, after[: len(before)], strict=True)) if one != other and n]
    assert len(changed) <= 2 * 4  # the two instructions
    assert after[changed[0] - 1 : changed[0] + 4].find(b"\x10") >= 0


def test_a_module_without_waits_is_left_alone() -> None:
    module = wat("(module (memory 1 1 shared) (func (i32.atomic.store (i32.const 0) (i32.const 1))))")
    assert rewritten(module, [STOPPABLE_WAITS]) is module


def test_both_rewritings_go_together(sharing: Runtime) -> None:
    with pywasmrt.new_runtime(pywasmrt.RuntimeConfig(sharing.info.name, trap_on_grow_failure=True)) as runtime:
        text = """(module (memory 1 2 shared)
          (func (export "both") (param i32) (result i32)
            (i32.add (memory.grow (local.get 0)) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))))"""
        with runtime.instantiate(runtime.compile(text)) as instance:
            assert instance.exports.both(1) == 3
            with pytest.raises(Trap):
                instance.exports.both(1)
