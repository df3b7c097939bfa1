"""Host objects: methods that serve each instance with an object of its own."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from helpers.linked import caller_of

from pywasmrt import (
    Caller,
    HostModule,
    ModuleInstantiateError,
    Runtime,
    i32,
)


class Account:
    def __init__(self) -> None:
        self.balance = 100

    def pay(self, amount: i32) -> i32:
        self.balance -= amount
        return self.balance


def test_methods_serve_each_instance_with_its_own_object(runtime: Runtime) -> None:
    env = HostModule("env")
    env.method(Account.pay, name="f0")
    linked = runtime.link(runtime.compile(caller_of(1)), env.bind(Account))
    first, second = linked.instantiate(), linked.instantiate()
    assert (first.exports.run0(30), first.exports.run0(30), second.exports.run0(1)) == (70, 40, 99)
    assert first.state().balance == 40
    assert second.state("env").balance == 99
    assert second.state(env).balance == 99  # type: ignore[arg-type]
    assert first.state("elsewhere") is None
    first.close()
    assert first.state().balance == 40
    with pytest.raises(TypeError, match="host module's name"):
        first.state(5)  # type: ignore[arg-type]


def test_instantiate_makes_the_object_too(runtime: Runtime) -> None:
    env = HostModule("env")
    env.method(Account.pay, name="f0")
    instance = runtime.instantiate(runtime.compile(caller_of(1)), {"env": env.bind(Account)})
    assert instance.exports.run0(1) == 99
    assert instance.state().balance == 99
    assert runtime.instantiate(runtime.compile(caller_of(0))).state() is None


def test_methods_and_functions_may_be_mixed(runtime: Runtime) -> None:
    env, other = HostModule("env"), HostModule("other")

    class State:
        seen: int = 0

        @env.method
        def f0(self, caller: Caller, at: i32) -> i32:
            self.seen += 1
            caller.memory().write(0, bytes([self.seen]))
            return caller.memory().read(at, 1)[0]

        @env.method(name="f2")
        def anything(self, *args: Any) -> Any:
            return (self.seen, *args)[1]

        @other.method
        def unused(self) -> None: ...

    @env.function
    def f1(x: int) -> int:
        return x * 2

    assert State.f0.__name__ == "f0"
    linked = runtime.link(runtime.compile(caller_of(3)), other.bind(State), env.bind(State))
    exports = linked.instantiate().exports
    assert (exports.run0(0), exports.run0(0), exports.run1(4), exports.run2(9)) == (1, 2, 8, 9)
    assert linked.instantiate().exports.run0(0) == 1


def test_methods_need_their_object(runtime: Runtime) -> None:
    env = HostModule("env")
    env.method(Account.pay, name="f0")
    with pytest.raises(ModuleInstantiateError, match=r"not bound: pass HostModule.bind\(factory\)"):
        runtime.link(runtime.compile(caller_of(1)), env)
    with pytest.raises(TypeError, match="bind takes a class"):
        env.bind(Account())  # type: ignore[arg-type]
    for wrong in (lambda: None, lambda *, x: None):
        with pytest.raises(TypeError, match=r"first parameter|keyword-only"):
            env.method(wrong, name="f1")
    bound = env.bind(Account)
    assert (bound.name, list(bound.functions)) == ("env", ["f0"])
    assert "Account" in repr(bound)


def test_what_making_an_object_raises_comes_out(runtime: Runtime) -> None:
    env = HostModule("env")
    env.method(Account.pay, name="f0")
    made: list[int] = []

    def factory() -> Account:
        made.append(1)
        if len(made) == 2:
            raise OSError("no account")
        return Account()

    linked = runtime.link(runtime.compile(caller_of(1)), env.bind(factory))
    assert made == []
    linked.instantiate()
    with pytest.raises(OSError, match="no account"):
        linked.instantiate()
    assert linked.instantiate().exports.run0(1) == 99


def test_an_object_lives_as_long_as_its_instance(runtime: Runtime) -> None:
    env = HostModule("env")
    env.method(Account.pay, name="f0")
    instance = runtime.link(runtime.compile(caller_of(1)), env.bind(Account)).instantiate()
    seen = weakref.ref(instance.state())
    assert seen() is not None
    del instance
    assert seen() is None

    class Holder:
        instance: Any = None

        def pay(self, amount: i32) -> i32:
            return amount

    env = HostModule("env")
    env.method(Holder.pay, name="f0")
    instance = runtime.link(runtime.compile(caller_of(1)), env.bind(Holder)).instantiate()
    instance.state().instance = instance
    seen = weakref.ref(instance.state())
    del instance
    gc.collect()
    assert seen() is None  # a circle through the engine's store


def test_the_signature_of_a_method_is_checked_without_its_object(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.method
    def f0(state: Any, x: i32, y: i32) -> i32:
        return x

    with pytest.raises(ModuleInstantiateError, match=r"it takes \(i32, i32\), the guest passes \(i32\)"):
        runtime.link(runtime.compile(caller_of(1)), env.bind(object))
