"""`check_host_function`: what is right passes by every way in; what is wrong is found and shown as a program."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import (
    Caller,
    FunctionType,
    HostFunction,
    MemoryAccessError,
    Runtime,
    ValueType,
    externref,
    f32,
    f64,
    funcref,
    i32,
    i64,
)
from pywasmrt.testing import HostFunctionFailure, check_host_function
from pywasmrt.testing.host_checking import HostChecker

I32, I64, F64 = ValueType.I32, ValueType.I64, ValueType.F64
FEW = settings(max_examples=30, deadline=None, database=None, derandomize=True)


def xor(x: i32, y: i32) -> i32:
    return x ^ y


def add(x: i32, y: i32) -> i32:
    return x + y


def scale(x: float, n: int) -> float:
    return -x if n % 2 else x


def divided(x: i64, y: i64) -> tuple[i64, i64]:
    return divmod(x, y)  # type: ignore[return-value]


def keep(x: externref, f: funcref, y: f32) -> tuple[externref, f32, funcref]:
    return x, y, f


def read(caller: Caller, offset: i32, size: i32) -> i32:
    return len(caller.memory().read(offset, size & 0xFF))


def test_two_arguments_on_every_runtime() -> None:
    assert check_host_function(xor) is xor


@pytest.mark.parametrize("function", [scale, keep, lambda: None, lambda x: (x, x), abs_or_zero := lambda *, n=0: n])
def test_right_functions_pass(function: Any) -> None:
    check_host_function(function, settings=FEW)


def test_exceptions_that_may_be_raised(runtime: Runtime) -> None:
    check_host_function(divided, raises=(ZeroDivisionError, OverflowError), runtimes=[runtime], settings=FEW)
    with pytest.raises(HostFunctionFailure, match="raised ZeroDivisionError"):
        check_host_function(divided, runtimes=runtime)


def test_the_caller_is_passed(runtime: Runtime) -> None:
    check_host_function(read, raises=(MemoryAccessError, ValueError), runtimes=[runtime], settings=FEW)


def test_a_result_beyond_its_type_is_found() -> None:
    with pytest.raises(HostFunctionFailure, match="out of range for i32") as caught:
        check_host_function(add)
    assert "raises=OverflowError" in str(caught.value)
    check_host_function(add, raises=OverflowError, settings=FEW)


def test_a_result_of_the_wrong_kind_is_found(runtime: Runtime) -> None:
    def half(x: i32) -> i32:
        return x / 2  # type: ignore[return-value]

    with pytest.raises(HostFunctionFailure, match="where i32 is wanted"):
        check_host_function(half, runtimes=[runtime])


def test_the_failure_is_small_and_a_program(runtime: Runtime) -> None:
    with pytest.raises(HostFunctionFailure) as caught:
        check_host_function(add, runtimes=[runtime])
    message = str(caught.value)
    args = re.search(r"instance\.exports\.\w+\((.*?)\)", message)
    assert args is not None
    assert "(module" in message
    program = message[message.index("import pywasmrt") :]
    assert re.search(r"from \S*test_host_checking import add as function", program)
    program = re.sub("from .* import add as function", "", program)
    with pytest.raises(OverflowError, match="out of range for i32"):
        exec(program, {"function": add})


def program_of(failure: pytest.ExceptionInfo[HostFunctionFailure]) -> str:
    message = str(failure.value)
    return message[message.index("import pywasmrt") :]


LIMIT = 7
broken = lambda x: x / 0 if x == LIMIT else x  # noqa: E731
broken.__qualname__ = "not_here"


def test_a_function_that_cannot_be_imported_is_written_out(runtime: Runtime) -> None:
    """With what it uses of what surrounds it, so that the program runs by itself."""
    smallest = -(2**31)

    def mirror(x: i32) -> i32:
        # Two's complement has no number for this.
        if struct.pack("<i", x) == struct.pack("<i", smallest):
            raise KeyError(x)
        return max(-x, -LIMIT)

    with pytest.raises(HostFunctionFailure, match="if it may, pass raises=KeyError") as caught:
        check_host_function(mirror, runtimes=[runtime])
    assert "# Two's complement" in program_of(caught)
    with pytest.raises(KeyError):
        exec(program_of(caught), {})
    with pytest.raises(HostFunctionFailure) as caught:
        check_host_function(broken, type=FunctionType((I32,), (I32,)), arguments=st.just((LIMIT,)), runtimes=[runtime])
    with pytest.raises(ZeroDivisionError):
        exec(program_of(caught), {})


@check_host_function(runtimes=["wasmtime-py"], settings=FEW)
def not_a_test(x: i32) -> i32:
    return [][x]  # type: ignore[no-any-return]


def test_a_decorated_function_is_imported_from_its_test() -> None:
    with pytest.raises(HostFunctionFailure) as caught:
        not_a_test()
    assert re.search(r"import not_a_test\nfunction = not_a_test\.function$", program_of(caught), re.MULTILINE)


def test_the_program_holds_no_more_of_the_guest_than_it_needs(runtime: Runtime) -> None:
    with pytest.raises(HostFunctionFailure) as caught:
        check_host_function(add, runtimes=[runtime])
    assert program_of(caught).count("(func (;") == len(
        re.findall(r"^print.*exports\.(?!host\()", program_of(caught), re.M)
    )
    assert "memory" not in program_of(caught)


def test_the_program_enters_again_where_that_is_what_fails(runtime: Runtime) -> None:
    checker = HostChecker(HostFunction("xor", xor, (I32, I32), (I32,)), (), [runtime], None)
    with pytest.raises(HostFunctionFailure) as caught:
        checker._fail(runtime, FunctionType((I32, I32), (I32,)), "re-entrant", "direct(5, 3)", "nothing")
    printed: list[Any] = []
    exec(program_of(caught), {"print": printed.append})
    assert printed == [6, 6]


def test_a_failure_shows_the_user_s_lines_and_none_of_the_machinery(runtime: Runtime) -> None:
    def refuse(x: i32) -> i32:
        raise KeyError(x)

    with pytest.raises(HostFunctionFailure) as caught:
        check_host_function(refuse, runtimes=[runtime])
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__suppress_context__
    assert not getattr(caught.value, "__notes__", [])
    shown = [entry.path.name for entry in caught.traceback if not entry.ishidden(caught)]  # type: ignore[union-attr]
    assert set(shown) == {Path(__file__).name}


def test_explicit_types_and_arguments(runtime: Runtime) -> None:
    def square_root(x: Any) -> Any:
        return x**0.5

    type = FunctionType((F64,), (F64,))
    with pytest.raises(HostFunctionFailure):
        check_host_function(square_root, type=type, runtimes=[runtime])
    check_host_function(
        square_root, type=type, arguments=st.tuples(st.floats(0, 1e9)), runtimes=[runtime], settings=FEW
    )


def test_a_stateful_function_is_asked_once_a_call(runtime: Runtime) -> None:
    count = 0

    def counter(x: i32) -> i64:
        nonlocal count
        count += 1
        return count

    check_host_function(counter, runtimes=[runtime], settings=FEW)


def test_what_cannot_be_told_is_an_error() -> None:
    with pytest.raises(TypeError, match="give type=FunctionType"):
        check_host_function(lambda *args: None)
    with pytest.raises(TypeError, match="annotate with"):
        check_host_function(lambda_with_wrong_annotation)


def lambda_with_wrong_annotation(x: str) -> None: ...


@check_host_function(runtimes=["wasmtime-py"], settings=FEW)
def test_the_decorator_makes_a_test(x: f64, y: f32) -> f64:
    """Its text stays."""
    return struct.unpack("<d", struct.pack("<d", x))[0]  # type: ignore[no-any-return]


def test_what_the_decorator_leaves() -> None:
    assert test_the_decorator_makes_a_test.__doc__ == "Its text stays."
    assert test_the_decorator_makes_a_test.function(1.0, 2.0) == 1.0
    calls: list[Any] = []

    @check_host_function(settings=FEW)
    def wrong(x: i32) -> i32:
        calls.append(x)
        return x * 4

    assert not calls
    with pytest.raises(HostFunctionFailure):
        wrong()


def test_runtimes_that_lose_something_are_found(runtime: Runtime) -> None:
    class Losing(pywasmrt.HostModule):
        pass

    class Cutting:
        """Hands host functions over that see their arguments cut."""

        def __init__(self, inner: Runtime) -> None:
            self.inner = inner

        def instantiate(self, module: Any, imports: Any) -> Any:
            offered = imports["env"]["f"]
            fixed = pywasmrt.HostModule("env")
            fixed.add_function("f", offered.params, offered.results, lambda x: offered.callable(x & 0xFFFF_FFFF))
            return self.inner.instantiate(module, fixed)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    def same(x: i64) -> i64:
        return x

    with pytest.raises(HostFunctionFailure, match="but the function received"):
        check_host_function(same, runtimes=[Cutting(runtime)])
