"""The spec's test host, built from the public API of pywasmrt alone."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Union

import pywasmrt
from pywasmrt import ValueType

from .values import SOME, Value

__all__ = ["Embedding", "Source"]

Source = Union[bytes, str, Path]
_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_REFERENCES = (ValueType.FUNCREF, ValueType.EXTERNREF, ValueType.REF)
_PRINTS = {
    "print": (),
    "print_i32": (_I32,),
    "print_i64": (_I64,),
    "print_f32": (_F32,),
    "print_f64": (_F64,),
    "print_i32_f32": (_I32, _F32),
    "print_f64_f64": (_F64, _F64),
}


# What WebAssembly 2.0 has; its scripts expect that later proposals are refused.
_FEATURES = frozenset(
    {
        "bulk-memory",
        "multi-value",
        "mutable-globals",
        "reference-types",
        "saturating-float-to-int",
        "sign-extension",
        "simd",
    }
)


def _runtime(name: str, **settings: Any) -> pywasmrt.Runtime:
    known = next(info.features for info in pywasmrt.list_runtimes() if info.name == name)
    return pywasmrt.new_runtime(name, pywasmrt.RuntimeConfig(features=_FEATURES & known, **settings))


class _HostReference:
    """What the script calls `(ref.extern n)`."""

    def __init__(self, number: int) -> None:
        self.number = number


class Embedding:
    """One runtime with the store, the module `spectest` and the registered instances of one script. `settings` are
    those of the runtime's `RuntimeConfig` besides the features.
    """

    def __init__(self, runtime_name: str, **settings: Any) -> None:
        self._runtime = _runtime(runtime_name, **settings)
        self.features = self._runtime.info.features
        self.all_features = next(info.features for info in pywasmrt.list_runtimes() if info.name == runtime_name)
        self._store = store = self._runtime.new_store()
        self._prints = pywasmrt.HostModule("spectest")
        for name, params in _PRINTS.items():
            self._prints.add_function(name, params, (), lambda *args: None)
        spectest: dict[str, Any] = {
            "global_i32": store.global_(_I32, 666),
            "global_i64": store.global_(_I64, 666),
            "global_f32": store.global_(_F32, 666.6),
            "global_f64": store.global_(_F64, 666.6),
        }
        if "host-table" in self.features:
            spectest["table"] = store.table(10, 20)
        if "host-memory" in self.features:
            spectest["memory"] = store.memory(1, 2)
        if "threads" in self.features:
            spectest["shared_memory"] = store.memory(1, 2, shared=True)
        self._registered: dict[str, Any] = {"spectest": spectest}
        self._host_references: dict[int, _HostReference] = {}

    def close(self) -> None:
        """Close the runtime and all in it."""
        self._runtime.close()

    def accepted_by(self, source: Source) -> list[str]:
        """Which ways of reading a module take it: `validate`, `compile`, both or neither."""
        ways = {"validate": self._runtime.validate, "compile": self._runtime.compile}
        return [name for name, way in ways.items() if not _refuses(way, source)]

    def compile(self, source: Source) -> Any:
        """Compile a module."""
        return self._runtime.compile(source)

    def instantiate(self, module: Any) -> Any:
        """Link a module to what is registered."""
        return self._runtime.instantiate(module, self._prints, self._registered, store=self._store)

    def register(self, name: str, instance: Any) -> None:
        """Offer an instance's exports to later modules."""
        self._registered[name] = instance

    def get(self, instance: Any, field: str) -> Value:
        """Read an exported global."""
        global_ = instance.global_(field)
        if global_ is None:
            raise LookupError(f"there is no global {field!r}")
        return self._from_python(global_.type.content, global_.value)

    def invoke(self, instance: Any, field: str, args: Sequence[Value]) -> list[Value]:
        """Call an exported function: numbers as raw bits, references as Python values."""
        function = instance.function(field)
        if function is None:
            raise LookupError(f"there is no function {field!r}")
        type = function.type
        if any(each in _REFERENCES for each in type.params + type.results):
            returned = function(*(self._to_python(arg) for arg in args))
            several = () if not type.results else (returned,) if len(type.results) == 1 else returned
            return [self._from_python(each, value) for each, value in zip(type.results, several, strict=True)]
        slots = iter(function.call(*(slot for arg in args for slot in _slots(arg))))
        return [
            (each.value, next(slots) | next(slots) << 64 if each is ValueType.V128 else next(slots))
            for each in type.results
        ]

    def _to_python(self, value: Value) -> Any:
        kind, bits = value
        if bits is None:
            return None
        if not isinstance(bits, int):
            raise pywasmrt.UnsupportedFeatureError("the script passes a reference that only a guest can make", "gc")
        if kind == "externref":
            return self._host_references.setdefault(bits, _HostReference(bits))
        if kind == "f32":
            return struct.unpack("<f", struct.pack("<I", bits))[0]
        if kind == "f64":
            return struct.unpack("<d", struct.pack("<Q", bits))[0]
        return bits.to_bytes(16, "little") if kind == "v128" else bits

    def _from_python(self, type: ValueType, value: Any) -> Value:
        kind = type.value
        if type is _F32:
            return kind, struct.unpack("<I", struct.pack("<f", value))[0]
        if type is _F64:
            return kind, struct.unpack("<Q", struct.pack("<d", value))[0]
        if type in (_I32, _I64):
            return kind, value & (0xFFFF_FFFF if type is _I32 else 0xFFFF_FFFF_FFFF_FFFF)
        if type is ValueType.V128:
            return kind, int.from_bytes(value, "little")
        if isinstance(value, _HostReference):
            assert self._host_references[value.number] is value
            return kind, value.number
        return kind, None if value is None else SOME


def _slots(value: Value) -> list[int]:
    kind, bits = value
    assert isinstance(bits, int)
    return [bits & (1 << 64) - 1, bits >> 64] if kind == "v128" else [bits]


def _refuses(way: Callable[[Source], Any], source: Source) -> bool:
    try:
        way(source)
    except pywasmrt.ModuleCompileError:
        return True
    return False
