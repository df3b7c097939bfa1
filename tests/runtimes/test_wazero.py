"""wazero: what is its own. What it shares with the other runtimes is tested with them, by `make wazero`."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.children import run_in_child
from helpers.long_calls import interrupting

import pywasmrt
from pywasmrt import (
    DeadlineExceeded,
    FunctionType,
    Limits,
    Runtime,
    Store,
    Trap,
    TrapCode,
    UnsupportedFeatureError,
    ValueType,
    WasmError,
)
from pywasmrt._shim import wazero_library
from pywasmrt.testing import Module, guests

INFO = {info.name: info for info in pywasmrt.list_runtimes()}["wazero"]
PROJECT = Path(__file__).parents[2]
GUEST = """(module (import "env" "f" (func $f (param i32) (result i32)))
  (memory (export "memory") 1 3)
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "call") (param i32) (result i32) local.get 0 call $f)
  (func $deep (export "deep") (param i32) (result i32) (call $deep (i32.add (local.get 0) (i32.const 1))))
  (func (export "for_ever") (loop (br 0))))"""

built = pytest.mark.skipif(not INFO.available, reason=str(INFO.reason))


@pytest.fixture(params=["compiler", "interpreter", "compiled"])
def wazero(request: pytest.FixtureRequest) -> Runtime:
    runtime = pywasmrt.new_runtime("wazero", {"options": {"mode": request.param}})
    if "wat" not in runtime.info.features:
        pytest.skip("needs Wasmtime to read the text format")
    return runtime


def test_the_version_is_the_one_that_is_built() -> None:
    for folder in (Path("csrc", "engines", "wazero"), Path("bench", "wazero_go")):
        required = (PROJECT / folder / "go.mod").read_text(encoding="utf-8")
        assert re.findall(r"tetratelabs/wazero v(\S+)", required) == [wazero_library.ENGINE_VERSION]


@pytest.mark.skipif(INFO.available, reason="wazero is here")
def test_where_it_is_missing_it_says_how_to_get_it() -> None:
    assert INFO.reason is not None
    with pytest.raises(pywasmrt.RuntimeNotFoundError, match=r"^the runtime 'wazero' is not available: "):
        pywasmrt.new_runtime("wazero")


@built
def test_calls_memories_and_traps(wazero: Runtime) -> None:
    with wazero:
        instance = wazero.instantiate(wazero.compile(GUEST), {"env": {"f": lambda x: x * 2}})
        assert instance.exports.add(-3, 5) == 2
        assert instance.exports.call(21) == 42
        memory = instance.memory()
        assert memory is not None
        memory.write(10, b"abc")
        view = memoryview(memory)  # type: ignore[arg-type]
        assert memory.grow(2) == 1
        assert bytes(view[10:13]) == b"abc"
        with pytest.raises(pywasmrt.MemoryAccessError):
            memory.grow(1)
        with pytest.raises(Trap) as caught:
            instance.exports.deep(0)
        assert caught.value.code is TrapCode.STACK_OVERFLOW
        assert instance.exports.add(1, 1) == 2


@built
def test_an_exception_of_a_host_function_comes_out_as_itself(wazero: Runtime) -> None:
    error = KeyError("the very one")

    def fail(x: int) -> int:
        raise error

    with wazero:
        instance = wazero.instantiate(wazero.compile(GUEST), {"env": {"f": fail}})
        with pytest.raises(KeyError) as caught:
            instance.exports.call(1)
        assert caught.value is error


@built
def test_a_stopped_instance_goes_on_afterwards(wazero: Runtime) -> None:
    """Guests poll by code of their own, so that nothing is lost when one is stopped."""
    with wazero:
        limits = Limits(timeout=0.05)
        instance = wazero.instantiate(wazero.compile(GUEST), {"env": {"f": lambda x: x}}, limits=limits)
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                instance.exports.for_ever()
        assert instance.exports.add(1, 2) == 3


@built
def test_other_threads_go_on_during_a_long_call(wazero: Runtime) -> None:
    with wazero:
        limits = Limits(timeout=60)
        instance = wazero.instantiate(wazero.compile(GUEST), {"env": {"f": lambda x: x}}, limits=limits)
        with interrupting(instance), pytest.raises(pywasmrt.Interrupted):
            instance.exports.for_ever()


@built
def test_what_it_lacks_is_named(wazero: Runtime) -> None:
    with wazero, pytest.raises(UnsupportedFeatureError) as caught:
        wazero.compile("(module (memory i64 1))")
    assert caught.value.feature == "memory64"


@built
def test_a_function_in_a_table_that_nobody_exports() -> None:
    """Its type is not told by the engine, which must not be led astray by a function of the host's either."""
    text = """(module (import "env" "f" (func $f (param i64) (result i64)))
      (table (export "t") 3 funcref) (elem (i32.const 0) $f $hidden)
      (func $hidden (param f64) (result f64) local.get 0))"""
    for mode in ("compiler", "interpreter"):
        with pywasmrt.new_runtime("wazero", {"options": {"mode": mode}}) as runtime:
            table = runtime.instantiate(runtime.compile(text), {"env": {"f": lambda x: x + 1}}).table("t")
            assert table[0](1) == 2
            assert table[1](1.5) == 1.5
            assert table[2] is None


@built
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_fork_gets_an_error_and_ends() -> None:
    with pywasmrt.new_runtime("wazero") as runtime:
        instance = runtime.instantiate(runtime.compile(GUEST), {"env": {"f": lambda x: x}})
        fresh = runtime.instantiate(runtime.compile(GUEST), {"env": {"f": lambda x: x}})
        add = instance.exports.add
        assert add(1, 2) == 3
        child = os.fork()
        if child == 0:
            told = 0
            attempts: list[Callable[[], object]] = [
                lambda: add(1, 2),
                lambda: pywasmrt.new_runtime("wazero").compile(GUEST),
                lambda: runtime.instantiate(runtime.compile(GUEST)),
                lambda: fresh.exports.add,  # not looked up before the fork
            ]
            for attempt in attempts:
                try:
                    attempt()
                except WasmError as error:
                    told += "forked" in str(error)
            os._exit(told)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
        assert add(1, 2) == 3


@built
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_a_host_function_or_a_handler_forks_leaves_the_guest_with_an_error() -> None:
    children: list[int] = []

    def fork(*args: object) -> int:
        children.append(os.fork())
        return 1

    def told(call: Callable[[], object]) -> str:
        try:
            call()
        except WasmError as error:
            return str(error)
        return ""

    with pywasmrt.new_runtime("wazero") as runtime:
        instance = runtime.instantiate(runtime.compile(GUEST), {"env": {"f": fork}})
        before = signal.signal(signal.SIGALRM, fork)
        try:
            for call in (lambda: instance.exports.call(1), lambda: instance.exports.for_ever()):
                with instance.deadline(1.0):
                    signal.setitimer(signal.ITIMER_REAL, 0 if not children else 0.1)
                    error = told(call)
                if children[-1] == 0:
                    signal.alarm(20)
                    os._exit(7 if "forked" in error else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(children[-1], 0)[1]) == 7
                assert ("" if len(children) == 1 else "deadline") in error
        finally:
            signal.signal(signal.SIGALRM, before)
        assert len(children) == 2
        assert instance.exports.add(1, 2) == 3


FORKED_EARLY = """
import os, signal, sys, threading, time
import pywasmrt
from pywasmrt._shim import wazero_library

def opened():
    wazero_library.open_table()

def failed():
    from pywasmrt._shim._wrt import ffi
    from pywasmrt.runtimes.native.engine import Engine
    try:
        Engine(ffi.cast("wrt_engine_ops *", wazero_library.open_table()), {"no such option": 1}, 0, str)
    except pywasmrt.ModuleCompileError:
        return
    raise SystemExit("the first use did not fail")

def opening():
    entered, forking, original = threading.Event(), threading.Event(), wazero_library.ctypes.CDLL

    def slowly(path):
        entered.set()
        forking.wait(30)
        time.sleep(0.1)  # a fork that does not wait comes now
        library = original(path)
        done.append("the library is open")
        return library

    os.register_at_fork(before=forking.set)  # before the hooks that were registered earlier
    wazero_library.ctypes.CDLL = slowly
    threading.Thread(target=pywasmrt.new_runtime, args=("wazero",)).start()
    assert entered.wait(30)

done = []
globals()[sys.argv[1]]()
child = os.fork()
if child == 0:
    signal.alarm(20)  # ends it where it hangs
    text = ""
    try:
        runtime = pywasmrt.new_runtime("wazero")
        runtime.instantiate(runtime.compile(b"\\0asm\\1\\0\\0\\0"))
    except pywasmrt.WasmError as error:
        text = str(error)
    os._exit(7 if "forked" in text and len(done) == (sys.argv[1] == "opening") else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
runtime = pywasmrt.new_runtime("wazero")
runtime.instantiate(runtime.compile(b"\\0asm\\1\\0\\0\\0"))
"""


@built
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("when", ["opened", "failed", "opening"])
def test_a_child_that_is_forked_before_the_first_runtime_gets_an_error(when: str) -> None:
    """Go's threads start when the library is opened: `opened` by then, `failed` in its first use, or just `opening`."""
    run_in_child(FORKED_EARLY, when)


INTERPOSED = """#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
typedef void hook(void);
typedef int registers(hook *, hook *, hook *, void *);
int __register_atfork(hook *before, hook *parent, hook *child, void *library) {
  Dl_info found;
  if (child != 0 && dladdr((void *)child, &found) && strstr(found.dli_fname, "_wrt_wazero") != 0) return ENOMEM;
  return ((registers *)dlsym(RTLD_NEXT, "__register_atfork"))(before, parent, child, library);
}
"""
UNWATCHED = """
import pywasmrt
try:
    pywasmrt.new_runtime("wazero")
except pywasmrt.WasmError as error:
    assert "cannot tell whether this process was forked" in str(error)
else:
    raise SystemExit("it opened without hearing of forks")
"""


@built
@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or shutil.which("cc") is None, reason="needs glibc and a C compiler"
)
def test_where_it_would_not_hear_of_forks_it_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "interposed.c").write_text(INTERPOSED, encoding="utf-8")
    library = tmp_path / "interposed.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "interposed.c", "-ldl"], check=True, timeout=60)
    earlier = os.environ.get("LD_PRELOAD")
    done = subprocess.run(
        [sys.executable, "-c", UNWATCHED],
        env={**os.environ, "LD_PRELOAD": f"{earlier}:{library}" if earlier else str(library)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@built
@pytest.mark.parametrize("mode", ["compiler", "interpreter"])
def test_helpers_beyond_those_that_the_engine_keeps(mode: str) -> None:
    """A store closes those that it had to make. Another store, which has the same ones, keeps its own."""
    type = FunctionType((ValueType.I32,), (ValueType.I32,))
    names = [f"name {n}" for n in range(300)]
    exporting, importing = Module(), Module()
    for name in names:
        exporting.function(type, [("local.get", 0)], export=name)
    importing.function(type, [("local.get", 0), ("call", importing.import_("env", "f", type))], export="f")
    with pywasmrt.new_runtime("wazero", {"options": {"mode": mode}}) as runtime:
        exporter, importer = runtime.compile(exporting.encode()), runtime.compile(importing.encode())

        def linked(store: Store, names: list[str]) -> list[Any]:
            exports = runtime.instantiate(exporter, store=store).exports
            imports = [{"env": {"f": exports[name]}} for name in names]
            return [runtime.instantiate(importer, each, store=store).exports.f for each in imports]

        first, second, third = (runtime.new_store() for _ in range(3))
        linked(first, names)
        functions = linked(second, names[-5:] * 2)
        first.close()
        assert [function(n) for n, function in enumerate(functions)] == list(range(10))
        others = linked(third, names[-5:])
        second.close()
        assert [function(n) for n, function in enumerate(others)] == list(range(5))
        third.close()
        with runtime.new_store() as fourth:
            assert linked(fourth, names[-1:])[0](7) == 7


@built
def test_a_process_that_is_spawned_may_use_it() -> None:
    with pywasmrt.new_runtime("wazero") as runtime:
        data = guests.arithmetic().encode()
        assert runtime.instantiate(runtime.compile(data)).exports.add(1, 2) == 3
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(_add, (data,)) == 7


def _add(data: bytes) -> object:
    with pywasmrt.new_runtime("wazero") as runtime:
        return runtime.instantiate(runtime.compile(data)).exports.add(3, 4)


SIGNALS = """
import faulthandler, signal, sys, pywasmrt
faulthandler.enable()
text = "(module (memory 1) (func (export \\"f\\") (drop (i32.load (i32.const 100000)))))"
hits = []
signal.signal(signal.SIGPROF, lambda *_: hits.append(1))
signal.setitimer(signal.ITIMER_PROF, 0.005, 0.005)
for name in sys.argv[1:]:
    runtime = pywasmrt.new_runtime(name)
    function = runtime.instantiate(runtime.compile(text)).exports.f
    for _ in range(300):
        try:
            function()
        except pywasmrt.Trap as trap:
            assert trap.code is pywasmrt.TrapCode.MEMORY_OUT_OF_BOUNDS
        else:
            raise SystemExit("no trap")
signal.setitimer(signal.ITIMER_PROF, 0)
print("done")
"""


@built
@pytest.mark.parametrize(
    "order",
    [("wasmtime", "wazero", "wasmtime"), ("wazero", "wasmtime", "wazero"), ("wazero", "wasm3", "wasmtime")],
    ids=str,
)
def test_traps_of_every_engine_beside_each_other(order: tuple[str, ...]) -> None:
    """Wasmtime and Go both have handlers of SIGSEGV; each must hand on what is not its own."""
    there = {info.name for info in pywasmrt.list_runtimes() if info.available}
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS, *(name for name in order if name in there)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "done", "")


@built
def test_ctrl_c_stops_a_guest(wazero: Runtime) -> None:
    with wazero:
        limits = Limits(timeout=60)
        instance = wazero.instantiate(wazero.compile(GUEST), {"env": {"f": lambda x: x}}, limits=limits)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come before the call
            timer.start()
            instance.exports.for_ever()
        timer.join()
        assert instance.exports.add(1, 2) == 3


def test_nothing_opens_the_library_before_it_is_asked_for() -> None:
    code = "import pywasmrt; pywasmrt.list_runtimes(); print('_wrt_wazero' in open('/proc/self/maps').read())"
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "False"


DESCRIPTORS = """
import os, resource, pywasmrt
from pywasmrt._shim import wazero_library
from pywasmrt.testing import guests

resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
guest = guests.arithmetic().encode()

def take_all(taken=[]):
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return taken

for free in range(3):  # two for Go's runtime, and one by which the library is read
    taken = take_all()
    for _ in range(free):
        os.close(taken.pop())
    try:
        wazero_library.open_table()
    except pywasmrt.RuntimeNotFoundError as error:
        assert "cannot be opened" in str(error), error
    else:
        raise SystemExit(f"it opened with {free} descriptors")
while taken:
    os.close(taken.pop())
runtime = pywasmrt.new_runtime("wazero")
take_all()
for _ in range(300):  # Go's collector begins on the way
    assert runtime.instantiate(runtime.compile(guest)).exports.add(2, 3) == 5
"""


@built
@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_NOFILE")
def test_no_descriptors_are_left() -> None:
    """Go's runtime ends the process where it gets none. So it takes them where an error can still be raised."""
    run_in_child(DESCRIPTORS)


@built
def test_a_handler_that_raises_while_the_library_is_opened_leaves_the_signals_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Raised(Exception):
        pass

    def handler(*_: object) -> None:
        raise Raised

    original = signal.pthread_sigmask

    def sigmask(how: int, signals: Any) -> Any:
        if signals == signal.valid_signals():
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(how, signals)

    before, mask = signal.signal(signal.SIGUSR1, handler), original(signal.SIG_BLOCK, ())
    monkeypatch.setattr(wazero_library.signal, "pthread_sigmask", sigmask)
    try:
        with pytest.raises(Raised):
            wazero_library.open_table.__wrapped__()
        assert original(signal.SIG_BLOCK, ()) == mask
    finally:
        signal.signal(signal.SIGUSR1, before)
        original(signal.SIG_SETMASK, mask)
