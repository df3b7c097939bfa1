"""What is particular to the fallback adapter: what its package cannot do, and what its package would do wrong."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("wasmtime")

import pywasmrt
from pywasmrt import (
    BusyError,
    ClosedError,
    FunctionType,
    InvalidConfigurationError,
    MemoryAccessError,
    ModuleCompileError,
    Runtime,
    Trap,
    TrapCode,
    UnsupportedFeatureError,
    ValueType,
)
from pywasmrt.runtimes.wasmtime_py import host as wasmtime_py_host
from pywasmrt.runtimes.wasmtime_py.deadline import Clock, Ticker
from pywasmrt.runtimes.wasmtime_text import compile_error_text, trap_text
from pywasmrt.testing import guests


@pytest.fixture(scope="module")
def py() -> Iterator[Runtime]:
    with pywasmrt.new_runtime("wasmtime-py") as runtime:
        yield runtime


def start(runtime: Runtime, text: str, *imports: Any, **kwargs: Any) -> Any:
    return runtime.instantiate(runtime.compile(text), *imports, **kwargs)


def test_features_are_as_declared(py: Runtime) -> None:
    lacking = {"simd", "relaxed-simd", "threads", "f32-nan-bits", "custom-page-sizes"}
    assert not lacking & py.info.features
    assert ("buffer" in py.info.features) == (sys.version_info >= (3, 12))
    assert {"wat", "serialize", "trap-frames", "multi-value", "memory64"} <= py.info.features


# The package aborts the process if it is asked for any of these types.
ODD = """(module
  (type $t (func))
  (func $v (export "v") (param v128) (result v128) local.get 0)
  (func (export "r") (result (ref null $t)) ref.null $t)
  (func $inside (export "inside") (result i32)
    (i32x4.extract_lane 1 (call $v (v128.const i32x4 1 2 3 4))))
  (func (export "get") (result funcref) (ref.func $v))
  (func (export "call") (param funcref))
  (global (export "gv") (mut v128) (v128.const i32x4 1 2 3 4))
  (global (export "gr") anyref (ref.null any))
  (table $tv (export "t") 2 funcref) (elem (table $tv) (i32.const 0) func $v $inside)
  (table (export "tr") 1 (ref null $t))
  (memory (export "memory") 1)
  (elem declare func $v))"""


def test_v128_is_refused_by_name_and_works_inside_the_guest(py: Runtime) -> None:
    exports = start(py, ODD).exports
    assert exports.inside() == 2
    assert exports.v.type == FunctionType((ValueType.V128,), (ValueType.V128,))
    with pytest.raises(UnsupportedFeatureError, match=r"cannot carry v128 in a call: v\(v128\) -> \(v128\)") as caught:
        exports.v(bytes(16))
    assert caught.value.feature == "simd"
    for use in (
        lambda: exports.v.call(0, 0),
        lambda: exports.gv.value,
        lambda: setattr(exports.gv, "value", bytes(16)),
    ):
        with pytest.raises(UnsupportedFeatureError, match="v128"):
            use()


def test_odd_references_are_refused(py: Runtime) -> None:
    exports = start(py, ODD).exports
    for use in (exports.r, lambda: exports.gr.value, lambda: exports.tr[0], lambda: exports.tr.grow(1)):
        with pytest.raises(UnsupportedFeatureError, match="references other than funcref and externref"):
            use()


def test_a_funcref_of_unknown_type_is_never_asked_for_it(py: Runtime) -> None:
    exports = start(py, ODD).exports
    for function in (exports.get(), exports.t[0], exports.t[1]):
        for use in (lambda function=function: function.type, function):
            with pytest.raises(UnsupportedFeatureError, match="cannot tell the signature of a funcref"):
                use()
        exports.call(function)  # it may be passed on
    exports.t[0] = exports.inside


def test_odd_externs_link(py: Runtime) -> None:
    store = py.new_store()
    exporter = start(py, ODD, store=store)
    importer = start(
        py,
        """(module (import "a" "v" (func $v (param v128) (result v128))) (import "a" "gv" (global $g (mut v128)))
        (func (export "f") (result i32) (i32x4.extract_lane 2 (call $v (global.get $g)))))""",
        {"a": exporter},
        store=store,
    )
    assert importer.exports.f() == 3


def test_host_functions_cannot_take_v128(py: Runtime) -> None:
    module = py.compile('(module (import "env" "f" (func (param v128))))')
    with pytest.raises(UnsupportedFeatureError, match=r"cannot carry v128 in host functions \(env\.f\)"):
        py.instantiate(module, {"env": {"f": lambda x: None}})
    with pytest.raises(UnsupportedFeatureError, match="cannot carry v128 in globals"):
        py.new_store().global_(ValueType.V128, bytes(16))


def test_a_caller_among_odd_types(py: Runtime) -> None:
    def look(caller: pywasmrt.Caller) -> None:
        assert caller.memory().read(0, 1) == b"\0"
        assert caller.global_("i").value == 7
        assert caller.function("v").type == FunctionType((ValueType.V128,))
        assert caller.table("i") is None
        assert caller.memory("memory").size == 65536
        assert "v" in caller.exports
        with pytest.raises(pywasmrt.MemoryExportNotFoundError):
            caller.memory("nope")

    start(
        py,
        """(module (import "env" "look" (func $look)) (memory (export "memory") 1) (global (export "i") i32 (i32.const
        7)) (func (export "v") (param v128)) (func (export "run") call $look))""",
        {"env": {"look": look}},
    ).exports.run()


def test_shared_memories_can_be_used_but_not_linked(py: Runtime) -> None:
    store = py.new_store()
    exporter = start(py, '(module (memory (export "memory") 1 3 shared))', store=store)
    memory = exporter.memory()
    memory.write(65535, b"x")
    assert memory.read(65535, 1) == b"x"
    assert memory.grow(1) == 1
    assert len(memory) == memory.size == 2 * 65536
    for use in (lambda: memory.read(2 * 65536, 1), lambda: memory.grow(2), lambda: memory.write(131072, b"x")):
        with pytest.raises(MemoryAccessError):
            use()
    importer = py.compile('(module (import "a" "memory" (memory 1 3 shared)))')
    with pytest.raises(UnsupportedFeatureError, match="cannot link shared memories"):
        py.instantiate(importer, {"a": exporter}, store=store)
    with pytest.raises(UnsupportedFeatureError, match="cannot make or link shared memories"):
        store.memory(1, 2, shared=True)
    store.close()
    for use in (lambda: memory.size, lambda: memory.read(0, 1), lambda: memory.write(0, b"x"), lambda: memory.grow(1)):
        with pytest.raises(ClosedError):
            use()


TRAPS = """(module (import "env" "f" (func $f))
  (func (export "host") call $f) (func $div (export "div") (drop (i32.div_s (i32.const 1) (i32.const 0)))))"""


def test_another_threads_marker_does_not_hide_a_trap(py: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package keeps the last exception in one slot for all threads; here another thread's is in it."""
    instance = start(py, TRAPS, {"env": {"f": lambda: None}})
    from wasmtime import _func

    monkeypatch.setattr(_func, "LAST_EXCEPTION", wasmtime_py_host.Unwind())
    with pytest.raises(Trap, match="integer divide by zero") as caught:
        instance.exports.div()
    assert caught.value.code is TrapCode.INTEGER_DIVISION_BY_ZERO
    assert caught.value.frames[0].func_name == "div"


def test_an_exception_survives_a_stolen_marker(py: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    from wasmtime import _func

    def fail() -> None:
        raise KeyError("mine")

    instance = start(py, TRAPS, {"env": {"f": fail}})
    monkeypatch.setattr(_func, "maybe_raise_last_exn", lambda: None)
    with pytest.raises(KeyError, match="mine") as caught:
        instance.exports.host()
    assert caught.value.__context__ is None
    assert caught.traceback[-1].name == "fail"


def test_exceptions_and_traps_on_many_threads_at_once(py: Runtime) -> None:
    module = py.compile(TRAPS)
    wrong: list[str] = []

    def work(n: int) -> None:
        error = KeyError(n)

        def fail() -> None:
            raise error

        instance = py.instantiate(module, {"env": {"f": fail}})
        for _ in range(60):
            try:
                instance.exports.host()
            except BaseException as caught:
                if caught is not error:
                    wrong.append(f"host: {caught!r}")
            try:
                instance.exports.div()
            except BaseException as caught:
                if not isinstance(caught, Trap) or caught.code is not TrapCode.INTEGER_DIVISION_BY_ZERO:
                    wrong.append(f"div: {caught!r}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_second_thread_is_told_that_the_store_is_busy(py: Runtime) -> None:
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert leave.wait(30)

    instance = start(py, f'{TRAPS[:-1]} (memory (export "memory") 1))', {"env": {"f": wait}})
    host, div, memory = instance.exports.host, instance.exports.div, instance.memory()
    thread = threading.Thread(target=host)
    thread.start()
    try:
        assert inside.wait(30)
        for use in (host, div, lambda: memory.read(0, 1), lambda: memory.size, lambda: instance.store.memory(1)):
            with pytest.raises(BusyError, match="is running a call on another thread"):
                use()
    finally:
        leave.set()
        thread.join()
    assert memory.read(0, 1) == b"\0"


def test_closing_from_another_thread_ends_the_call(py: Runtime) -> None:
    inside, leave = threading.Event(), threading.Event()
    outcome: list[BaseException] = []

    def wait() -> None:
        inside.set()
        assert leave.wait(30)

    runtime = pywasmrt.new_runtime("wasmtime-py")
    instance = start(runtime, TRAPS, {"env": {"f": wait}})
    host = instance.exports.host

    def run() -> None:
        try:
            host()
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(30)
    runtime.close()
    assert instance.closed
    with pytest.raises(ClosedError):
        host()
    leave.set()
    thread.join()
    (error,) = outcome
    assert isinstance(error, ClosedError)
    with pytest.raises(ValueError, match="already closed"):  # the engine's store was freed when the call had ended
        instance.store.handle.ptr()


def test_closing_from_a_host_function(py: Runtime) -> None:
    box: list[Any] = []
    instance = start(py, TRAPS, {"env": {"f": lambda: box[0].close()}})
    box.append(instance)
    with pytest.raises(ClosedError, match="the store that this function belongs to was closed"):
        instance.exports.host()
    with pytest.raises(ClosedError, match="the store that this instance belongs to was closed"):
        instance.exports  # noqa: B018
    instance.close()


def test_dropping_the_last_reference_frees_at_once(py: Runtime) -> None:
    from wasmtime import _func

    def fail() -> None:
        raise KeyError

    gc.collect()
    gc.disable()
    try:
        before = len(_func.FUNCTIONS.handles)
        instance = start(py, TRAPS, {"env": {"f": fail}})
        for call in (instance.exports.host, instance.exports.div):
            with pytest.raises((KeyError, Trap)):
                call()
        store = weakref.ref(instance.store)
        function = instance.exports.div
        del instance, call
        assert store() is not None  # the function holds it
        del function
        assert store() is None
        assert len(_func.FUNCTIONS.handles) == before
    finally:
        gc.enable()


def test_a_host_function_that_holds_its_instance_is_collected(py: Runtime) -> None:
    def cycle() -> weakref.ref[Any]:
        box: list[Any] = []
        box.append(start(py, TRAPS, {"env": {"f": lambda: None if box else 1}}))
        box[0].exports.host()
        return weakref.ref(box[0].store)

    store = cycle()
    gc.collect()
    assert store() is None


def test_options(py: Runtime) -> None:
    options = {"strategy": "cranelift", "cranelift_opt_level": "none", "debug_info": True, "max_wasm_stack": 65536}
    with pywasmrt.new_runtime("wasmtime-py", {"options": options}) as runtime:
        module = runtime.compile('(module (func (export "f") (result i32) i32.const 1))')
        assert runtime.instantiate(module).exports.f() == 1
        with pytest.raises(ModuleCompileError, match="for another engine or other settings"):
            py.deserialize(module.serialize())
    for name, value, message in (
        ("strategy", "winch", "is 'auto' or 'cranelift', not 'winch'"),
        ("debug_info", 1, "is a bool, not 1"),
        ("max_wasm_stack", 0, "is an int of bytes from 16384 to 2097152, not 0"),
        ("max_wasm_stack", True, "is an int of bytes from 16384 to 2097152, not True"),
    ):
        with pytest.raises(InvalidConfigurationError, match=f"the option '{name}' of wasmtime-py {message}"):
            pywasmrt.new_runtime("wasmtime-py", {"options": {name: value}})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the buffer protocol can be offered from Python since 3.12")
def test_a_view_keeps_its_memory(py: Runtime) -> None:
    instance = start(py, '(module (memory (export "memory") 1))')
    memory = instance.memory()
    view = memoryview(memory)
    view[0] = 7
    assert memory.read(0, 1) == b"\x07"
    memory.grow(1)
    assert len(view) == 65536
    instance.close()
    assert view[0] == 7
    view.release()


def test_texts_of_the_engine_are_brought_to_the_point() -> None:
    trap = (
        "error while executing at wasm backtrace:\n    0: 0x4f - m!div\n\nCaused by:\n    0: first\n    1: wasm trap:"
        " second\n"
    )
    assert trap_text(trap) == "first; second"
    assert trap_text("wasm trap: out of bounds") == "out of bounds"
    assert trap_text("error while executing at wasm backtrace") == "error while executing at wasm backtrace"
    assert compile_error_text("failed\n\nCaused by:\n    0: one\n    1: two\n") == "failed: one: two"
    assert compile_error_text("failed\n  at line 1") == "failed\n  at line 1"


def test_a_funcref_that_a_host_function_was_given_stays_good() -> None:
    """The package's own points into the engine's memory, which other calls write over."""
    kept = []
    type = FunctionType((ValueType.FUNCREF, ValueType.I64), ())
    with pywasmrt.new_runtime("wasmtime-py") as runtime:
        guest = runtime.compile(guests.passthrough(type).encode())
        instance = runtime.instantiate(guest, {"env": {"f": lambda function, number: kept.append(function)}})
        direct = instance.exports.direct
        for number in range(20):
            direct(direct, -number)
            instance.exports.nested(number, None, -1)
        assert [function.type for function in kept if function is not None] == [type] * 20


def test_ticks_that_come_late_bring_no_deadline_forward() -> None:
    """The thread that ticks may be kept from it, and make up for that when a call has just begun."""
    waiting, begun, ended = threading.Event(), threading.Event(), threading.Event()
    epoch = ends_at = 0
    missing: list[int] = []

    class Late(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            if not begun.is_set():
                self.release()
                waiting.set()
                begun.wait(30)
                self.acquire()
            return super().wait(timeout)

    def tick() -> None:
        nonlocal epoch
        epoch += 1
        if ends_at and epoch >= ends_at:
            missing.append(clock.until - time.monotonic_ns())
            ended.set()

    class Store:
        def set_epoch_deadline(self, ticks: int) -> None:
            nonlocal ends_at
            ends_at = epoch + ticks if ticks < 1 << 60 else 0

    ticker = Ticker(tick)
    ticker._changed = Late()
    ticker.begin()  # somebody else's call
    assert waiting.wait(30)
    time.sleep(0.3)
    clock = Clock(Store(), ticker, 100_000_000)
    clock.start()
    begun.set()
    assert ended.wait(30)
    clock.stop()
    ticker.end()
    assert missing[0] <= 0
