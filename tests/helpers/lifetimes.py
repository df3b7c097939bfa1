"""A guest that exports everything, for tests of lifetimes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pywasmrt import (
    BusyError,
    ClosedError,
    ExternKind,
    FunctionType,
    GlobalType,
    MemoryType,
    Runtime,
    TableType,
    ValueType,
)
from pywasmrt.testing import Module, guests

I32 = ValueType.I32
EXTERNREF, FUNCREF = ValueType.EXTERNREF, ValueType.FUNCREF
NOTHING = FunctionType()
UNARY = FunctionType((I32,), (I32,))


def guest(runtime: Runtime) -> Module:
    """A guest that passes calls of its import `env.f` through, and exports one thing of each kind."""
    module = guests.passthrough(UNARY)
    module.memory(MemoryType(1, 3), export="memory")
    module.global_(GlobalType(I32, True), ("i32.const", 5), export="counter")
    if "reference-types" in runtime.info.features:
        module.table(TableType(EXTERNREF, 2, 9), export="objects")
    else:  # the one table that there is
        module.tables[0] = TableType(FUNCREF, 2, 9)
        module.export("objects", ExternKind.TABLE, 0)
    return module


def instantiate(runtime: Runtime, function: Callable[..., Any] = lambda x: x, **kwargs: Any) -> Any:
    return runtime.instantiate(runtime.compile(guest(runtime).encode()), {"env": {"f": function}}, **kwargs)


def parts(instance: Any) -> dict[str, Any]:
    return {
        "function": instance.function("direct"),
        "memory": instance.memory(),
        "global": instance.global_("counter"),
        "table": instance.table("objects"),
        "instance": instance,
        "exports": instance.exports,
    }


def set_value(global_: Any) -> None:
    global_.value = 1


def set_item(table: Any) -> None:
    table[0] = None


USES: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("function", "call", lambda it: it(1)),
    ("function", "raw call", lambda it: it.call(1)),
    ("memory", "read", lambda it: it.read(0, 1)),
    ("memory", "read nothing", lambda it: it.read(0, 0)),
    ("memory", "write", lambda it: it.write(0, b"x")),
    ("memory", "grow", lambda it: it.grow(1)),
    ("memory", "size", lambda it: it.size),
    ("memory", "len", len),
    ("global", "get", lambda it: it.value),
    ("global", "set", set_value),
    ("table", "get", lambda it: it[0]),
    ("table", "set", set_item),
    ("table", "len", len),
    ("table", "grow", lambda it: it.grow(1)),
    ("instance", "function", lambda it: it.function("direct")),
    ("instance", "memory", lambda it: it.memory()),
    ("instance", "global", lambda it: it.global_("counter")),
    ("instance", "table", lambda it: it.table("objects")),
    ("instance", "exports", lambda it: it.exports),
    ("instance", "enter", lambda it: it.__enter__()),
    ("exports", "attribute", lambda it: it.nested(1, 1)),
    ("exports", "item", lambda it: it["nested"](1, 1)),
]


def refusal(use: Callable[[Any], Any], it: Any) -> type[BaseException] | None:
    """The class of the error that a use raises, if its message names the cause; otherwise None."""
    try:
        use(it)
    except (ClosedError, BusyError) as error:
        return type(error) if "closed" in str(error) or "another thread" in str(error) else None
    return None


def assert_all_closed(held: dict[str, Any]) -> None:
    for part, name, use in USES:
        if part in held:
            assert refusal(use, held[part]) is ClosedError, f"{name} of {part}"
    if "memory" in held:
        with pytest.raises((ClosedError, BufferError, TypeError, ValueError)):
            memoryview(held["memory"])
    for each in held.values():
        repr(each)


CLOSERS: dict[str, Callable[[Any], Any]] = {
    "instance": lambda instance: instance.close(),
    "store": lambda instance: instance.store.close(),
    "runtime": lambda instance: instance.store.runtime.close(),
}
