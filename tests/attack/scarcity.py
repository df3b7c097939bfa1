"""Too little of everything: memory that cannot be had, system calls that fail at the limits of the process."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pywasmrt
from pywasmrt import Caller, HostModule, Limits, Runtime, RuntimeConfig, WasmError, i32, i64, wasi
from pywasmrt.testing import guests

from .attack import SANITIZED, Attack, Found, outcome_of_child

__all__ = ["allocations", "limits"]

GUEST = """(module
  (import "env" "f" (func $f (param i32) (result i64)))
  (memory (export "memory") 1 1000)
  (table (export "table") 3 1000 funcref)
  (global (export "global") (mut i32) (i32.const 1))
  (func (export "host") (result i64) (call $f (i32.const 3)))
  (func (export "trap") unreachable)
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "fill") (param i32) (memory.fill (i32.const 0) (i32.const 1) (local.get 0)))
  (func (export "spin") (loop (br 0)))
  (func (export "many") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i64 i64)
    (i64.const 1) (i64.const 9999999999)))"""
WRITES = """(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4) (data (i32.const 0) "file")
  (func (export "_start")
    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 1) (i64.const 66) (i64.const 0)
      (i32.const 0) (i32.const 16)))
    (i32.store (i32.const 24) (i32.const 200000))
    (drop (call $write (i32.load (i32.const 16)) (i32.const 20) (i32.const 1) (i32.const 32)))
    (drop (call $write (i32.const 1) (i32.const 20) (i32.const 1) (i32.const 32)))))"""


# What CPython 3.11 says where it has no room for the frame of a function in Python.
_NO_FRAME = ("<function", "error return without exception set")


class _Uses:
    """What a program does with one runtime, one step each."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.runtime, self.folder = runtime, folder
        self.host = HostModule("env")  # made once: CPython ends in a fault where memory lacks while it reads signatures

        @self.host.function
        def f(caller: Caller, x: i32) -> i64:
            caller.memory().read(0, 3)
            return 1 << 40

        self.module = runtime.compile(GUEST)
        self.writing = runtime.compile(WRITES)
        self.limits = Limits(timeout=0.05) if "deadline" in runtime.info.features else None
        self.instance = self.instantiate()
        self.each: list[Callable[[], object]] = [
            lambda: runtime.compile(guests.arithmetic().encode()).close(),
            lambda: runtime.compile(guests.traps().encode()).close(),
            self.instantiate,
            self.hundred,
            lambda: runtime.new_store(self.limits).close(),
            lambda: runtime.link(self.module, self.host).instantiate().close(),
            lambda: self.instance.exports.host(),
            lambda: self.instance.exports.trap(),
            lambda: self.instance.exports.grow(100),
            lambda: self.instance.exports.fill(65536),
            lambda: self.instance.exports.many(*[1] * 18),
            lambda: self.instance.memory().read(0, 60_000),
            lambda: self.instance.memory().grow(1),
            lambda: self.instance.table("table").grow(1),
            lambda: self.instance.function("host").type,
            self.spin,
            self.write,
            self.on_thread,
            lambda: repr(self.instance),
        ]

    def instantiate(self) -> Any:
        return self.runtime.instantiate(self.module, self.host, limits=self.limits)

    def hundred(self) -> None:
        held = [self.instantiate() for _ in range(100)]
        held[7].exports.host()

    def spin(self) -> None:
        if self.limits is not None:
            self.instance.exports.spin()

    def write(self) -> None:
        config = wasi.WasiConfig(preopens={"/": self.folder}, stdout=bytearray())
        with self.runtime.instantiate(self.writing, wasi=config) as instance:
            instance.run()

    def on_thread(self) -> None:
        thread = threading.Thread(target=lambda: self.instance.memory().read(0, 1))
        thread.start()
        thread.join()


def allocations(attack: Attack) -> None:
    """The n-th allocation of Python's fails, for each n, in everything that a program does."""
    try:
        import _testcapi
    except ImportError:
        return
    if SANITIZED or sys.version_info[:2] != (3, 11):  # which have allocators, or faults, of their own
        return
    drawn = attack.random
    for runtime in attack.shares([each for each in attack.runtimes() if each.info.name in ("wasmtime", "wasm3")]):
        with tempfile.TemporaryDirectory() as folder:
            uses = _Uses(runtime, Path(folder))
            while attack.going():
                use, n = drawn.choice(uses.each[2:15]), int(10 ** drawn.uniform(0, 2.5))
                attack.counts["failed allocations"] += 1
                try:
                    _testcapi.set_nomemory(n, n + drawn.choice((1, 1, 1, 3)))
                    try:
                        use()
                    finally:
                        _testcapi.remove_mem_hooks()
                except SystemError as error:
                    if str(error).startswith(_NO_FRAME):
                        continue
                    raise Found(f"{runtime.info.name}: {error}") from error
                except BaseException:
                    pass
            if uses.instantiate().exports.host() != 1 << 40:
                raise Found(f"{runtime.info.name} does not work any more")


def limits(attack: Attack) -> None:
    """One of the system's limits on a process is lowered, in the child of a fork, which then goes on."""
    try:
        import resource
    except ImportError:
        return
    drawn = attack.random
    names = [info.name for info in pywasmrt.list_runtimes() if info.available]
    made = [pywasmrt.new_runtime(RuntimeConfig(name, options=_alone(name))) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        all_uses = [_Uses(each, Path(folder)) for each in made if "fork" in each.info.features]
        while attack.going():
            uses = drawn.choice(all_uses)
            name, value = _lowered(drawn)
            steps = [drawn.choice(uses.each) for _ in range(drawn.randrange(1, 12))]

            def child(uses: _Uses = uses, name: str = name, value: int = value, steps: Any = steps) -> None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                warnings.simplefilter("ignore")
                if name == "RLIMIT_NPROC" and os.getuid() == 0:
                    os.setresuid(54321, 54321, 54321)  # the superuser has no such limit
                which = getattr(resource, name)
                resource.setrlimit(which, (value, resource.getrlimit(which)[1]))
                for step in steps:
                    try:
                        step()
                    except (WasmError, OSError, MemoryError):
                        pass
                    except RuntimeError as error:
                        if "thread" not in str(error):
                            raise

            attack.counts[f"processes with little {name}"] += 1
            failed = outcome_of_child(child)
            if failed and not _is_the_engines(failed, name, uses.runtime):
                raise Found(f"{uses.runtime.info.name} with {name}={value}: {failed}")
            if failed:
                attack.counts["of these ended by the engine for lack of memory"] += 1


def _alone(name: str) -> dict[str, Any]:
    """Options with which compiling needs no threads of its own, which a child of a fork lacks."""
    return {"parallel_compilation": False} if name.startswith("wasmtime") else {}


def _lowered(drawn: Any) -> tuple[str, int]:
    """A limit, and a value that is too low."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * 4096
    fds = len(os.listdir("/proc/self/fd"))
    choices = [
        ("RLIMIT_NOFILE", drawn.randrange(0, fds + 6)),
        ("RLIMIT_NPROC", drawn.choice([0, 1, 2])),
        ("RLIMIT_FSIZE", drawn.choice([0, 1, 1000, 100_000])),
        ("RLIMIT_STACK", drawn.choice([0, 1 << 14, 1 << 17, 1 << 19, 1 << 20])),
        ("RLIMIT_SIGPENDING", 0),
        ("RLIMIT_MEMLOCK", 0),
    ]
    if not SANITIZED:
        choices.append(("RLIMIT_AS", size + int(2 ** drawn.uniform(16, 34))))
    found: tuple[str, int] = drawn.choice(choices)
    return found


def _is_the_engines(failed: str, name: str, runtime: Runtime) -> bool:
    """Whether it is what Wasmtime, written in Rust, does where its own memory runs out: it ends the process."""
    return name == "RLIMIT_AS" and runtime.info.name.startswith("wasmtime") and "ended by signal 6" in failed
