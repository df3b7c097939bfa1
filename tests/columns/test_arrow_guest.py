"""Guests of the arrow-udf ABI, made by hand: what they answer is written by pyarrow, and lies ready in their memory."""

from __future__ import annotations

import base64
import pickle
from typing import Any

import pytest

import pywasmrt
from pywasmrt import RowError, Runtime, UdfError, UnsupportedFeatureError
from pywasmrt.columns import Udf

pa = pytest.importorskip("pyarrow")


@pytest.fixture
def name(runtime: Runtime) -> str:
    return runtime.info.name


def encoded(text: str) -> str:
    return base64.b64encode(text.encode(), altchars=b"$_").decode().rstrip("=")


def ipc(*columns: Any, names: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch(list(columns), names=names)
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


def guest(
    signature: str,
    answer: bytes | list[bytes] = b"",
    *,
    version: str = "3_0",
    status: int = 0,
    others: list[str] | None = None,
    at: int = 4096,
    size: int | None = None,
) -> str:
    """A guest with one function, which answers each batch with the bytes that are given, or gives these one by one.

    `live` is how many allocations are not freed, and `last` the bytes of the last batch.
    """
    answers = [answer] if isinstance(answer, bytes) else answer
    data, places = "", []
    for each in answers:
        data += f'(data (i32.const {at}) "{escaped(each)}")\n'
        places.append((at, len(each) if size is None else size))
        at += len(each) // 8 * 8 + 8
    out = "(i32.store (local.get 2) (i32.const {})) (i32.store offset=4 (local.get 2) (i32.const {}))"
    first = out.format(*places[0]) if isinstance(answer, bytes) else out.format(77, 4)
    nexts = "".join(
        f"(if (i32.eq (global.get $step) (i32.const {n})) (then"
        f" (i32.store (local.get 1) (i32.const {place})) (i32.store offset=4 (local.get 1) (i32.const {much}))))"
        for n, (place, much) in enumerate(places, 1)
    )
    symbols = "".join(f'(global (export "{each}") i32 (i32.const 0))\n' for each in others or [])
    return f"""(module (memory (export "memory") 40)
      {data}
      (global (export "ARROWUDF_VERSION_{version}") i32 (i32.const 0))
      {symbols}
      (global $live (mut i32) (i32.const 0))
      (global $step (mut i32) (i32.const 0))
      (global $dropped (mut i32) (i32.const 0))
      (func (export "alloc") (param $size i32) (param $align i32) (result i32)
        (global.set $live (i32.add (global.get $live) (i32.const 1))) (i32.const 0x200000))
      (func (export "dealloc") (param i32 i32 i32) (global.set $live (i32.sub (global.get $live) (i32.const 1))))
      (func (export "live") (result i32) (global.get $live))
      (func (export "dropped") (result i32) (global.get $dropped))
      (func (export "record_batch_iterator_next") (param i32 i32)
        (if (i32.ne (local.get 0) (i32.const 77)) (then unreachable))
        (global.set $step (i32.add (global.get $step) (i32.const 1)))
        (i32.store (local.get 1) (i32.const 0))
        {nexts})
      (func (export "record_batch_iterator_drop") (param i32)
        (global.set $dropped (i32.add (global.get $dropped) (i32.const 1))))
      (func (export "arrowudf_{encoded(signature)}") (param i32 i32 i32) (result i32)
        (global.set $live (i32.add (global.get $live) (i32.const 1)))
        {first} (i32.const {status})))"""


def echo(signature: str, version: str = "3_0") -> str:
    """A guest whose function gives its batch back."""
    return guest(signature, version=version).replace(
        "(i32.store (local.get 2) (i32.const 4096)) (i32.store offset=4 (local.get 2) (i32.const 0))",
        "(i32.store (local.get 2) (local.get 0)) (i32.store offset=4 (local.get 2) (local.get 1))",
    )


NUMBERS = ipc(pa.array([1, None, 3], pa.int32()), names=["gcd"])


def test_a_scalar_function(name: str) -> None:
    gcd = Udf(guest("gcd(int32,int32)->int32", NUMBERS), "gcd", runtime=name)
    result = gcd(pa.array([1, 2, 3]), 4)
    assert result.equals(pa.array([1, None, 3], pa.int32()))
    assert gcd._instance().exports.live() == 0
    assert pickle.loads(pickle.dumps(gcd))(pa.array([1, 2, 3]), 4).to_pylist() == [1, None, 3]
    assert str(gcd.type) == "(i32, i32, i32) -> (i32)"
    assert len(gcd.__signature__.parameters) == 2
    assert (
        Udf(guest("gcd(int32,int32)->int32", NUMBERS), "gcd(int32, int32)->int32", runtime=name)([1, 2, 3], 4)
        is not None
    )


TYPES = [
    ("boolean", pa.bool_(), [True, None]),
    ("int8", pa.int8(), [-1, None]),
    ("uint64", pa.uint64(), [2**64 - 1, None]),
    ("float32", pa.float32(), [0.5, None]),
    ("string", pa.string(), ["ä", None]),
    ("largebinary", pa.large_binary(), [b"a", None]),
    ("date32", pa.date32(), [None, None]),
    ("time64", pa.time64("us"), [None, None]),
    ("timestamp", pa.timestamp("us"), [None, None]),
    ("interval", pa.month_day_nano_interval(), [None, (1, 2, 3)]),
    ("decimal", pa.string(), ["1.5", None]),
    ("json", pa.string(), ["{}", None]),
    ("null", pa.null(), [None, None]),
    ("int32[]", pa.list_(pa.int32()), [[1, 2], None]),
    (
        "struct<a:int32,b:string[]>",
        pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))]),
        [{"a": 1, "b": ["x"]}, None],
    ),
]


@pytest.mark.parametrize(("written", "type", "values"), TYPES)
def test_the_types_of_abi_3(written: str, type: Any, values: list[Any]) -> None:
    column = pa.array(values, type)
    result = Udf(echo(f"same({written})->{written}"), "same")(column)
    assert result.equals(column)


@pytest.mark.parametrize(
    ("written", "type", "value"),
    [
        ("int2", pa.int16(), 1),
        ("int8", pa.int64(), 2**40),
        ("float8", pa.float64(), 0.5),
        ("varchar", pa.string(), "a"),
        ("bytea", pa.binary(), b"a"),
        ("json", pa.large_string(), "{}"),
        ("decimal", pa.large_binary(), b"1.5"),
        ("struct KeyValue", pa.struct([("key", pa.string()), ("value", pa.int64())]), {"key": "a", "value": 1}),
    ],
)
def test_the_types_of_abi_2(written: str, type: Any, value: Any) -> None:
    text = echo(f"same({written})->{written}", "2_0")
    symbol = f'(global (export "arrowudt_{encoded("KeyValue=key:varchar,value:int8")}") i32 (i32.const 0))'
    column = pa.array([value, None], type)
    assert Udf(text.replace("(memory", f"{symbol} (memory", 1), "same")(column).equals(column)


def test_columns_are_cast_to_what_the_function_takes() -> None:
    same = Udf(echo("same(int64)->int64"), "same")
    assert same(pa.array([1, None], pa.int8())).equals(pa.array([1, None], pa.int64()))
    assert same(pa.chunked_array([[1], [2]])).to_pylist() == [1, 2]
    with pytest.raises(TypeError, match=r"argument 1 of same\(int64\)->int64 is string, and cannot become int64"):
        same(pa.array(["a"]))
    with pytest.raises(TypeError, match="takes 1 columns, not 2"):
        same(pa.array([1]), pa.array([2]))
    with pytest.raises(ValueError, match="one length"):
        same(pa.array([1]), pa.array([2, 3]))


def test_decimals_are_marked_for_the_guest() -> None:
    same = Udf(echo("same(decimal)->decimal"), "same")
    same(pa.array(["1.5"]))
    memory = same._instance().memory()
    assert b"arrowudf.decimal" in memory.read(0x200000, 1000)


def test_overloads(name: str) -> None:
    first, second = (f'(export "arrowudf_{encoded(f"same({each})->{each}")}")' for each in ("int32", "string"))
    text = echo("same(int32)->int32").replace(f"(func {first}", f"(func {first} {second}")
    same = Udf(text, "same", runtime=name)
    assert same(pa.array(["a"])).to_pylist() == ["a"]
    assert same(pa.array([1], pa.int32())).to_pylist() == [1]
    with pytest.raises(pywasmrt.FunctionNotExportedError, match=r"by its signature: same\(int32\)->int32, same"):
        same(pa.array([1.5]))
    with pytest.raises(pywasmrt.FunctionNotExportedError, match="did you mean"):
        Udf(text, "sane", runtime=name)(pa.array([1]))


def test_rows_with_errors(name: str) -> None:
    errors = ipc(pa.array([1, None, 3], pa.int32()), pa.array([None, "no \x1b", None]), names=["div", "error"])
    text = guest("div(int32)->int32", errors)
    with pytest.raises(RowError, match=r"row 1 of div\(\): no \\x1b") as caught:
        Udf(text, "div", runtime=name)(pa.array([1, 2, 3]))
    assert caught.value.row == 1
    assert Udf(text, "div", runtime=name, on_error="null")(pa.array([1, 2, 3])).to_pylist() == [1, None, 3]


def test_a_table_function(name: str) -> None:
    batches = [
        ipc(pa.array([0, 0], pa.int32()), pa.array([0, 1], pa.int32()), names=["row", "series"]),
        ipc(pa.array([2], pa.int32()), pa.array([0], pa.int32()), names=["row", "series"]),
    ]
    series = Udf(guest("series(int32)->>int32", batches), "series", runtime=name)
    table = series(pa.array([2, 0, 1]))
    assert table.to_pydict() == {"row": [0, 0, 2], "series": [0, 1, 0]}
    exports = series._instance().exports
    assert exports.dropped() == 1
    assert exports.live() == -1  # the iterator and its two batches: the guest counts one allocation for all
    none = Udf(guest("series(int32)->>int32", []), "series", runtime=name)(pa.array([0]))
    assert none.schema.names == ["row", "series"]


def test_the_batches_of_a_table_function_one_by_one(name: str) -> None:
    one = ipc(pa.array([0], pa.int32()), pa.array([5], pa.int64()), names=["row", "f"])
    udf = Udf(guest("f(int32)->>int64", [one, one, one]), "f", runtime=name)
    found = udf.batches(pa.array([1]))
    assert next(found).num_rows == 1
    found.close()
    assert udf._instance().exports.dropped() == 1
    with pytest.raises(TypeError, match="no table function"):
        list(Udf(guest("gcd(int32,int32)->int32", NUMBERS), "gcd", runtime=name).batches(pa.array([1]), 1))


def test_table_functions_with_errors(name: str) -> None:
    batch = ipc(
        pa.array([0, 1], pa.int32()),
        pa.array([5, None], pa.int64()),
        pa.array([None, "bad"]),
        names=["row", "f", "error"],
    )
    text = guest("f(int32)->>int64", [batch])
    with pytest.raises(RowError, match=r"row 1 of f\(\): bad"):
        Udf(text, "f", runtime=name)(pa.array([1, 2]))
    other = text + ";; an instance of its own"
    assert Udf(other, "f", runtime=name, on_error="null")(pa.array([1, 2])).to_pydict() == {"row": [0], "f": [5]}


def test_a_guest_that_refuses_a_batch(name: str) -> None:
    text = guest("f(int32)->int32", b"not this batch \x07", status=-1)
    with pytest.raises(UdfError, match=r"f: the guest answered: not this batch \\x07"):
        Udf(text, "f", runtime=name)(pa.array([1]))


# Bad answers


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, len(NUMBERS) // 2, len(NUMBERS) - 1])
def test_ipc_bytes_that_are_cut_short(name: str, size: int) -> None:
    with pytest.raises(UdfError, match="no file of Arrow's IPC format"):
        Udf(guest("f(int32)->int32", NUMBERS, size=size), "f", runtime=name)(pa.array([1, 2, 3]))


def test_damaged_ipc_bytes_are_a_result_or_an_error() -> None:
    """One byte after the other is changed. pyarrow looks at it all before anybody reads a value."""
    column = pa.array(["a", "bc", None])
    good = ipc(column, names=["f"])
    for n in range(0, len(good), 7):
        damaged = good[:n] + bytes([good[n] ^ 0xFF]) + good[n + 1 :]
        try:
            result = Udf(guest("f(int32)->string", damaged), "f")(pa.array([1, 2, 3]))
        except UdfError:
            continue
        assert len(result) == 3
        result.to_pylist()


@pytest.mark.parametrize(("at", "size"), [(4096, 2**31 - 1), (-8, 100), (39 * 65536 + 65000, 5000)])
def test_an_answer_outside_of_the_memory(name: str, at: int, size: int) -> None:
    text = guest("f(int32)->int32", NUMBERS, size=size).replace(
        "(local.get 2) (i32.const 4096)", f"(local.get 2) (i32.const {at})"
    )
    with pytest.raises(pywasmrt.MemoryAccessError):
        Udf(text, "f", runtime=name)(pa.array([1, 2, 3]))


def test_results_of_another_shape(name: str) -> None:
    for answer in (
        ipc(pa.array([1], pa.int32()), names=["f"]),
        ipc(*[pa.array([1, 2, 3])] * 3, names=["a", "b", "c"]),
        ipc(*[pa.array([1, 2, 3])] * 2, names=["a", "b"]),
    ):
        with pytest.raises(UdfError, match=r"the guest gave|no column of errors"):
            Udf(guest("f(int32)->int32", answer), "f", runtime=name)(pa.array([1, 2, 3]))
    with pytest.raises(UdfError, match="the ABI wants row, value, and error"):
        Udf(guest("f(int32)->>int32", [NUMBERS]), "f", runtime=name)(pa.array([1]))


def test_an_allocator_without_room(name: str) -> None:
    text = guest("f(int32)->int32", NUMBERS).replace("(i32.const 0x200000))", "(i32.const 0))")
    with pytest.raises(pywasmrt.MemoryAccessError, match="alloc of the guest gave 0"):
        Udf(text, "f", runtime=name)(pa.array([1]))


def test_what_the_abi_does_not_know(name: str) -> None:
    with pytest.raises(UnsupportedFeatureError, match=r"version 4\.0 of the arrow-udf ABI"):
        Udf(guest("f(int32)->int32", NUMBERS, version="4_0"), "f", runtime=name)(pa.array([1]))
    for version in ("3x_0", "²_0", "9" * 5000):
        with pytest.raises(UnsupportedFeatureError, match="of the arrow-udf ABI"):
            Udf(guest("f(int32)->int32", NUMBERS, version=version), "f", runtime=name)(pa.array([1]))
    with pytest.raises(UnsupportedFeatureError, match="'uuid'"):
        Udf(guest("f(uuid)->int32", NUMBERS), "f", runtime=name)(pa.array([1]))
    with pytest.raises(pywasmrt.FunctionNotExportedError, match="'struct Missing'"):
        Udf(guest("f(struct Missing)->int32", NUMBERS), "f", runtime=name)(pa.array([1]))
    with pytest.raises(pywasmrt.FunctionNotExportedError, match="but nothing"):
        Udf(guest("f", NUMBERS, others=["arrowudf_!!", "arrowudt_" + encoded("no fields")]), "f", runtime=name)(
            pa.array([1])
        )


@pytest.mark.parametrize("nested", ["struct<a:" * 200 + "int32" + ">" * 200, "int32" + "[]" * 200, "struct A"])
def test_types_without_an_end(nested: str) -> None:
    """A guest writes its own signatures, also of a struct that holds itself."""
    others = ["arrowudt_" + encoded("A=a:struct A")]
    with pytest.raises(UnsupportedFeatureError, match="nested deeper than 32"):
        Udf(guest(f"f({nested})->int32", NUMBERS, others=others), "f")(pa.array([1]))


def test_functions_of_another_type() -> None:
    text = guest("f(int32)->int32", NUMBERS)
    for old, new in [
        ('(export "alloc") (param $size i32) (param $align i32)', '(export "alloc") (param $size i32)'),
        ('(export "dealloc") (param i32 i32 i32)', '(export "dealloc") (param i32 i32)'),
    ]:
        assert old in text
        with pytest.raises(UdfError, match=r"is \(i32.* and the arrow-udf ABI wants"):
            Udf(text.replace(old, new), "f")(pa.array([1, 2, 3]))
