"""Threads of a guest: `wasi.thread-spawn`."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt import (
    ClosedError,
    DeadlineExceeded,
    HostModule,
    InvalidConfigurationError,
    Limits,
    ModuleInstantiateError,
    Runtime,
    Trap,
    TrapCode,
    UnsupportedFeatureError,
    wasi,
)
from pywasmrt.wasi.errno import Errno

SHARING = [
    each.name
    for each in pywasmrt.list_runtimes()
    if each.available and {"threads", "memory-sharing", "deadline", "interruption"} <= each.features
]
LONG = 30.0

# Address 0: a flag that a thread sets when it has begun. 4: a counter. 8: never changes, to wait on for ever.
# What a thread does is told by its argument. `spawn` returns what thread-spawn gave, once the thread has begun.
GUEST = """(module
  (import "env" "memory" (memory {memory} shared))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "env" "called" (func $called (param i32) (result i32)))
  (export "memory" (memory 0))
  (data (i32.const 64) "\\90\\00\\00\\00\\05\\00\\00\\00")
  (data (i32.const 144) "hello")
  (data (i32.const 160) "file")
  (data (i32.const 272) "\\01") (data (i32.const 286) "\\ff")  ;; a clock, in a very long time
  (func $sleep (param $until i32)
    (loop $again
      (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 1000000)))
      (br_if $again (i32.ne (i32.atomic.load (i32.const 0)) (local.get $until)))))
  (func $forever (loop $again (br $again)))
  (func $wait (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))) (unreachable))
  (func $pause (drop (call $poll (i32.const 256) (i32.const 320) (i32.const 1) (i32.const 400))))
  (func $input (drop (call $read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 400))))
  (func (export "wasi_thread_start") (param $number i32) (param $do i32)
    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
    (drop (memory.atomic.notify (i32.const 0) (i32.const -1)))
    (if (i32.eq (local.get $do) (i32.const 1)) (then (call $forever)))
    (if (i32.eq (local.get $do) (i32.const 2)) (then (call $wait)))
    (if (i32.eq (local.get $do) (i32.const 3)) (then (call $pause)))
    (if (i32.eq (local.get $do) (i32.const 4)) (then (call $input)))
    (if (i32.eq (local.get $do) (i32.const 5)) (then (unreachable)))
    (if (i32.eq (local.get $do) (i32.const 6)) (then (call $exit (i32.const 42))))
    (if (i32.eq (local.get $do) (i32.const 7)) (then (drop (call $called (local.get $number)))))
    (if (i32.eq (local.get $do) (i32.const 8)) (then
      (drop (call $open (i32.const 3) (i32.const 0) (i32.const 160) (i32.const 4) (i32.const 1)
        (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 420)))))
    (drop (i32.atomic.rmw.add (i32.const 4) (i32.const 1))))
  (func (export "spawn") (param $do i32) (result i32)
    (local $before i32) (local $number i32)
    (local.set $before (i32.atomic.load (i32.const 0)))
    (local.set $number (call $spawn (local.get $do)))
    (if (i32.gt_s (local.get $number) (i32.const 0))
      (then (call $sleep (i32.add (local.get $before) (i32.const 1)))))
    (local.get $number))
  (func (export "spawn_only") (param $do i32) (result i32) (call $spawn (local.get $do)))
  (func (export "finished") (result i32) (i32.atomic.load (i32.const 4)))
  (func (export "race") (param $do i32) (param $how i32)
    (drop (call $spawn (local.get $do)))
    (call $block (local.get $how)))
  (func $block (param i32)
    (if (i32.eq (local.get 0) (i32.const 1)) (then (call $forever)))
    (if (i32.eq (local.get 0) (i32.const 2)) (then (call $wait)))
    (if (i32.eq (local.get 0) (i32.const 3)) (then (call $pause)))
    (if (i32.eq (local.get 0) (i32.const 4)) (then (call $input)))
    (call $forever))
  (func (export "_start") (drop (call $spawn (i32.load (i32.const 1000)))) (call $forever))
  (func (export "write") (result i32)
    (call $write (i32.load (i32.const 420)) (i32.const 64) (i32.const 1) (i32.const 400))))"""
FOREVER, WAIT, PAUSE, INPUT, TRAP, EXIT, CALL, OPEN, NOTHING = range(1, 10)
BLOCKING = [FOREVER, WAIT, PAUSE, INPUT]


@pytest.fixture(scope="module", params=SHARING)
def sharing(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with pywasmrt.new_runtime(request.param) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def module(sharing: Runtime) -> Any:
    return sharing.compile(GUEST.format(memory="1 4"))


def nothing(number: int) -> int:
    return number


class Opened:
    """Makes guests, and closes them in the end, when no thread of theirs may be left."""

    def __init__(self, runtime: Runtime, module: Any) -> None:
        self.runtime = runtime
        self.module = module
        self.reading, self.writing = os.pipe()
        self.input = open(self.reading, "rb")  # noqa: SIM115 - closed by `close`
        self.made: list[Any] = []

    def __call__(self, called: Any = nothing, *, threads: int = 4, limits: Limits | None = None, **config: Any) -> Any:
        env = HostModule("env")
        env.add_function("called", [pywasmrt.ValueType.I32], [pywasmrt.ValueType.I32], called)
        config.setdefault("stdin", self.input)
        instance = self.runtime.instantiate(
            self.module, env, wasi=wasi.WasiConfig(threads=threads, **config), limits=limits
        )
        self.made.append(instance)
        return instance

    def close(self) -> None:
        for each in self.made:
            each.close()
        self.made.clear()
        self.input.close()
        os.close(self.writing)


@pytest.fixture
def guests(sharing: Runtime, module: Any) -> Iterator[Opened]:
    made = Opened(sharing, module)
    yield made
    made.close()
    assert no_threads()


def no_threads() -> bool:
    """Whether all threads of guests have ended, which they do soon."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        if not [each for each in threading.enumerate() if each.name.startswith("pywasmrt-guest")]:
            return True
        time.sleep(0.001)
    return False


def wait_for(guest: Any, finished: int) -> None:
    end = time.monotonic() + LONG
    while guest.exports.finished() < finished:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_threads_run_beside_the_first(guests: Opened) -> None:
    seen: dict[int, int] = {}

    def called(number: int) -> int:
        seen[number] = threading.get_ident()
        return 0

    guest = guests(called)
    numbers = [guest.exports.spawn(CALL) for _ in range(3)]
    wait_for(guest, 3)
    assert sorted(seen) == sorted(numbers)
    assert len(set(numbers)) == 3
    assert min(numbers) > 0
    assert threading.get_ident() not in seen.values()
    assert no_threads()
    assert guest.exports.spawn(NOTHING) > 0  # nothing has ended that may not go on


def test_there_are_as_many_as_are_allowed(guests: Opened) -> None:
    guest = guests(threads=2)
    assert [guest.exports.spawn(FOREVER) for _ in range(4)][2:] == [-Errno.AGAIN, -Errno.AGAIN]
    other = guests(threads=1)
    for n in range(5):  # a place is free again once its thread has ended
        while other.exports.spawn(NOTHING) < 0:
            pass
        wait_for(other, n + 1)


def test_there_are_none_unless_they_are_asked_for(sharing: Runtime, module: Any) -> None:
    memory = sharing.new_store().memory(1, 4, shared=True)
    with pytest.raises(ModuleInstantiateError, match=r"thread-spawn.*WasiConfig\(threads=N\)"):
        sharing.instantiate(module, {"env": {"memory": memory, "called": nothing}}, wasi=wasi.WasiConfig())
    for threads in (-1, 1.0, "2", True, 1 << 20):
        with pytest.raises(InvalidConfigurationError, match=r"WasiConfig\.threads"):
            wasi.WasiConfig(threads=threads).validate()  # type: ignore[arg-type]


def test_a_guest_without_a_start_function_has_none(sharing: Runtime) -> None:
    text = """(module (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
      (func (export "spawn") (result i32) (call $spawn (i32.const 0))))"""
    with sharing.instantiate(sharing.compile(text), wasi=wasi.WasiConfig(threads=4)) as guest:
        assert guest.exports.spawn() == -Errno.NOTSUP


# Ends


@pytest.mark.parametrize("how", BLOCKING)
def test_a_trap_in_a_thread_ends_all(guests: Opened, how: int) -> None:
    """Whatever the first is doing, and the others."""
    guest = guests(threads=6)
    for each in BLOCKING:
        guest.exports.spawn(each)
    with pytest.raises(Trap) as raised:
        guest.exports.race(TRAP, how)
    assert raised.value.code is TrapCode.UNREACHABLE
    assert no_threads()
    with pytest.raises(Trap):
        guest.exports.finished()


@pytest.mark.parametrize("how", BLOCKING)
def test_a_host_functions_exception_in_a_thread_is_the_first_ones(guests: Opened, how: int) -> None:
    raised = LookupError("in a thread")

    def called(number: int) -> int:
        raise raised

    guest = guests(called)
    with pytest.raises(LookupError) as caught:
        guest.exports.race(CALL, how)
    assert caught.value is raised
    assert no_threads()


def test_an_exit_in_a_thread_is_the_commands(guests: Opened) -> None:
    codes: list[int] = []
    guest = guests(on_exit=codes.append)
    guest.memory().write(1000, EXIT.to_bytes(4, "little"))
    assert guest.run() == 42
    assert codes == [42]
    assert no_threads()


def test_a_command_that_ends_ends_its_threads(sharing: Runtime) -> None:
    text = """(module (import "any" "name" (memory 1 1 shared)) (export "memory" (memory 0))
      (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
      (func (export "wasi_thread_start") (param i32 i32) (loop $again (br $again)))
      (func (export "_start") (drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 0)))))"""
    with sharing.instantiate(sharing.compile(text), wasi=wasi.WasiConfig(threads=4)) as guest:
        assert guest.run() == 0
        assert not [each for each in threading.enumerate() if each.name.startswith("pywasmrt-guest")]


def test_a_commands_deadline_ends_its_threads(guests: Opened) -> None:
    guest = guests(limits=Limits(timeout=0.1))
    guest.memory().write(1000, FOREVER.to_bytes(4, "little"))
    with pytest.raises(DeadlineExceeded):
        guest.run()
    assert no_threads()


@pytest.mark.parametrize("ends", ["instance", "store", "drop"])
def test_threads_end_with_the_store(guests: Opened, ends: str) -> None:
    guest = guests(threads=8)
    for how in BLOCKING * 2:
        assert guest.exports.spawn(how) > 0
    if ends == "instance":
        guest.close()
    elif ends == "store":
        guest.store.close()
    else:
        guests.made.clear()
        del guest
        gc.collect()
    assert no_threads()


def test_a_failure_while_nothing_runs_comes_out_of_the_next_call(guests: Opened) -> None:
    entered, go = threading.Event(), threading.Event()

    def called(number: int) -> int:
        entered.set()
        assert go.wait(LONG)
        raise ValueError("late")

    guest = guests(called)
    guest.exports.spawn_only(CALL)
    assert entered.wait(LONG)
    go.set()
    assert no_threads()
    for _ in range(2):
        with pytest.raises(ValueError, match="late"):
            guest.exports.finished()
        with pytest.raises(ValueError, match="late"), guest.deadline(60):
            guest.exports.finished()
    assert guest.memory().read(0, 4) == b"\1\0\0\0"


def test_a_failure_is_never_lost(guests: Opened) -> None:
    """However short the calls are that it comes between."""
    for _ in range(30):
        guest = guests()
        with pytest.raises(Trap):  # noqa: PT012
            guest.exports.spawn_only(TRAP)
            for _ in range(10_000_000):
                guest.exports.finished()
        guests.made.remove(guest)
        guest.close()


def test_what_ends_a_guest_is_an_exception(sharing: Runtime) -> None:
    store: Any = sharing.new_store()
    with pytest.raises(TypeError, match="is an exception"):
        store.fast.interrupt(0, 5)
    error = KeyError("ended")
    assert store.interrupt_with(error) is False
    text = '(module (func (export "f")) (global (export "g") (mut i32) (i32.const 7)))'
    guest = sharing.instantiate(sharing.compile(text), store=sharing.new_store())
    guest.exports.f()
    guest.store.interrupt_with(error)  # type: ignore[attr-defined]
    with pytest.raises(KeyError) as raised:
        guest.exports.f()
    assert raised.value is error
    assert guest.exports.g.value == 7  # what it left behind can be read
    guest.store.close()
    with pytest.raises(ClosedError):
        guest.exports.f()
    with pytest.raises(KeyError):
        sharing.instantiate(sharing.compile("(module (func $f) (start $f))"), store=store)


def test_closing_a_runtime_ends_threads() -> None:
    for name in SHARING:
        with pywasmrt.new_runtime(name) as runtime:
            guests = Opened(runtime, runtime.compile(GUEST.format(memory="1 4")))
            guest = guests()
            for how in BLOCKING:
                guest.exports.spawn(how)
        assert no_threads()
        guests.close()


def test_a_process_ends_while_threads_run() -> None:
    code = f"""
        import pywasmrt
        from pywasmrt import wasi
        for name in {SHARING!r}:
            runtime = pywasmrt.new_runtime(name)
            module = runtime.compile({GUEST.format(memory="1 4")!r})
            guest = runtime.instantiate(
                module, {{"env": {{"called": lambda number: number}}}}, wasi=wasi.WasiConfig(threads=4)
            )
            for how in {BLOCKING[:3]}:
                assert guest.exports.spawn(how) > 0
        print("ends", flush=True)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr, done.returncode) == ("ends\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded")
def test_the_child_of_a_fork_has_none_of_them(guests: Opened) -> None:
    guest = guests(threads=1)
    assert guest.exports.spawn(WAIT) > 0
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if guest.exports.spawn_only(NOTHING) > 0 else 2
            guest.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# What they share


def test_descriptors_are_common(guests: Opened, tmp_path: Path) -> None:
    guest = guests(preopens={"/": tmp_path})
    guest.exports.spawn(OPEN)
    wait_for(guest, 1)
    assert guest.exports.write() == 0
    assert (tmp_path / "file").read_bytes() == b"hello"


def test_each_instance_of_a_linked_module_has_a_memory_of_its_own(sharing: Runtime, module: Any) -> None:
    linked = sharing.link(module, {"env": {"called": nothing}}, wasi=wasi.WasiConfig(threads=2))
    one, two = linked.instantiate(), linked.instantiate()
    one.exports.spawn(NOTHING)
    wait_for(one, 1)
    assert two.exports.finished() == 0
    for each in (one, two):
        each.close()
    assert no_threads()


def test_a_memory_that_is_given_is_used(sharing: Runtime, module: Any) -> None:
    memory = sharing.new_store().memory(2, 4, shared=True)
    config = wasi.WasiConfig(threads=2)
    with sharing.instantiate(module, {"env": {"called": nothing, "memory": memory}}, wasi=config) as guest:
        guest.exports.spawn(NOTHING)
        wait_for(guest, 1)
        assert int.from_bytes(memory.read(4, 4), "little") == 1
    assert no_threads()


def test_limits_bound_the_memory_that_is_made(sharing: Runtime) -> None:
    module = sharing.compile(GUEST.format(memory="2 65536"))
    env = {"env": {"called": nothing}}
    config = wasi.WasiConfig(threads=1)
    with sharing.instantiate(module, env, wasi=config, limits=Limits(memory_bytes=4 << 16)) as guest:
        assert guest.memory().grow(2) == 2
        with pytest.raises((ValueError, MemoryError, pywasmrt.WasmError)):
            guest.memory().grow(1)
    with pytest.raises(ModuleInstantiateError, match=r"131072 bytes at least, more than Limits\.memory_bytes"):
        sharing.instantiate(module, env, wasi=config, limits=Limits(memory_bytes=1 << 16))


def test_a_runtime_without_shared_memories_says_so(runtime: Runtime) -> None:
    if runtime.info.name in SHARING:
        pytest.skip("it has them")
    with pytest.raises(UnsupportedFeatureError) as raised:
        runtime.instantiate(
            runtime.compile(GUEST.format(memory="1 4")), {"env": {"called": nothing}}, wasi=wasi.WasiConfig(threads=1)
        )
    assert raised.value.feature in ("threads", "memory-sharing", "wat")


def test_many_threads_use_everything_at_once(sharing: Runtime, tmp_path: Path) -> None:
    """Files are opened, written and closed by numbers that the threads take from each other."""
    text = """(module
      (import "env" "memory" (memory 1 1 shared)) (export "memory" (memory 0))
      (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
      (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (data (i32.const 64) "\\90\\00\\00\\00\\05\\00\\00\\00") (data (i32.const 160) "abcdefgh")
      (func (export "wasi_thread_start") (param i32 i32) (local $at i32) (local $n i32) (local $name i32)
        (local.set $at (i32.add (i32.const 1024) (i32.mul (local.get 1) (i32.const 256))))
        (loop $again
          (local.set $name (i32.add (i32.const 160) (i32.and (local.get $n) (i32.const 7))))
          (drop (call $open (local.get 1) (i32.const 0) (local.get $name)
            (i32.const 1) (i32.const 1) (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (local.get $at)))
          (drop (call $write (i32.load (local.get $at)) (i32.const 64) (i32.const 1)
            (i32.add (local.get $at) (i32.const 8))))
          (drop (call $random (i32.add (local.get $at) (i32.const 16)) (i32.const 16)))
          (drop (call $renumber (i32.load (local.get $at)) (i32.const 5)))
          (drop (call $close (i32.load (local.get $at))))
          (drop (call $unlink (local.get 1) (local.get $name) (i32.const 1)))
          (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 200))))
        (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
        (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
      (func (export "_start") (local $n i32)
        (loop $again
          (if (i32.le_s (call $spawn (i32.add (i32.const 3) (i32.and (local.get $n) (i32.const 1)))) (i32.const 0))
            (then (unreachable)))
          (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 6))))
        (loop $again
          (drop (memory.atomic.wait32 (i32.const 0) (i32.atomic.load (i32.const 0)) (i64.const 1000000)))
          (br_if $again (i32.ne (i32.atomic.load (i32.const 0)) (i32.const 6))))))"""
    config = wasi.WasiConfig(threads=6, preopens={"/host": tmp_path, "/tree": wasi.MemoryTree()}, random=1)
    with sharing.instantiate(sharing.compile(text), wasi=config) as guest:
        assert guest.run() == 0
    assert no_threads()
