"""What is fuzzed: each target takes any bytes, which are choices, and raises where something is wrong.

A target returns what came of it, in few words: whoever varies inputs keeps those that have something new come of them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pywasmrt
from pywasmrt import FunctionType, Limits, Runtime, Trap, WasmError
from pywasmrt.component import ListType, PrimitiveType
from pywasmrt.testing import Module, differential
from pywasmrt.testing.components import echo_component
from pywasmrt.testing.edge_values import sample_arguments
from pywasmrt.testing.programs import write_program

__all__ = ["NATIVE", "TARGETS", "Targets"]

_CHUNK = 40  # bytes of choices for one statement
# What a damaged module may use up before it is stopped.
_SIZES = Limits(memory_bytes=1 << 22, table_elements=10_000, instances=5)
NATIVE = ("wasmtime", "wasm3", "wazero")
"""The runtimes that are fuzzed by default."""
Outcome = str


class Targets:
    """The targets, over the native engines that are available; `wazero:interpreter` is wazero in that mode."""

    def __init__(self, names: Sequence[str] = NATIVE) -> None:
        available = [info.name for info in pywasmrt.list_runtimes() if info.available]
        self.runtimes: list[Runtime] = [_runtime(name) for name in names if name.partition(":")[0] in available]
        # One engine alone is compared with Wasmtime, and Wasmtime with the other way to it.
        self.compared = self.runtimes
        if len(self.runtimes) == 1:
            other = "wasmtime-py" if self.runtimes[0].info.name == "wasmtime" else "wasmtime"
            if other in available:
                self.compared = [*self.runtimes, pywasmrt.new_runtime(other)]
        self.features = frozenset.intersection(*(runtime.info.features for runtime in self.compared))

    def programs(self, data: bytes) -> Outcome:
        """A program is valid, and does the same on every engine."""
        module = self._program(data, self.features)
        report = differential([module], self.compared)
        return f"{report.calls} calls, {report.traps} traps, {_words(module)}"

    def damaged(self, data: bytes) -> Outcome:
        """A damaged module is refused with an error of the library's own, or runs into nothing worse than a trap."""
        outcomes = []
        for runtime in self.runtimes:
            binary = _damaged(self._program(data[8:], runtime.info.features).encode(), data[:8])
            outcomes.append(self._survives(runtime, binary))
        return "; ".join(outcomes)

    def raw(self, data: bytes) -> Outcome:
        """Any bytes at all, behind the header of a module."""
        return "; ".join(self._survives(runtime, b"\0asm\1\0\0\0" + data) for runtime in self.runtimes)

    def components(self, data: bytes) -> Outcome:
        """A damaged component is refused with an error of the library's own, or its world is read and its function
        called, with nothing worse than a trap.
        """
        runtime = next((each for each in self.runtimes if "component-model" in each.info.features), None)
        if runtime is None:
            return "no components"
        binary = _damaged(_component(), data[:32])
        try:
            component = runtime.compile_component(binary)
            component.wit()
            with runtime.instantiate_component(component, limits=replace(_SIZES, timeout=0.2)) as instance:
                values = instance.exports.echo([bytes(data[32:64])])
        except (WasmError, TypeError, ValueError, OverflowError) as error:
            return _told(error)
        return f"{len(values)} values"

    def _program(self, data: bytes, features: frozenset[str]) -> Module:
        chunks = [data[at : at + _CHUNK] for at in range(16, len(data), _CHUNK)] or [b""]
        functions = [(chunks[at], chunks[at + 1 : at + 4]) for at in range(0, min(len(chunks), 12), 4)]
        return write_program(features, data[:16], functions)

    def _survives(self, runtime: Runtime, binary: bytes) -> Outcome:
        limits = _SIZES
        if "deadline" in runtime.info.features:
            limits = Limits(_SIZES.memory_bytes, _SIZES.table_elements, _SIZES.instances, timeout=0.5)
        verdict = _outcome(lambda: runtime.validate(binary))
        found = _outcome(lambda: self._run(runtime, binary, limits))
        if verdict != "None" and found == "ran" and runtime.info.name != "wasm3":
            raise AssertionError(f"{runtime.info.name} runs what it calls invalid: {verdict}")
        return f"{runtime.info.name}: {found}"

    def _run(self, runtime: Runtime, binary: bytes, limits: Limits) -> Outcome:
        with runtime.compile(binary) as module, runtime.new_store(limits) as store:
            for each in (*module.imports, *module.exports):
                str(each)
            imports: dict[str, dict[str, Any]] = {}
            for wanted in module.imports:
                if isinstance(wanted.type, FunctionType):
                    imports.setdefault(wanted.module, {})[wanted.name] = _host(wanted.type)
            instance = runtime.instantiate(module, imports, store=store)
            for export in module.exports:
                found = instance.exports[export.name]
                _outcome(functools.partial(_use, found, export.type))
        return "ran"


def _runtime(name: str) -> Runtime:
    name, _, mode = name.partition(":")
    return pywasmrt.new_runtime(name, {"options": {"mode": mode}} if mode else None)


def _use(found: Any, type: Any) -> Any:
    if isinstance(type, FunctionType):
        return found(*sample_arguments(type, 0))
    return len(found) if hasattr(found, "__len__") else found.value


def _host(type: FunctionType) -> Callable[..., Any]:
    results = sample_arguments(FunctionType(type.results), "host")
    return lambda *args: None if not results else results[0] if len(results) == 1 else results


def _outcome(call: Callable[[], Any]) -> Outcome:
    """What came of it: anything but an error of the library's own comes out."""
    try:
        return str(call())
    except Trap as trap:
        return f"trap {trap.code}"
    except WasmError as error:
        return _told(error)
    except (TypeError, ValueError, AttributeError) as error:
        if "cannot cross" in str(error) or isinstance(error, AttributeError):  # a tag, or a typed reference
            return type(error).__name__
        raise


def _told(error: Exception) -> str:
    """An error in words that are the same for each place it may come from."""
    return f"{type(error).__name__} {re.sub(r'0x[0-9a-f]+|[0-9]+', '', str(error))[:60]}"


def _damaged(binary: bytes, choices: bytes) -> bytes:
    """Bytes replaced, removed or doubled, as `choices` says; where those are zeros, nothing is."""
    data = bytearray(binary)
    padded = choices.ljust(8, b"\0")
    at, what = int.from_bytes(padded[1:3], "little") % len(data), padded[0] % 5
    if what == 1:
        data[at] = padded[3]
    elif what == 2:
        data[at] ^= 1 << padded[3] % 8
    elif what == 3:
        del data[at : at + 1 + padded[3] % 8]
    elif what == 4:
        data[at:at] = padded[3 : 4 + padded[7] % 4]
    return bytes(data)


@functools.cache
def _component() -> bytes:
    """A component that gives back bytes, in binary form."""
    from wasmtime import wat2wasm

    return bytes(wat2wasm(echo_component(ListType(PrimitiveType("u8")))))


def _words(module: Module) -> str:
    used = {instruction[0] for function in module.functions for instruction in function.body}
    return f"{len(module.functions)} functions of {len(used) // 4} fours of words"


TARGETS = ("programs", "damaged", "raw", "components")
"""The names of the methods of `Targets` that are to be fuzzed."""
