"""`bool` as an annotation of a host function: an i32 of the guest, which comes and goes as True and False."""

from __future__ import annotations

import pytest

import pywasmrt
from pywasmrt import Caller, HostModule

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
