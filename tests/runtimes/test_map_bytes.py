"""map_bytes: a call for each row of columns of bytes and text."""

from __future__ import annotations

import gc
import weakref
from array import array
from typing import Any

import pytest
from helpers.running import others_run_during
from helpers.text_guests import TEXT, upper, words
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import HostModule, MemoryAccessError, RowError, Runtime, Trap

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.wasm_features("multi-value")

FORMS = [
    ("upper", {}),
    ("upper_low", {"form": "pointer-low"}),
    ("upper_pair", {}),
    ("upper_first", {"form": "out-first"}),
    ("upper_given", {"gives": True}),
]


def refusing(pointer: int) -> str:
    """The guest with an allocator that gives `pointer` for more than 500 bytes."""
    given = f"(if (i32.gt_u (local.get $size) (i32.const 500)) (then (return (i32.const {pointer}))))"
    first = "(local.set $at (global.get $next))"
    return TEXT.replace(first, given + first)


def calling_back() -> str:
    """The guest, whose `size` calls the host."""
    size = '(func (export "size") (param i32 i32) (result i32)'
    return TEXT.replace("(module", '(module (import "env" "f" (func $f))', 1).replace(size, size + " (call $f)")


@pytest.fixture
def guest(runtime: Runtime) -> Any:
    return runtime.instantiate(runtime.compile(TEXT))


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_every_form_of_results(guest: Any, name: str, options: dict[str, Any]) -> None:
    rows = words(200)
    assert guest.map_bytes(name, rows, **options) == [upper(row) for row in rows]
    encoded = [row.encode() for row in rows]
    assert guest.map_bytes(name, encoded, **options) == [upper(row).encode() for row in rows]
    assert guest.exports.live() == 0  # everything was freed
    assert guest.map_bytes(name, [], **options) == []


def test_a_status_fails_its_row(guest: Any) -> None:
    assert guest.map_bytes("upper_last", ["a", "bb", ""], form="out-last") == ["A", "BB", ""]
    with pytest.raises(RowError, match=r"row 1 of upper_last\(\): the guest returned the status 7") as caught:
        guest.map_bytes("upper_last", ["a", "abc"], form="out-last")
    assert caught.value.row == 1
    assert isinstance(caught.value.__cause__, MemoryAccessError)
    result, failed = guest.map_bytes("upper_last", ["a", "abc", "b"], form="out-last", on_error="mask")
    assert (result, list(failed)) == (["A", "", "B"], [False, True, False])


def test_results_within_the_argument_are_not_freed(guest: Any) -> None:
    rows = ["one", "second", "", "ä"]
    assert guest.map_bytes("rest", rows, 1, returns="bytes") == [row.encode()[1:] for row in rows]
    assert guest.map_bytes("rest", rows, numpy.array([0, 1, 2, 2]), returns="text") == ["one", "econd", "", ""]
    assert guest.exports.live() == 0


def test_what_guests_return_may_stay_theirs(guest: Any) -> None:
    assert guest.map_bytes("upper", ["a", "b"], frees=False) == ["A", "B"]
    assert guest.exports.live() == 2


def test_numbers_of_text(guest: Any) -> None:
    assert list(guest.map_bytes("size", ["a", "", "ä"])) == [1, 0, 2]
    first, second = guest.map_bytes("sizes", ["a", "bb"], [b"", b"xyz"])
    assert (list(first), list(second)) == ([1, 2], [0.0, 3.0])
    assert guest.map_bytes(guest.exports.size, ["abc"], returns="numbers").tolist() == [3]


def test_constants_and_several_columns(guest: Any) -> None:
    assert guest.map_bytes("join", ["a", "b"], "-") == ["a-", "b-"]
    assert guest.map_bytes("join", b"<", numpy.array(["a", "b"]), returns="text") == ["<a", "<b"]
    assert guest.map_bytes("join", ["x"] * 70, [f"{n}" for n in range(70)]) == [f"x{n}" for n in range(70)]
    assert guest.map_bytes("upper", numpy.array([b"ab", b"c"])) == [b"AB", b"C"]
    assert guest.map_bytes("upper", numpy.array(["ab", "c"], dtype=object)) == ["AB", "C"]


def test_pointers_of_zero(guest: Any) -> None:
    nulls = numpy.zeros(3, dtype=bool)
    assert guest.map_bytes("maybe", ["a", "", "b"], nulls=nulls) == ["a", "", "b"]
    assert nulls.tolist() == [False, True, False]


def test_where_pointers_of_zero_are_told(guest: Any) -> None:
    for nulls in (bytearray(2), array("b", [0, 0]), numpy.zeros(4, dtype=bool)[::2], numpy.zeros(2, "u1")):
        guest.map_bytes("maybe", ["a", ""], nulls=nulls)
        assert list(nulls) == [0, 1]
    wrong: list[tuple[Any, type[Exception], str]] = [
        ([False, False], TypeError, "nulls is a writable column of booleans"),
        (3, TypeError, "nulls is a writable column of booleans"),
        (numpy.zeros(2), TypeError, "nulls .* the format 'd'"),
        (numpy.zeros(2, dtype=object), TypeError, "nulls .* the format 'O'"),
        (numpy.zeros((2, 1), dtype=bool), TypeError, "nulls .* 2 dimensions"),
        (numpy.array(False), TypeError, "nulls .* 0 dimensions"),
        (bytes(2), ValueError, "nulls is read-only"),
        (bytearray(1), ValueError, "nulls has 1 rows, and the columns have 2"),
        (numpy.zeros(3, dtype=bool), ValueError, "nulls has 3 rows, and the columns have 2"),
    ]
    for nulls, error, message in wrong:
        with pytest.raises(error, match=message):
            guest.map_bytes("maybe", ["a", ""], nulls=nulls)


@given(rows=st.lists(st.binary(max_size=50)))
def test_the_same_as_putting_each_row(rows: list[bytes]) -> None:
    with pywasmrt.new_runtime() as runtime:
        guest = runtime.instantiate(runtime.compile(TEXT))
        expected = []
        for row in rows:
            with guest.put(row) as data:
                packed = guest.exports.join(data.pointer, data.size, data.pointer, data.size)
                expected.append(guest.memory().read(packed >> 32 & 0xFFFF_FFFF, packed & 0xFFFF_FFFF))
        assert guest.map_bytes("join", rows, rows) == expected


def test_a_row_that_traps(guest: Any) -> None:
    with pytest.raises(RowError, match=r"row 2 of fails\(\): ") as caught:
        guest.map_bytes("fails", ["a", "bb", "ccc"])
    assert caught.value.row == 2
    assert isinstance(caught.value.__cause__, Trap)
    result, failed = guest.map_bytes("fails", ["a", "bbb", "c"], on_error="mask")
    assert (result, list(failed)) == (["a", "", "c"], [False, True, False])
    assert guest.map_bytes("upper", ["a"]) == ["A"]


def test_a_result_that_is_not_in_the_memory(guest: Any) -> None:
    with pytest.raises(RowError, match=r"row 1 of outside\(\): the guest gave what is not its memory: 32 bytes at 429"):
        guest.map_bytes("outside", ["a", "abc"])
    result, failed = guest.map_bytes("outside", ["a", "abc"], on_error="mask")
    assert (result, list(failed)) == (["a", ""], [False, True])


def test_a_result_that_is_no_text(guest: Any) -> None:
    assert guest.map_bytes("wrong", ["a"], returns="bytes") == [b"\xff"]
    with pytest.raises(RowError, match=r"row 1 of wrong\(\): the guest gave what is not UTF-8") as caught:
        guest.map_bytes("wrong", ["", "a"], frees=False)
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)


def test_a_guest_that_grows_its_memory_for_each_row(guest: Any) -> None:
    rows = words(20)
    assert guest.map_bytes("grow", rows, frees=False) == rows


def test_results_beyond_a_bound(guest: Any) -> None:
    assert guest.map_bytes("upper", ["abc", "de"], max_bytes=5) == ["ABC", "DE"]
    with pytest.raises(ValueError, match="larger than max_bytes=4"):
        guest.map_bytes("upper", ["abc", "de"], max_bytes=4)
    with pytest.raises(ValueError, match="larger than max_bytes=100"):
        guest.map_bytes(
            "upper", ["a" * 60, "b" * 30, "c" * 30], max_bytes=100
        )  # the last fits beside what is kept free
    assert guest.exports.live() == 0


@pytest.mark.parametrize("option", ["returns", "form", "on_error"])
def test_options_that_are_no_text(guest: Any, option: str) -> None:
    for value in (numpy.zeros(2), numpy.void(b"1234"), [], 5):
        with pytest.raises(ValueError, match=option):
            guest.map_bytes("upper", ["a"], **{option: value})


def test_the_error_of_a_host_function_is_not_the_guests(runtime: Runtime) -> None:
    """It comes out as itself even if it is one of those that fail a row."""
    env = HostModule("env")
    raised: list[Exception] = [Trap("mine"), MemoryAccessError("mine")]

    @env.function
    def f() -> None:
        raise raised[-1]

    guest = runtime.instantiate(runtime.compile(calling_back()), env)
    while raised:
        for on_error in ("raise", "mask"):
            with pytest.raises(type(raised[-1])) as caught:
                guest.map_bytes("size", ["a"], on_error=on_error)
            assert caught.value is raised[-1]
        raised.pop()


def test_an_allocator_without_room(runtime: Runtime) -> None:
    none = refusing(0)
    guest = runtime.instantiate(runtime.compile(none))
    with pytest.raises(RowError, match=r"malloc of the guest gave 0 for \d+ bytes: it has no room"):
        guest.map_bytes("upper", ["a" * 1000])
    assert guest.map_bytes("upper", ["a"]) == ["A"]


def test_an_allocator_that_lies(runtime: Runtime) -> None:
    lies = refusing(-64)
    guest = runtime.instantiate(runtime.compile(lies))
    with pytest.raises(RowError, match="malloc of the guest gave what is not its memory"):
        guest.map_bytes("upper", ["a" * 1000])


@pytest.mark.parametrize(
    ("name", "columns", "options", "error", "message"),
    [
        ("upper", (["a"], ["b"]), {}, TypeError, "these columns are 4 of its params"),
        ("upper", (), {}, TypeError, "these columns are 0 of its params"),
        ("upper", ("a",), {}, TypeError, "at least one column"),
        ("join", (["a"], ["b", "c"]), {}, ValueError, "argument 1 has 1, argument 2 has 2"),
        ("upper", (["a", b"b"],), {}, TypeError, "row 1 of argument 1 of upper.. must be a str"),
        ("upper", (["a", None],), {}, TypeError, "Udf knows them"),
        ("upper", ([1, 2],), {}, TypeError, "row 0 of argument 1 of upper.. must be bytes"),
        ("upper", (["\ud800"],), {}, ValueError, "row 0 of argument 1 of upper.. cannot be written as UTF-8"),
        ("upper_first", (["a"],), {}, TypeError, "say form='out-first'"),
        ("upper", (["a"],), {"form": "pair"}, TypeError, "in the form 'pair'"),
        ("upper", (["a"],), {"form": "middle"}, ValueError, "form is one of"),
        ("upper", (["a"],), {"returns": "str"}, ValueError, "returns is 'text'"),
        ("upper", (["a"],), {"form": "pair", "returns": "numbers"}, ValueError, "different things"),
        ("size", (["a"],), {"returns": "text"}, TypeError, "gives no text back"),
        ("upper", (["a"],), {"on_error": "ignore"}, ValueError, "'raise' or 'mask'"),
        ("upper", (["a"],), {"max_bytes": -1}, ValueError, "max_bytes is a number"),
        ("uper", (["a"],), {}, pywasmrt.FunctionNotExportedError, "did you mean"),
        ("upper", (["a"],), {"allocator": "palloc"}, pywasmrt.FunctionNotExportedError, "palloc"),
        ("upper", (["a"],), {"memory": "other"}, pywasmrt.MemoryExportNotFoundError, "no memory"),
        ("rest", (["a", "b"], numpy.array([1, 2**33])), {}, OverflowError, "row 1 of argument 2"),
        ("rest", (["a"], numpy.array([1.5])), {}, TypeError, "column of floats"),
        ("number", (["a"],), {}, TypeError, "these columns are 2 of its params"),
    ],
)
def test_bad_columns(
    guest: Any, name: str, columns: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        guest.map_bytes(name, *columns, **options)
    assert guest.map_bytes("upper", ["a"]) == ["A"]


def test_a_host_function_that_closes_the_instance(runtime: Runtime) -> None:
    text = calling_back()
    env = HostModule("env")
    seen = []

    @env.function
    def f() -> None:
        seen.append(1)
        if len(seen) == 3:
            instance.close()

    instance = runtime.instantiate(runtime.compile(text), env)
    with pytest.raises(pywasmrt.ClosedError):
        instance.map_bytes("size", words(100))
    assert len(seen) == 3


def test_a_host_function_may_map_again(runtime: Runtime) -> None:
    text = calling_back()
    env = HostModule("env")

    @env.function
    def f() -> None:
        assert instance.map_bytes("upper", ["within"]) == ["WITHIN"]

    instance = runtime.instantiate(runtime.compile(text), env)
    assert list(instance.map_bytes("size", ["a", "bb"])) == [1, 2]


def test_a_deadline_ends_the_loop(runtime: Runtime, needs: Any) -> None:
    needs("deadline")
    guest = runtime.instantiate(runtime.compile(TEXT))
    for name, rows in [("spin", ["a"]), ("maybe", ["a"] * 1_000_000)]:
        with pytest.raises(pywasmrt.DeadlineExceeded), guest.deadline(0.01):
            guest.map_bytes(name, rows)
    assert guest.map_bytes("upper", ["a"]) == ["A"]


def test_other_threads_run_meanwhile(guest: Any, runtime: Runtime) -> None:
    if runtime.info.name == "wasmtime-py":
        pytest.skip("loops in Python")
    pa = pytest.importorskip("pyarrow")
    column = pa.array(["some text"]).take(pa.array(numpy.zeros(2_000_000, dtype="i4")))
    assert others_run_during(lambda: guest.map_bytes("size", column))


# Arrow


@pytest.fixture
def pa() -> Any:
    return pytest.importorskip("pyarrow")


@pytest.mark.parametrize("type", ["string", "large_string", "binary", "large_binary", "string_view", "binary_view"])
def test_arrow_arrays(guest: Any, pa: Any, type: str) -> None:
    rows = words(50)
    column = pa.array(rows, pa.string()).cast(pa.large_string()).cast(getattr(pa, type)())
    result = guest.map_bytes("upper", column)
    like = {"string_view": "large_string", "binary_view": "large_binary"}.get(type, type)
    assert str(result.type) == like
    assert result.cast(pa.large_binary()).to_pylist() == [upper(row).encode() for row in rows]
    assert guest.map_bytes("size", column[10:20]).tolist() == [len(row.encode()) for row in rows[10:20]]
    assert guest.map_bytes("upper", column[:0]).to_pylist() == []


def test_chunked_arrow_arrays(guest: Any, pa: Any) -> None:
    chunked = pa.chunked_array([["a", "bc"], [], ["d"]])
    result = guest.map_bytes("upper", chunked)
    assert isinstance(result, pa.ChunkedArray)
    assert result.to_pylist() == ["A", "BC", "D"]
    assert guest.map_bytes("upper", pa.chunked_array([], pa.string())).to_pylist() == []
    assert guest.map_bytes("rest", pa.chunked_array([["abc"]]), pa.array([2])).to_pylist() == ["c"]


def test_arrow_arrays_with_nulls_are_refused(guest: Any, pa: Any) -> None:
    with pytest.raises(ValueError, match=r"argument 1 of upper\(\) has 1 nulls"):
        guest.map_bytes("upper", pa.array(["a", None]))
    for column in (pa.array([1, None], pa.int32()), pa.array([True, None]), pa.chunked_array([[1.0], [None]])):
        with pytest.raises(ValueError, match=r"argument 2 of rest\(\) has 1 nulls; fill them"):
            guest.map_bytes("rest", ["a", "b"], column)


def test_the_nans_of_pandas_are_numbers(runtime: Runtime) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    if not hasattr(pandas.Series, "__arrow_c_stream__"):
        pytest.skip("the columns of this pandas are no Arrow data")
    half = '(func (export "half") (param i32 i32 f64) (result f64) (f64.div (local.get 2) (f64.const 2)))'
    guest = runtime.instantiate(runtime.compile(TEXT.rstrip().removesuffix(")") + half + ")"))
    result = guest.map_bytes("half", ["", ""], pandas.Series([3.0, float("nan")]))
    assert str(result.tolist()) == "[1.5, nan]"
    with pytest.raises(ValueError, match=r"argument 2 of half\(\) has 1 nulls"):
        guest.map_bytes("half", ["", ""], pandas.Series([3, None], dtype="Int64"))


def test_arrow_results_that_are_no_text(guest: Any, pa: Any) -> None:
    with pytest.raises(RowError, match="row 1 of wrong"):
        guest.map_bytes("wrong", pa.array(["", "a"]), frees=False)


@pytest.mark.parametrize("offsets", [[0, 2, 1], [0, 100, 3], [0, -5, 3], [0, 2**31 - 1, 3]])
def test_an_arrow_array_that_lies_about_its_offsets(guest: Any, pa: Any, offsets: list[int]) -> None:
    buffers = [None, pa.py_buffer(numpy.array(offsets, dtype="i4")), pa.py_buffer(b"abc")]
    lies = pa.StringArray.from_buffers(2, buffers[1], buffers[2])
    with pytest.raises(ValueError, match=r"row [01] of argument 1 of upper\(\): the offsets"):
        guest.map_bytes("upper", lies)
    with pytest.raises(ValueError, match=r"row [01] of argument 1 of upper_given\(\): the offsets"):
        guest.map_bytes("upper_given", lies, gives=True)


def test_what_the_host_raises_while_a_failed_row_is_freed_comes_first(runtime: Runtime) -> None:
    """The guest's `free` calls the host, whose exception, such as Ctrl-C, must not be lost, nor kept."""
    free = '(func $free (export "free") (param i32)'
    assert TEXT.count(free) == 1
    source = TEXT.replace("(module", '(module (import "env" "f" (func $f))', 1).replace(free, free + " (call $f)")
    raised: list[weakref.ref[BaseException]] = []

    class Stop(KeyboardInterrupt):
        pass

    def f() -> None:
        error = Stop()
        raised.append(weakref.ref(error))
        raise error

    instance = runtime.instantiate(runtime.compile(source), {"env": {"f": f}})
    for name, rows, most in (("fails", ["abc"], 9), ("outside", ["abc"], 9), ("upper", ["abc", "de"], 4)):
        with pytest.raises(Stop):
            instance.map_bytes(name, rows, max_bytes=most)
    gc.collect()
    assert raised
    assert not any(each() for each in raised)
