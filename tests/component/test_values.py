"""Values of every WIT type: through a component and back, and what is refused and why."""

from __future__ import annotations

import array
import collections
import contextlib
import enum
import math
import types
from typing import Any

import pytest

import pywasmrt
from pywasmrt.component import (
    EnumType,
    Err,
    FlagsType,
    ListType,
    NamedType,
    Ok,
    OptionType,
    PrimitiveType,
    RecordType,
    ResultType,
    Some,
    TupleType,
    VariantType,
    WitType,
)
from pywasmrt.testing.components import echo_component

U8, U32, S64, F32, F64, TEXT, CHAR, BOOL = map(PrimitiveType, "u8 u32 s64 f32 f64 string char bool".split())
POINT = NamedType("point", RecordType((("x", U32), ("the-y", F64))))
SHAPE = NamedType("shape", VariantType((("circle", F64), ("none", None), ("poly", ListType(POINT)))))
COLOR = NamedType("color", EnumType(tuple("red hot-pink c d e f g h i j k l".split())))
RIGHTS = NamedType("rights", FlagsType(("read", "write", "run-it")))
LINES = NamedType("lines", RecordType((("points", ListType(POINT)), ("name", OptionType(TEXT)))))


class Echo:
    """An instance that gives back values of one type."""

    def __init__(self, runtime: pywasmrt.Runtime, type: WitType) -> None:
        self.component: Any = runtime.compile_component(echo_component(type))
        self.types = self.component.types
        self.instance = runtime.instantiate_component(self.component)

    def __call__(self, value: Any) -> Any:
        [back] = self.instance.exports.echo([value])
        return back


def test_properties_hold_for_values_of_any_type(components: pywasmrt.Runtime) -> None:
    from hypothesis import given, settings
    from hypothesis import strategies as st

    from pywasmrt.testing.component_strategies import component_types, component_values

    @settings(max_examples=60)
    @given(st.data())
    def round_trip(data: Any) -> None:
        type = data.draw(component_types())
        component: Any = components.compile_component(echo_component(type))
        values = data.draw(st.lists(component_values(type, component.types), max_size=4))
        if type == U8:
            values = bytes(values)
        with components.instantiate_component(component) as instance:
            back = instance.exports.echo(values)
            assert repr(back) == repr(values)
            assert back == values

    round_trip()


@pytest.mark.parametrize("name", "s8 u8 s16 u16 s32 u32 s64 u64".split())
def test_integers_are_checked_at_their_limits(components: pywasmrt.Runtime, name: str) -> None:
    echo = Echo(components, TupleType((PrimitiveType(name),)))
    bits = int(name[1:])
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if name[0] == "s" else (0, (1 << bits) - 1)
    for value in (low, 0, 1, high, True):
        assert echo((value,)) == (value,)
    for value in (low - 1, high + 1, 1 << 200, -(1 << 200)):
        with pytest.raises(OverflowError, match=f"item 0\\[0\\]: {name} takes {low} to {high}"):
            echo((value,))
    for wrong in (1.0, "1", None, b"1", [1], object()):
        with pytest.raises(TypeError, match=f"item 0\\[0\\]: {name} takes an int"):
            echo((wrong,))


class Index:
    def __index__(self) -> int:
        return 7


class Float:
    def __float__(self) -> float:
        return 2.5


def test_what_counts_as_a_number(components: pywasmrt.Runtime) -> None:
    assert Echo(components, TupleType((U32,)))((Index(),)) == (7,)
    echo = Echo(components, TupleType((F32, F64)))
    assert echo((Float(), Index())) == (2.5, 7.0)
    assert echo((1e300, -0.0)) == (math.inf, 0.0)
    assert math.isnan(echo((math.nan, 1))[0])
    with pytest.raises(OverflowError, match="too large for f64"):
        echo((0, 10**400))
    with pytest.raises(TypeError, match="f32 takes a float or an int, not '1'"):
        echo(("1", 1))


class Whole(int):
    """An int whose methods say something else."""

    def __index__(self) -> int:
        return 8

    def __int__(self) -> int:
        return 9

    def __float__(self) -> float:
        return 1.5


class NoNumber:
    def __index__(self) -> int:
        return "odd"  # type: ignore[return-value]


class TooLarge:
    def __float__(self) -> float:
        raise OverflowError("mine")


def test_the_rules_for_numbers_are_those_of_every_call(components: pywasmrt.Runtime) -> None:
    whole, real = (Echo(components, TupleType((type,))) for type in (U32, F64))
    assert whole((Whole(7),)) == (7,)
    assert real((Whole(7),)) == (7.0,)
    for echo, wanted in ((whole, "u32 takes an int"), (real, "f64 takes a float or an int")):
        with pytest.raises(TypeError, match=f"item 0\\[0\\]: {wanted}, not <"):
            echo((NoNumber(),))
    with pytest.raises(OverflowError, match=r"^mine$"):
        real((TooLarge(),))


def test_numbers_of_numpy(components: pywasmrt.Runtime) -> None:
    numpy = pytest.importorskip("numpy")
    whole, real = (Echo(components, TupleType((type,))) for type in (U32, F64))
    for value in (numpy.int8(3), numpy.uint64(3), numpy.array(3)):
        assert whole((value,)) == (3,)
        assert real((value,)) == (3.0,)
    for value in (numpy.float32(1.5), numpy.float64(1.5), numpy.longdouble(1.5), numpy.array(1.5)):
        assert real((value,)) == (1.5,)
        with pytest.raises(TypeError, match="u32 takes an int, not "):
            whole((value,))
    assert whole((numpy.bool_(True),)) == (1,)
    assert real((numpy.bool_(True),)) == (1.0,)
    odd = [numpy.complex128(1 + 2j), numpy.str_("1.5"), numpy.bytes_(b"1"), numpy.array([1.0, 2.0]), numpy.array("5")]
    odd += [numpy.datetime64(3, "s"), numpy.timedelta64(3, "s")]
    for value in odd:
        with pytest.raises(TypeError, match=r"item 0\[0\]: f64 takes a float or an int, not "):
            real((value,))
        with pytest.raises(TypeError, match=r"item 0\[0\]: u32 takes an int, not "):
            whole((value,))


class Raises:
    def __index__(self) -> int:
        raise KeyError("mine")

    def __float__(self) -> float:
        raise KeyError("mine")


@pytest.mark.parametrize("type", [U32, F64], ids=str)
def test_what_an_argument_raises_comes_out_unchanged(components: pywasmrt.Runtime, type: WitType) -> None:
    with pytest.raises(KeyError, match="mine"):
        Echo(components, TupleType((type,)))((Raises(),))


def test_text(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, TEXT)
    for text in ("", "plain", "ümläut", "\0", "\U0001f600" * 3, "x" * 100_000):
        assert echo(text) == text
    with pytest.raises(ValueError, match="item 0: a string holds no lone surrogates, as this one does at 1"):
        echo("a\ud800")
    for wrong in (b"bytes", 1, None, ["a"]):
        with pytest.raises(TypeError, match="string takes a str"):
            echo(wrong)


def test_characters(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, CHAR)
    for text in ("a", "\0", "\U0010ffff", "é"):
        assert echo(text) == text
    for wrong in ("", "ab", "\udfff", "\ud800"):
        with pytest.raises(ValueError, match="char"):
            echo(wrong)
    with pytest.raises(TypeError, match="char takes a str of one character, not 97"):
        echo(97)


def test_truth_values(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, BOOL)
    assert echo(True) is True
    assert echo(False) is False
    with pytest.raises(TypeError, match="bool takes True or False, not 1"):
        echo(1)


def test_lists_take_buffers_of_their_format(components: pywasmrt.Runtime) -> None:
    for name, letter in zip("s8 u8 s16 u16 s32 u32 s64 u64 f32 f64".split(), "bBhHiIqQfd", strict=True):
        echo = Echo(components, ListType(PrimitiveType(name)))
        values = array.array(letter, range(100))
        back = echo(values)
        assert list(back) == list(range(100))
        assert list(echo(memoryview(values)[::-3])) == list(range(99, -1, -3))
        wrong = array.array("d" if letter != "d" else "B", [1])
        with pytest.raises(TypeError, match=f"list<{name}> takes .*, not a buffer of format"):
            echo(wrong)
    flat = Echo(components, ListType(BOOL))
    assert flat(memoryview(b"\0\1\2").cast("?")) == [False, True, True]


def test_bytes(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, ListType(U8))
    for value in (b"", b"abc", bytearray(b"abc"), memoryview(b"abc"), [97, 98, 99], (97, 98, 99)):
        assert echo(value) == bytes(value)
    with pytest.raises(OverflowError, match=r"item 0\[1\]: u8 takes 0 to 255, not 256"):
        echo([1, 256])
    with pytest.raises(TypeError, match="list<u8> takes bytes or any buffer of them, not 'abc'"):
        echo("abc")
    two = memoryview(bytes(4)).cast("B", (2, 2))
    with pytest.raises(TypeError, match="2 dimensions"):
        echo(two)


def test_lists_refuse_what_is_no_list(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, ListType(TEXT))
    assert echo(("a", "b")) == ["a", "b"]
    for wrong in ("ab", {"a": 1}, {"a"}, iter(["a"]), 5, None, collections.deque(["a"])):
        with pytest.raises(TypeError, match="list<string> takes a list"):
            echo(wrong)


def test_lists_that_change_while_they_are_read(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, ListType(TupleType((U32,))))
    values: list[Any] = []

    class Clears:
        def __index__(self) -> int:
            values.clear()
            return 1

    values += [(Clears(),), (2,), (3,)]
    with contextlib.suppress(TypeError, RuntimeError):  # whether the change is noticed is the runtime's affair
        echo(values)

    class Grows:
        def __index__(self) -> int:
            if len(values) < 50:
                values.append((4,))
            return 1

    values[:] = [(Grows(),), (2,)]
    with contextlib.suppress(TypeError, RuntimeError):
        echo(values)
    assert echo([(1,), (2,)]) == [(1,), (2,)]


def test_records(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, POINT)
    Point = echo.types.Point
    point = Point(1, 2.5)
    assert echo(point) == point
    assert repr(echo(point)) == "Point(x=1, the_y=2.5)"
    assert type(echo(point)) is Point
    assert echo({"x": 1, "the_y": 2.5}) == point
    assert echo(types.MappingProxyType({"x": 1, "the_y": 2.5})) == point
    assert echo(types.SimpleNamespace(x=1, the_y=2.5, other=3)) == point
    with pytest.raises(AttributeError):
        point.x = 2
    with pytest.raises(TypeError, match=r"item 0: point takes a Point, a mapping or .*\(x, the_y\).* has no 'the_y'"):
        echo({"x": 1})
    with pytest.raises(TypeError, match="point has no field 'z'"):
        echo({"x": 1, "the_y": 1, "z": 1})
    with pytest.raises(TypeError, match="has no 'x'"):
        echo((1, 2))
    with pytest.raises(TypeError, match=r'item 0\.the_y: f64 takes a float or an int, not "no"|not \'no\''):
        echo(Point(1, "no"))


def test_a_records_property_may_raise(components: pywasmrt.Runtime) -> None:
    class Odd:
        the_y = 1

        @property
        def x(self) -> int:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Echo(components, POINT)(Odd())


def test_paths_lead_to_what_is_wrong(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, LINES)
    Lines, Point = echo.types.Lines, echo.types.Point
    value = Lines([Point(1, 2), Point(3, 4)], None)
    assert echo(value) == value
    with pytest.raises(TypeError, match=r"^argument 1 of echo\(\), item 0\.points\[1\]\.x: u32 takes an int, not 'x'"):
        echo(Lines([Point(1, 2), Point("x", 4)], None))
    with pytest.raises(TypeError, match=r"item 0\.name: string takes a str, not 5"):
        echo(Lines([], 5))


def test_variants(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, SHAPE)
    made = echo.types
    for value in (made.ShapeCircle(1.5), made.ShapeNone(), made.ShapePoly([made.Point(1, 2)])):
        assert echo(value) == value
        assert isinstance(echo(value), made.Shape)
    assert echo(made.ShapeNone) == made.ShapeNone()
    match echo(made.ShapeCircle(2)):
        case made.ShapeCircle(radius):
            assert radius == 2.0
        case _:
            pytest.fail("it is a circle")
    for wrong in (1.5, None, "none", made.ShapeCircle, object):
        with pytest.raises(TypeError, match="shape takes a ShapeCircle or ShapeNone or ShapePoly, not"):
            echo(wrong)
    with pytest.raises(TypeError, match=r"item 0\.circle: f64 takes"):
        echo(made.ShapeCircle("x"))


def test_enums(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, COLOR)
    Color = echo.types.Color
    assert issubclass(Color, enum.Enum)
    for member in Color:
        assert echo(member) is member
    assert Color("hot-pink") is Color.HOT_PINK
    for wrong in ("red", 0, None, [], Color):
        with pytest.raises(TypeError, match="color takes a Color, not"):
            echo(wrong)


def test_flags(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, RIGHTS)
    Rights = echo.types.Rights
    assert issubclass(Rights, enum.Flag)
    for value in (Rights(0), Rights.READ, Rights.READ | Rights.RUN_IT, ~Rights(0)):
        assert echo(value) == value
    for wrong in (0, 1, "read", {"read"}, None):
        with pytest.raises(TypeError, match="rights takes a Rights, not"):
            echo(wrong)


def test_options(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, OptionType(U32))
    assert echo(None) is None
    assert echo(5) == 5
    nested = Echo(components, OptionType(OptionType(U32)))
    for value in (None, Some(None), Some(5)):
        assert nested(value) == value
    with pytest.raises(TypeError, match=r"takes None, Some\(None\) or Some\(value\), not 5"):
        nested(5)
    with pytest.raises(TypeError, match=r"item 0\.some: u32 takes an int"):
        nested(Some("x"))


def test_results_inside_of_values(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, ResultType(U32, TEXT))
    for value in (Ok(5), Err("no")):
        assert echo(value) == value
    for wrong in (5, "no", None):
        with pytest.raises(TypeError, match="takes an Ok or an Err"):
            echo(wrong)
    with pytest.raises(TypeError, match=r"item 0\.err: string takes a str, not 5"):
        echo(Err(5))
    empty = Echo(components, ResultType())
    assert empty(Ok()) == Ok(None)
    with pytest.raises(TypeError, match="has no value, so None is wanted"):
        empty(Ok(1))


def test_tuples(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, TupleType((U32, TEXT)))
    assert echo((1, "a")) == (1, "a")
    assert echo([1, "a"]) == (1, "a")
    with pytest.raises(TypeError, match="takes 2 values, not 3"):
        echo((1, "a", 2))
    with pytest.raises(TypeError, match="takes a tuple of 2, not 5"):
        echo(5)


def test_deep_nesting(components: pywasmrt.Runtime) -> None:
    type: WitType = U32
    value: Any = 7
    for _ in range(80):
        type, value = ListType(type), [value]
    assert Echo(components, type)(value) == value


def test_large_lists(components: pywasmrt.Runtime) -> None:
    echo = Echo(components, ListType(S64))
    values = list(range(-100_000, 100_000))
    assert echo(values) == values
    assert echo(array.array("q", values)) == values
