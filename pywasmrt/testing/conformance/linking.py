"""Linking: providers of imports, what is missing, what does not fit."""

from __future__ import annotations

from typing import Any

from ...errors import ClosedError, ModuleInstantiateError, Trap
from ...host import HostModule
from ...types import FunctionType, GlobalType, Limits, MemoryType, TrapCode, ValueType
from ...wasm.module import Module
from .. import guests
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("linking")

_I32 = ValueType.I32
_UNARY = FunctionType((_I32,), (_I32,))


def _importer(*fields: tuple[str, str]) -> Module:
    """A guest that imports such functions, and whose `run` calls the first."""
    guest = Module()
    for module, field in fields:
        guest.import_(module, field, _UNARY)
    guest.function(_UNARY, [("local.get", 0), ("call", 0)], export="run")
    return guest


@PART
def imports_come_from_mappings_modules_and_instances(subject: Subject) -> None:
    env = HostModule("env")
    env.add_function("f", [_I32], [_I32], lambda x: x + 1)
    store = subject.runtime.new_store()
    other = subject.instance(guests.passthrough(_UNARY), env, store=store)
    providers: list[Any] = [env, {"env": {"f": lambda x: x + 1}}, {"env": env}, {"env": {"f": other.exports.direct}}]
    for provider in providers:
        instance = subject.instance(_importer(("env", "f")), provider, store=store)
        equal(instance.exports.run(41), 42, f"an import provided by {provider!r}")
    instance = subject.instance(_importer(("other", "direct")), {"other": other}, store=store)
    equal(instance.exports.run(1), 2, "an import provided by an instance")


@PART
def the_first_provider_serves(subject: Subject) -> None:
    guest = _importer(("env", "f"))
    instance = subject.instance(guest, {"env": {"f": lambda x: 1}}, {"env": {"f": lambda x: 2}})
    equal(instance.exports.run(0), 1, "an import that two provide")
    instance = subject.instance(guest, {"env": {"g": lambda x: 1}}, {"env": {"f": lambda x: 2}})
    equal(instance.exports.run(0), 2, "an import that the second provides")


@PART
def everything_missing_is_told_at_once(subject: Subject) -> None:
    guest = _importer(("env", "f"), ("env", "missing"), ("nowhere", "h"))
    error = expect(
        ModuleInstantiateError, "missing imports", lambda: subject.instance(guest, {"env": {"f": lambda x: x}})
    )
    equal(len(error.problems), 2, "the number of problems")
    for name in ("env.missing", "nowhere.h"):
        require(name in str(error), f"the message does not name {name}: {error}")


@PART
def what_does_not_fit_is_refused(subject: Subject) -> None:
    guest = _importer(("env", "f"))
    store = subject.runtime.new_store()
    add = subject.instance(guests.arithmetic(), store=store).exports.add
    for wrong in (add, 5, "f", lambda: 1):
        error = expect(
            ModuleInstantiateError,
            f"{wrong!r} for a function (i32) -> (i32)",
            lambda provider: subject.instance(guest, provider, store=store),
            {"env": {"f": wrong}},
        )
        require("env.f" in str(error), f"the message does not name env.f: {error}")
    expect(TypeError, "a list as a provider", lambda: subject.instance(guest, ["f"]))


@PART
def functions_of_another_store_are_refused(subject: Subject) -> None:
    direct = subject.instance(guests.passthrough(_UNARY), {"env": {"f": lambda x: x}}).exports.direct
    expect(
        ModuleInstantiateError,
        "a function of another store",
        lambda: subject.instance(_importer(("env", "f")), {"env": {"f": direct}}),
    )


@PART
def memories_can_be_shared_by_linking(subject: Subject) -> None:
    store = subject.runtime.new_store()
    memory = store.memory(1, 2)
    guest = Module()
    guest.import_("env", "memory", MemoryType(1), export="memory")
    load = FunctionType((_I32,), (_I32,))
    guest.function(load, [("local.get", 0), ("i32.load8_u", 0, 0)], export="load")
    first, second = (subject.instance(guest, {"env": {"memory": memory}}, store=store) for _ in range(2))
    memory.write(3, b"\x09")
    equal((first.exports.load(3), second.exports.load(3)), (9, 9), "a byte of a memory that two share")
    found = first.memory()
    require(found is not None and found.read(3, 1) == b"\x09", "the memory that is exported again is another")


@PART
def globals_can_be_shared_by_linking(subject: Subject) -> None:
    store = subject.runtime.new_store()
    shared = store.global_(_I32, 5, mutable=True)
    guest = Module()
    guest.import_("env", "g", GlobalType(_I32, True))
    guest.function(FunctionType((), (_I32,)), [("global.get", 0)], export="get")
    guest.function(FunctionType((_I32,)), [("local.get", 0), ("global.set", 0)], export="set")
    first, second = (subject.instance(guest, {"env": {"g": shared}}, store=store) for _ in range(2))
    first.exports.set(9)
    equal((second.exports.get(), shared.value), (9, 9), "a global that two share")


@PART
def one_module_makes_many_instances(subject: Subject) -> None:
    module = subject.runtime.compile(guests.globals_([_I32]).encode())
    first, second = (subject.runtime.instantiate(module) for _ in range(2))
    first.exports.set0(5)
    equal((first.exports.get0(), second.exports.get0()), (5, 0), "the globals of two instances")


@PART
def a_module_linked_once_makes_many_instances(subject: Subject) -> None:
    module = subject.runtime.compile(_importer(("env", "f")).encode())
    with subject.runtime.link(module, {"env": {"f": lambda x: x + 1}}) as linked:
        require(linked.module is module, "the module of a linked module is another")
        first, second = linked.instantiate(), linked.instantiate(limits=Limits(instances=1))
        require(first.store is not second.store, "two instances of a linked module share a store")
        equal((first.exports.run(1), second.exports.run(2)), (2, 3), "what two instances of a linked module compute")
        first.close()
        equal(second.exports.run(3), 4, "a call after another instance was closed")
    equal(second.exports.run(4), 5, "a call after the linked module was closed")
    expect(ClosedError, "instantiating what was closed", linked.instantiate)
    linked = subject.runtime.link(module, {"env": {"f": lambda x: x}})
    module.close()
    expect(ClosedError, "instantiating when the module was closed", linked.instantiate)


@PART
def linking_tells_what_does_not_fit(subject: Subject) -> None:
    module = subject.runtime.compile(_importer(("env", "f"), ("env", "g")).encode())
    error = expect(ModuleInstantiateError, "imports that do not fit", lambda: subject.runtime.link(module, {"env": {}}))
    equal(len(error.problems), 2, "the number of problems")
    direct = subject.instance(guests.passthrough(_UNARY), {"env": {"f": lambda x: x}}).exports.direct
    imports = {"env": {"f": direct, "g": direct}}
    expect(ModuleInstantiateError, "a function of an instance", lambda: subject.runtime.link(module, imports))


@PART
def objects_of_instances_are_made_anew(subject: Subject) -> None:
    env = HostModule("env")

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        @env.method
        def f(self, step: int) -> int:
            self.count += step
            return self.count

    module = subject.runtime.compile(_importer(("env", "f")).encode())
    linked = subject.runtime.link(module, env.bind(Counter))
    first, second = linked.instantiate(), linked.instantiate()
    equal([first.exports.run(2), first.exports.run(2), second.exports.run(3)], [2, 4, 3], "what two instances count")
    equal((first.state().count, second.state("env").count), (4, 3), "the objects of two instances")
    require(first.state("other") is None, "there is an object of a host module that was not given")
    expect(ModuleInstantiateError, "methods that are not bound", lambda: subject.runtime.link(module, env))


@PART
def what_the_start_function_raises_comes_out(subject: Subject) -> None:
    trap = expect(Trap, "a start function that traps", lambda: subject.instance(guests.starting([("unreachable",)])))
    equal(trap.code, TrapCode.UNREACHABLE, "the trap of a start function")
    error = ValueError("from the start function")

    def thrower() -> None:
        raise error

    guest = guests.starting([("call", 0)], imports=FunctionType())
    found = expect(
        ValueError, "a start function whose import raises", lambda: subject.instance(guest, {"env": {"f": thrower}})
    )
    require(found is error, "instantiate raised another object than the host function did")
