"""Arguments and results of host functions: annotations, callables, numbers, hostile objects."""

from __future__ import annotations

import enum
import functools
import gc
from collections.abc import Callable
from typing import Any

import pytest
from helpers.host_calls import EXTERNREF, F32, F64, FUNCREF, I32, I64, UNARY, Needs, Unwelcome, around, instantiate

import pywasmrt
from pywasmrt import (
    FunctionType,
    HostModule,
    ModuleInstantiateError,
    Runtime,
    TableType,
    ValueType,
)
from pywasmrt.testing import guests


def test_exact_annotations_are_the_type(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def f(a: pywasmrt.i32, b: pywasmrt.i64, c: pywasmrt.f32, d: pywasmrt.f64) -> tuple[pywasmrt.f64, pywasmrt.i32]:
        return a + b + c + d, a

    instance = around(runtime, FunctionType((I32, I64, F32, F64), (F64, I32)), env)
    assert instance.exports.direct(1, 2, 0.5, 0.25) == (3.75, 1)


def test_exact_annotations_must_equal_the_import(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def f(x: pywasmrt.i32) -> pywasmrt.i32:
        return x

    around(runtime, UNARY, env)
    for type in (
        FunctionType((I64,), (I32,)),
        FunctionType((I32,), (I64,)),
        FunctionType((I32,)),
        FunctionType((), (I32,)),
        FunctionType((I32, I32), (I32,)),
    ):
        with pytest.raises(ModuleInstantiateError, match=r"env\.f: .* does not fit its host function"):
            around(runtime, type, env)


def test_loose_annotations_serve_guests_of_every_width(runtime: Runtime) -> None:
    """One and the same function, for guests that import it with different types."""
    env = HostModule("env")
    calls = []

    @env.function
    def f(a: int, b: float) -> int:
        calls.append((a, b))
        return -a

    for ints, floats in ((I32, F32), (I32, F64), (I64, F32), (I64, F64)):
        assert around(runtime, FunctionType((ints, floats), (ints,)), env).exports.direct(7, 1.5) == -7
    wide = around(runtime, FunctionType((I64, F64), (I64,)), env)
    assert wide.exports.direct(1 << 40, 0.1) == -(1 << 40)
    assert calls[-1] == (1 << 40, 0.1)
    with pytest.raises(ModuleInstantiateError, match="does not fit"):
        around(runtime, FunctionType((F32, F32), (I32,)), env)
    with pytest.raises(ModuleInstantiateError, match="does not fit"):
        around(runtime, FunctionType((I32, F32), (F64,)), env)


def test_without_annotations_the_guest_decides(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def f(x):  # type: ignore[no-untyped-def]
        return x

    for type, value in ((I32, -3), (I64, 1 << 50), (F32, 0.5), (F64, 0.1), (EXTERNREF, "an object"), (FUNCREF, None)):
        assert around(runtime, FunctionType((type,), (type,)), env).exports.direct(value) == value
    with pytest.raises(ModuleInstantiateError, match="does not fit"):
        around(runtime, FunctionType((I32, I32), (I32,)), env)


def test_v128_and_bytes(runtime: Runtime, needs: Needs) -> None:
    needs("simd")
    type = FunctionType((ValueType.V128,), (ValueType.V128,))
    env, loose = HostModule("env"), HostModule("env")

    @env.function(name="f")
    def exact(x: pywasmrt.v128) -> pywasmrt.v128:
        assert isinstance(x, bytes)
        return x[::-1]

    @loose.function(name="f")
    def as_bytes(x: bytes) -> bytes:
        return bytearray(x[::-1])

    data = bytes(range(16))
    for module in (env, loose):
        exports = around(runtime, type, module).exports
        assert exports.direct(data) == exports.direct(memoryview(data)) == exports.direct(bytearray(data)) == data[::-1]
        low, high = (int.from_bytes(part, "little") for part in (data[:8], data[8:]))
        assert exports.direct.call(low, high) == [int.from_bytes(p, "little") for p in (data[:7:-1], data[7::-1])]


class Doubler:
    def __call__(self, x: int) -> int:
        return 2 * x

    def method(self, x: int) -> int:
        return 2 * x

    @staticmethod
    def static(x: int) -> int:
        return 2 * x


@pytest.mark.parametrize(
    "function",
    [
        Doubler(),
        Doubler().method,
        Doubler.static,
        functools.partial(lambda a, x: a * x, 2),
        functools.lru_cache(lambda x: 2 * x),
        (2).__mul__,
        lambda x, y=2: x * y,
        lambda *args: 2 * args[0],
    ],
    ids=["object", "method", "static method", "partial", "cached", "built-in", "default", "variadic"],
)
def test_any_callable_is_a_host_function(runtime: Runtime, function: Any) -> None:
    assert around(runtime, UNARY, function).exports.nested(3, 21) == 42


class Colour(enum.IntEnum):
    RED = 3


class Celsius(float):
    pass


def test_subclasses_of_numbers_are_numbers(runtime: Runtime) -> None:
    exports = around(runtime, FunctionType((I32, F64), (I64, F64)), lambda a, b: (Colour.RED, Celsius(b))).exports
    assert exports.direct(Colour.RED, Celsius(1.5)) == (3, 1.5)
    assert exports.direct(True, True) == (3, 1.0)
    assert [type(value) for value in exports.direct(Colour.RED, 1)] == [int, float]


def test_arguments_have_the_plain_types(runtime: Runtime) -> None:
    found = []
    type = FunctionType((I32, I64, F32, F64), ())
    around(runtime, type, lambda *args: found.extend(args)).exports.direct(0xFFFF_FFFF, (1 << 64) - 1, 1, 1)
    assert found == [-1, -1, 1.0, 1.0]
    assert [each.__class__ for each in found] == [int, int, float, float]


def test_results_may_be_a_list(runtime: Runtime) -> None:
    exports = around(runtime, FunctionType((), (I32, I32)), lambda: [1, 2]).exports
    assert exports.direct() == (1, 2)


def test_f32_is_rounded_and_large_numbers_become_infinite(runtime: Runtime) -> None:
    exports = around(runtime, FunctionType((F32,), (F32,)), lambda x: x).exports
    assert exports.direct(0.1) == pytest.approx(0.1, rel=1e-7)
    assert exports.direct(0.1) != 0.1
    assert exports.direct(1e300) == float("inf")
    assert exports.direct(-1e300) == float("-inf")
    assert exports.direct(1e-300) == 0.0
    wide = around(runtime, FunctionType((F32,), (F32,)), lambda x: 1e300).exports
    assert wide.direct(0) == float("inf")


def test_a_host_function_may_drop_the_last_reference(runtime: Runtime) -> None:
    """To the instance, and everything else, whose function is running."""
    held: dict[str, Any] = {}

    def f(n: int) -> int:
        held.clear()
        gc.collect()
        return n + 1

    for name in ("direct", "nested"):
        held["instance"] = around(runtime, UNARY, f)
        args = (5, 41) if name == "nested" else (41,)
        assert held["instance"].exports[name](*args) == 42
        held["instance"] = around(runtime, UNARY, f)
        assert held.pop("instance").function(name)(*args) == 42
        assert around(runtime, UNARY, f).exports[name].call(*args) == [42]


def test_a_host_function_may_change_what_it_was_given(runtime: Runtime) -> None:
    """Replacing itself in the mapping or deleting its own name does nothing to the guest that has it."""
    env: dict[str, Any] = {}

    def f(x: int) -> int:
        env.clear()
        return x + 1

    env["f"] = f
    imports = {"env": env}
    instance = instantiate(runtime, guests.passthrough(UNARY), imports)
    imports.clear()
    del f
    gc.collect()
    assert instance.exports.direct(1) == 2
    assert instance.exports.direct(1) == 2


class Hostile:
    """Its every operation raises."""

    def __getattribute__(self, name: str) -> Any:
        raise Unwelcome(name)

    def __repr__(self) -> str:
        raise Unwelcome("repr")

    def __eq__(self, other: object) -> bool:
        raise Unwelcome("eq")

    def __hash__(self) -> int:
        raise Unwelcome("hash")

    def __bool__(self) -> bool:
        raise Unwelcome("bool")

    def __index__(self) -> int:
        raise Unwelcome("index")

    def __float__(self) -> float:
        raise Unwelcome("float")

    def __len__(self) -> int:
        raise Unwelcome("len")

    def __iter__(self) -> Any:
        raise Unwelcome("iter")


@pytest.mark.parametrize("results", [(I32,), (I64,), (F32,), (F64,), (FUNCREF,), (I32, I32), ()], ids=str)
def test_hostile_objects_are_refused_where_they_do_not_fit(runtime: Runtime, results: tuple[ValueType, ...]) -> None:
    hostile = Hostile()
    exports = around(runtime, FunctionType((), results), lambda: hostile).exports
    with pytest.raises((TypeError, Unwelcome)):
        exports.direct()
    for type in results:
        identity = instantiate(runtime, guests.identities([type])).exports.straight
        with pytest.raises((TypeError, Unwelcome)):
            identity(hostile)
        if type is not FUNCREF:
            with pytest.raises((TypeError, Unwelcome)):
                identity.call(hostile)


def test_a_list_is_an_object_as_others_are(runtime: Runtime, needs: Callable[..., None]) -> None:
    """Of several results it is the sequence, of one externref the object."""
    needs("reference-types")
    made: list[object] = [object()]
    assert around(runtime, FunctionType((), (EXTERNREF,)), lambda: made).exports.direct() is made
    two = around(runtime, FunctionType((), (EXTERNREF, I32)), lambda: [made, 1]).exports.direct()
    assert two[0] is made
    assert two[1] == 1


def test_hostile_objects_pass_as_externrefs(runtime: Runtime) -> None:
    hostile = Hostile()
    exports = around(runtime, FunctionType((EXTERNREF,), (EXTERNREF,)), lambda x: x).exports
    assert exports.direct(hostile) is hostile
    assert exports.nested(2, hostile) is hostile
    every = instantiate(runtime, guests.identities([EXTERNREF])).exports
    for name in ("straight", "locals", "globals", "tables"):
        assert every[name](hostile) is hostile
    table = instantiate(runtime, guests.table(TableType(EXTERNREF, 1))).table("table")
    table[0] = hostile
    assert table[0] is hostile
    global_ = runtime.new_store().global_(EXTERNREF, hostile, mutable=True)
    assert global_.value is hostile
    global_.value = hostile
    assert global_.value is hostile


def test_a_sequence_that_changes_while_it_is_read(runtime: Runtime) -> None:
    returned: list[Any] = []

    class Shrinking(int):
        def __index__(self) -> int:
            returned.clear()
            gc.collect()
            return 1

    returned.extend([Shrinking(1), Shrinking(2), 3.5])
    exports = around(runtime, FunctionType((), (I32, I32, F64)), lambda: returned).exports
    try:
        assert exports.direct() == (1, 2, 3.5)
    except TypeError as error:
        assert "host function env.f returned" in str(error)  # noqa: PT017  either outcome is right
