"""Python functions as imports: values, exceptions, re-entry, the caller."""

from __future__ import annotations

from typing import Any

from ...errors import ClosedError, MemoryExportNotFoundError
from ...host import HostModule
from ...protocols import Caller
from ...types import FunctionType, MemoryType, ValueType
from .. import guests
from ..edge_values import sample_arguments
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("host functions")

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_WAYS = ("direct", "indirect", "start_again", "host")


def _env(type: FunctionType, function: Any, **options: Any) -> HostModule:
    module = HostModule("env")
    module.add_function("f", type.params, type.results, function, **options)
    return module


@PART
def arguments_and_results_cross(subject: Subject) -> None:
    type = FunctionType((_I32, _I64, _F32, _F64), (_I64,))
    seen: list[Any] = []

    def function(*args: Any) -> int:
        seen.append(args)
        return -(1 << 62)

    exports = subject.instance(guests.passthrough(type), _env(type, function)).exports
    for name in _WAYS:
        equal(exports[name](1 << 31, (1 << 63) + 5, 0.5, -2.25), -(1 << 62), f"{name} of a host function")
        equal(seen.pop(), (-(1 << 31), -(1 << 63) + 5, 0.5, -2.25), f"the arguments of a host function, by {name}")
    equal(exports.nested(9, 1, 2, 3.0, 4.0), -(1 << 62), "nested of a host function")
    equal(seen, [(1, 2, 3.0, 4.0)], "the arguments of a host function, nested")


@PART.needs("multi-value")
def several_results_keep_their_order(subject: Subject) -> None:
    type = FunctionType((), (_I32, _F64, _I64, _I32))
    exports = subject.instance(guests.passthrough(type), _env(type, lambda: (1, 2.5, 3, 4))).exports
    for name in _WAYS:
        equal(exports[name](), (1, 2.5, 3, 4), f"four results of a host function, by {name}")
    exports = subject.instance(guests.passthrough(type), _env(type, lambda: [1, 2.5, 3, 4])).exports
    equal(exports.direct(), (1, 2.5, 3, 4), "a list of results")


@PART
def results_are_checked(subject: Subject) -> None:
    for result, returned, error in (
        (_I32, 1 << 32, OverflowError),
        (_I32, "1", TypeError),
        (_I32, None, TypeError),
        (_I32, 1.0, TypeError),
        (_I64, 1 << 64, OverflowError),
        (_F64, "1", TypeError),
        (_F64, (1.0,), TypeError),
    ):
        type = FunctionType((), (result,))
        env = _env(type, lambda returned=returned: returned)
        exports = subject.instance(guests.passthrough(type), env).exports
        for name in _WAYS:
            found = expect(error, f"a host function that returns {returned!r} for {result}", exports[name])
            require("env.f" in str(found), f"the message does not name the host function env.f: {found}")
    type = FunctionType()
    exports = subject.instance(guests.passthrough(type), _env(type, lambda: 5)).exports
    expect(TypeError, "a result where there is none", exports.direct)


@PART
def an_exception_comes_out_as_itself(subject: Subject) -> None:
    type = FunctionType((_I32,), (_I32,))
    for kind in (ValueError, KeyError, KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit):
        error = kind("the very one")

        def thrower(value: int, error: BaseException = error) -> int:
            if value:
                raise error
            return 7

        exports = subject.instance(guests.passthrough(type), _env(type, thrower)).exports
        for name in _WAYS:
            found = expect(kind, f"a host function that raises, by {name}", exports[name], 1)
            require(found is error, f"{name} raised another object than the host function did")
            equal(exports[name](0), 7, f"{name}, after an exception")
        found = expect(kind, "a host function that raises, nested", exports.nested, 20, 1)
        require(found is error, "nested raised another object than the host function did")


@PART
def a_caught_exception_goes_no_further(subject: Subject) -> None:
    type = FunctionType((_I32,), (_I32,))

    def function(value: int) -> int:
        if value == 0:
            raise ValueError
        try:
            return int(exports.nested(3, value - 1))
        except ValueError:
            return value

    exports = subject.instance(guests.passthrough(type), _env(type, function)).exports
    equal(exports.direct(4), 1, "a host function that catches what another raised")


@PART
def host_functions_may_call_back(subject: Subject) -> None:
    type = FunctionType((_I32,), (_I32,))

    def function(value: int) -> int:
        return value if value == 0 else int(exports[_WAYS[value % 3]](value - 1)) + 1

    exports = subject.instance(guests.passthrough(type), _env(type, function)).exports
    for name in _WAYS:
        equal(exports[name](25), 25, f"25 calls from guest to host and back, begun by {name}")


@PART
def values_survive_deep_calls(subject: Subject) -> None:
    type = FunctionType((_I64, _F64), (_F64,))
    for seed in range(20):
        args = sample_arguments(type, seed)
        seen: list[Any] = []

        def function(*values: Any, seen: list[Any] = seen) -> float:
            seen.append(values)
            return float(values[1])

        exports = subject.instance(guests.passthrough(type), _env(type, function)).exports
        exports.nested(30, *args)
        exports.direct(*args)
        require(repr(seen[0]) == repr(seen[1]), f"{args} arrived as {seen[0]} nested and as {seen[1]} directly")


@PART
def the_caller_is_the_instance_that_calls(subject: Subject) -> None:
    type = FunctionType((_I32,), (_I32,))
    kept: list[Any] = []

    def function(caller: Caller, offset: int) -> int:
        kept.append(caller)
        expect(MemoryExportNotFoundError, 'memory("missing")', lambda: caller.memory("missing"))
        equal(caller.function("missing"), None, "looking for a function that is not there")
        require("direct" in caller.exports, "the caller's exports lack 'direct'")
        return caller.memory().read(offset, 1)[0]

    instance = subject.instance(guests.passthrough(type, memory=MemoryType(1)), _env(type, function))
    memory = instance.memory()
    if memory is None:
        raise AssertionError("the exported memory is not found")
    memory.write(70, b"\x2a")
    for name in ("direct", "indirect"):
        equal(instance.exports[name](70), 42, f"a byte of the caller's memory, by {name}")
    expect(ClosedError, "a caller after its host function returned", lambda: kept[0].memory())


@PART
def annotations_give_the_types(subject: Subject) -> None:
    env = HostModule("env")

    def f(x: int) -> int:
        return -x

    env.function(f)
    for type in (_I32, _I64):
        exports = subject.instance(guests.passthrough(FunctionType((type,), (type,))), env).exports
        equal(exports.direct(5), -5, f"a host function with loose types, imported with {type}")


@PART.needs("reference-types")
def references_cross_to_host_functions(subject: Subject) -> None:
    type = FunctionType((ValueType.EXTERNREF, ValueType.FUNCREF), (ValueType.EXTERNREF,))
    seen: list[Any] = []

    def function(value: Any, other: Any) -> Any:
        seen.append((value, other))
        return value

    exports = subject.instance(guests.passthrough(type), _env(type, function)).exports
    for name in _WAYS:
        value = object()
        require(exports[name](value, None) is value, f"an externref came back as another object, by {name}")
        require(seen.pop()[0] is value, f"an externref arrived as another object, by {name}")
    exports.direct(None, exports.direct)
    equal(seen.pop()[1].type, type, "the type of a funcref that a host function received")
