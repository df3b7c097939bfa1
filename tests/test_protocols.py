"""What `isinstance` and `repr` tell of every object: also of closed and busy ones, and without asking the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from pywasmrt import FunctionType, GlobalType, MemoryType, Runtime, TableType, ValueType, protocols
from pywasmrt.testing import Module, guests

NOTHING = FunctionType()


def everything() -> Module:
    guest = Module()
    guest.import_("env", "host", NOTHING)
    guest.memory(MemoryType(1), export="memory")
    guest.global_(GlobalType(ValueType.I32, True), ("i32.const", 7), export="global")
    guest.table(TableType(ValueType.FUNCREF, 1), export="table")
    guest.function(NOTHING, [("call", 0)], export="run")
    return guest


def objects(runtime: Runtime, host: Callable[[], None] = lambda: None) -> list[tuple[Any, Any]]:
    """One object for each protocol, with the protocol."""
    module = runtime.compile(everything().encode())
    instance, context = runtime.instantiate_with_host(module, {"env": {"host": host}})
    return [
        (runtime, protocols.Runtime),
        (module, protocols.CompiledModule),
        (runtime.link(module, {"env": {"host": host}}), protocols.LinkedModule),
        (instance, protocols.ModuleInstance),
        (context, protocols.Context),
        (instance.store, protocols.Store),
        (instance.exports, protocols.Exports),
        (instance.function("run"), protocols.FunctionInstance),
        (instance.memory(), protocols.Memory),
        (instance.global_("global"), protocols.Global),
        (instance.table("table"), protocols.Table),
    ]


def check(found: list[tuple[Any, Any]]) -> None:
    every = [protocol for _, protocol in found]
    for value, own in found:
        said = [protocol for protocol in every if isinstance(value, protocol)]
        assert own in said
        assert protocols.HostModule not in said
        shown = repr(value)
        assert shown[0] == "<" and shown[-1] == ">"  # noqa: PT018
        assert "object at 0x" not in shown
        assert "  " not in shown


def test_every_object_is_what_its_protocol_says(runtime: Runtime) -> None:
    check(objects(runtime))


def test_what_is_closed_still_says_what_it_is(fresh_runtime: Runtime) -> None:
    found = objects(fresh_runtime)
    fresh_runtime.close()
    check(found)
    assert sum("closed" in repr(value) for value, _ in found) >= len(found) - 1  # exports show their module's


def test_what_is_busy_says_what_it_is_to_other_threads(runtime: Runtime) -> None:
    failures: list[BaseException] = []

    def look() -> None:
        try:
            check(found)
        except BaseException as error:
            failures.append(error)

    def host() -> None:
        other = threading.Thread(target=look)
        other.start()
        other.join()

    found = objects(runtime, host)
    {protocol: value for value, protocol in found}[protocols.FunctionInstance]()
    assert failures == []


def test_the_names_of_exports_are_not_their_methods(runtime: Runtime) -> None:
    guest = Module()
    for name in ("call", "call_async", "type", "read", "write", "grow", "size", "value"):
        guest.function(NOTHING, [], export=name)
    exports = runtime.instantiate(runtime.compile(guest.encode())).exports
    for protocol in (protocols.FunctionInstance, protocols.Memory, protocols.Global):
        assert not isinstance(exports, protocol)


def test_a_class_of_ones_own_is_told_by_what_it_has() -> None:
    class Own:
        def __init__(self) -> None:
            self.name = "env"

        functions: Any = {}  # noqa: RUF012

    class Heir(protocols.HostModule):
        name = "env"
        functions: Any = {}  # noqa: RUF012

    class Deaf:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"asked for {name}")

    assert isinstance(Own(), protocols.HostModule)
    assert isinstance(Heir(), protocols.HostModule)
    assert not isinstance(Deaf(), protocols.HostModule)
    assert not isinstance(5, protocols.HostModule)
    assert not isinstance(Own(), Heir)


def test_what_can_be_closed_is_a_context_manager(fresh_runtime: Runtime) -> None:
    closing = [value for value, _ in objects(fresh_runtime) if hasattr(type(value), "close")]
    assert len(closing) == 6
    for value in reversed(closing):
        assert isinstance(value, AbstractContextManager)
        if not value.closed:
            with value as entered:
                assert entered is value
        assert value.closed


def test_a_caller_is_shown(runtime: Runtime) -> None:
    def host(caller: protocols.Caller) -> None:
        assert isinstance(caller, protocols.Caller)
        kept.append(caller)
        shown.append(repr(caller))
        for wrong in (5, None, b"memory"):
            with pytest.raises(TypeError, match="an export is asked for by its name, a str, not "):
                caller.function(wrong)  # type: ignore[arg-type]

    kept: list[Any] = []
    shown: list[str] = []
    runtime.instantiate(runtime.compile(everything().encode()), {"env": {"host": host}}).exports.run()
    assert shown == ["<Caller exports=4>"]
    assert repr(kept[0]) == "<Caller (closed)>"


def test_a_function_out_of_a_table_is_shown(runtime: Runtime) -> None:
    guest = guests.arithmetic()
    guest.table(TableType(ValueType.FUNCREF, 1), export="table")
    guest.elements([0])
    function = runtime.instantiate(runtime.compile(guest.encode())).table("table")[0]
    assert repr(function).startswith("<Function function")
    assert function(1, 2) == 3
    assert repr(function).startswith("<Function function (i32, i32) -> (i32)")
