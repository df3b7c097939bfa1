"""`bool` as an annotation of a host function: an i32 of the guest, which comes and goes as True and False."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, NewType, Optional

import pytest

import pywasmrt
from pywasmrt import Caller, HostModule

Flag = NewType("Flag", bool)

GUEST = """(module
  (import "env" "check" (func $check (param i32 f64) (result i32)))
  (func (export "run") (param i32) (result i32) (call $check (local.get 0) (f64.const 2))))
"""


@pytest.mark.wasm_features("wat")
def test_a_predicate_and_a_flag(runtime: pywasmrt.Runtime) -> None:
    seen: list[object] = []

    def check(flag: bool, x: float) -> bool:
        seen.extend((flag, x))
        return not flag

    run = runtime.instantiate(runtime.compile(GUEST), {"env": {"check": check}}).exports.run
    assert (run(0), run(1), run(-5)) == (1, 0, 0)
    assert seen == [False, 2.0, True, 2.0, True, 2.0]
    assert all(type(each) in (bool, float) for each in seen)


@pytest.mark.wasm_features("wat")
def test_with_a_caller_and_the_state_of_an_instance(runtime: pywasmrt.Runtime) -> None:
    env = HostModule("env")

    class State:
        flags: list[bool]

        def __init__(self) -> None:
            self.flags = []

    @env.method
    def check(state: State, caller: Caller, flag: bool, x: float) -> bool:
        state.flags.append(flag)
        assert caller is not None
        return bool(x)

    instance = runtime.instantiate(runtime.compile(GUEST), env.bind(State))
    assert instance.exports.run(7) == 1
    assert instance.state("env").flags == [True]


@pytest.mark.wasm_features("wat")
def test_a_bool_is_an_i32_only(runtime: pywasmrt.Runtime) -> None:
    def check(flag: bool, x: bool) -> bool:
        return flag and x

    with pytest.raises(pywasmrt.ModuleInstantiateError, match="parameter 2 is bool, the guest passes f64"):
        runtime.instantiate(runtime.compile(GUEST), {"env": {"check": check}})


def quoted(flag: "bool", x: "float") -> "bool":  # noqa: UP037
    return flag is True and x == 2


def of_a_type_of_its_own(flag: Flag, x: float) -> Flag:
    return Flag(flag is True and x == 2)


def optional(flag: Optional[bool], x: float | None = None) -> Optional[bool]:
    return flag is True and x == 2


def annotated(flag: Annotated[bool, "enabled"], x: float) -> Annotated[bool, "whether"]:
    return flag is True and x == 2


def with_more(more: str, flag: bool, x: float) -> bool:
    return flag is True and more == "more" and x == 2


class Kinds:
    def method(self, flag: bool, x: float) -> bool:
        return flag is True and x == 2

    @classmethod
    def of_class(cls, flag: bool, x: float) -> bool:
        return flag is True and x == 2

    @staticmethod
    def static(flag: bool, x: float) -> bool:
        return flag is True and x == 2

    def __call__(self, flag: bool, x: float) -> bool:
        return flag is True and x == 2


FORMS: list[Callable[..., Any]] = [
    quoted,
    of_a_type_of_its_own,
    optional,
    annotated,
    functools.partial(with_more, "more"),
    functools.lru_cache(quoted),
    Kinds().method,
    Kinds.of_class,
    Kinds.static,
    Kinds(),
]


@pytest.mark.wasm_features("wat")
def test_every_form_of_the_annotation(runtime: pywasmrt.Runtime) -> None:
    module = runtime.compile(GUEST)
    for form in FORMS:
        env = HostModule("env")
        env.function(form, name="check")
        for imports in ({"env": {"check": form}}, env):
            run = runtime.instantiate(module, imports).exports.run
            assert (run(4), run(0)) == (1, 0)


@pytest.mark.wasm_features("wat")
def test_numpys_bools_are_bools(runtime: pywasmrt.Runtime) -> None:
    numpy = pytest.importorskip("numpy")

    def check(flag: bool, x: float) -> bool:
        return numpy.array([flag, x > 1]).all()  # type: ignore[no-any-return]

    run = runtime.instantiate(runtime.compile(GUEST), {"env": {"check": check}}).exports.run
    assert (run(1), run(0), run(numpy.bool_(True)), run(numpy.bool_(False))) == (1, 0, 1, 0)
    with pytest.raises(TypeError, match="argument 1 of run"):
        run(numpy.array([True]))
