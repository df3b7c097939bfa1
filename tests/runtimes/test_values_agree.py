"""The C half and the Python half have one opinion of every value: neither refuses what the other takes."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import HostModule, Runtime, ValueType

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64


class Number(int):
    """An int whose methods say something else."""

    def __int__(self) -> int:
        return 99

    def __index__(self) -> int:
        return 98

    def __float__(self) -> float:
        return 97.0

    def __le__(self, other: object) -> bool:
        return False

    __ge__ = __lt__ = __gt__ = __le__


class Real(float):
    def __float__(self) -> float:
        return 99.0


class Listed(list[Any]):
    pass


class Lying(list[Any]):
    def __len__(self) -> int:
        return 2


class Other(tuple[Any, ...]):
    """A tuple that gives something else when it is iterated over."""

    def __iter__(self) -> Iterator[Any]:
        return iter((1, 2))


class Failing(tuple[Any, ...]):
    def __iter__(self) -> Iterator[Any]:
        raise KeyError("of the tuple's own")


Pair = namedtuple("Pair", "x y")

numbers = st.one_of(
    st.integers(-(1 << 65), 1 << 65),
    st.sampled_from([0, 1, -1, 1 << 31, (1 << 32) - 1, 1 << 32, -(1 << 31), 1 << 63, (1 << 64) - 1]),
)
values = st.one_of(
    numbers,
    numbers.map(Number),
    st.booleans(),
    st.floats(),
    st.floats().map(Real),
    st.none(),
    st.sampled_from(["1", b"1", b"0" * 16, 1j, [1], (), object, Ellipsis]),
)
several = st.one_of(
    *(st.lists(values, max_size=3).map(kind) for kind in (list, tuple, Listed, Lying, Other, Failing)),
    st.builds(Pair, values, values),
    values,
    st.sampled_from([range(2), {1: 2, 3: 4}, "ab", b"ab"]),
)


def outcome(action: Any) -> object:
    try:
        result = action()
    except pywasmrt.Trap:
        raise
    except Exception as error:
        result = type(error), str(error)
        disagreed = "conversion disagreed" in str(error)
    else:
        return repr(result)
    assert not disagreed
    return result


def returning(runtime: Runtime, types: tuple[ValueType, ...], value: object) -> object:
    env = HostModule("env")
    env.add_function("f", [], list(types), lambda: value)
    listed = " ".join(map(str, types))
    module = runtime.compile(
        f'(module (import "env" "f" (func $f (result {listed}))) (func (export "g") (result {listed}) (call $f)))'
    )
    return outcome(runtime.instantiate(module, env).exports.g)


@given(st.lists(st.sampled_from([I32, I64, F32, F64]), min_size=2, max_size=2), several)
def test_several_results(runtimes: list[Runtime], types: list[ValueType], value: object) -> None:
    assert len({returning(runtime, tuple(types), value) for runtime in runtimes}) == 1


@given(st.sampled_from([I32, I64, F32, F64]), values)
def test_one_result_and_one_argument(runtimes: list[Runtime], type: ValueType, value: object) -> None:
    assert len({returning(runtime, (type,), value) for runtime in runtimes}) == 1
    source = f'(module (func (export "f") (param {type}) (result {type}) (local.get 0)))'
    exports = [runtime.instantiate(runtime.compile(source)).exports for runtime in runtimes]
    assert len({outcome(lambda each=each: each.f(value)) for each in exports}) == 1
    assert len({outcome(lambda each=each: each.f.call(value)) for each in exports if type is not F32}) <= 1


def test_named_tuples_and_lists_of_a_subclass_are_results(runtime: Runtime) -> None:
    for value in (Pair(1, 2), Listed([1, 2]), Other()):
        assert returning(runtime, (I32, I32), value) == "(1, 2)"
    assert returning(runtime, (I32, I32), Failing((1, 2))) == (KeyError, str(KeyError("of the tuple's own")))


def test_functions_of_other_runtimes_are_refused_as_such(runtimes: list[Runtime]) -> None:
    source = '(module (func $f (export "f") (param funcref)) (elem declare func $f))'
    for runtime in runtimes:
        if "reference-types" not in runtime.info.features:
            continue
        f = runtime.instantiate(runtime.compile(source)).exports.f
        for other in runtimes:
            foreign = other.instantiate(other.compile('(module (func (export "g")))')).exports.g
            with pytest.raises(TypeError, match=r"belongs to another (store|runtime)"):
                f(foreign)
            env = HostModule("env")
            env.add_function("h", [], [ValueType.FUNCREF], lambda foreign=foreign: foreign)
            caller = runtime.compile(
                '(module (import "env" "h" (func $h (result funcref))) (func (export "c") (drop (call $h))))'
            )
            with pytest.raises(TypeError, match=r"belongs to another (store|runtime)"):
                runtime.instantiate(caller, env).exports.c()


def test_a_function_is_made_or_there_is_no_memory(runtime: Runtime) -> None:
    """Python is never called with an exception set: each allocation fails once, in what makes and calls functions."""
    testing = pytest.importorskip("_testcapi")
    if runtime.info.name == "wasmtime-py":
        pytest.skip("what the package itself does without memory is not known")
    source = """
      (module
        (table (export "t") 1 funcref) (elem (i32.const 0) $f)
        (func $f (param i64 i64) (result i64 i64) (local.get 1) (local.get 0)))
    """
    table = runtime.instantiate(runtime.compile(source)).exports.t
    table[0].call(1 << 62, 2)
    missed = 0
    for after in range(1, 60):
        try:
            testing.set_nomemory(after, 0)
            try:
                results = table[0].call(1 << 62, 2)
            finally:
                testing.remove_mem_hooks()
        except MemoryError:
            missed += 1
        else:
            assert results == [2, 1 << 62]
    assert missed
