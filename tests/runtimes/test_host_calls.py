"""What a host function does: its caller, re-entry, exceptions."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import pytest
from helpers.host_calls import EXTERNREF, F64, I32, NOTHING, UNARY, Unwelcome, around, instantiate

from pywasmrt import (
    Caller,
    ClosedError,
    FunctionType,
    GlobalType,
    HostModule,
    MemoryExportNotFoundError,
    MemoryType,
    Runtime,
    TableType,
    Trap,
    TrapCode,
)
from pywasmrt.testing import Module, guests


def full_guest(type: FunctionType = NOTHING) -> Module:
    """A guest that passes calls through, and exports one thing of each kind."""
    guest = guests.passthrough(type)
    guest.memory(MemoryType(1, 2), export="memory")
    guest.global_(GlobalType(I32, True), ("i32.const", 5), export="counter")
    guest.table(TableType(EXTERNREF, 1), export="objects")
    guest.function(FunctionType((), (I32,)), [("global.get", 0)], export="get")
    return guest


def test_the_caller_reaches_the_calling_instance(runtime: Runtime) -> None:
    env = HostModule("env")
    calls = []

    @env.function
    def f(caller: Caller) -> None:
        assert isinstance(caller, Caller)
        memory = caller.memory()
        memory.write(100, b"hello")
        assert memory.read(100, 5) == caller.memory("memory").read(100, 5) == b"hello"
        assert memory.size == len(memory) == 65536
        caller.global_("counter").value += 1
        calls.append(caller.function("get")())
        caller.table("objects")[0] = calls
        assert caller.exports.get() == caller.exports["get"]()
        assert "get" in caller.exports
        assert caller.function("nothing") is caller.global_("nothing") is caller.table("nothing") is None
        with pytest.raises(MemoryExportNotFoundError, match="'heap'"):
            caller.memory("heap")

    first = instantiate(runtime, full_guest(), env)
    second = instantiate(runtime, full_guest(), env)
    first.exports.direct()
    first.exports.direct()
    second.exports.direct()
    assert calls == [6, 7, 6]
    assert first.memory().read(100, 5) == b"hello"
    assert first.table("objects")[0] is calls


def test_a_caller_without_a_memory_says_so(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def f(caller: Caller) -> None:
        caller.memory()

    with pytest.raises(MemoryExportNotFoundError, match=r"'memory'.*must export it"):
        around(runtime, NOTHING, env).exports.direct()


def test_the_caller_is_dead_when_the_host_function_has_returned(runtime: Runtime) -> None:
    env = HostModule("env")
    kept: list[Any] = []

    @env.function
    def f(caller: Caller) -> None:
        kept.extend([caller, caller.memory(), caller.function("get")])

    instance = instantiate(runtime, full_guest(), env)
    instance.exports.direct()
    caller, memory, get = kept
    for use in (
        caller.memory,
        lambda: caller.function("get"),
        lambda: caller.global_("counter"),
        lambda: caller.table("objects"),
        lambda: caller.exports,
    ):
        with pytest.raises(ClosedError, match="caller is gone"):
            use()
    # what it gave belongs to the instance
    assert memory.size == 65536
    assert get() == 5


def test_the_caller_is_dead_after_an_exception_too(runtime: Runtime) -> None:
    kept = []

    def f(caller: Caller) -> None:
        kept.append(caller)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        instantiate(runtime, full_guest(), {"env": {"f": f}}).exports.direct()
    with pytest.raises(ClosedError):
        kept[0].memory()


def test_each_re_entry_has_its_own_caller(runtime: Runtime) -> None:
    callers: list[Any] = []

    def f(caller: Caller, n: int) -> int:
        callers.append(caller)
        if n:
            caller.function("direct")(n - 1)
        assert caller.memory().size == 65536
        return n

    guest = full_guest(UNARY)
    assert instantiate(runtime, guest, {"env": {"f": f}}).exports.direct(5) == 5
    assert len({id(caller) for caller in callers}) == 6


def test_pass_caller_can_be_given(runtime: Runtime) -> None:
    env, without = HostModule("env"), HostModule("env")
    env.add_function("f", [I32], [I32], lambda caller, x: x + caller.memory().size, pass_caller=True)

    def annotated(caller: Caller, x: int) -> int:
        return x + caller.memory().size

    without.add_function("f", [I32], [I32], annotated)
    for module in (env, without):
        assert instantiate(runtime, full_guest(UNARY), module).exports.direct(1) == 65537


def test_host_and_guest_call_each_other_in_depth(runtime: Runtime) -> None:
    def f(n: int) -> int:
        return n and n + instance.exports.direct(n - 1)

    instance = around(runtime, UNARY, f)
    assert instance.exports.direct(50) == sum(range(51))
    assert instance.exports.nested(20, 50) == sum(range(51))


def test_re_entry_through_raw_calls_tables_and_other_instances(runtime: Runtime) -> None:
    store = runtime.new_store()

    def f(n: int) -> int:
        if n == 0:
            return 0
        if n % 3 == 0:
            return first.exports.direct.call(n - 1)[0] + 1
        if n % 3 == 1:
            return first.table("table")[0](n - 1) + 1
        return second.exports.indirect(n - 1) + 1

    first = around(runtime, UNARY, f, store=store)
    second = around(runtime, UNARY, f, store=store)
    assert first.exports.direct(30) == 30


def test_calls_between_stores_nest(runtime: Runtime) -> None:
    def f(n: int) -> int:
        return n and 1 + (first if n % 2 else second).exports.direct(n - 1)

    first, second = around(runtime, UNARY, f), around(runtime, UNARY, f)
    assert first.exports.direct(20) == 20


def test_a_guest_may_be_instantiated_during_a_call(runtime: Runtime) -> None:
    def f() -> None:
        inner = instantiate(runtime, guests.starting(), store=instance.store)
        found.append(inner.global_("runs").value)
        found.append(instantiate(runtime, guests.arithmetic()).exports.add(1, 2))

    found: list[int] = []
    instance = around(runtime, NOTHING, f)
    instance.exports.direct()
    assert found == [1, 3]


def test_recursion_without_end_through_the_host_is_an_error(runtime: Runtime) -> None:
    def f(n: int) -> int:
        return int(instance.exports.direct(n + 1))

    instance = around(runtime, UNARY, f)
    for _ in range(2):
        with pytest.raises((RecursionError, Trap)) as caught:
            instance.exports.direct(0)
        assert isinstance(caught.value, RecursionError) or caught.value.code is TrapCode.STACK_OVERFLOW
    assert around(runtime, UNARY, lambda x: x).exports.direct(1) == 1


DEEP = """
import sys, threading, pywasmrt
from pywasmrt import FunctionType, Trap, ValueType
from pywasmrt.testing import guests

sys.setrecursionlimit(1_000_000)
runtime = pywasmrt.new_runtime(sys.argv[1])
guest = guests.passthrough(FunctionType((ValueType.I32,), (ValueType.I32,)))
module = runtime.compile(guest.encode())
instance = runtime.instantiate(module, {"env": {"f": lambda n: instance.exports.direct(n + 1)}})

def overflow():
    try:
        instance.exports.direct(0)
    except (Trap, RecursionError) as error:
        print(type(error).__name__)

overflow()
thread = threading.Thread(target=overflow)
thread.start()
thread.join()
"""


def test_recursion_without_end_never_crashes(runtime: Runtime) -> None:
    """With Python's own limit out of the way, on the main thread and on another with its smaller stack."""
    done = subprocess.run(
        [sys.executable, "-c", DEEP, runtime.info.name], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == 2


@pytest.mark.parametrize(
    "kind",
    [
        ValueError,
        KeyboardInterrupt,
        SystemExit,
        GeneratorExit,
        StopIteration,
        MemoryError,
        Unwelcome,
        Trap,
        ClosedError,
    ],
)
@pytest.mark.parametrize("name", ["direct", "indirect", "nested", "host"])
def test_an_exception_comes_out_unchanged(runtime: Runtime, kind: type[BaseException], name: str) -> None:
    error = kind("the very one")
    error.extra = "kept"  # type: ignore[attr-defined]

    def thrower() -> None:
        raise error

    instance = around(runtime, NOTHING, thrower)
    args = (30,) if name == "nested" else ()
    for call in (instance.exports[name], instance.exports[name].call):
        with pytest.raises(kind) as caught:
            call(*args)
        assert caught.value is error
        assert caught.value.extra == "kept"  # type: ignore[attr-defined]
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert [entry.name for entry in caught.traceback][-1] == "thrower"
        error.__traceback__ = None


def test_an_exception_keeps_its_cause_and_context(runtime: Runtime) -> None:
    def f() -> None:
        try:
            raise KeyError("context")
        except KeyError as cause:
            raise ValueError("error") from cause

    with pytest.raises(ValueError, match="error") as caught:
        around(runtime, NOTHING, f).exports.direct()
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__context__ is caught.value.__cause__


def test_an_exception_during_handling_has_its_context(runtime: Runtime) -> None:
    def f(n: int) -> int:
        if n == 0:
            raise KeyError("inner")
        try:
            return int(instance.exports.direct(n - 1))
        except KeyError:
            raise ValueError("outer")  # noqa: B904  the implicit context is the subject

    instance = around(runtime, UNARY, f)
    with pytest.raises(ValueError, match="outer") as caught:
        instance.exports.direct(1)
    assert isinstance(caught.value.__context__, KeyError)


def test_a_call_while_an_exception_is_handled_leaves_it_alone(runtime: Runtime) -> None:
    seen = []

    def f() -> None:
        seen.append(sys.exc_info()[1])

    instance = around(runtime, NOTHING, f)
    handled = KeyError("handled")
    try:
        raise handled
    except KeyError:
        instance.exports.direct()
        assert sys.exc_info()[1] is handled
    assert seen in ([handled], [None])
    instance.exports.direct()
    assert sys.exc_info() == (None, None, None)


def test_an_exception_leaves_nothing_behind(runtime: Runtime) -> None:
    """No later call sees it, and nothing keeps it alive."""

    def f(n: int) -> int:
        if n < 0:
            raise Unwelcome
        return n

    instance = around(runtime, UNARY, f)
    with pytest.raises(Unwelcome) as caught:
        instance.exports.direct(-1)
    reference = weakref.ref(caught.value)
    del caught
    assert instance.exports.direct(5) == 5
    with pytest.raises(TypeError):
        instance.exports.direct()
    with pytest.raises(Trap):
        instantiate(runtime, guests.traps(), store=instance.store).exports.unreachable()
    gc.collect()
    assert reference() is None


def test_an_exception_unwinds_only_to_the_innermost_host(runtime: Runtime) -> None:
    trail = []

    def f(n: int) -> int:
        if n == 0:
            raise Unwelcome(0)
        try:
            return int(instance.exports.direct(n - 1))
        except Unwelcome as error:
            trail.append(error.args[0])
            raise Unwelcome(n) from None

    instance = around(runtime, UNARY, f)
    with pytest.raises(Unwelcome) as caught:
        instance.exports.direct(3)
    assert caught.value.args == (3,)
    assert trail == [0, 1, 2]


def test_the_guest_does_not_go_on_after_an_exception(runtime: Runtime) -> None:
    guest = Module()
    guest.import_("env", "f", NOTHING)
    guest.global_(GlobalType(I32, True), ("i32.const", 0), export="after")
    guest.function(NOTHING, [("call", 0), ("i32.const", 1), ("global.set", 0)], export="run")

    def f() -> None:
        raise Unwelcome

    instance = instantiate(runtime, guest, {"env": {"f": f}})
    with pytest.raises(Unwelcome):
        instance.exports.run()
    assert instance.global_("after").value == 0


def test_the_host_function_does_not_run_for_wrong_results_of_it_elsewhere(runtime: Runtime) -> None:
    for returned, error, text in (
        ("1", TypeError, r"host function env\.f returned '1' \(str\) where i32 is wanted"),
        (None, TypeError, r"host function env\.f returned None where i32 is wanted"),
        (1.0, TypeError, r"host function env\.f returned 1\.0 \(float\) where i32 is wanted"),
        (1 << 32, OverflowError, r"host function env\.f returned a wrong value: 4294967296 is out of range for i32"),
        ((1, 2), TypeError, r"host function env\.f returned \(1, 2\) \(tuple\) where i32 is wanted"),
    ):
        with pytest.raises(error, match=text):
            around(runtime, UNARY, lambda x, returned=returned: returned).exports.nested(3, 1)
    pair = FunctionType((), (I32, F64))
    for returned, error, text in (
        ((1,), TypeError, r"host function env\.f returned 1 values where a tuple of 2 \(i32, f64\) is wanted"),
        ((1, 2, 3), TypeError, r"returned 3 values where"),
        (5, TypeError, r"returned 5 \(int\) where a tuple of 2"),
        ((1, "2"), TypeError, r"host function env\.f returned '2' \(str\) as result 2 where f64 is wanted"),
        ((1 << 40, 2), OverflowError, r"as result 1: 1099511627776 is out of range for i32"),
    ):
        with pytest.raises(error, match=text):
            around(runtime, pair, lambda returned=returned: returned).exports.direct()
    with pytest.raises(TypeError, match=r"host function env\.f returned 5 \(int\) where None is wanted"):
        around(runtime, NOTHING, lambda: 5).exports.direct()
