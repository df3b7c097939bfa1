"""References of the garbage-collection proposal: kept, compared, handed back, read, and given to globals and tables."""

from __future__ import annotations

import asyncio
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from helpers.resident import resident

import pywasmrt
from pywasmrt import ClosedError, FunctionInstance, Reference, Runtime, ValueType, WasmException
from pywasmrt.types import FunctionType, GlobalType, TableType

ANYREF, EQREF, I31REF = ValueType.ANYREF, ValueType.EQREF, ValueType.I31REF
STRUCTREF, ARRAYREF, EXTERNREF = ValueType.STRUCTREF, ValueType.ARRAYREF, ValueType.EXTERNREF

GUEST = """
(module
  (rec
    (type $point (struct (field $x (mut i32)) (field $y f64) (field i8) (field (ref null $point)) (field externref)))
    (type $bytes (array (mut i8)))
    (type $words (array (mut (ref null $bytes)))))
  (type $f (func (result i32)))
  (tag $t (export "t") (param i32 (ref null $point)))
  (func (export "point") (param i32 externref) (result (ref $point))
    (struct.new $point (local.get 0) (f64.const 0.5) (i32.const -1)
      (struct.new $point (i32.const -7) (f64.const 1) (i32.const 3) (ref.null $point) (ref.null extern)) (local.get 1)))
  (func (export "x") (param (ref $point)) (result i32) (struct.get $point $x (local.get 0)))
  (func (export "set_x") (param (ref null $point) i32) (struct.set $point $x (local.get 0) (local.get 1)))
  (func (export "bytes") (param i32) (result (ref $bytes)) (array.new $bytes (i32.const 200) (local.get 0)))
  (func (export "words") (param (ref null $bytes)) (result arrayref) (array.new $words (local.get 0) (i32.const 3)))
  (func (export "any") (param anyref) (result anyref) (local.get 0))
  (func (export "eq") (param eqref) (result eqref) (local.get 0))
  (func (export "not_null") (param (ref any)) (result (ref any)) (local.get 0))
  (func (export "i31") (param i31ref) (result i31ref) (local.get 0))
  (func (export "struct") (param structref) (result structref) (local.get 0))
  (func (export "array") (param arrayref) (result arrayref) (local.get 0))
  (func (export "extern") (param externref) (result externref) (local.get 0))
  (func (export "not_null_extern") (param (ref extern)) (result (ref extern)) (local.get 0))
  (func (export "outwards") (param anyref) (result externref) (extern.convert_any (local.get 0)))
  (func (export "inwards") (param externref) (result anyref) (any.convert_extern (local.get 0)))
  (func (export "same") (param eqref eqref) (result i32) (ref.eq (local.get 0) (local.get 1)))
  (func $seven (type $f) (i32.const 7))
  (elem declare func $seven)
  (func (export "typed") (result (ref $f)) (ref.func $seven))
  (func (export "call") (param (ref $f)) (result i32) (call_ref $f (local.get 0)))
  (func (export "exn") (param i32) (result exnref)
    (block $b (result exnref)
      (try_table (catch_all_ref $b) (throw $t (local.get 0) (struct.new_default $point))) unreachable))
  (func (export "null_exn") (param exnref) (result exnref) (local.get 0))
  (func (export "many") (param i32 anyref f64 eqref) (result f64 eqref i32 anyref)
    (local.get 2) (local.get 3) (local.get 0) (local.get 1))
  (func (export "throw") (param (ref null $point)) (throw $t (i32.const 1) (local.get 0)))
  (global (export "g") (mut anyref) (ref.null any))
  (global (export "gp") (mut (ref null $point)) (ref.null $point))
  (table (export "table") 2 anyref)
  (table (export "points") 2 10 (ref null $point)))
"""


@pytest.fixture(autouse=True)
def _references(needs: Callable[..., None]) -> None:
    needs("gc", "gc-references", "exceptions", "wat")


@pytest.fixture
def instance(runtime: Runtime) -> Any:
    return runtime.instantiate(runtime.compile(GUEST))


@pytest.fixture
def exports(instance: Any) -> Any:
    return instance.exports


def test_structs_and_arrays_are_references_with_fields(exports: Any) -> None:
    thing = object()
    point = exports.point(5, thing)
    assert isinstance(point, Reference)
    assert (point.kind, len(point), repr(point)) == ("struct", 5, "<Reference struct>")
    assert (point[0], point[1], point[2], point[4]) == (5, 0.5, 255, thing)
    inner = point[3]
    assert (list(inner)[:3], inner[3], inner[-1]) == ([-7, 1.0, 3], None, None)
    data = exports.bytes(300)
    assert (data.kind, len(data), data[299], set(data)) == ("array", 300, 200, {200})
    words = exports.words(data)
    assert [word == data for word in words] == [True, True, True]
    for index in (5, -6, 1 << 40):
        with pytest.raises(IndexError):
            point[index]


def test_references_go_back_and_are_one_object(exports: Any) -> None:
    point, other = exports.point(5, None), exports.point(5, None)
    assert exports.x(point) == 5
    exports.set_x(point, 6)
    assert (exports.x(point), point[0], other[0]) == (6, 6, 5)
    for name in ("any", "eq", "not_null", "struct", "outwards", "extern", "not_null_extern", "inwards"):
        back = exports[name](point)
        assert back == point
        assert hash(back) == hash(point)
        assert back != other
        assert back.kind == "struct"
    assert exports.same(point, exports.any(point)) == 1
    assert exports.same(point, other) == 0
    assert exports.array(exports.bytes(1)).kind == "array"
    assert {point, exports.any(point), other} == {point, other}
    assert point != 5


def test_i31s_are_ints_and_null_is_none(exports: Any) -> None:
    for number in (0, 1, -1, 5, (1 << 30) - 1, -(1 << 30)):
        for name in ("any", "eq", "i31", "not_null", "outwards"):
            assert exports[name](number) == number
    assert exports.i31((1 << 31) - 1) == -1
    for number in (1 << 31, -(1 << 30) - 1, 1 << 70):
        with pytest.raises(OverflowError, match="i31"):
            exports.any(number)
    for name in ("any", "eq", "i31", "struct", "array", "extern", "outwards", "inwards", "null_exn"):
        assert exports[name](None) is None


def test_objects_of_python_pass_as_anyref_too(exports: Any) -> None:
    thing = ["a"]
    assert exports.any(thing) is thing
    assert exports.not_null(thing) is thing
    assert exports.not_null_extern(thing) is thing
    assert exports.inwards(thing) is thing
    assert exports.outwards(thing) is thing
    assert exports.extern(12) == 12


def test_what_does_not_fit_is_refused_before_the_guest_runs(exports: Any) -> None:
    point, data = exports.point(1, None), exports.bytes(1)
    for name, value in [
        *(("x", value) for value in (None, data, 5, "a")),
        *(("not_null", value) for value in (None,)),
        *(("not_null_extern", value) for value in (None,)),
        *(("struct", value) for value in (data, 5, "a")),
        *(("array", value) for value in (point, 5)),
        *(("i31", value) for value in (point, "a", 1.0)),
        *(("eq", value) for value in ("a", object())),
        *(("call", value) for value in (None, exports.x, point)),
        *(("null_exn", value) for value in (5, point)),
    ]:
        with pytest.raises(TypeError):
            exports[name](value)
    with pytest.raises(TypeError, match="takes 1 argument"):
        exports.x()
    with pytest.raises(TypeError, match="keyword"):
        exports.x(a=1)
    with pytest.raises(TypeError, match=r"x\.call\(\) cannot pass a ref"):
        exports.x.call(1)
    assert exports.x(point) == 1


def test_typed_functions_and_several_values(exports: Any) -> None:
    typed = exports.typed()
    assert isinstance(typed, FunctionInstance)
    assert (typed(), exports.call(typed)) == (7, 7)
    point = exports.point(3, None)
    assert exports.many(1, point, 2, 9) == (2.0, 9, 1, point)
    assert exports.any.type == FunctionType((ANYREF,), (ANYREF,))
    assert str(exports.x.type) == "(ref) -> (i32)"


def test_exception_references_are_exceptions(instance: Any) -> None:
    error = instance.exports.exn(4)
    assert isinstance(error, WasmException)
    assert (error.tag, error.values[0], error.values[1].kind) == (instance.tag("t"), 4, "struct")
    with pytest.raises(WasmException) as caught:
        instance.exports.throw(error.values[1])
    assert caught.value.values == (1, error.values[1])


def test_globals_and_tables_hold_references(instance: Any) -> None:
    exports = instance.exports
    point, data = exports.point(3, None), exports.bytes(2)
    assert (exports.g.type, exports.table.type) == (GlobalType(ANYREF, True), TableType(ANYREF, 2))
    for value in (point, data, 8, None, "text"):
        exports.g.value = value
        assert exports.g.value == value
        exports.table[1] = value
        assert exports.table[1] == value
    assert exports.table.grow(2, point) == 2
    assert exports.table[3] == point
    exports.gp.value = point
    exports.points[0] = point
    assert (exports.gp.value, exports.points[0], exports.points[1]) == (point, point, None)
    for value in (data, 5, "text"):
        with pytest.raises(TypeError):
            exports.gp.value = value
        with pytest.raises(TypeError):
            exports.points[0] = value
        with pytest.raises(TypeError):
            exports.points.grow(1, value)
    assert exports.points[0] == point
    with pytest.raises(IndexError):
        exports.points.grow(100, point)


def test_the_host_makes_globals_and_tables_of_references(runtime: Runtime, instance: Any) -> None:
    store = instance.store
    point = instance.exports.point(1, None)
    for type, value in [(ANYREF, point), (EQREF, 5), (I31REF, -3), (STRUCTREF, point), (ARRAYREF, None)]:
        made = store.global_(type, value, mutable=True)
        assert made.value == value
        table = store.table(2, 5, type, value)
        assert list(table) == [value, value]
        table.grow(1, None)
        assert table[2] is None
    with pytest.raises(TypeError, match="structref takes a Reference to a struct or None, not 5"):
        store.global_(STRUCTREF, 5)
    with pytest.raises(TypeError, match="i31ref takes an int or None"):
        store.table(1, element=I31REF, init=point)
    with pytest.raises(OverflowError):
        store.global_(I31REF, 1 << 31)
    user = runtime.instantiate(
        runtime.compile("""(module (import "m" "g" (global $g (mut anyref))) (import "m" "t" (table $t 1 structref))
          (func (export "copy") (global.set $g (table.get $t (i32.const 0)))))"""),
        {"m": {"g": (g := store.global_(ANYREF, None, mutable=True)), "t": store.table(1, None, STRUCTREF, point)}},
        store=store,
    )
    user.exports.copy()
    assert g.value == point


HOSTED = """
(module
  (type $s (struct (field i32)))
  (import "env" "exact" (func $exact (param anyref externref) (result anyref)))
  (import "env" "typed" (func $typed (param (ref null $s) i32) (result (ref $s))))
  (func (export "make") (param i32) (result (ref $s)) (struct.new $s (local.get 0)))
  (func (export "exact") (param anyref externref) (result anyref) (call $exact (local.get 0) (local.get 1)))
  (func (export "typed") (param (ref null $s)) (result i32)
    (struct.get $s 0 (call $typed (local.get 0) (i32.const 4)))))
"""


def test_host_functions_take_and_return_references(runtime: Runtime) -> None:
    seen: list[Any] = []

    def exact(one: Any, other: Any) -> Any:
        seen[:] = [one, other]
        return one if other is None else other

    def typed(given: Any, n: int) -> Any:
        return answers[0] if answers else exports.make(n + (0 if given is None else given[0]))

    answers: list[Any] = []
    exports: Any = runtime.instantiate(runtime.compile(HOSTED), {"env": {"exact": exact, "typed": typed}}).exports
    s = exports.make(3)
    assert exports.exact(s, None) == s
    assert exports.exact(5, s) == s
    assert seen == [5, s]
    assert exports.typed(s) == 7
    assert exports.typed(None) == 4
    for wrong in (None, 5, "text", exports.exact):
        answers[:] = [wrong]
        with pytest.raises((TypeError, pywasmrt.WasmError)):
            exports.typed(s)
    answers.clear()
    assert exports.typed(s) == 7


def test_a_linked_module_takes_such_imports(runtime: Runtime) -> None:
    linked = runtime.link(runtime.compile(HOSTED), {"env": {"exact": lambda a, b: a, "typed": lambda a, n: a}})
    for n in range(3):
        exports = linked.instantiate().exports
        assert exports.typed(exports.make(n)) == n


def test_a_reference_belongs_to_its_store(runtime: Runtime, exports: Any) -> None:
    point = exports.point(1, None)
    other: Any = runtime.instantiate(runtime.compile(GUEST))
    for name in ("x", "any", "eq", "extern", "outwards", "struct"):
        with pytest.raises(TypeError, match="belongs to another store"):
            other.exports[name](point)
    assert other.exports.point(1, None) != point
    with pytest.raises(TypeError):
        pickle.dumps(point)
    kept = other.exports.point(1, None)
    same = other.exports.any(kept)
    other.close()
    assert repr(kept) == "<Reference struct (closed)>"
    assert kept.kind == "struct"
    for use in (lambda: kept[0], lambda: len(kept), lambda: kept == same):
        with pytest.raises(ClosedError):
            use()
    assert kept != point


def test_references_are_released_and_cycles_with_their_store_collected(runtime: Runtime) -> None:
    class Holder:
        pass

    def cycle() -> weakref.ref[Any]:
        holder: Any = Holder()
        exports = runtime.instantiate(runtime.compile(GUEST)).exports
        holder.reference = exports.point(1, holder)
        exports.g.value = holder
        return weakref.ref(holder)

    found = cycle()
    gc.collect()
    assert found() is None


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_references_leave_nothing_behind(exports: Any, count: int) -> None:
    def work(turns: int) -> None:
        first = exports.point(0, None)
        for n in range(turns):
            point = exports.point(n, [n])
            assert exports.x(point) == point[0]
            assert point != first
            exports.g.value = point

    work(20_000)
    before = resident()
    work(count)
    assert resident() - before < (4 << 20)


def test_a_collection_moves_what_is_kept(exports: Any) -> None:
    kept = [exports.point(n, None) for n in range(300)]
    for n in range(60):
        exports.bytes(1 << 16)
        assert kept[n][0] == n
    assert [exports.x(point) for point in kept] == list(range(300))
    assert [exports.any(point) == point for point in kept] == [True] * 300


def test_asynchronous_calls_pass_references(runtime: Runtime) -> None:
    async def main() -> None:
        instance: Any = await runtime.instantiate_async(runtime.compile(GUEST))
        point = await instance.exports.point.call_async(3, "thing")
        assert (point.kind, point[0], point[4]) == ("struct", 3, "thing")
        assert await instance.exports.x.call_async(point) == 3
        assert await instance.exports.any.call_async(point) == point
        with pytest.raises((TypeError, pywasmrt.WasmError)):
            await instance.exports.x.call_async(None)
        imports = {"env": {"exact": lambda a, b: a, "typed": lambda a, n: a}}
        with pytest.raises(pywasmrt.UnsupportedFeatureError, match="asynchronous"):
            await runtime.instantiate_async(runtime.compile(HOSTED), imports)

    asyncio.run(main())


def test_a_64_bit_table_of_the_host(runtime: Runtime, needs: Callable[..., None]) -> None:
    needs("memory64", "host-table")
    store = runtime.new_store()
    table = store.table(10, 20, is_64=True)
    assert (table.type, len(table), table[9]) == (TableType(ValueType.FUNCREF, 10, 20, True), 10, None)
    module = runtime.compile("""(module (import "spectest" "table64" (table $t i64 0 funcref))
      (func $f (result i32) (i32.const 5)) (elem declare func $f)
      (func (export "put") (table.set $t (i64.const 3) (ref.func $f)))
      (func (export "size") (result i64) (table.size $t)))""")
    instance: Any = runtime.instantiate(module, {"spectest": {"table64": table}}, store=store)
    instance.exports.put()
    assert (table[3](), instance.exports.size()) == (5, 10)
    assert table.grow(10) == 10
    with pytest.raises(IndexError):
        table.grow(1)
    with pytest.raises(pywasmrt.ModuleInstantiateError, match="was given table 10 20 funcref"):
        runtime.instantiate(module, {"spectest": {"table64": store.table(10, 20)}}, store=store)
    assert list(store.table(2, None, EXTERNREF, "x", is_64=True)) == ["x", "x"]
    limited = runtime.new_store(pywasmrt.Limits(table_elements=5))
    with pytest.raises(pywasmrt.ModuleInstantiateError, match="cannot make a table64"):
        limited.table(10, is_64=True)
    for minimum, maximum in ((-1, None), (3, 2), (1 << 64, None)):
        with pytest.raises(ValueError, match="table"):
            store.table(minimum, maximum, is_64=True)
