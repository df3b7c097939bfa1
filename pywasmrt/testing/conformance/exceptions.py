"""Exceptions of guests: their tags and values, catching what the host throws, and throwing it again."""

from __future__ import annotations

from typing import Any

from ...errors import Trap, UnsupportedFeatureError, WasmException
from ...protocols import ModuleInstance
from ...types import FunctionType, TrapCode, ValueType
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("exceptions")

_GUEST = """
(module
  (import "env" "f" (func $f (param i32)))
  (import "env" "tag" (tag $host (param i32 f64)))
  (tag $own (export "own") (param i64 f32))
  (tag $object (export "object") (param externref))
  (export "again" (tag $host))
  (func (export "throw") (param i64) (throw $own (local.get 0) (f32.const 0.5)))
  (func (export "throw_object") (param externref) (throw $object (local.get 0)))
  (func (export "catch") (param i32) (result i32 f64)
    (block $caught (result i32 f64)
      (try_table (catch $host $caught) (call $f (local.get 0)))
      (i32.const -1) (f64.const -1)))
  (func (export "catch_all") (param i32) (result i32)
    (block $caught (try_table (catch_all $caught) (call $f (local.get 0))) (return (i32.const 0)))
    (i32.const 1))
  (func (export "rethrow") (param i32)
    (block $caught (result exnref) (try_table (catch_all_ref $caught) (call $f (local.get 0))) (return))
    (throw_ref))
  (func (export "fine") (result i32) (i32.const 5)))
"""


def _instance(subject: Subject, f: Any) -> tuple[ModuleInstance, Any]:
    store = subject.runtime.new_store()
    tag = store.tag([ValueType.I32, ValueType.F64])
    module = subject.runtime.compile(_GUEST)
    return subject.runtime.instantiate(module, {"env": {"f": f, "tag": tag}}, store=store), tag


@PART.needs("exceptions", "wat")
def an_exception_that_nobody_catches_is_a_trap(subject: Subject) -> None:
    module = subject.runtime.compile('(module (tag $t) (func (export "throw") (throw $t)))')
    trap = expect(Trap, "throw", subject.runtime.instantiate(module).exports.throw)
    equal(trap.code, TrapCode.UNCAUGHT_EXCEPTION, "the code of an exception that nobody catches")


@PART.needs("exceptions", "wat")
def tags_are_made_where_exceptions_have_values(subject: Subject) -> None:
    if "exception-values" not in subject.runtime.info.features:
        expect(UnsupportedFeatureError, "Store.tag", subject.runtime.new_store().tag)
        return
    tag = subject.runtime.new_store().tag([ValueType.I64])
    equal(tag.type, FunctionType((ValueType.I64,)), "the type of a tag that the host made")


@PART.needs("exceptions", "exception-values", "wat")
def an_exception_has_its_tag_and_values(subject: Subject) -> None:
    instance, tag = _instance(subject, lambda n: None)
    error = expect(WasmException, "throw", instance.exports.throw, 1 << 40)
    equal(error.values, (1 << 40, 0.5), "the values of an exception")
    require(error.tag == instance.tag("own"), "the tag of an exception is not the one that the guest exports")
    require(error.tag != instance.tag("object") and error.tag != tag, "two tags are equal")
    require(instance.tag("again") == tag, "a tag that the guest exports again is another")
    thing = object()
    require(expect(WasmException, "throw", instance.exports.throw_object, thing).values[0] is thing, "another object")
    equal(instance.exports.fine(), 5, "another function, after an exception")
    if "trap-frames" in subject.runtime.info.features:
        require(error.frames, "an exception tells no frames")


@PART.needs("exceptions", "exception-values", "wat")
def guests_catch_what_a_host_function_throws(subject: Subject) -> None:
    def f(n: int) -> None:
        raise WasmException(tag, [n, 2.5])

    instance, tag = _instance(subject, f)
    for _ in range(3):
        equal(instance.exports.catch(7), (7, 2.5), "the values that a guest catches")
        equal(instance.exports.catch_all(7), 1, "catch_all")


@PART.needs("exceptions", "exception-values", "wat")
def what_is_thrown_again_is_the_same_exception(subject: Subject) -> None:
    class Own(WasmException):
        pass

    thrown: list[WasmException] = []

    def f(n: int) -> None:
        if n == 0:
            thrown.append(Own(tag, [3, 4]))
            raise thrown[-1]
        try:
            instance.exports.throw(n)
        except WasmException as error:
            thrown.append(error)
            raise

    instance, tag = _instance(subject, f)
    for n in (0, 1):
        error = expect(WasmException, "rethrow", instance.exports.rethrow, n)
        require(error is thrown[-1], "what the guest threw again comes out as another object")
        require(error.__traceback__ is not None, "what the guest threw again has lost its traceback")


@PART.needs("exceptions", "exception-values", "wat")
def guests_catch_no_other_exceptions(subject: Subject) -> None:
    foreign = subject.runtime.new_store().tag([])

    def f(n: int) -> None:
        raise WasmException(foreign) if n else LookupError(n)

    instance, _ = _instance(subject, f)
    expect(LookupError, "catch_all around an exception of Python's", instance.exports.catch_all, 0)
    error = expect(WasmException, "catch_all around an exception of another store's", instance.exports.catch_all, 1)
    require(error.tag == foreign, "the exception of another store comes out as another")


@PART.needs("exceptions", "exception-values", "wat")
def an_exception_is_made_of_what_fits_its_tag(subject: Subject) -> None:
    tag = subject.runtime.new_store().tag([ValueType.I32])
    equal(WasmException(tag, [0xFFFF_FFFF]).values, (-1,), "the value of an exception")
    expect(TypeError, "a tag of i32 without a value", WasmException, tag)
    expect(TypeError, "a str for i32", WasmException, tag, ["1"])
    expect(OverflowError, "2**32 for i32", WasmException, tag, [1 << 32])
    expect(TypeError, "a str for a tag", WasmException, "tag")
