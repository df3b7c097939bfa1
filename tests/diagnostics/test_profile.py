"""`pywasmrt.profile`: stacks of guests and host functions, and what ends a profile. No test counts on how many samples
there are in what time: guests run until there are enough.
"""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers.asynchronous import run as run_async

import pywasmrt
from pywasmrt import ClosedError, RuntimeConfig, Trap, UnsupportedFeatureError
from pywasmrt.testing.text import to_binary

GUEST = to_binary(
    """
(module
  (import "env" "host" (func $host (param i32) (result i32)))
  (func $spin (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (local.get $n))
  (func $middle (param i32) (result i32) (i32.add (call $spin (local.get 0)) (call $host (local.get 0))))
  (func $outer (export "run") (param i32) (result i32) (call $middle (local.get 0)))
  (func $inner (export "inner") (param i32) (result i32) (call $spin (local.get 0)))
  (func $deep (export "deep") (param i32 i32) (result i32)
    (if (result i32) (local.get 0)
      (then (call $deep (i32.sub (local.get 0) (i32.const 1)) (local.get 1)))
      (else (call $spin (local.get 1)))))
  (func $fail (export "fail") (param i32) (drop (call $spin (local.get 0))) unreachable))
"""
)
ROUNDS = 3_000_000

Needs = Callable[..., None]


@pytest.fixture(autouse=True)
def profiles(runtime: pywasmrt.Runtime, needs: Needs) -> None:
    needs("profiling")


class Guest:
    """An instance, and what its host function does."""

    def __init__(self, runtime: pywasmrt.Runtime) -> None:
        self.does: Callable[[int], int] = lambda x: x
        self.instance: Any = runtime.instantiate(runtime.compile(GUEST), {"env": {"host": self.host}})
        self.exports = self.instance.exports

    def host(self, x: int) -> int:
        return self.does(x)


@pytest.fixture
def guest(runtime: pywasmrt.Runtime) -> Any:
    made = Guest(runtime)
    with made.instance:
        yield made


def until(profile: pywasmrt.Profile, count: int, work: Callable[[], object]) -> None:
    """Do some work again and again, until it was sampled so often more."""
    end = time.monotonic() + 60
    wanted = profile._recording.count + count
    while profile._recording.count < wanted:
        work()
        assert time.monotonic() < end


def stacks(profile: pywasmrt.Profile) -> set[str]:
    tree = profile._tree
    found = set()
    for sample in tree.samples:
        names = []
        node = sample.node
        while node >= 0:
            node, frame = tree.nodes[node]
            names.append(tree.frames[frame].name)
        found.add(" > ".join(reversed(names)))
    return found


def reaches(guest: Guest, wanted: set[str], body: Callable[[pywasmrt.Profile], object]) -> None:
    """Profile `body`, again and again, until these stacks have been seen: a sample may also stand at the beginning of
    an outer function.
    """
    found: set[str] = set()
    end = time.monotonic() + 60
    while not wanted <= found:
        assert time.monotonic() < end, found
        with pywasmrt.profile(guest.instance) as profile:
            body(profile)
        found |= stacks(profile)


def roots(profile: pywasmrt.Profile) -> set[str]:
    return {stack.split(" > ")[0] for stack in stacks(profile)}


def test_guests_are_sampled_with_their_callers(guest: Guest) -> None:
    reaches(guest, {"outer > middle > spin"}, lambda profile: until(profile, 2, lambda: guest.exports.run(ROUNDS)))
    with pywasmrt.profile(guest.instance) as profile:
        until(profile, 3, lambda: guest.exports.run(ROUNDS))
    rows = {row.name: row for row in profile.top()}
    assert rows["outer"].total_share == pytest.approx(1)
    assert profile.seconds == pytest.approx(sum(row.self_seconds for row in rows.values()))
    assert profile.samples == len(profile._tree.samples) >= 3
    assert profile.dropped == 0
    table = str(profile.top())
    assert table.splitlines()[0].split() == ["self", "total", "function"]
    assert " outer" in table
    assert repr(profile).startswith("<Profile samples=")
    assert profile.top(1) == profile.top()[:1]
    assert profile.top(0) == ()


def test_a_host_function_stands_upon_the_guest_that_calls_it(guest: Guest) -> None:
    def wait(x: int) -> int:
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass
        return x

    guest.does = wait
    wanted = {"outer > middle > env.host (Guest.host)"}
    reaches(guest, wanted, lambda profile: until(profile, 2, lambda: guest.exports.run(1)))
    with pywasmrt.profile(guest.instance) as profile:
        until(profile, 5, lambda: guest.exports.run(1))
    row = next(row for row in profile.top() if row.kind == "host")
    assert row.source.startswith(__file__)
    assert row.self_seconds > 0
    assert "[host]" in str(profile.top())


def test_a_guest_that_a_host_function_calls_stands_upon_that(guest: Guest) -> None:
    def body(profile: pywasmrt.Profile) -> None:
        guest.does = lambda x: until(profile, 2, lambda: guest.exports.inner(ROUNDS)) or x
        guest.exports.run(1)

    reaches(guest, {"outer > middle > env.host (Guest.host) > inner > spin"}, body)


def test_host_functions_nest(guest: Guest) -> None:
    def body(profile: pywasmrt.Profile) -> None:
        def nest(x: int) -> int:
            if x < 3:
                return int(guest.exports.run(x + 1))
            until(profile, 2, lambda: guest.exports.inner(ROUNDS))
            return x

        guest.does = nest
        guest.exports.run(1)

    one = "outer > middle > env.host (Guest.host)"
    reaches(guest, {f"{one} > {one} > {one} > inner > spin"}, body)


def test_without_a_profile_the_host_function_is_the_very_one(guest: Guest) -> None:
    fast = guest.instance.store.fast
    before = sum(each == guest.host for each in gc.get_referents(fast))
    with pywasmrt.profile(guest.instance):
        assert sum(each == guest.host for each in gc.get_referents(fast)) == before - 1
    assert sum(each == guest.host for each in gc.get_referents(fast)) == before


def test_a_trap_ends_the_call_and_not_the_profile(guest: Guest) -> None:
    def fail() -> None:
        with pytest.raises(Trap):
            guest.exports.fail(ROUNDS)

    def body(profile: pywasmrt.Profile) -> None:
        def raise_(x: int) -> int:
            until(profile, 1, fail)  # a trap within a host call
            raise KeyError(x)

        guest.does = raise_
        until(profile, 1, fail)
        with pytest.raises(KeyError):
            guest.exports.run(1)
        guest.does = lambda x: x
        until(profile, 1, lambda: guest.exports.run(ROUNDS))

    nested = "outer > middle > env.host (Guest.host) > fail > spin"
    reaches(guest, {"fail > spin", "outer > middle > spin", nested}, body)


def test_a_profile_may_end_anywhere(guest: Guest) -> None:
    profile = pywasmrt.profile(guest.instance)
    until(profile, 1, lambda: guest.exports.run(ROUNDS))

    def close(x: int) -> int:
        profile.close()
        gc.collect()
        return x

    guest.does = close
    guest.exports.run(1)
    guest.exports.run(ROUNDS)
    assert roots(profile) == {"outer"}
    profile.close()

    def restart(x: int) -> int:
        for _ in range(10):
            with pywasmrt.profile(guest.instance):
                guest.exports.inner(10)
        return x

    guest.does = restart
    for _ in range(3):
        assert guest.exports.run(1) == 1


def test_closing_the_instance_while_it_is_profiled(guest: Guest) -> None:
    def close(x: int) -> int:
        until(profile, 1, lambda: guest.exports.inner(ROUNDS))
        guest.instance.close()
        return x

    guest.does = close
    with pywasmrt.profile(guest.instance) as profile, pytest.raises(ClosedError):
        guest.exports.run(1)
    assert any(stack.startswith("outer > middle > env.host (Guest.host) > inner") for stack in stacks(profile))
    with pytest.raises(ClosedError):
        pywasmrt.profile(guest.instance)


def test_dropping_all_but_the_profile(runtime: pywasmrt.Runtime) -> None:
    guest = Guest(runtime)
    profile = pywasmrt.profile(guest.instance)
    until(profile, 1, partial(guest.exports.inner, ROUNDS))
    store = weakref.ref(guest.instance.store)
    del guest
    profile.close()
    gc.collect()
    assert store() is None
    assert roots(profile) == {"inner"}


def test_another_thread_may_begin_and_end_a_profile(guest: Guest) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            guest.exports.inner(ROUNDS * 10)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(3):
            with pywasmrt.profile(guest.instance) as profile:
                until(profile, 1, lambda: time.sleep(0.001))
                with pytest.raises(ValueError, match="already"):
                    pywasmrt.profile(guest.instance)
            assert roots(profile) == {"inner"}
    finally:
        stop.set()
        thread.join(60)


def test_no_more_samples_than_asked_for(guest: Guest) -> None:
    dropped, end = 0, time.monotonic() + 60
    while not dropped:  # there is no telling while it runs
        assert time.monotonic() < end
        with pywasmrt.profile(guest.instance, max_samples=2) as profile:
            until(profile, 2, lambda: guest.exports.inner(ROUNDS))
            for _ in range(5):
                guest.exports.inner(ROUNDS)
        assert profile.samples == 2
        dropped = profile.dropped


def test_stacks_may_be_deep(guest: Guest) -> None:
    deepest = " > ".join(["deep"] * 2001 + ["spin"])
    reaches(guest, {deepest}, lambda profile: until(profile, 2, lambda: guest.exports.deep(2000, ROUNDS)))
    with pywasmrt.profile(guest.instance) as profile:
        until(profile, 2, lambda: guest.exports.deep(2000, ROUNDS))
    rows = {row.name: row for row in profile.top()}
    assert rows["deep"].total_seconds <= profile.seconds * 1.0001  # once, however deep it recurs


def test_a_stack_that_overflows_is_sampled_on_its_way(guest: Guest) -> None:
    def overflow() -> None:
        with pytest.raises(Trap) as caught:
            guest.exports.deep(1 << 30, 1)
        assert caught.value.code is pywasmrt.TrapCode.STACK_OVERFLOW

    with pywasmrt.profile(guest.instance) as profile:
        until(profile, 3, overflow)
    profile.top()
    assert {stack.split(" > ")[0] for stack in stacks(profile)} == {"deep"}


def test_files_can_be_read_by_what_they_are_for(guest: Guest, tmp_path: Path) -> None:
    with pywasmrt.profile(guest.instance) as profile:
        guest.does = lambda x: until(profile, 1, lambda: guest.exports.deep(300, ROUNDS)) or x
        guest.exports.run(1)
    profile.save(tmp_path / "guest.json", title="mine")
    written = json.loads((tmp_path / "guest.json").read_text())
    assert written["meta"]["preprocessedProfileVersion"] == 55
    (thread,) = written["threads"]
    for name, table in thread.items():
        if isinstance(table, dict):
            columns = {key: len(column) for key, column in table.items() if isinstance(column, list)}
            assert set(columns.values()) <= {table["length"]}, name
    prefixes = thread["stackTable"]["prefix"]
    assert all(prefix is None or prefix < n for n, prefix in enumerate(prefixes))
    assert max(thread["samples"]["stack"]) < len(prefixes)
    assert max(thread["stackTable"]["frame"]) < thread["frameTable"]["length"]
    assert max(thread["frameTable"]["category"]) < len(written["meta"]["categories"])
    assert {thread["stringArray"][n] for n in thread["funcTable"]["name"]} >= {"deep", "env.host (Guest.host)"}
    assert sum(thread["samples"]["weight"]) == pytest.approx(profile.seconds * 1000)
    profile.flamegraph(tmp_path / "guest.svg", title="a <b> & c")
    picture = ElementTree.parse(tmp_path / "guest.svg").getroot()
    told = [title.text or "" for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert any(text.startswith(("spin: ", "deep: ")) for text in told)
    with pytest.raises(FileNotFoundError):
        profile.save(tmp_path / "no" / "folder")


def test_an_empty_profile_is_one(guest: Guest, tmp_path: Path) -> None:
    profile = pywasmrt.profile(guest.instance)
    assert profile.top() == ()
    assert profile.closed
    assert (profile.samples, profile.seconds) == (0, 0)
    profile.save(tmp_path / "empty.json")
    profile.flamegraph(tmp_path / "empty.svg")
    ElementTree.parse(tmp_path / "empty.svg")
    assert json.loads((tmp_path / "empty.json").read_text())["threads"][0]["samples"]["length"] == 0


def test_guests_of_an_asynchronous_store(runtime: pywasmrt.Runtime) -> None:
    async def main() -> None:
        async def host(x: int) -> int:
            return x

        module = runtime.compile(GUEST)
        instance = await runtime.instantiate_async(module, {"env": {"host": host}})
        with pywasmrt.profile(instance) as profile:
            wanted = profile._recording.count + 2
            while profile._recording.count < wanted:
                await instance.exports.run.call_async(ROUNDS)
        assert roots(profile) == {"outer"}

    run_async(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_of_a_fork_leaves_the_profile_alone(guest: Guest) -> None:
    profile = pywasmrt.profile(guest.instance)
    until(profile, 1, lambda: guest.exports.inner(ROUNDS))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            guest.exports.run(ROUNDS)
            code = 0 if profile.top() == () else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert roots(profile) == {"inner"}


def test_what_cannot_be_profiled(runtime: pywasmrt.Runtime, guest: Guest) -> None:
    other = Guest(runtime)
    with pytest.raises(TypeError):
        pywasmrt.profile(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one store"):
        pywasmrt.profile(guest.instance, other.instance)
    with pytest.raises(TypeError):
        pywasmrt.profile(guest.instance, max_samples=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_samples"):
        pywasmrt.profile(guest.instance, max_samples=0)
    profile = pywasmrt.profile(guest.instance)
    with pytest.raises(ValueError, match="count"):
        profile.top(-1)
    with pytest.raises(TypeError):
        profile.top("all")  # type: ignore[arg-type]


@pytest.mark.parametrize("operation", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_profile_is_not_copied_but_saved(guest: Guest, operation: Callable[[Any], Any]) -> None:
    with pywasmrt.profile(guest.instance) as profile:
        pass
    with pytest.raises(TypeError, match=r"^a profile cannot be copied or pickled: it belongs to this process"):
        operation(profile)
    with pytest.raises(ValueError, match="the instances of a Profile are one or more"):
        pywasmrt.Profile(())


def test_guests_that_do_not_poll_cannot_be_profiled(runtime: pywasmrt.Runtime) -> None:
    with pywasmrt.new_runtime(RuntimeConfig(type=runtime.info.name, interruptible=False)) as silent:
        instance = silent.instantiate(silent.compile(GUEST), {"env": {"host": lambda x: x}})
        with pytest.raises(UnsupportedFeatureError, match="interruptible") as caught:
            pywasmrt.profile(instance)
    assert caught.value.feature == "profiling"
