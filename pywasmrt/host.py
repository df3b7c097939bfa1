"""Python functions offered to guests, and what their annotations say about WebAssembly types."""

from __future__ import annotations

import inspect  # which dataclasses load anyway
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial, wraps
from types import CodeType, MappingProxyType, UnionType
from typing import Annotated, Any, NewType, NoReturn, TypeVar, Union, get_args, get_origin, overload

from . import annotated, protocols
from .errors import HostFunctionNotFoundError
from .types import FunctionType, HostFunction, LooseType, ValueType, expect
from .values import did_you_mean, shown

__all__ = ["BoundHostModule", "HostModule", "callable_for", "host_function_from_callable", "is_async", "resolve"]

F = TypeVar("F", bound=Callable[..., Any])
_Type = Union[ValueType, LooseType]

_LOOSE: dict[Any, LooseType] = {
    int: LooseType.INT,
    bool: LooseType.BOOL,
    float: LooseType.FLOAT,
    bytes: LooseType.BYTES,
    Any: LooseType.ANY,
    object: LooseType.ANY,
}

# Names that annotations kept as text may use even if their module lacks them at run time (it imports them for type
# checkers only).
_KNOWN_NAMES: dict[str, Any] = {
    "Caller": protocols.Caller,
    "FunctionInstance": protocols.FunctionInstance,
    **{name: getattr(annotated, name) for name in annotated.__all__},
}


class HostModule:
    """Host functions under one module name, to be passed to `Runtime.instantiate`.

    The WebAssembly types come from the annotations: exact ones (`i32`, `i64`, `f32`, `f64`, `v128`, `funcref`,
    `externref`) must equal the guest's import; loose ones (`int`, `bool`, `float`, `bytes`, `Any`, or none at all) take
    what the guest declares. A first parameter annotated `Caller` receives the calling instance.

        env = HostModule("env")

        @env.function
        def add_one(x: i32) -> i32:
            return x + 1

    A host module holds no engine's objects: it may serve any number of instances of any runtime. Adding functions while
    another thread instantiates with it is not supported.

    State that belongs to one instance lives in an object that `bind` makes for each instance, and is used by methods:

        class Account:
            def __init__(self) -> None:
                self.balance = 100

            @env.method
            def pay(self, amount: i32) -> i32:
                self.balance -= amount
                return self.balance

        instance = rt.instantiate(module, env.bind(Account))
        instance.state("env").balance
    """

    def __init__(self, name: str = "env") -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a host module is a str, not {shown(name)}")
        self._name = name
        self._functions: dict[str, HostFunction] = {}
        self._view = MappingProxyType(self._functions)

    @property
    def name(self) -> str:
        """The module name that guests import from."""
        return self._name

    @property
    def functions(self) -> Mapping[str, HostFunction]:
        """The functions by name; read-only."""
        return self._view

    @overload
    def function(self, fn: F, /) -> F: ...

    @overload
    def function(self, fn: None = None, /, *, name: str | None = None) -> Callable[[F], F]: ...

    def function(self, fn: Any = None, /, *, name: str | None = None) -> Any:
        """Offer the decorated function, by its own name or by `name`. The function itself is returned unchanged.

        Raises `TypeError` for an annotation that is not a WebAssembly type, and `ValueError` for a name that is taken.
        """
        return self._offer(fn, name, sys._getframe(1).f_locals, False)

    @overload
    def method(self, fn: F, /) -> F: ...

    @overload
    def method(self, fn: None = None, /, *, name: str | None = None) -> Callable[[F], F]: ...

    def method(self, fn: Any = None, /, *, name: str | None = None) -> Any:
        """As `function`, for a function whose first parameter is the object that belongs to the calling instance:
        `self` in the body of a class. `Caller`, if wanted, comes second.

        To pass a host module that has methods to `instantiate` or `link`, call `bind`, which says what makes the
        object.
        """
        return self._offer(fn, name, sys._getframe(1).f_locals, True)

    def _offer(self, fn: Any, name: str | None, names: Mapping[str, Any], takes_state: bool) -> Any:
        def decorate(fn: F) -> F:
            self._add(_described(_name_of(fn) if name is None else name, fn, names, takes_state))
            return fn

        return decorate if fn is None else decorate(fn)

    def bind(self, factory: Callable[[], Any]) -> BoundHostModule:
        """Bind the methods to an object that `factory` makes for each instance, and which is their first argument.

        `factory` is called by `instantiate`, without arguments, before any guest code runs; what it raises comes out
        there. `ModuleInstance.state` returns the object. One host module may be bound several times. Raises `TypeError`
        where `factory` is not callable.
        """
        return BoundHostModule(self, factory)

    def add_function(
        self,
        name: str,
        params: Iterable[ValueType],
        results: Iterable[ValueType],
        fn: Callable[..., Any],
        *,
        pass_caller: bool | None = None,
    ) -> None:
        """Offer `fn` as `name` with exactly these types, whatever its annotations say.

        `pass_caller` hands the calling instance over as the first argument; None decides it from the annotation of the
        first parameter. Raises `TypeError` if `fn` is not callable or a type is not a `ValueType`, and `ValueError` for
        a name that is taken.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of a host function is a str, not {shown(name)}")
        if not callable(fn):
            raise TypeError(f"host function {name!r} must be callable, not {shown(fn)}")
        if pass_caller is None:
            pass_caller = _wants_caller(fn, sys._getframe(1).f_locals)
        self._add(HostFunction(name, fn, _checked(name, params), _checked(name, results), bool(pass_caller)))

    def _add(self, function: HostFunction) -> None:
        if function.name in self._functions:
            raise ValueError(f"host module {self._name!r} has a function {function.name!r} already")
        self._functions[function.name] = function

    def get(self, name: str) -> HostFunction:
        """The function of that name. Raises `HostFunctionNotFoundError`, which lists the functions that exist, and
        `TypeError` where `name` is no str.
        """
        if not isinstance(name, str):
            raise TypeError(f"a host function is asked for by its name, a str, not {shown(name)}")
        try:
            return self._functions[name]
        except KeyError:
            known = ", ".join(sorted(self._functions)) or "nothing"
            hint = did_you_mean(name, self._functions)
            raise HostFunctionNotFoundError(
                f"host module {self._name!r} has no function {name!r}, only {known}{hint}"
            ) from None

    __getitem__ = get

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __getstate__(self) -> tuple[str, tuple[HostFunction, ...]]:
        return self._name, tuple(self._functions.values())

    def __setstate__(self, state: tuple[str, tuple[HostFunction, ...]]) -> None:
        HostModule.__init__(self, state[0])
        self._functions.update((each.name, each) for each in state[1])

    def __repr__(self) -> str:
        return f"<HostModule {self._name!r} functions={list(self._functions)}>"


class BoundHostModule:
    """A host module with the factory that makes, for each instance, the object that its methods take. `HostModule.bind`
    returns it; it is passed to `instantiate` and `link` in place of the host module.
    """

    def __init__(self, module: HostModule, factory: Callable[[], Any]) -> None:
        expect("a BoundHostModule", "a HostModule", HostModule, module=module)
        if not callable(factory):
            raise TypeError(
                f"bind takes a class, or what else makes an object for each instance when called, not {shown(factory)}"
            )
        self._module = module
        self._factory = factory

    @property
    def name(self) -> str:
        """The module name that guests import from."""
        return self._module.name

    @property
    def functions(self) -> Mapping[str, HostFunction]:
        """The functions by name; read-only."""
        return self._module.functions

    def new_state(self) -> Any:
        """Make the object of one instance."""
        return self._factory()

    def __repr__(self) -> str:
        return f"<{self._module!r} bound to {shown(self._factory)}>"


def _checked(name: str, types: Iterable[ValueType]) -> tuple[ValueType, ...]:
    try:
        listed = tuple(types)
    except (TypeError, ValueError):  # the latter from a view that was released
        raise TypeError(
            f"host function {name!r}: the types are a list such as [ValueType.I32], not {shown(types)}"
        ) from None
    for type in listed:
        if not isinstance(type, ValueType):
            raise TypeError(
                f"host function {name!r}: a parameter or result is a ValueType such as ValueType.I32, not {shown(type)}"
            )
    return listed


def _name_of(fn: Any) -> str:
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(f"{shown(fn)} has no name to be offered by; pass name=...")
    return name


def host_function_from_callable(name: str, fn: Callable[..., Any]) -> HostFunction:
    """Describe a plain callable by its annotations, as `HostModule.function` does."""
    return _described(name, fn, {})


def is_async(fn: Any) -> bool:
    """Whether the result of `fn` must be awaited: it is a coroutine function, or an object whose `__call__` is one."""
    while isinstance(fn, partial):
        fn = fn.func
    # Since Python 3.12 inspect.markcoroutinefunction sets this to a bare object; a mock has the attribute too, as
    # another mock.
    if type(getattr(fn, "_is_coroutine_mark", None)) is object:
        return True
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    if not isinstance(code, CodeType):  # an object with `__call__`
        code = getattr(getattr(type(fn), "__call__", None), "__code__", None)  # noqa: B004
    return isinstance(code, CodeType) and bool(code.co_flags & inspect.CO_COROUTINE)


def resolve(function: HostFunction, wanted: FunctionType) -> FunctionType:
    """Return the signature by which a guest that imports `function` as `wanted` calls it.

    Raises `TypeError` saying why it does not fit: an exact type must be equal, a loose one must admit the guest's, and
    the number of parameters and results must agree.
    """
    params = function.params
    if params is None:
        _check_takes(function, len(wanted.params))
    elif len(params) != len(wanted.params) and not _takes_fewer(function, len(wanted.params)):
        raise TypeError(f"it takes {_listed(params)}, the guest passes {_listed(wanted.params)}")
    else:
        for n, (has, type) in enumerate(zip(params, wanted.params, strict=False), 1):
            if not _admits(has, type):
                raise TypeError(f"its parameter {n} is {has}, the guest passes {type}")
    results = function.results
    if results is not None:
        if len(results) != len(wanted.results):
            raise TypeError(f"it returns {_listed(results)}, the guest wants {_listed(wanted.results)}")
        for n, (has, type) in enumerate(zip(results, wanted.results, strict=True), 1):
            if not _admits(has, type):
                raise TypeError(f"its result {n} is {has}, the guest wants {type}")
    return wanted


def callable_for(function: HostFunction) -> Callable[..., Any]:
    """What guests call: the callable itself, or a wrapper if some of its parameters have to be converted to bools."""
    flags = [n for n, type in enumerate(function.params or ()) if type is LooseType.BOOL]
    if not flags:
        return function.callable
    inner, first = function.callable, function.pass_caller + function.takes_state
    places = frozenset(first + n for n in flags)

    @wraps(inner, assigned=("__name__", "__qualname__", "__doc__", "__module__"), updated=())
    def call(*args: Any) -> Any:
        return inner(*[bool(value) if n in places else value for n, value in enumerate(args)])

    return call


def _admits(has: _Type, wanted: ValueType) -> bool:
    return has is wanted or (isinstance(has, LooseType) and wanted in has.value)


def _listed(types: tuple[_Type, ...]) -> str:
    return f"({', '.join(map(str, types))})"


def _takes_fewer(function: HostFunction, count: int) -> bool:
    """Whether the parameters beyond the first `count` have defaults."""
    params = function.params
    if params is None or count > len(params):
        return False
    try:
        _check_takes(function, count)
    except TypeError:
        return False
    return True


def _check_takes(function: HostFunction, count: int) -> None:
    signature = _signature(function.callable)
    if signature is None:
        return
    try:
        signature.bind(*[None] * (count + function.pass_caller + function.takes_state))
    except TypeError as error:
        raise TypeError(
            f"the guest passes {count} argument{'' if count == 1 else 's'}, and it takes others: {error}"
        ) from None


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):  # a builtin without a signature
        return None


class _Scope:
    """Where annotations that are kept as text are looked up: where the function was defined, then where it was
    offered.
    """

    def __init__(self, fn: Callable[..., Any], names: Mapping[str, Any]) -> None:
        inner: Any = inspect.unwrap(fn)
        while isinstance(inner, partial):  # not any object with a `func`: for a mock this would never end
            inner = inspect.unwrap(inner.func)
        if not hasattr(inner, "__globals__"):
            inner = getattr(inner, "__func__", None) or getattr(type(inner), "__call__", inner)  # noqa: B004
        self._globals: dict[str, Any] = getattr(inner, "__globals__", {})
        self._here = names
        self._names: dict[str, Any] | None = None

    def value(self, annotation: object) -> Any:
        """The annotation's value. Raises whatever evaluating its text raises."""
        seen = set()
        while isinstance(annotation, str):
            if annotation in seen:
                raise ValueError("it stands for itself")
            seen.add(annotation)
            if self._names is None:
                self._names = {**_KNOWN_NAMES, **self._globals, **self._here}
            annotation = eval(annotation, {}, self._names)
        return annotation


def _described(name: str, fn: Callable[..., Any], names: Mapping[str, Any], takes_state: bool = False) -> HostFunction:
    if not isinstance(name, str):
        raise TypeError(f"the name of a host function is a str, not {shown(name)}")
    if not callable(fn):
        raise TypeError(f"host function {name!r} must be callable, not {shown(fn)}")
    signature = _signature(fn)
    if signature is None:
        return HostFunction(name, fn, takes_state=takes_state)
    scope = _Scope(fn, names)
    params: list[_Type] = []
    pass_caller = any_number = False
    empty = signature.empty
    given = list(signature.parameters.values())
    if takes_state:
        if not given or given[0].kind not in (given[0].POSITIONAL_ONLY, given[0].POSITIONAL_OR_KEYWORD):
            raise TypeError(
                f"host function {name!r}: a method takes the object of the calling instance as its first parameter"
            )
        del given[0]
    for n, param in enumerate(given):
        if param.kind is param.VAR_POSITIONAL:
            type = LooseType.ANY if param.annotation is empty else _param_type(name, param, scope)
            if not isinstance(type, LooseType):
                _refuse(name, f"*{param.name}", "exact types of *args")
            if type is LooseType.BOOL:
                _refuse(name, f"*{param.name}", "the type bool")
            any_number = True
        elif param.kind is param.KEYWORD_ONLY:
            if param.default is empty:
                _refuse(name, param.name, "keyword-only parameters without a default")
        elif param.kind is not param.VAR_KEYWORD:
            if n == 0 and param.annotation is not empty and _is_caller(name, param, scope):
                pass_caller = True
            else:
                params.append(_param_type(name, param, scope))
    if any_number:
        if not all(type is LooseType.ANY for type in params):
            _refuse(name, params, "annotated parameters together with *args")
        return HostFunction(name, fn, None, _result_types(name, signature, scope), pass_caller, takes_state)
    return HostFunction(name, fn, tuple(params), _result_types(name, signature, scope), pass_caller, takes_state)


def _wants_caller(fn: Callable[..., Any], names: Mapping[str, Any]) -> bool:
    signature = _signature(fn)
    if signature is None:
        return False
    for param in signature.parameters.values():
        if param.annotation is signature.empty:
            return False
        try:
            return _Scope(fn, names).value(param.annotation) is protocols.Caller
        except Exception:  # where the types are given, an annotation that cannot be evaluated does not matter
            return False
    return False


def _is_caller(name: str, param: inspect.Parameter, scope: _Scope) -> bool:
    return _value(name, param.name, param.annotation, scope) is protocols.Caller


def _value(name: str, part: str, annotation: object, scope: _Scope) -> Any:
    try:
        return scope.value(annotation)
    except Exception as error:
        raise TypeError(
            f"host function {name!r}: the annotation {annotation!r} of {part} cannot be evaluated ({error}); "
            "give the types with add_function instead"
        ) from None


def _param_type(name: str, param: inspect.Parameter, scope: _Scope) -> _Type:
    if param.annotation is param.empty:
        return LooseType.ANY
    value = _value(name, param.name, param.annotation, scope)
    type = _type(value)
    if type is None:
        if value is protocols.Caller:
            _refuse(name, param.name, "Caller anywhere but as the first parameter")
        _refuse(name, param.name, shown_annotation(value))
    return type


def _result_types(name: str, signature: inspect.Signature, scope: _Scope) -> tuple[_Type, ...] | None:
    if signature.return_annotation is signature.empty:
        return None
    value = _value(name, "the result", signature.return_annotation, scope)
    if value is None or value is type(None):
        return ()
    if value is NoReturn or value is Any or value is object or value is tuple or str(value) == "typing.Never":
        return None
    if get_origin(value) is tuple:
        items = get_args(value)
        if len(items) == 2 and items[1] is Ellipsis:
            return None
        types = []
        for item in () if items == ((),) else items:
            of_item = _type(item)
            if of_item is None:
                _refuse(name, "the result", shown_annotation(item))
            types.append(of_item)
        return tuple(types)
    single = _type(value)
    if single is None:
        _refuse(name, "the result", shown_annotation(value))
    return (single,)


def _type(value: Any) -> _Type | None:
    if get_origin(value) is Annotated:
        for extra in get_args(value)[1:]:
            if isinstance(extra, ValueType):
                return extra
        return _type(get_args(value)[0])
    if isinstance(value, NewType):
        return _type(value.__supertype__)
    if get_origin(value) in (Union, UnionType):  # None is what the guest never passes
        members = [each for each in get_args(value) if each is not type(None)]
        return _type(members[0]) if len(members) == 1 else None
    try:
        return _LOOSE.get(value)
    except TypeError:  # unhashable
        return None


def shown_annotation(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


def _refuse(name: str, part: object, what: str) -> NoReturn:
    raise TypeError(
        f"host function {name!r}: {part} cannot have {what}; annotate with i32, i64, f32, f64, v128, funcref or"
        " externref, with int, bool, float, bytes, Any or nothing, or give the types with add_function"
    )
