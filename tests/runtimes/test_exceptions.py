"""Exceptions that cross between guests and Python, beyond what the conformance kit checks of every runtime."""

from __future__ import annotations

import array
import asyncio
import contextlib
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from helpers.resident import resident

import pywasmrt
from pywasmrt import BusyError, ClosedError, ModuleInstantiateError, Runtime, Store, Trap, ValueType, WasmException

Needs = Callable[..., None]

GUEST = """
(module
  (import "env" "f" (func $f (param i32)))
  (import "env" "tag" (tag $t (param i32 externref)))
  (tag $all (export "all") (param i32 i64 f32 f64 v128 funcref externref))
  (func $self (export "throw_all") (param externref)
    (throw $all (i32.const -1) (i64.const -2) (f32.const 0.5) (f64.const 0.25) (v128.const i64x2 1 2)
      (ref.func $self) (local.get 0)))
  (func (export "catch") (param i32) (result i32 externref)
    (block $b (result i32 externref)
      (try_table (catch $t $b) (call $f (local.get 0))) (i32.const -1) (ref.null extern)))
  (func (export "rethrow") (param i32)
    (block $b (result exnref) (try_table (catch_all_ref $b) (call $f (local.get 0))) (return)) (throw_ref))
  (func (export "plain") (param i32) (call $f (local.get 0)))
  (func (export "catch_many") (param i32) (result i32) (local $n i32)
    (loop $again
      (block $b (result i32 externref)
        (try_table (catch $t $b) (call $f (local.get $n))) (i32.const 0) (ref.null extern))
      drop drop
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $n) (local.get 0))))
    (local.get $n))
  (global $kept (mut exnref) (ref.null exn))
  (func (export "keep") (param i32)
    (block $b (result exnref) (try_table (catch_all_ref $b) (call $f (local.get 0))) (return)) (global.set $kept))
  (func (export "throw_kept") (throw_ref (global.get $kept))))
"""


@pytest.fixture(autouse=True)
def _values(needs: Needs) -> None:
    needs("exceptions", "exception-values", "wat", "simd")


class Made:
    """An instance of the guest whose imported function does what `do` says."""

    def __init__(self, runtime: Runtime) -> None:
        self.do: Callable[[int], Any] = lambda n: None
        self.store: Store = runtime.new_store()
        self.tag = self.store.tag([ValueType.I32, ValueType.EXTERNREF])
        imports = {"env": {"f": lambda n: self.do(n), "tag": self.tag}}
        self.instance = runtime.instantiate(runtime.compile(GUEST), imports, store=self.store)
        self.exports = self.instance.exports

    def throw(self, n: int) -> None:
        raise WasmException(self.tag, [n, self])


@pytest.fixture
def made(runtime: Runtime) -> Made:
    return Made(runtime)


def test_values_of_every_type_come_out(made: Made) -> None:
    thing = object()
    with pytest.raises(WasmException) as caught:
        made.exports.throw_all(thing)
    *numbers, function, found = caught.value.values
    assert numbers == [-1, -2, 0.5, 0.25, bytes([1, *[0] * 7, 2, *[0] * 7])]
    assert function == made.exports.throw_all
    assert found is thing
    assert caught.value.tag == made.instance.tag("all")
    assert caught.value.tag is not made.tag
    assert {caught.value.tag: 1}[made.instance.tag("all")] == 1
    assert [frame.func_index for frame in caught.value.frames] == [1]
    assert str(caught.value).startswith("thrown Wasm exception with (-1, -2, 0.5, 0.25, b'")
    assert "<Function>, <object>)" in str(caught.value)


def test_a_guest_catches_objects_and_goes_on(made: Made) -> None:
    made.do = made.throw
    assert made.exports.catch(4) == (4, made)
    made.do = lambda n: None
    assert made.exports.catch(4) == (-1, None)


def test_what_is_thrown_again_has_the_traceback_of_the_host_function(made: Made) -> None:
    made.do = made.throw
    with pytest.raises(WasmException) as caught:
        made.exports.rethrow(1)
    names = []
    at = caught.value.__traceback__
    while at is not None:
        names.append(at.tb_frame.f_code.co_name)
        at = at.tb_next
    assert names[-1] == "throw"
    assert "fail" not in names
    assert len(caught.value.frames) == 1


def test_an_exception_kept_beyond_its_call_comes_out_as_another_one(made: Made) -> None:
    made.do = made.throw
    made.exports.keep(9)
    errors = []
    for _ in range(2):
        with pytest.raises(WasmException) as caught:
            made.exports.throw_kept()
        errors.append(caught.value)
    assert [(error.tag, error.values) for error in errors] == [(made.tag, (9, made))] * 2
    assert errors[0] is not errors[1]


def test_an_exception_passes_between_two_instances_of_a_store(runtime: Runtime, made: Made) -> None:
    outer = runtime.instantiate(
        runtime.compile(GUEST), {"env": {"f": made.exports.plain, "tag": made.tag}}, store=made.store
    )
    made.do = made.throw
    assert outer.exports.catch(3) == (3, made)
    with pytest.raises(WasmException) as caught:
        outer.exports.rethrow(3)
    assert len(caught.value.frames) >= 1


def test_the_objects_are_released_when_the_call_ends(made: Made) -> None:
    found: list[weakref.ref[Any]] = []

    class Watched(WasmException):
        pass

    def throw(n: int) -> None:
        error = Watched(made.tag, [n, None])
        found.append(weakref.ref(error))
        raise error

    made.do = throw
    assert made.exports.catch_many(200) == 200
    gc.collect()
    assert [each() for each in found] == [None] * 200


def test_what_does_not_fit_any_more_comes_out_of_the_call(made: Made) -> None:
    def throw(n: int) -> None:
        error = WasmException(made.tag, [n, None])
        error.values = [(n,), (n, None, None), ("x", None)][n]
        raise error

    made.do = throw
    for n in range(3):
        with pytest.raises(TypeError, match="these"):
            made.exports.catch(n)


def test_a_class_that_lies_about_itself_harms_nobody(made: Made) -> None:
    class Liar(WasmException):
        @property
        def values(self) -> Any:
            raise LookupError

        @values.setter
        def values(self, values: Any) -> None:
            pass

    def throw(n: int) -> None:
        raise Liar(made.tag, [n, None])

    made.do = throw
    with pytest.raises(Liar):
        made.exports.catch(0)


def test_a_destructor_may_throw_and_catch_meanwhile(made: Made) -> None:
    """Exceptions beyond the ring are released while another is thrown."""

    class Nested(WasmException):
        def __del__(self) -> None:
            if self.values[0] < 150:
                made.exports.catch(1000 + self.values[0])

    def throw(n: int) -> None:
        raise (Nested if n < 1000 else WasmException)(made.tag, [n, None])

    made.do = throw
    assert made.exports.catch_many(300) == 300


def test_closing_the_store_while_an_exception_is_on_its_way(made: Made) -> None:
    def throw(n: int) -> None:
        made.store.close()
        made.throw(n)

    made.do = throw
    with pytest.raises((ClosedError, WasmException)):
        made.exports.rethrow(1)
    assert made.store.closed


def test_a_tag_belongs_to_its_store(runtime: Runtime, made: Made) -> None:
    other = runtime.new_store()
    with pytest.raises(ModuleInstantiateError, match="belongs to another store"):
        runtime.instantiate(runtime.compile(GUEST), {"env": {"f": print, "tag": made.tag}}, store=other)
    with pytest.raises(ModuleInstantiateError, match="was given a tag"):
        runtime.instantiate(runtime.compile(GUEST), {"env": {"f": print, "tag": other.tag([])}}, store=other)
    with pytest.raises(TypeError, match="made of ValueTypes"):
        other.tag(["i32"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        pickle.dumps(made.tag)
    other.close()
    with pytest.raises(ClosedError):
        other.tag()
    assert made.instance.tag("catch") is None
    assert "closed" in repr(made.tag) or not made.store.closed


def test_without_the_proposal_there_are_no_tags(runtime: Runtime) -> None:
    features = runtime.info.features - {"exceptions"}
    config = pywasmrt.RuntimeConfig(type=runtime.info.name, features=features)
    with pywasmrt.new_runtime(config) as other, pytest.raises(pywasmrt.UnsupportedFeatureError, match="'exceptions'"):
        other.new_store().tag()


def test_a_copy_for_another_process(made: Made) -> None:
    with pytest.raises(WasmException) as caught:
        made.exports.throw_all(made)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is WasmException
    assert copy.values == (*caught.value.values[:5], None, None)
    assert (copy.tag, copy.code, copy.frames) == (None, caught.value.code, caught.value.frames)
    assert str(copy) == str(caught.value)


def test_a_row_of_a_batch_may_throw(runtime: Runtime) -> None:
    guest = """(module (tag $odd (param i32))
      (func (export "half") (param i32) (result i32)
        (if (i32.and (local.get 0) (i32.const 1)) (then (throw $odd (local.get 0))))
        (i32.div_s (local.get 0) (i32.const 2))))"""
    half = runtime.instantiate(runtime.compile(guest)).exports.half
    column = array.array("i", [2, 3, 4])
    with pytest.raises(pywasmrt.RowError) as caught:
        half.map(column)
    assert isinstance(caught.value.__cause__, WasmException)
    assert (caught.value.row, caught.value.__cause__.values) == (1, (3,))
    results, failed = half.map(column, on_error="mask")
    assert (list(results), [bool(each) for each in failed]) == ([1, 0, 2], [False, True, False])


@pytest.mark.parametrize("waits", [False, True])
def test_asynchronous_host_functions_throw_too(runtime: Runtime, waits: bool) -> None:
    async def main() -> None:
        store = runtime.new_store()
        tag = store.tag([ValueType.I32, ValueType.EXTERNREF])
        thrown: list[BaseException] = []

        async def f(n: int) -> None:
            if waits:
                await asyncio.sleep(0)
            thrown.append(WasmException(tag, [n, tag]) if n < 10 else KeyError(n))
            raise thrown[-1]

        module = runtime.compile(GUEST)
        instance = await runtime.instantiate_async(module, {"env": {"f": f, "tag": tag}}, store=store)
        for _ in range(3):
            assert await instance.exports.catch.call_async(4) == (4, tag)
        with pytest.raises(WasmException) as caught:
            await instance.exports.rethrow.call_async(5)
        assert caught.value is thrown[-1]
        with pytest.raises(KeyError):
            await instance.exports.catch.call_async(11)
        with pytest.raises(WasmException) as caught:
            await instance.exports.throw_all.call_async(thrown)
        assert caught.value.values[6] is thrown
        assert await instance.exports.catch_many.call_async(10) == 10

    asyncio.run(main())


def recursive(depth: int) -> None:
    """Recursion that takes the machine's stack too."""
    [0].sort(key=lambda _: recursive(depth - 1) if depth else None)


def test_values_that_do_not_fit_are_worded_on_the_threads_own_stack(runtime: Runtime) -> None:
    """The guest's stack is smaller, and the interpreter does not know where it ends."""

    class Deep:
        def __repr__(self) -> str:
            with contextlib.suppress(RecursionError):
                recursive(100_000)
            return "deep"

    async def main() -> None:
        store = runtime.new_store()
        tag = store.tag([ValueType.I32, ValueType.EXTERNREF])

        async def f(n: int) -> None:
            error = WasmException(tag, [n, None])
            error.values = {1: (Deep(), None), 2: (1, None, Deep())}[n]  # type: ignore[assignment]
            raise error

        instance = await runtime.instantiate_async(runtime.compile(GUEST), {"env": {"f": f, "tag": tag}}, store=store)
        for n in (1, 2):
            with pytest.raises(TypeError, match=r"these values do not fit the exception's tag: \(.*deep.*\)"):
                await instance.exports.catch.call_async(n)

    asyncio.run(main())


def throw_often(call: Callable[[], Any], count: int) -> None:
    for _ in range(count):
        with contextlib.suppress(Trap):
            call()


@pytest.mark.parametrize("count", [5_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_exceptions_leave_nothing_behind(made: Made, count: int) -> None:
    """Uncaught ones, those that the host throws and the guest throws again, and those that it catches in one call."""
    made.do = made.throw
    ways: list[Callable[[int], Any]] = [
        lambda n: throw_often(lambda: made.exports.throw_all(None), n),
        lambda n: throw_often(lambda: made.exports.rethrow(1), n),
        made.exports.catch_many,
    ]
    for way in ways:
        way(min(count, 20_000))
        before = resident()
        way(count)
        assert resident() - before < (2 << 20)


def test_busy_stores_make_no_tags(runtime: Runtime, made: Made) -> None:
    from concurrent.futures import ThreadPoolExecutor

    errors = []

    def elsewhere(n: int) -> None:
        with ThreadPoolExecutor(1) as pool:
            errors.append(pool.submit(made.store.tag).exception())

    made.do = elsewhere
    made.exports.plain(1)
    assert isinstance(errors[0], BusyError)


def test_an_asynchronous_store_keeps_none_either(runtime: Runtime) -> None:
    async def main() -> None:
        text = '(module (tag $t (param i64)) (func (export "throw") (throw $t (i64.const 1))))'
        instance: Any = await runtime.instantiate_async(runtime.compile(text))

        async def often() -> None:
            for _ in range(4000):
                with pytest.raises(Trap):
                    await instance.exports.throw.call_async()

        await often()
        before = resident()
        for _ in range(3):
            await often()
        assert resident() - before < (1 << 19)

    asyncio.run(main())
