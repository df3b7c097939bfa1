"""Checking a Python function as guests meet it: values in every position, by every way in, on every runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar, Union, overload

from ..errors import UnsupportedFeatureError
from ..host import host_function_from_callable
from ..protocols import ModuleInstance, Runtime
from ..types import FunctionType, HostFunction, LooseType, MemoryType, ValueType
from ..values import results_from_host, shown
from . import guests
from .agreement import RuntimeLike, opened
from .comparing import as_guest_sees, same_values
from .function_source import function_lines
from .observation import as_tuple
from .reproducing import expression, host_script

__all__ = ["HostChecker", "HostFunctionFailure", "check_host_function"]

F = TypeVar("F", bound=Callable[..., Any])
_Type = Union[ValueType, LooseType]
_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_NUMBERS = (_I32, _I64, _F32, _F64)
_V128 = ValueType.V128


class _SomeFunction:
    """Stands for a function of the guest's own among drawn arguments, until the guest is known."""

    type = FunctionType()

    def __repr__(self) -> str:
        return "instance.exports.start_again"


_SOME = _SomeFunction()


class HostFunctionFailure(AssertionError):
    """A host function does not do for guests what it does in Python.

    The message says what was called, what Python did and what the guest saw, and ends with a program that shows it.
    """


@overload
def check_host_function(
    func: F,
    /,
    *,
    type: FunctionType | None = None,
    arguments: Any = None,
    raises: type[BaseException] | tuple[type[BaseException], ...] = (),
    runtimes: Iterable[RuntimeLike] | None = None,
    settings: Any = None,
) -> F: ...


@overload
def check_host_function(
    *,
    type: FunctionType | None = None,
    arguments: Any = None,
    raises: type[BaseException] | tuple[type[BaseException], ...] = (),
    runtimes: Iterable[RuntimeLike] | None = None,
    settings: Any = None,
) -> Callable[[Callable[..., Any]], Callable[[], None]]: ...


def check_host_function(
    func: Any = None,
    /,
    *,
    type: FunctionType | None = None,
    arguments: Any = None,
    raises: Any = (),
    runtimes: Iterable[RuntimeLike] | None = None,
    settings: Any = None,
) -> Any:
    """Check a Python function as guests would meet it, on every runtime.

    Guests are built that call `func` with generated values, boundaries first: directly, through a table, from nested
    calls, from within another host function's call, and as an export. Each time, what `func` received must be what was
    passed, what the guest saw must be what `func` returned, an exception must come out as the same object, and
    arguments that the types do not admit must be refused before `func` runs.

    `type` gives the signature; None takes it from the annotations. Loose ones are tried with each type that they admit:
    `int` as i32 and i64, `float` as f32 and f64, no annotation as any of these four. The type of a result without an
    annotation follows from what `func` returns. `arguments` is a Hypothesis strategy of tuples, for functions that
    take only some values. `raises` are the exceptions that `func` may raise, `OverflowError` included for results
    beyond their type; any other is a failure. `runtimes` are names or runtimes; None takes all that are available and
    can carry the types. `settings` are Hypothesis's; None is 200 examples.

    Returns `func`; raises `HostFunctionFailure` for the smallest failing example found, and `TypeError` where the
    annotations are not WebAssembly types.

        check_host_function(lambda x, y: x ^ y, type=FunctionType((ValueType.I32, ValueType.I32), (ValueType.I32,)))

    Without a function it is a decorator that makes a test of one, without parameters, for pytest to find; the function
    itself is the test's attribute `function`:

        @check_host_function(runtimes=["wasmtime"])
        def test_clamp(x: i32) -> i32:
            return max(x, 0)
    """
    __tracebackhide__ = True
    if func is None:

        def decorate(func: Callable[..., Any]) -> Callable[[], None]:
            def test() -> None:
                _check(func, type, arguments, raises, runtimes, settings)

            functools.update_wrapper(test, func)
            del test.__wrapped__  # type: ignore[attr-defined]  # pytest would look for its parameters as fixtures
            test.__annotations__ = {}
            test.function = func  # type: ignore[attr-defined]
            return test

        return decorate
    _check(func, type, arguments, raises, runtimes, settings)
    return func


def _check(
    func: Callable[..., Any],
    type: FunctionType | None,
    arguments: Any,
    raises: Any,
    runtimes: Iterable[RuntimeLike] | None,
    settings: Any,
) -> None:
    from .property_run import run_property
    from .strategies import features_of

    __tracebackhide__ = True
    name = getattr(func, "__name__", "function")
    described = host_function_from_callable(name, func)
    if type is not None:
        described = HostFunction(name, func, type.params, type.results, described.pass_caller)
    with opened(runtimes) as found:
        if runtimes is None:
            needed = features_of((*(described.params or ()), *(described.results or ())))
            found = [runtime for runtime in found if needed <= runtime.info.features]
            if not found:
                raise UnsupportedFeatureError(f"no runtime here has {', '.join(sorted(needed))}, which {name} needs")
        checker = HostChecker(described, raises if isinstance(raises, tuple) else (raises,), found, arguments)
        run_property(checker.example, settings, HostFunctionFailure)


class _Subject:
    """The function under test, with every call written down: its arguments, and what it returned or raised."""

    def __init__(self, function: HostFunction) -> None:
        self.function = function.callable
        self.pass_caller = function.pass_caller
        self.calls: list[tuple[tuple[Any, ...], Any, BaseException | None]] = []
        self.before: Callable[[], None] | None = None  # run once, inside of the next call

    def __call__(self, *args: Any) -> Any:
        __tracebackhide__ = True
        before, self.before = self.before, None
        if before is not None:
            before()
        values = args[1:] if self.pass_caller else args
        try:
            returned = self.function(*args)
        except BaseException as error:
            self.calls.append((values, None, error))
            raise
        self.calls.append((values, returned, None))
        return returned


class _Guest:
    """An instance, with the subject as its host function; used again for every example of the type."""

    def __init__(self, runtime: Runtime, type: FunctionType, function: HostFunction) -> None:
        self.module = guests.passthrough(type, memory=MemoryType(1))
        self.subject = _Subject(function)
        offered = HostFunction("f", self.subject, type.params, type.results, function.pass_caller)
        compiled = runtime.compile(self.module.encode())
        self.instance: ModuleInstance = runtime.instantiate(compiled, {"env": {"f": offered}})


class HostChecker:
    """Checks one host function on some runtimes, an example at a time; see `check_host_function`."""

    def __init__(
        self,
        function: HostFunction,
        raises: tuple[type[BaseException], ...],
        runtimes: Sequence[Runtime],
        arguments: Any,
    ) -> None:
        self.function = function
        self.raises = raises
        self.expected: tuple[type[BaseException], ...] = (Exception, *raises)
        self.runtimes = runtimes
        self.arguments = arguments
        self.guests: dict[tuple[int, FunctionType], _Guest] = {}
        self.widths = (_I64, _F64)

    def example(self, draw: Callable[[Any], Any]) -> None:
        """One signature, one set of arguments, one way in, on every runtime."""
        from hypothesis import strategies as st

        from .strategies import wrong_values

        self.widths = draw(st.sampled_from([(_I32, _F32), (_I64, _F64), (_I32, _F64), (_I64, _F32)]))
        params = self._params(draw)
        args = draw(self._arguments(params))
        type = FunctionType(params, self._results(draw, params, args))
        ways = ["direct", "indirect", "nested", "start_again", "re-entrant", "wrong"]
        # Called by the host, a function has no calling instance.
        way = draw(st.sampled_from(ways if self.function.pass_caller else [*ways, "host"]))
        refusable = [n for n, each in enumerate(params) if each is not ValueType.EXTERNREF]
        if way == "wrong" and refusable:
            at = draw(st.sampled_from(refusable))
            wrong, error = draw(wrong_values(params[at]))
            for runtime in self.runtimes:
                self._refused(runtime, type, (*args[:at], wrong, *args[at + 1 :]), error)
            return
        depth = draw(st.integers(0, 5)) if way == "nested" else 0
        for runtime in self.runtimes:
            self._call(runtime, type, "direct" if way == "wrong" else way, depth, args)

    # Choosing

    def _params(self, draw: Callable[[Any], Any]) -> tuple[ValueType, ...]:
        if self.function.params is None:
            raise TypeError(
                f"the signature of {self.function.name} cannot be told from it; give type=FunctionType(...)"
            )
        return tuple(self._admitted(each, draw) for each in self.function.params)

    def _admitted(self, type: _Type, draw: Callable[[Any], Any]) -> ValueType:
        """The type to try. Loose ones of an example have one width, as they do in most guests."""
        from hypothesis import strategies as st

        if isinstance(type, ValueType):
            return type
        if type is LooseType.ANY:
            chosen: ValueType = draw(st.sampled_from(_NUMBERS))
            return chosen
        found: ValueType = next(each for each in type.value if each in (*self.widths, _V128))
        return found

    def _arguments(self, params: tuple[ValueType, ...]) -> Any:
        from .strategies import arguments

        return arguments(FunctionType(params), functions=[_SOME]) if self.arguments is None else self.arguments

    def _results(self, draw: Callable[[Any], Any], params: tuple[ValueType, ...], args: tuple[Any, ...]) -> Any:
        results = self.function.results
        if results is not None:
            return tuple(self._admitted(each, draw) for each in results)
        if self.function.pass_caller or _SOME in args:
            raise TypeError(
                f"what {self.function.name} returns cannot be told from its annotations; give type=FunctionType(...)"
            )
        try:
            returned = self.function.callable(*map(as_guest_sees, params, args))
        except Exception:  # the guest's call will show that
            return ()
        several = returned if isinstance(returned, tuple) else () if returned is None else (returned,)
        return tuple(map(_type_of, several))

    # Checking

    def _guest(self, runtime: Runtime, type: FunctionType) -> _Guest:
        key = (id(runtime), type)
        guest = self.guests.get(key)
        if guest is None:
            guest = self.guests[key] = _Guest(runtime, type, self.function)
        guest.subject.calls.clear()
        return guest

    def _call(self, runtime: Runtime, type: FunctionType, way: str, depth: int, args: tuple[Any, ...]) -> None:
        guest = self._guest(runtime, type)
        spelled = ", ".join(map(_spelled, args))
        args = tuple(guest.instance.exports.start_again if each is _SOME else each for each in args)
        export = "direct" if way == "re-entrant" else way
        given = (depth, *args) if way == "nested" else args
        spelled = f"{depth}, {spelled}" if way == "nested" else spelled
        inner: list[Any] = []
        if way == "re-entrant":
            guest.subject.before = lambda: inner.append(self._outcome(guest.instance.exports.start_again, args))
        outcome = self._outcome(guest.instance.exports[export], given)
        guest.subject.before = None
        calls = list(guest.subject.calls)
        fail = functools.partial(self._fail, runtime, type, way, f"{export}({spelled})")
        if way != "re-entrant":
            if len(calls) != 1:
                fail(f"the function was called {len(calls)} times instead of once, and the call {_ended(outcome)}")
            self._compare(type, args, calls[0], outcome, fail)
            return
        if not calls or not inner:
            fail(f"the function was not reached from within a host function: the call {_ended(outcome)}")
        self._compare(type, args, calls[0], inner[0], fail)
        if len(calls) != 2:
            fail(f"the function was called {len(calls)} times instead of twice, and the call {_ended(outcome)}")
        self._compare(type, args, calls[1], outcome, fail)

    def _compare(
        self,
        type: FunctionType,
        args: tuple[Any, ...],
        call: tuple[tuple[Any, ...], Any, BaseException | None],
        outcome: tuple[Any, BaseException | None],
        fail: Callable[..., NoReturn],
    ) -> None:
        received, returned, raised = call
        wanted = tuple(map(as_guest_sees, type.params, args))
        if not same_values(type.params, received, wanted):
            fail(f"the guest passed {_shown(wanted)}, but the function received {_shown(received)}")
        seen, error = outcome
        if raised is not None:
            if error is not raised:
                fail(f"the function raised {raised!r}, but the call {_ended(outcome)}", raised)
            if not isinstance(raised, self.raises):
                fail(f"the function raised {raised!r}; if it may, pass raises={raised.__class__.__name__}", raised)
            return
        try:
            lowered = results_from_host(self.function.name, type.results, returned)
            results = tuple(map(as_guest_sees, type.results, lowered))
        except (TypeError, OverflowError) as wrong:
            if not isinstance(error, wrong.__class__):
                fail(f"the function returned {shown(returned)}, which is no {type}, but the call {_ended(outcome)}")
            if not isinstance(wrong, self.raises):
                fail(f"{wrong}; if that may be, pass raises={wrong.__class__.__name__}")
            return
        if error is not None:
            fail(f"the function returned {shown(returned)}, but the call {_ended(outcome)}")
        if not same_values(type.results, as_tuple(type, seen), results):
            fail(f"the function returned {shown(returned)}, but the guest saw {shown(seen)}")

    def _refused(self, runtime: Runtime, type: FunctionType, args: tuple[Any, ...], error: type[BaseException]) -> None:
        guest = self._guest(runtime, type)
        given = tuple(guest.instance.exports.start_again if each is _SOME else each for each in args)
        outcome = self._outcome(guest.instance.exports.direct, given)
        if guest.subject.calls or not isinstance(outcome[1], error):
            call = f"direct({', '.join(map(_spelled, args))})"
            what = f"arguments that are no {type} must be refused with {error.__name__}, but the call {_ended(outcome)}"
            self._fail(runtime, type, "direct", call, what)

    def _outcome(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
        __tracebackhide__ = True
        try:
            return function(*args), None
        except self.expected as error:
            return None, error

    def _fail(
        self, runtime: Runtime, type: FunctionType, way: str, call: str, what: str, cause: BaseException | None = None
    ) -> NoReturn:
        name = self.function.name
        # Only the part of the guest that this way in needs.
        ways = ("direct", "start_again") if way == "re-entrant" else (way,)
        module = guests.passthrough(type, memory=MemoryType(1) if self.function.pass_caller else None, ways=ways)
        script = host_script(
            runtime.info.name,
            module,
            function_lines(self.function.callable),
            type,
            self.function.pass_caller,
            call,
            way == "re-entrant",
        )
        raise HostFunctionFailure(
            f"{name}{type} on {runtime.info.name}, called by instance.exports.{call}:\n  {what}\n\n"
            f"This program shows it:\n\n{script}"
        ) from cause


def _type_of(value: Any) -> ValueType:
    """The type that a Python value has for a guest that may choose it."""
    if isinstance(value, int):
        return _I64
    if isinstance(value, float):
        return _F64
    return _V128 if isinstance(value, bytes) and len(value) == 16 else ValueType.EXTERNREF


def _spelled(value: Any) -> str:
    return repr(value) if value is _SOME else expression(value)


def _ended(outcome: tuple[Any, BaseException | None]) -> str:
    returned, error = outcome
    return f"returned {shown(returned)}" if error is None else f"raised {error!r}"


def _shown(values: tuple[Any, ...]) -> str:
    return f"({', '.join(map(shown, values))})"
