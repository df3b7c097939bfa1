"""Host modules: what annotations say, what is refused, and how a function meets the guest's import."""

from __future__ import annotations

import functools
import re
import typing
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import pywasmrt
from pywasmrt import (
    Caller,
    FunctionInstance,
    FunctionType,
    HostFunction,
    HostFunctionNotFoundError,
    HostModule,
    LooseType,
    Runtime,
    ValueType,
    externref,
    f32,
    f64,
    funcref,
    i32,
    i64,
    v128,
)
from pywasmrt.host import host_function_from_callable, resolve
from pywasmrt.testing import to_binary

if TYPE_CHECKING:
    from decimal import Decimal

I32, I64, F32, F64, V128 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64, ValueType.V128
FUNCREF, EXTERNREF = ValueType.FUNCREF, ValueType.EXTERNREF
INT, FLOAT, BYTES, ANY = LooseType.INT, LooseType.FLOAT, LooseType.BYTES, LooseType.ANY


def described(fn: Any) -> HostFunction:
    return host_function_from_callable("f", fn)


def test_exact_annotations_give_exact_types() -> None:
    env = HostModule("env")

    @env.function
    def every(a: i32, b: i64, c: f32, d: f64, e: v128, f: funcref, g: externref) -> tuple[i32, f64]:
        return 1, 2.0

    function = env["every"]
    assert function.params == (I32, I64, F32, F64, V128, FUNCREF, EXTERNREF)
    assert function.results == (I32, F64)
    assert function.callable is every
    assert not function.pass_caller


def test_loose_annotations_leave_the_width_open() -> None:
    def loose(a: int, b: float, c: bytes, d: Any, e: object, f) -> int:  # type: ignore[no-untyped-def]
        return a

    function = described(loose)
    assert function.params == (INT, FLOAT, BYTES, ANY, ANY, ANY)
    assert function.results == (INT,)


@pytest.mark.parametrize(
    ("annotation", "results"),
    [
        (None, ()),
        ("None", ()),
        (i32, (I32,)),
        ("pywasmrt.f64", (F64,)),
        (int, (INT,)),
        (tuple[i32, i64], (I32, I64)),
        (tuple[int, f32], (INT, F32)),
        (typing.Tuple[i32, i32], (I32, I32)),  # noqa: UP006
        (tuple[()], ()),
        (tuple, None),
        (tuple[int, ...], None),
        (Any, None),
        (object, None),
        (typing.NoReturn, None),
    ],
)
def test_result_annotations(annotation: Any, results: Any) -> None:
    def function() -> None: ...

    function.__annotations__["return"] = annotation
    assert described(function).results == results


def test_no_result_annotation_leaves_the_results_open() -> None:
    assert described(lambda: None).results is None


def test_the_caller_is_known_by_its_annotation() -> None:
    def plain(caller: Caller, x: i32) -> None: ...

    def text(caller: "pywasmrt.Caller", x: i32) -> None: ...  # noqa: UP037

    for function in (described(plain), described(text)):
        assert function.pass_caller
        assert function.params == (I32,)


def test_names_that_only_type_checkers_import_are_known() -> None:
    scope: dict[str, Any] = {}
    exec("def f(caller: 'Caller', x: 'i32', g: 'funcref') -> 'tuple[i32, FunctionInstance]': ...", scope)
    with pytest.raises(TypeError, match="the result cannot have FunctionInstance"):
        described(scope["f"])
    exec("def f(caller: 'Caller', x: 'i32', g: 'funcref') -> 'tuple[i32, f64]': ...", scope)
    function = described(scope["f"])
    assert function.pass_caller
    assert function.params == (I32, FUNCREF)


def test_local_names_are_found_where_the_function_is_offered() -> None:
    from pywasmrt import i64 as wide

    env = HostModule()

    @env.function
    def f(x: wide) -> wide:
        return x

    @env.function(name="g")
    def h(x: wide) -> wide:
        return x

    assert env["f"].params == env["g"].params == (I64,)


@pytest.mark.parametrize("text", ["'i32'", "\"'i32'\""])
def test_text_within_text_is_evaluated_too(text: str) -> None:
    def f(x: int) -> None: ...

    f.__annotations__["x"] = text
    assert described(f).params == (I32,)


def test_an_annotation_that_stands_for_itself_is_refused() -> None:
    scope: dict[str, Any] = {"ping": "pong", "pong": "ping"}
    exec("def f(x: ping): ...", scope)  # text: so this file keeps annotations
    with pytest.raises(TypeError, match=r"'ping' of x cannot be evaluated \(it stands for itself\)"):
        described(scope["f"])


@pytest.mark.parametrize("make", [mock.Mock, mock.MagicMock, mock.create_autospec])
def test_mocks_serve_as_host_functions(runtime: Runtime, make: Any) -> None:
    def add(x: int, y: int) -> int:
        return x + y

    stand_in = make(add, return_value=7)
    guest = to_binary("""
      (module (import "env" "add" (func $add (param i32 i64) (result i32)))
        (func (export "run") (result i32) (call $add (i32.const 1) (i64.const 2))))
    """)
    assert runtime.instantiate(runtime.compile(guest), {"env": {"add": stand_in}}).exports.run() == 7
    assert stand_in.call_args_list == [mock.call(1, 2)]


def test_an_annotation_that_cannot_be_evaluated_is_refused() -> None:
    def f(x: Decimal) -> None: ...

    with pytest.raises(
        TypeError, match=r"^host function 'f': the annotation 'Decimal' of x cannot be evaluated .*add_function"
    ):
        described(f)


@pytest.mark.parametrize("annotation", [str, "str", list[int], FunctionInstance, {}, []])
def test_other_annotations_are_refused(annotation: Any) -> None:
    def f(x: Any) -> None: ...

    f.__annotations__["x"] = annotation
    with pytest.raises(TypeError, match=r"^host function 'f': x cannot have .*; annotate with i32, i64"):
        described(f)
    del f.__annotations__["x"]
    for result in (annotation, tuple[annotation, i32]):  # type: ignore[valid-type]
        f.__annotations__["return"] = result
        with pytest.raises(TypeError, match=r"^host function 'f': the result cannot have "):
            described(f)


def test_the_caller_comes_first_or_not_at_all() -> None:
    def f(x: i32, caller: Caller) -> None: ...

    with pytest.raises(TypeError, match="caller cannot have Caller anywhere but as the first parameter"):
        described(f)


def test_any_number_of_arguments() -> None:
    def every(*args): ...  # type: ignore[no-untyped-def]

    def with_caller(caller: Caller, *args: Any) -> int:
        return 0

    assert described(every).params is None
    assert described(with_caller).params is None
    assert described(with_caller).pass_caller
    for arity in (0, 1, 7):
        resolve(described(every), FunctionType((I32,) * arity, (F64,)))
        resolve(described(with_caller), FunctionType((I32,) * arity, (I64,)))

    def mixed(x: i32, *args: Any) -> None: ...

    def exact(*args: i32) -> None: ...

    def flags(*args: bool) -> None: ...

    def keyword(x: i32, *, y: int) -> None: ...

    with pytest.raises(TypeError, match=r"annotated parameters together with \*args"):
        described(mixed)
    with pytest.raises(TypeError, match=r"\*args cannot have the type bool"):
        described(flags)
    with pytest.raises(TypeError, match=r"exact types of \*args"):
        described(exact)
    with pytest.raises(TypeError, match="keyword-only parameters without a default"):
        described(keyword)


def test_callables_of_every_kind() -> None:
    class Counter:
        def method(self, x: i32) -> i32:
            return x

        def __call__(self, x: i64) -> None: ...

    def three(a: i32, b: i64, c: f32) -> None: ...

    @functools.wraps(three)
    def wrapped(*args: Any) -> None: ...

    assert described(Counter().method).params == (I32,)
    assert described(Counter()).params == (I64,)
    assert described(functools.partial(three, 1)).params == (I64, F32)
    assert described(wrapped).params == (I32, I64, F32)
    assert described(print).params is None  # a builtin: whatever the guest passes
    assert described(max).params is None


@pytest.mark.parametrize(
    ("fn", "params", "results", "reason"),
    [
        ("lambda x: x", (I32,), (I32,), None),
        ("lambda x: x", (F64,), (FUNCREF,), None),
        ("lambda x: x", (I32, I32), (), "it takes (any), the guest passes (i32, i32)"),
        ("lambda x, y=1: x", (I32,), (), None),
        ("lambda x, y=1: x", (), (), "it takes (any, any), the guest passes ()"),
        ("lambda *, k=1: 1", (), (), None),
        ("exact", (I32, F64), (I64,), None),
        ("exact", (I32, F32), (I64,), "its parameter 2 is f64, the guest passes f32"),
        ("exact", (I32, F64), (I32,), "its result 1 is i64, the guest wants i32"),
        ("exact", (I32, F64), (), "it returns (i64), the guest wants ()"),
        ("exact", (I32,), (I64,), "it takes (i32, f64), the guest passes (i32)"),
        ("loose", (I32, F32, V128), (I64,), None),
        ("loose", (I64, F64, V128), (I32,), None),
        ("loose", (F32, F64, V128), (I32,), "its parameter 1 is int, the guest passes f32"),
        ("loose", (I32, I64, V128), (I32,), "its parameter 2 is float, the guest passes i64"),
        ("loose", (I32, F64, I32), (I32,), "its parameter 3 is bytes, the guest passes i32"),
        ("loose", (I32, F64, V128), (F32,), "its result 1 is int, the guest wants f32"),
    ],
)
def test_meeting_the_guests_import(fn: str, params: Any, results: Any, reason: str | None) -> None:
    def exact(a: i32, b: f64) -> i64:
        return a

    def loose(a: int, b: float, c: bytes) -> int:
        return a

    function = described(eval(fn, {"exact": exact, "loose": loose}))
    wanted = FunctionType(params, results)
    if reason is None:
        assert resolve(function, wanted) == wanted
    else:
        with pytest.raises(TypeError, match=f"^{re.escape(reason)}$"):
            resolve(function, wanted)


def test_a_callable_of_unknown_types_must_take_the_arguments() -> None:
    function = HostFunction("f", lambda x: x)
    assert resolve(function, FunctionType((I32,))) == FunctionType((I32,))
    with pytest.raises(
        TypeError, match=r"^the guest passes 2 arguments, and it takes others: too many positional arguments$"
    ):
        resolve(function, FunctionType((I32, I32)))


def test_explicit_types() -> None:
    env = HostModule("env")

    def raw(caller: Caller, x: Any) -> Any:
        return x

    env.add_function("auto", [I32], (I64,), raw)
    env.add_function("without", [I32, I32], [], raw, pass_caller=False)
    env.add_function("builtin", [I32], [], print)
    env.add_function("none", [], [], lambda: None)
    env.add_function("broken", [I32], [], eval("lambda x: x"))
    assert env["auto"] == HostFunction("auto", raw, (I32,), (I64,), True)
    assert not env["without"].pass_caller
    with pytest.raises(
        TypeError, match=r"host function 'x': a parameter or result is a ValueType such as ValueType.I32, not 'i32'"
    ):
        env.add_function("x", ["i32"], [], raw)  # type: ignore[list-item]
    for wrong in (I32, None):
        with pytest.raises(
            TypeError, match=r"^host function 'x': the types are a list such as \[ValueType.I32\], not "
        ):
            env.add_function("x", wrong, [], raw)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="host function 'x' must be callable, not 5"):
        env.add_function("x", [], [], 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the name of a host function is a str"):
        env.add_function(5, [], [], raw)  # type: ignore[arg-type]


def test_add_function_overlooks_annotations_that_it_does_not_need() -> None:
    def f(x: Decimal) -> None: ...

    env = HostModule()
    env.add_function("f", [I32], [], f)
    assert not env["f"].pass_caller


def test_functions_are_found_by_name() -> None:
    env = HostModule("env")

    @env.function
    def fd_write() -> None: ...

    assert env.get("fd_write").name == "fd_write"
    assert "fd_write" in env
    assert "fd_read" not in env
    assert list(env.functions) == ["fd_write"]
    assert repr(env) == "<HostModule 'env' functions=['fd_write']>"
    assert env.name == "env"
    assert isinstance(env, pywasmrt.protocols.HostModule)
    with pytest.raises(
        HostFunctionNotFoundError,
        match=r"^host module 'env' has no function 'fd_wriet', only fd_write; did you mean 'fd_write'\?$",
    ):
        env["fd_wriet"]
    with pytest.raises(TypeError):
        env.functions["x"] = 5  # type: ignore[index]


def test_names_are_taken_once() -> None:
    env = HostModule("env")
    env.function(name="f")(lambda: None)
    with pytest.raises(ValueError, match=r"^host module 'env' has a function 'f' already$"):
        env.add_function("f", [], [], print)


def test_what_is_no_name_or_function_is_refused() -> None:
    with pytest.raises(TypeError, match="the name of a host module is a str, not 5"):
        HostModule(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"has no name to be offered by; pass name=\.\.\."):
        HostModule().function(functools.partial(print))
    with pytest.raises(TypeError, match="the name of a host function is a str, not 5"):
        HostModule().function(name=5)(print)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="host function 'f' must be callable"):
        described(5)
