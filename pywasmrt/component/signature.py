"""Applies a function's signature: converts arguments and results, arranges keywords, words the errors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NoReturn

from ..errors import ComponentError
from ..values import shown
from .codec import Codec, MakePlan, Refusal
from .codecs import Codecs
from .compound_codecs import ResultCodec
from .names import python_name
from .types import ComponentFunctionType, ResultType, structure

__all__ = ["Signature"]


class Signature:
    """What a function takes and gives, with the codecs for it. `shown_name` is how messages call the function."""

    def __init__(self, type: ComponentFunctionType, codecs: Codecs, shown_name: str) -> None:
        """Raises `UnsupportedFeatureError` where a value cannot cross."""
        self.type = type
        self.shown_name = shown_name
        self.params: list[Codec] = [codecs.codec(each) for _, each in type.params]
        self.result: Codec | None = None if type.result is None else codecs.codec(type.result)
        self.fallible = type.result is not None and isinstance(structure(type.result), ResultType)

    @cached_property
    def names(self) -> list[str]:
        """The names of the parameters in Python."""
        return [python_name(name) for name, _ in self.type.params]

    @cached_property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        try:
            return inspect.Signature([inspect.Parameter(name, kind) for name in self.names])
        except ValueError:  # two names that Python cannot tell apart
            return inspect.Signature(
                [inspect.Parameter(f"p{n}", inspect.Parameter.POSITIONAL_ONLY) for n in range(len(self.names))]
            )

    def plans(self, make: MakePlan) -> tuple[tuple[Any, ...], Any]:
        """The plans of the parameters and of the result, or None."""
        return tuple(each.plan(make) for each in self.params), None if self.result is None else self.result.plan(make)

    # Arguments from Python

    def arrange(self, name: str, args: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[Any, ...]:
        """All arguments in their order. Raises `TypeError` as Python does."""
        names = self.names
        if len(args) > len(names) or (not keywords and len(args) != len(names)):
            raise self._count(name, len(args))
        found = list(args)
        given = dict(keywords)
        for each in names[: len(args)]:
            if each in given:
                raise TypeError(f"{name}() got two values for its argument {each!r}")
        missing = [each for each in names[len(args) :] if each not in given]
        found += [given.pop(each) for each in names[len(args) :] if each in given]
        if given:
            raise TypeError(f"{name}() has no argument {', '.join(map(repr, given))}; it is {name}: {self.type}")
        if missing:
            raise TypeError(f"{name}() needs {', '.join(map(repr, missing))} too; it is {name}: {self.type}")
        return tuple(found)

    def _count(self, name: str, count: int) -> TypeError:
        wanted = len(self.params)
        arguments = "1 argument" if wanted == 1 else f"{wanted} arguments"
        return TypeError(f"{name}() takes {arguments}, not {count}; it is {name}: {self.type}")

    def lower_arguments(self, name: str, args: Sequence[Any]) -> list[Any]:
        """What the package wasmtime takes. Raises what is wrong with the first argument that does not fit."""
        if len(args) != len(self.params):
            raise self._count(name, len(args))
        found = []
        for n, (codec, value) in enumerate(zip(self.params, args, strict=True), 1):
            try:
                found.append(codec.lower(value))
            except Refusal as refusal:
                raise refusal.error(f"argument {n} of {name}()") from None
        return found

    def refuse_arguments(self, name: str, args: Sequence[Any]) -> NoReturn:
        """Raise what is wrong with arguments that the native path refused."""
        self.lower_arguments(name, args)
        raise RuntimeError(f"an argument of {name}() changed while it was read")

    def lift_result(self, raw: Any) -> Any:
        """The result as Python has it. Raises `ComponentError` for the error of a `result`."""
        if self.result is None:
            return None
        if not self.fallible:
            return self.result.lift(raw)
        assert isinstance(self.result, ResultCodec)
        is_ok, value = self.result.lift_case(raw)
        if is_ok:
            return value
        raise ComponentError(value)

    # Results of host functions

    def lower_result(self, value: Any) -> Any:
        """What the package wasmtime takes for what a host function returned. Raises what is wrong with it."""
        where = f"the result of host function {self.shown_name}"
        if self.result is None:
            if value is not None:
                hint = "; a coroutine function needs an asynchronous store" if inspect.iscoroutine(value) else ""
                raise TypeError(f"{where}: None is wanted, as it has no result, not {shown(value)}{hint}")
            return None
        try:
            if self.fallible:
                assert isinstance(self.result, ResultCodec)
                return self.result.lower_case(True, value)
            return self.result.lower(value)
        except Refusal as refusal:
            raise refusal.error(where) from None

    def lower_error(self, payload: Any) -> Any:
        """The same for the payload of a `ComponentError` that it raised."""
        assert isinstance(self.result, ResultCodec)
        try:
            return self.result.lower_case(False, payload)
        except Refusal as refusal:
            raise refusal.error(f"the error of host function {self.shown_name}") from None

    def refuse_result(self, value: Any) -> NoReturn:
        """Raise what is wrong with a host function's result that the native path refused."""
        self.lower_result(value)
        raise RuntimeError(f"the result of host function {self.shown_name} changed while it was read")

    def refuse_error(self, payload: Any) -> NoReturn:
        """The same for the payload of an error."""
        self.lower_error(payload)
        raise RuntimeError(f"the error of host function {self.shown_name} changed while it was read")
