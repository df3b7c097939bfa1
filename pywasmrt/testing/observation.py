"""Runs one module on one runtime and records everything observable."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ..errors import ModuleCompileError, Trap, UnsupportedFeatureError
from ..protocols import FunctionInstance, Memory, Runtime, Store
from ..types import ExternType, FunctionType, GlobalType, ImportType, MemoryType, TableType, TrapCode, ValueType
from ..wasm.floats import f32_bits
from .differences import Difference
from .edge_values import sample

__all__ = ["Call", "HostRaised", "Observation", "as_tuple", "observe"]

_WIDTHS = {ValueType.I32: 32, ValueType.I64: 64}
_RAISING = 0.2  # of the calls of a host function

Call = tuple[str, tuple[Any, ...]]
"""The name of an exported function, and its arguments."""


class HostRaised(Exception):
    """Raised by the host functions that are made for a module's imports."""


@dataclass
class Observation:
    """What was seen, in the order in which it happened: each step has a name and something comparable."""

    runtime: str
    unsupported: str | None = None
    steps: list[tuple[str, Any]] = field(default_factory=list)
    traps: int = 0


def as_tuple(type: FunctionType, returned: Any) -> tuple[Any, ...]:
    """What a call returned, always as a tuple. Several results that did not come as a tuple are one value in it."""
    if not type.results:
        return ()
    return returned if len(type.results) > 1 and isinstance(returned, tuple) else (returned,)


class _Seer:
    """Makes observations comparable by removing the permitted differences."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        self._differences = differences

    def value(self, type: ValueType, value: Any) -> Any:
        if type is ValueType.EXTERNREF:
            return ("externref", None if value is None else id(value))
        if type is ValueType.FUNCREF:
            return ("funcref", None if value is None else str(value.type))
        if type in _WIDTHS:
            bits = value & ((1 << _WIDTHS[type]) - 1) if isinstance(value, int) else value
            shown: Any = repr(value)  # signed or not, and an int or a bool
        elif type is ValueType.V128:
            bits = shown = value.hex() if isinstance(value, bytes) else value
        else:
            bits = value
            if isinstance(value, float):
                wide = struct.unpack("<Q", struct.pack("<d", value))[0]
                bits = f32_bits(value) if type is ValueType.F32 else wide
            shown = value.hex() if isinstance(value, float) else value
        for difference in self._differences:
            if type in difference.types and any(first <= bits <= last for first, last in difference.bits):
                return (str(type), difference.name)
        return (str(type), bits, shown)

    def values(self, types: Sequence[ValueType], values: Sequence[Any]) -> Any:
        if len(types) != len(values):
            return ("a wrong number of values", len(values))
        return tuple(self.value(type, value) for type, value in zip(types, values, strict=True))

    def trap(self, code: TrapCode) -> str:
        for difference in self._differences:
            if code in difference.traps:
                return difference.name
        return code.value


def observe(
    runtime: Runtime,
    binary: bytes,
    calls: Callable[[Sequence[tuple[str, FunctionType]]], Sequence[Call]],
    differences: Sequence[Difference] = (),
) -> Observation:
    """Compile, instantiate and call, and look at every memory, global and table at the end, imported or exported.

    What the module imports is made for it: host functions that return, or now and then raise, the same on every runtime
    and whose calls are written down, memories, globals and tables. `calls` says, of the exported functions in order,
    what to call. A runtime that refuses for want of a feature gives an observation with `unsupported` set.
    """
    seen = Observation(runtime.info.name)
    seer = _Seer(differences)
    try:
        _observe(runtime, binary, calls, seen, seer)
    except UnsupportedFeatureError as error:
        seen.unsupported = str(error)
    return seen


def _observe(
    runtime: Runtime,
    binary: bytes,
    calls: Callable[[Sequence[tuple[str, FunctionType]]], Sequence[Call]],
    seen: Observation,
    seer: _Seer,
) -> None:
    try:
        module = runtime.compile(binary)
    except ModuleCompileError:
        seen.steps.append(("compile", "invalid"))
        return
    store = runtime.new_store()
    try:
        provided = [(each, _provided(each, store, seen, seer)) for each in module.imports]
        imports: dict[str, dict[str, Any]] = {}
        for each, extern in provided:
            imports.setdefault(each.module, {})[each.name] = extern
        with _step(seen, seer, "instantiate"):
            instance = runtime.instantiate(module, imports, store=store)
            seen.steps.append(("instantiate", "done"))
            functions = [(e.name, e.type) for e in module.exports if isinstance(e.type, FunctionType)]
            functions = [each for each in functions if not any(t.judged for t in each[1].params + each[1].results)]
            functions = [(name, type) for name, type in functions if instance.function(name) is not None]
            for name, args in calls(functions):
                _call(instance.exports[name], name, args, seen, seer)
            for export in module.exports:
                _look(f"{export.name!r}", export.type, instance.exports[export.name], seen, seer)
        for each, extern in provided:  # as they are in the end, or as a failed instantiation left them
            _look(f"{each.module}.{each.name}", each.type, extern, seen, seer)
    finally:
        store.close()
        module.close()


class _step:
    """If a step fails, the failure is recorded as its outcome."""

    def __init__(self, seen: Observation, seer: _Seer, name: str) -> None:
        self.seen = seen
        self.seer = seer
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if isinstance(error, Trap):
            self.seen.traps += 1
            self.seen.steps.append((self.name, ("trapped", self.seer.trap(error.code))))
            return True
        if isinstance(error, UnsupportedFeatureError) or not isinstance(error, Exception):
            return False
        self.seen.steps.append((self.name, ("raised", type(error).__name__)))
        return True


def _call(function: FunctionInstance, name: str, args: tuple[Any, ...], seen: Observation, seer: _Seer) -> None:
    step = f"{name}({', '.join(map(repr, args))})"
    with _step(seen, seer, step):
        type = function.type
        returned = function(*args)
        seen.steps.append((step, ("returned", seer.values(type.results, as_tuple(type, returned)))))


def _look(name: str, type: ExternType, found: Any, seen: Observation, seer: _Seer) -> None:
    if isinstance(type, MemoryType):
        data = found.read(0, found.size)
        used = data.rstrip(b"\0")
        seen.steps.append((f"the memory {name}", (len(data), used)))
        seen.steps.append((f"the end of the memory {name}", _end_of(found, len(data))))
    elif isinstance(type, GlobalType) and not type.content.judged:
        seen.steps.append((f"the global {name}", seer.value(type.content, found.value)))
    elif isinstance(type, TableType) and not type.element.judged:
        elements = [seer.value(type.element, found[n]) for n in range(len(found))]
        seen.steps.append((f"the table {name}", elements))


def _end_of(memory: Memory, size: int) -> list[object]:
    """How a memory refuses an access one byte beyond its end, and that the access wrote nothing."""
    last = max(size - 1, 0)
    before = memory.read(last, size - last)
    outcomes: list[object] = []
    for reaching in (
        lambda: memory.read(size, 1),
        lambda: memory.read(last, size - last + 1),
        lambda: memory.write(last, b"\xff" * (size - last + 1)),
    ):
        try:
            outcomes.append(("returned", reaching()))
        except Exception as error:
            outcomes.append(("raised", type(error).__name__))
    return [*outcomes, memory.read(last, size - last) == before]


def _provided(wanted: ImportType, store: Store, seen: Observation, seer: _Seer) -> Any:
    random = Random(f"{wanted}")
    type = wanted.type
    if isinstance(type, FunctionType):
        return _host_function(wanted, type, random, seen, seer)
    if isinstance(type, MemoryType):
        return store.memory(type.minimum, type.maximum, is_64=type.is_64, shared=type.shared)
    if isinstance(type, TableType):
        return store.table(type.minimum, type.maximum, type.element)
    return store.global_(type.content, sample(type.content, random), mutable=type.mutable)


def _host_function(
    wanted: ImportType, type: FunctionType, random: Random, seen: Observation, seer: _Seer
) -> Callable[..., Any]:
    def host(*args: Any) -> Any:
        seen.steps.append((f"the guest calls {wanted.module}.{wanted.name}", seer.values(type.params, args)))
        results = tuple(sample(each, random) for each in type.results)
        if random.random() < _RAISING:
            raise HostRaised(f"{wanted.module}.{wanted.name}")
        if not results:
            return None
        return results[0] if len(results) == 1 else results

    return host
