"""function.map: a call for each row of columns, on every runtime."""

from __future__ import annotations

import pickle
import threading
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from helpers.long_calls import interrupting
from helpers.running import others_run_during

import pywasmrt
from pywasmrt import HostModule, RowError, Runtime, Trap, TrapCode

Needs = Callable[..., None]
numpy = pytest.importorskip("numpy")

TEXT = """(module
  (memory (export "memory") 1 3)
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "same64") (param i64) (result i64) (local.get 0))
  (func (export "half") (param f32) (result f32) (f32.mul (local.get 0) (f32.const 0.5)))
  (func (export "scale") (param f64 f64) (result f64) (f64.mul (local.get 0) (local.get 1)))
  (func (export "swap") (param i32 f64) (result f64 i32) (local.get 1) (local.get 0))
  (func (export "nothing") (param i32))
  (func (export "seven") (result i32) (i32.const 7))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "spin") (param i32) (loop (br 0))))"""

CALLS_BACK = """(module
  (import "env" "f" (func $f (param i32) (result i32)))
  (func (export "each") (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1))))"""


@pytest.fixture
def guest(runtime: Runtime) -> Any:
    return runtime.instantiate(runtime.compile(TEXT)).exports


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
def test_integers_of_every_format(guest: Any, dtype: str) -> None:
    column = numpy.array([0, 1, 100, 1], dtype=dtype)
    result = guest.add.map(column, column)
    assert result.dtype == numpy.int32
    assert result.tolist() == [2 * int(value) for value in column]
    assert guest.same64.map(column).tolist() == [int(value) for value in column]
    assert guest.scale.map(column, 0.5).tolist() == [int(value) / 2 for value in column]


def test_a_map_agrees_with_calls(guest: Any) -> None:
    a = numpy.array([0, 1, -1, 2**31 - 1, -(2**31)], dtype="i4")
    assert guest.add.map(a, a).tolist() == [guest.add(int(x), int(x)) for x in a]
    wide = numpy.array([2**64 - 1, 2**63, 0], dtype="u8")
    assert guest.same64.map(wide).tolist() == [guest.same64(int(x)) for x in wide]
    floats = numpy.array([1.1, -0.0, 1e300, numpy.inf], dtype="f8")
    with numpy.errstate(over="ignore"):
        assert guest.half.map(floats).tolist() == [guest.half(float(x)) for x in floats]


def test_columns_without_numpy_and_constants(guest: Any) -> None:
    assert guest.add.map(array("i", [1, 2]), 10).tolist() == [11, 12]
    assert guest.add.map(memoryview(array("q", [1, 2])), numpy.int16(5)).tolist() == [6, 7]
    assert guest.add.map(b"\x01\x02", True).tolist() == [2, 3]


def test_results_are_arrays_where_there_is_no_numpy(guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pywasmrt._shim import batch

    monkeypatch.setattr(batch, "numpy_or_none", lambda: None)
    assert guest.add.map(array("i", [1, 2]), 10) == array("i", [11, 12])
    assert guest.div.map(array("i", [1, 2]), 0, on_error="mask") == (array("i", [0, 0]), bytearray(b"\x01\x01"))


def test_strided_columns(guest: Any) -> None:
    numbers = numpy.arange(20, dtype="i4")
    assert guest.add.map(numbers[::-2], numbers[::2]).tolist() == [19] * 10
    assert guest.add.map(numbers[::2], 1, out=numbers[1::2]).tolist() == list(range(1, 20, 2))


def test_fields_of_a_record(guest: Any) -> None:
    record = numpy.zeros(4, dtype=numpy.dtype([("pad", "u1"), ("a", "i4"), ("b", "i4")]))  # unaligned
    record["a"] = [1, 2, 3, 4]
    assert guest.add.map(record["a"], 1).tolist() == [2, 3, 4, 5]
    guest.add.map(record["a"], 1, out=record["b"])
    assert record["b"].tolist() == [2, 3, 4, 5]
    assert record["a"].tolist() == [1, 2, 3, 4]
    assert record["pad"].tolist() == [0] * 4


def test_several_results_and_none(guest: Any) -> None:
    first, second = guest.swap.map(numpy.array([1, 2]), numpy.array([0.5, 1.5]))
    assert (first.tolist(), second.tolist()) == ([0.5, 1.5], [1, 2])
    assert guest.nothing.map(numpy.arange(3)) is None
    out = numpy.zeros(3, dtype="u4")
    assert guest.seven.map(out=out) is out
    assert out.tolist() == [7, 7, 7]


def test_zero_rows(guest: Any) -> None:
    assert guest.add.map(numpy.zeros(0, dtype="i4"), 1).tolist() == []
    result, failed = guest.div.map(numpy.zeros(0, dtype="i4"), 0, on_error="mask")
    assert (len(result), len(failed)) == (0, 0)


def test_out_in_place(guest: Any) -> None:
    a = numpy.arange(100, dtype="i4")
    assert guest.add.map(a, a, out=a) is a
    assert a.tolist() == [2 * n for n in range(100)]
    unsigned = numpy.zeros(1, dtype="u4")
    guest.add.map(numpy.array([-1]), 0, out=unsigned)
    assert unsigned[0] == 2**32 - 1


def test_a_row_that_traps_is_named(guest: Any) -> None:
    out = numpy.full(100, -1, dtype="i4")
    divisors = numpy.ones(100, dtype="i4")
    divisors[70] = 0
    with pytest.raises(RowError, match=r"row 70 of div\.map") as caught:
        guest.div.map(5, divisors, out=out)
    assert caught.value.row == 70
    assert isinstance(caught.value.__cause__, Trap)
    assert caught.value.__cause__.code is TrapCode.INTEGER_DIVISION_BY_ZERO
    assert out.tolist() == [5] * 70 + [-1] * 30
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.row, str(copy)) == (70, str(caught.value))
    assert guest.div(6, 3) == 2  # it goes on


def test_a_mask_of_rows_that_trapped(guest: Any) -> None:
    divisors = numpy.arange(200, dtype="i4") % 3
    result, failed = guest.div.map(6, divisors, on_error="mask")
    assert failed.tolist() == (divisors == 0).tolist()
    assert result.tolist() == [0 if d == 0 else 6 // d for d in divisors]


@pytest.mark.parametrize("value", [2**32, -(2**31) - 1, 2**63 - 1, -(2**63)])
def test_what_does_not_fit_names_its_row(guest: Any, value: int) -> None:
    column = numpy.zeros(90, dtype="i8")
    column[66] = value
    for on_error in ("raise", "mask"):
        with pytest.raises(OverflowError, match=r"row 66 of argument 2 of add\.map"):
            guest.add.map(1, column, on_error=on_error)
    with pytest.raises(OverflowError, match="row 0 of argument 1"):
        guest.add.map(numpy.array([2**63], dtype="u8"), 1)
    with pytest.raises(OverflowError, match=r"argument 2 of add\.map"):
        guest.add.map(column, value)


I4 = numpy.zeros(4, dtype="i4")


@pytest.mark.parametrize(
    ("name", "args", "options", "error", "message"),
    [
        ("add", (I4,), {}, TypeError, "takes 2 arguments"),
        ("add", (I4, I4[:2]), {}, ValueError, "argument 1 has 4, argument 2 has 2"),
        ("add", (1, 2), {}, TypeError, "at least one column"),
        ("add", (I4, "text"), {}, TypeError, "a number or a buffer"),
        ("add", (I4, [1, 2, 3, 4]), {}, TypeError, "a number or a buffer"),
        ("add", (I4, I4.astype("f8")), {}, TypeError, "a column of floats"),
        ("add", (I4, 1.5), {}, TypeError, "takes an int, not 1.5"),
        ("add", (I4, I4.astype(">i4")), {}, TypeError, "no native number"),
        ("add", (I4, I4.astype("c8")), {}, TypeError, "no native number"),
        ("half", (I4.astype("f2"),), {}, TypeError, "convert it to float32"),
        ("add", (I4, I4.astype("M8[s]")), {}, TypeError, "a number or a buffer"),
        ("add", (I4, I4.reshape(2, 2)), {}, TypeError, "one dimension"),
        ("add", (I4, I4), {"out": I4.astype("i8")}, TypeError, "must be int32"),
        ("add", (I4, I4), {"out": I4.astype("f4")}, TypeError, "int32"),
        ("add", (I4, I4), {"out": numpy.zeros(3, "i4")}, ValueError, "out 1 has 3"),
        ("add", (I4, I4), {"out": memoryview(bytes(16)).cast("i")}, ValueError, "read-only"),
        ("add", (I4, I4), {"out": 5}, TypeError, "must be a buffer"),
        ("swap", (I4, 1.0), {"out": I4}, TypeError, "tuple of 2"),
        ("nothing", (I4,), {"out": I4}, TypeError, "no out="),
        ("add", (I4, I4), {"on_error": "ignore"}, ValueError, "'raise' or 'mask'"),
        ("add", (I4, I4), {"more": 1}, TypeError, "more"),
    ],
)
def test_bad_columns(
    guest: Any, name: str, args: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        guest[name].map(*args, **options)
    assert guest.add(1, 2) == 3


def test_an_out_that_overlaps(guest: Any) -> None:
    base = numpy.arange(101, dtype="i4")
    for a, out in [(base[:100], base[1:]), (base[1:], base[:100]), (base[::-1][:100], base[:100])]:
        with pytest.raises(ValueError, match="overlaps"):
            guest.add.map(a, 1, out=out)
    both = numpy.zeros(10, dtype="f8")
    with pytest.raises(ValueError, match="overlaps"):
        guest.swap.map(numpy.arange(10), 1.0, out=(both, both.view("i4")[:10]))
    stuck = numpy.lib.stride_tricks.as_strided(base, shape=(5,), strides=(0,))
    with pytest.raises(ValueError, match="overlaps itself"):
        guest.add.map(numpy.arange(5), 1, out=stuck)
    assert base.tolist() == list(range(101))


def test_a_column_of_two_to_the_31_rows(guest: Any, runtime: Runtime) -> None:
    if runtime.info.name == "wasmtime-py":
        pytest.skip("copies its columns")
    long = numpy.lib.stride_tricks.as_strided(numpy.zeros(1, dtype="i1"), shape=(2**31,), strides=(0,))
    with pytest.raises(RowError, match="row 0"):
        guest.div.map(long, long)


def test_a_guest_that_grows_its_memory_under_a_column(runtime: Runtime, needs: Needs) -> None:
    needs("buffer")
    instance = runtime.instantiate(runtime.compile(TEXT))
    memory = instance.memory()
    memory.write(0, bytes([1, 0, 0, 0] * 4))
    result = instance.exports.grow.map(numpy.frombuffer(memory, dtype="i4", count=4))
    assert result.tolist() == [1, 2, -1, -1]


def test_host_functions_are_called_back(runtime: Runtime) -> None:
    env = HostModule("env")
    seen = []

    @env.function
    def f(x: int) -> int:
        seen.append(x)
        return x * 10

    each = runtime.instantiate(runtime.compile(CALLS_BACK), env).exports.each
    assert each.map(numpy.arange(100)).tolist() == [10 * n + 1 for n in range(100)]
    assert seen == list(range(100))


@pytest.mark.parametrize("kind", [KeyError, Trap])
def test_what_a_host_function_raises_comes_out_and_fails_no_row(runtime: Runtime, kind: type[Exception]) -> None:
    env = HostModule("env")
    error = kind("mine")

    @env.function
    def f(x: int) -> int:
        if x == 3:
            raise error
        return x

    each = runtime.instantiate(runtime.compile(CALLS_BACK), env).exports.each
    for on_error in ("raise", "mask"):
        with pytest.raises(kind) as caught:
            each.map(numpy.arange(100), on_error=on_error)
        assert caught.value is error


def test_a_host_function_that_closes_the_instance(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def f(x: int) -> int:
        if x == 3:
            instance.close()
        return x

    instance = runtime.instantiate(runtime.compile(CALLS_BACK), env)
    each = instance.exports.each
    with pytest.raises(pywasmrt.ClosedError):
        each.map(numpy.arange(100))
    with pytest.raises(pywasmrt.ClosedError):
        each.map(numpy.arange(100))


def test_a_column_cannot_be_resized_under_the_loop(runtime: Runtime) -> None:
    env = HostModule("env")
    column = array("i", range(10))

    @env.function
    def f(x: int) -> int:
        with pytest.raises(BufferError):
            column.append(1)
        return x

    each = runtime.instantiate(runtime.compile(CALLS_BACK), env).exports.each
    assert each.map(column).tolist() == list(range(1, 11))


def test_a_host_function_may_map_again(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def f(x: int) -> int:
        return int(each.map(numpy.array([x - 1]))[0]) if x else 0

    each = runtime.instantiate(runtime.compile(CALLS_BACK), env).exports.each
    assert each.map(numpy.arange(5)).tolist() == [1, 2, 3, 4, 5]


def test_a_deadline_ends_the_loop(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")
    instance = runtime.instantiate(runtime.compile(TEXT))
    column = numpy.lib.stride_tricks.as_strided(numpy.zeros(1, dtype="i1"), shape=(2**28,), strides=(0,))
    with pytest.raises(pywasmrt.DeadlineExceeded), instance.deadline(0.05):
        instance.exports.nothing.map(column)
    with pytest.raises(pywasmrt.DeadlineExceeded), instance.deadline(0.05):
        instance.exports.spin.map(column)
    assert instance.exports.add.map(numpy.arange(3), 1).tolist() == [1, 2, 3]


def test_an_interrupt_from_another_thread(runtime: Runtime, needs: Needs) -> None:
    needs("interruption")
    instance = runtime.instantiate(runtime.compile(TEXT))
    column = numpy.lib.stride_tricks.as_strided(numpy.zeros(1, dtype="i1"), shape=(2**31,), strides=(0,))
    with interrupting(instance), pytest.raises(pywasmrt.Interrupted):
        instance.exports.nothing.map(column)


def test_other_threads_run_meanwhile(guest: Any, runtime: Runtime) -> None:
    """The loop gives the interpreter's lock away."""
    if runtime.info.name == "wasmtime-py":
        pytest.skip("loops in Python")
    column = numpy.lib.stride_tricks.as_strided(numpy.zeros(1, dtype="i1"), shape=(2**24,), strides=(0,))
    assert others_run_during(lambda: guest.nothing.map(column))


def test_types_that_are_no_numbers(runtime: Runtime, needs: Needs) -> None:
    needs("reference-types")
    module = runtime.compile('(module (func (export "ref") (param externref)))')
    with pytest.raises(pywasmrt.UnsupportedFeatureError, match="columns of numbers"):
        runtime.instantiate(module).exports.ref.map(I4)


def test_a_signature_longer_than_the_stack_array(runtime: Runtime) -> None:
    params = " ".join(["i32"] * 40)
    text = f'(module (func (export "last") (param {params}) (result i32) (local.get 39)))'
    last = runtime.instantiate(runtime.compile(text)).exports.last
    assert last.map(*range(39), numpy.arange(4)).tolist() == [0, 1, 2, 3]


def test_an_asynchronous_store_refuses(runtime: Runtime) -> None:
    import asyncio

    env = HostModule("env")

    @env.function
    async def f(x: int) -> int:
        return x

    async def main() -> None:
        instance = await runtime.instantiate_async(runtime.compile(CALLS_BACK), env)
        with pytest.raises(pywasmrt.WasmError, match="asynchronous store"):
            instance.exports.each.map(I4)

    asyncio.run(main())


def test_engines_that_do_not_poll_run_signal_handlers() -> None:
    """Where guests are not stopped at ticks, the loop itself looks for signals between rows."""
    import signal

    with pywasmrt.new_runtime(pywasmrt.RuntimeConfig("auto", interruptible=False)) as runtime:
        if runtime.info.name == "wasmtime-py":
            pytest.skip("loops in Python")
        nothing = runtime.instantiate(runtime.compile(TEXT)).exports.nothing
        column = numpy.lib.stride_tricks.as_strided(numpy.zeros(1, dtype="i1"), shape=(2**31,), strides=(0,))
        timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come before the call
            timer.start()
            nothing.map(column)
        timer.join()
        assert nothing.map(I4) is None
