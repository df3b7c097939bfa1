"""Python classes for the resources that a component defines: their methods call the component's functions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from ..errors import WasmError
from .names import class_name, python_name, resource_function
from .types import ComponentFunctionType

__all__ = ["make_class"]

FindFunction = Callable[[str], Any]


class ResourceBase:
    """What the classes of resources have in common. A runtime adds `_drop`, `closed` and `_borrowed`."""

    __slots__ = ()
    _name = "resource"

    def drop(self) -> None:
        """End the resource now, by its destructor, instead of when the last reference goes. Idempotent."""
        self._drop()  # type: ignore[attr-defined]

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.drop()

    def __copy__(self) -> Any:
        raise TypeError(f"a {self._name} cannot be copied: it is a handle")

    def __deepcopy__(self, memo: object) -> Any:
        return self.__copy__()

    def __reduce__(self) -> Any:
        raise TypeError(f"a {self._name} cannot be pickled: it is a handle")

    def __repr__(self) -> str:
        state = " (closed)" if self.closed else " (lent)" if self._borrowed else ""  # type: ignore[attr-defined]
        return f"<{type(self).__name__}{state}>"


class WaitingResource(ResourceBase):
    """What the classes of resources have in common in an asynchronous store: guest code runs by `await` alone."""

    __slots__ = ()
    _turns: Any  # whose turn it is in the store (pywasmrt/runtimes/base/turns.py)

    def drop(self) -> None:
        """Refused: the destructor is guest code."""
        raise WasmError(f"the {self._name} belongs to an asynchronous store: await drop_async(), or use async with")

    async def drop_async(self) -> None:
        """End the resource now, by its destructor. Idempotent."""
        await self._turns.call(self._drop)  # type: ignore[attr-defined]

    def __enter__(self) -> Any:
        self.drop()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.drop_async()


def make_class(
    base: Any, name: str, functions: dict[str, ComponentFunctionType], find: FindFunction, turns: Any = None
) -> Any:
    """The class of a resource. `functions` are those of its interface, `find` gives one of them by its name in WIT, and
    `turns` is there in an asynchronous store.
    """
    if turns is not None:
        return _waiting_class(base, name, functions, find, turns)
    members: dict[str, Any] = {"__slots__": (), "_name": name, "__module__": "component"}
    for full, type in functions.items():
        parsed = resource_function(full)
        if parsed is None or parsed[1] != name:
            continue
        kind, _, function = parsed
        if kind == "constructor":
            members["__new__"] = _constructor(full, find)
            members["__init__"] = _nothing
        elif kind == "method":
            members[python_name(function)] = _method(full, function, type, find)
        else:
            members[python_name(function)] = staticmethod(_static(full, function, type, find))
    if "__new__" not in members:
        members["__new__"] = _no_constructor(name)
    members["__doc__"] = f"The resource `{name}`."
    return type_of(base)(class_name(name), (ResourceBase, base), members)


def _waiting_class(
    base: Any, name: str, functions: dict[str, ComponentFunctionType], find: FindFunction, turns: Any
) -> Any:
    members: dict[str, Any] = {"__slots__": (), "_name": name, "_turns": turns, "__module__": "component"}
    members["__new__"] = _no_constructor(name)
    for full in functions:
        parsed = resource_function(full)
        if parsed is None or parsed[1] != name:
            continue
        kind, _, function = parsed
        if kind == "constructor":
            members["__new__"] = _constructor(full, find)  # which refuses, and says how
            members.setdefault("call_async", staticmethod(_Waiting(partial(find, full)).call_async))
        elif kind == "method":
            members[python_name(function)] = _WaitingMethod(partial(find, full))
        else:
            members[python_name(function)] = _Waiting(partial(find, full))
    members["__doc__"] = f"The resource `{name}`."
    return type_of(base)(class_name(name), (WaitingResource, base), members)


class _Waiting:
    """A function of a resource in an asynchronous store."""

    __slots__ = ("_args", "_find")

    def __init__(self, find: Callable[[], Any], *args: Any) -> None:
        self._find = find
        self._args = args

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Refused: the store is entered by `call_async` alone."""
        return self._find()(*self._args, *args, **keywords)

    def call_async(self, *args: Any, **keywords: Any) -> Coroutine[Any, Any, Any]:
        """Await the call."""
        found: Coroutine[Any, Any, Any] = self._find().call_async(*self._args, *args, **keywords)
        return found

    def __repr__(self) -> str:
        return repr(self._find())


class _WaitingMethod(_Waiting):
    """The same, found on an object of its class."""

    __slots__ = ()

    def __get__(self, owner: Any, of: Any = None) -> _Waiting:
        return self if owner is None else _Waiting(self._find, owner)


def type_of(base: Any) -> Any:
    return type(base)


def _nothing(self: Any, *args: Any, **keywords: Any) -> None:
    """The constructor has done everything."""


def _constructor(full: str, find: FindFunction) -> Any:
    def __new__(cls: Any, *args: Any, **keywords: Any) -> Any:
        return find(full)(*args, **keywords)

    return __new__


def _no_constructor(name: str) -> Any:
    def __new__(cls: Any, *args: Any, **keywords: Any) -> Any:
        raise TypeError(f"the resource {name} has no constructor; functions of the component give such objects")

    return __new__


def _method(full: str, name: str, type: ComponentFunctionType, find: FindFunction) -> Any:
    def method(self: Any, *args: Any, **keywords: Any) -> Any:
        return find(full)(self, *args, **keywords)

    return _described(method, name, type)


def _static(full: str, name: str, type: ComponentFunctionType, find: FindFunction) -> Any:
    def static(*args: Any, **keywords: Any) -> Any:
        return find(full)(*args, **keywords)

    return _described(static, name, type)


def _described(function: Any, name: str, type: ComponentFunctionType) -> Any:
    function.__name__ = function.__qualname__ = python_name(name)
    function.__doc__ = f"`{name}: {type}`"
    return function
