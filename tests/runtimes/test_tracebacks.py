"""Tracebacks through guests: the guest's frames stand in notes on the exception."""

from __future__ import annotations

import copy
import pickle
import sys
import traceback
from typing import Any

import pytest
from helpers.debug_lines import LINE, SOURCE, module_with_lines

import pywasmrt
from pywasmrt import DeadlineExceeded, Runtime

GUEST = """
(module $guest (import "env" "f" (func $f (param i32)))
  (func $inner (param i32) (call $f (local.get 0)))
  (func $run (export "run") (param i32) (call $inner (local.get 0)))
  (func $spin (export "spin") (loop $again (br $again)))
  (func $trap (export "trap") unreachable))
"""


@pytest.fixture(autouse=True)
def _native(native: Runtime, needs_text: None) -> None:
    """Notes are of Wasmtime in C."""


def made(runtime: Runtime, f: Any) -> Any:
    return runtime.instantiate(runtime.compile(GUEST), {"env": {"f": f}}).exports


def notes_of(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def test_a_traceback_shows_the_guests_frames(runtime: Runtime) -> None:
    def broken(n: int) -> None:
        raise KeyError(n)

    exports = made(runtime, broken)
    with pytest.raises(KeyError) as caught:
        exports.run(1)
    [note] = notes_of(caught.value)
    here = sys._getframe().f_code
    first, *frames = note.splitlines()
    assert first.startswith(f"Guest frames (most recent call last), called by {here.co_name} ({here.co_filename}:")
    assert f"calling broken ({here.co_filename}:" in first
    assert [frame.split(" at ")[0] for frame in frames] == ["  guest!run", "  guest!inner"]
    if sys.version_info >= (3, 11):
        shown = "".join(traceback.format_exception(caught.value))
        assert note in shown
        caught.value.add_note("and more")
        assert notes_of(caught.value) == [note, "and more"]


def test_each_guest_between_has_a_note_of_its_own_frames(runtime: Runtime) -> None:
    def f(n: int) -> None:
        if n == 0:
            raise LookupError
        (exports if n % 2 else other).run(n - 1)

    exports, other = made(runtime, f), made(runtime, f)
    with pytest.raises(LookupError) as caught:
        exports.run(3)
    notes = notes_of(caught.value)
    assert [len(note.splitlines()) for note in notes] == [3] * 4
    assert ["calling f" in note for note in notes] == [True] * 4


def test_what_stops_a_guest_tells_where_it_was(runtime: Runtime) -> None:
    instance = runtime.instantiate(runtime.compile(GUEST), {"env": {"f": print}})
    with pytest.raises(DeadlineExceeded) as caught, instance.deadline(0.05):
        instance.exports.spin()
    [note] = notes_of(caught.value)
    assert "guest!spin" in note


def test_a_trap_passes_through_a_guest_too(runtime: Runtime) -> None:
    exports = made(runtime, lambda n: exports.trap())
    with pytest.raises(pywasmrt.Trap) as caught:
        exports.run(1)
    [note] = notes_of(caught.value)
    assert "guest!run" in note
    assert "guest!trap" not in note
    assert caught.value.frames[0].func_name == "trap"


def test_source_lines_where_the_module_has_them(runtime: Runtime) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    instance = runtime.instantiate(runtime.compile(module_with_lines(calls=True)), {"env": {"f": broken}})
    with pytest.raises(ZeroDivisionError) as caught:
        instance.exports.boom()
    [note] = notes_of(caught.value)
    assert f"({SOURCE.decode()}:{LINE})" in note.splitlines()[1]


def test_there_are_not_too_many_notes_nor_frames(runtime: Runtime) -> None:
    deep = """(module (import "env" "f" (func $f (param i32)))
      (func $run (export "run") (param i32)
        (if (local.get 0) (then (call $run (i32.sub (local.get 0) (i32.const 1)))) (else (call $f (i32.const 0))))))"""

    def f(n: int) -> None:
        raise LookupError

    with pytest.raises(LookupError) as caught:
        runtime.instantiate(runtime.compile(deep), {"env": {"f": f}}).exports.run(500)
    [note] = notes_of(caught.value)
    assert 2 < len(note.splitlines()) < 100

    def again(n: int) -> None:
        if n == 0:
            raise LookupError
        exports.run(n - 1)

    exports = made(runtime, again)
    with pytest.raises(LookupError) as caught:
        exports.run(40)
    assert len(notes_of(caught.value)) == 16


def test_notes_are_an_ordinary_list_to_everybody(runtime: Runtime) -> None:
    def broken(n: int) -> None:
        raise LookupError

    exports = made(runtime, broken)
    errors = []
    for _ in range(8):
        with pytest.raises(LookupError) as caught:
            exports.run(1)
        errors.append(caught.value)
    notes: list[Any] = [each.__notes__ for each in errors]  # type: ignore[attr-defined]
    text = notes[0][0]
    assert isinstance(text, str)
    assert text in notes[1]
    assert notes[2] == [text]
    assert repr(notes[3]) == repr([text])
    assert "\n".join(["x", *notes[4]]) == f"x\n{text}"
    assert copy.copy(notes[5]) == [text]
    assert pickle.loads(pickle.dumps(errors[6])).__notes__ == [text]
    assert len(notes[7]) == 1


def test_an_exception_that_refuses_notes_comes_out_all_the_same(runtime: Runtime) -> None:
    class Closed(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise RuntimeError

    class Odd(Exception):
        __notes__ = 5

    for kind in (Closed, Odd):

        def broken(n: int) -> None:
            raise kind  # noqa: B023 - it is called in this turn

        with pytest.raises(kind):
            made(runtime, broken).run(1)


def test_an_exception_raised_twice_keeps_its_notes(runtime: Runtime) -> None:
    error = LookupError("the same")

    def broken(n: int) -> None:
        raise error

    exports = made(runtime, broken)
    for count in (1, 2):
        with pytest.raises(LookupError):
            exports.run(1)
        assert len(notes_of(error)) == count
