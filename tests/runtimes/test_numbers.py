"""Numbers that are no int and no float: what has `__index__` or `__float__`, such as NumPy's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from helpers.asynchronous import run

import pywasmrt
from pywasmrt.testing import to_binary

GUEST = """(module
  (import "env" "total" (func $total (result i32)))
  (import "env" "mean" (func $mean (result f64)))
  (global (export "top") (mut i32) (i32.const 0))
  (global (export "height") (mut f32) (f32.const 0))
  (func (export "same") (param i32) (result i32) (local.get 0))
  (func (export "long") (param i64) (result i64) (local.get 0))
  (func (export "real") (param f64) (result f64) (local.get 0))
  (func (export "total") (result i32) (call $total))
  (func (export "mean") (result f64) (call $mean)))
"""


class Index:
    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Broken:
    def __index__(self) -> int:
        raise LookupError("of its own")

    __float__ = __index__  # type: ignore[assignment]


class Made:
    """An instance, and what its host functions return."""

    def __init__(self, runtime: pywasmrt.Runtime) -> None:
        self.result: Any = 0
        host = {"env": {"total": lambda: self.result, "mean": lambda: self.result}}
        self.instance = runtime.instantiate(runtime.compile(to_binary(GUEST)), host)
        self.exports = self.instance.exports


@pytest.fixture
def made(runtime: pywasmrt.Runtime) -> Made:
    return Made(runtime)


def _ways(made: Made) -> list[Callable[[Any], Any]]:
    """An i32 by each way into the guest."""

    def result(value: Any) -> Any:
        made.result = value
        return made.exports.total()

    def through_global(value: Any) -> Any:
        made.instance.global_("top").value = value
        return made.instance.global_("top").value

    return [made.exports.same, result, through_global]


def test_what_has_an_index_is_an_integer(made: Made) -> None:
    for way in _ways(made):
        assert way(Index(41)) == 41
        assert way(Index(0xFFFF_FFFF)) == -1
        with pytest.raises(OverflowError, match="4294967296"):
            way(Index(1 << 32))
        with pytest.raises(LookupError, match="of its own"):
            way(Broken())
    assert made.exports.long(Index(-(1 << 63))) == -(1 << 63)


def test_what_has_a_float_is_a_float(made: Made) -> None:
    for value in (Fraction(1, 4), Decimal("0.25"), Index(3)):
        expected = 3.0 if isinstance(value, Index) else 0.25
        assert made.exports.real(value) == expected
        made.result = value
        assert made.exports.mean() == expected
        made.instance.global_("height").value = value
        assert made.instance.global_("height").value == expected
    with pytest.raises(LookupError, match="of its own"):
        made.exports.real(Broken())


def test_anything_else_is_refused_as_before(made: Made) -> None:
    for value in ("1", b"1", None, [1], 1j):
        for way in (*_ways(made), made.exports.real):
            with pytest.raises(TypeError):
                way(value)
    for value in (1.0, Fraction(1), Decimal(1)):
        for way in _ways(made):
            with pytest.raises(TypeError):
                way(value)


def test_the_conversion_may_use_and_close_the_instance(made: Made) -> None:
    class Reenters:
        def __index__(self) -> int:
            return int(made.exports.same(5))

    class Closes:
        def __index__(self) -> int:
            made.instance.close()
            return 5

    assert made.exports.same(Reenters()) == 5
    made.result = Reenters()
    assert made.exports.total() == 5
    variable = made.instance.global_("top")
    with pytest.raises(pywasmrt.ClosedError):
        made.exports.same(Closes())
    with pytest.raises(pywasmrt.ClosedError):
        variable.value = Closes()


def test_a_global_is_not_set_where_the_conversion_closes_the_store(made: Made) -> None:
    class Closes:
        def __index__(self) -> int:
            made.instance.close()
            return 5

    variable = made.instance.global_("top")
    with pytest.raises(pywasmrt.ClosedError):
        variable.value = Closes()


class Posing:
    """It says that it is an int."""

    __class__ = int  # type: ignore[assignment]


class Unsure:
    """As NumPy's arrays: the class has the methods, and the object is no number."""

    def __index__(self) -> int:
        raise TypeError("only integer scalar arrays can be converted to a scalar index")

    def __float__(self) -> float:
        raise TypeError("only 0-dimensional arrays can be converted to Python scalars")


def test_what_turns_out_to_be_no_number_is_refused_by_its_place(made: Made) -> None:
    def real_result(value: Any) -> Any:
        made.result = value
        return made.exports.mean()

    places = ["argument 1 of same", "host function .* returned", "the global's value"]
    ways = [*zip(_ways(made), places, strict=True), (made.exports.real, "argument 1 of real"), (real_result, places[1])]
    values: list[Any] = [Posing(), Unsure()]
    try:
        import numpy
    except ImportError:
        pass
    else:
        values += [numpy.array([1, 2]), numpy.str_("5"), numpy.array("5"), numpy.bytes_(b"5"), numpy.complex64(1)]
        values += [numpy.complex128(1j), numpy.array(1j), numpy.datetime64("2020-01-01"), numpy.timedelta64(5, "s")]
    for value in values:
        for way, place in ways:
            with pytest.raises(TypeError, match=place):
                way(value)


def test_numpys_numbers(made: Made) -> None:
    numpy = pytest.importorskip("numpy")
    numbers = numpy.array([1, 2, 3], dtype="<i4")
    for way in _ways(made):
        assert way(numbers.sum()) == 6
    assert made.exports.real(numpy.float32(1.5)) == 1.5


WAITING_GUEST = """(module
  (import "env" "ask" (func $ask (param i32) (result i32)))
  (import "env" "both" (func $both (param externref) (result i32 externref)))
  (func (export "ask") (param i32 f64) (result i32) (call $ask (local.get 0)))
  (func (export "both") (param externref i32) (result i32 externref) (call $both (local.get 0))))"""


def test_in_an_asynchronous_store(runtime: pywasmrt.Runtime, needs: Callable[..., None]) -> None:
    needs("reference-types", "multi-value")
    answers: list[Any] = [Index(8), (Index(9), "text"), [Index(10), "list"]]

    async def ask(x: int) -> Any:
        await asyncio.sleep(0)
        return answers.pop(0)

    async def both(x: Any) -> Any:
        await asyncio.sleep(0)
        return answers.pop(0)

    async def main() -> None:
        module = runtime.compile(to_binary(WAITING_GUEST))
        env = {"ask": ask, "both": both}
        instance = await runtime.instantiate_async(module, {"env": env})
        exports = instance.exports
        assert await exports.ask.call_async(Index(1), Fraction(1, 2)) == 8
        assert await exports.both.call_async("any", Index(2)) == (9, "text")
        assert await exports.both.call_async("any", Index(2)) == (10, "list")
        for wrong, error in (("1", TypeError), (Index(1 << 32), OverflowError), (Broken(), LookupError)):
            with pytest.raises(error):
                await exports.ask.call_async(wrong, 1.0)
            answers[:] = [wrong]
            with pytest.raises(error):
                await exports.ask.call_async(1, 1.0)
            answers[:] = [(wrong, None)]
            with pytest.raises(error):
                await exports.both.call_async(None, 1)
        answers[:] = [1]
        assert await exports.ask.call_async(1, 1) == 1

    run(main)


def test_the_conversion_may_close_an_asynchronous_instance(runtime: pywasmrt.Runtime) -> None:
    async def ask(x: int) -> Any:
        return x

    async def main() -> None:
        wat = """(module (import "env" "ask" (func $ask (param i32) (result i32)))
          (func (export "ask") (param i32) (result i32) (call $ask (local.get 0))))"""
        instance = await runtime.instantiate_async(runtime.compile(to_binary(wat)), {"env": {"ask": ask}})

        class Closes:
            def __index__(self) -> int:
                instance.close()
                return 5

        with pytest.raises(pywasmrt.ClosedError):
            await instance.exports.ask.call_async(Closes())

    run(main)
