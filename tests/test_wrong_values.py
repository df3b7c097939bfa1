"""Functions of the public API are fed with values of every kind. What they refuse, they refuse in their own words, not
in those of what they are made of.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.constructors import INSIDES, VALUES

import pywasmrt
from pywasmrt import Runtime, ValueType, WasmError, diagnostics, otel, testing, wasi
from pywasmrt.testing import strategies

GUEST = """(module
  (import "env" "h" (func $h (param i32) (result i32)))
  (memory (export "memory") 1 2) (table (export "t") 2 4 funcref) (global (export "g") (mut i32) (i32.const 0))
  (func (export "f") (param i32) (result i32) (call $h (local.get 0))))"""

Probe = Callable[[Any], object]


@pytest.fixture(scope="module")
def probes(runtime: Runtime) -> Iterator[dict[str, Probe]]:
    module = runtime.compile(testing.to_binary(GUEST))
    imports = {"env": {"h": lambda x: x}}
    with runtime.instantiate(module, imports) as instance, runtime.new_store() as store:
        function, table, memory = instance.function("f"), instance.table("t"), instance.memory()
        assert function is not None
        assert table is not None
        assert memory is not None
        rows, trap = array("i", [1, 2]), pywasmrt.Trap("x")

        def written(**given: Any) -> None:
            all_given = {"trap": trap, "instance": instance, "to": io.BytesIO(), **given}
            diagnostics.write_coredump(**all_given)

        yield {
            "compile": runtime.compile,
            "validate": runtime.validate,
            "compile_component": runtime.compile_component,
            "instantiate": runtime.instantiate,
            "instantiate imports": lambda value: runtime.instantiate(module, value),
            "instantiate fields": lambda value: runtime.instantiate(module, {"env": value}),
            "instantiate field": lambda value: runtime.instantiate(module, {"env": {"h": value}}),
            "instantiate store": lambda value: runtime.instantiate(module, imports, store=value),
            "instantiate wasi": lambda value: runtime.instantiate(module, imports, wasi=value),
            "instantiate limits": lambda value: runtime.instantiate(module, imports, limits=value),
            "link": lambda value: runtime.link(module, value),
            "new_store": runtime.new_store,
            "exports": lambda value: instance.exports[value],
            "in exports": lambda value: value in instance.exports,
            "host function": pywasmrt.HostModule().get,
            "add_function": lambda value: pywasmrt.HostModule().add_function("f", value, [], print),
            "memory tree": lambda value: wasi.MemoryTree().write("f", value),
            "memory tree path": lambda value: wasi.MemoryTree().write(value, b""),
            "memory tree read": lambda value: wasi.MemoryTree().read(value),
            "function": instance.function,
            "call": function,
            "raw call": function.call,
            "map": function.map,
            "map out": lambda value: function.map(rows, out=value),
            "map_bytes": lambda value: instance.map_bytes(value, [b"a"]),
            "read": lambda value: memory.read(value, 1),
            "write": lambda value: memory.write(value, b""),
            "element": lambda value: table[value],
            "set element": lambda value: table.__setitem__(0, value),
            "store.table": lambda value: store.table(value),
            "store.memory": lambda value: store.memory(value),
            "store.global_": lambda value: store.global_(value, 1),
            "store.tag": store.tag,
            "store.tag of": lambda value: store.tag([value]),
            "trace": pywasmrt.trace,
            "profile": lambda value: pywasmrt.profile(value),
            "write_coredump trap": lambda value: written(trap=value),
            "write_coredump instance": lambda value: written(instance=value),
            "write_coredump to": lambda value: isinstance(value, (str, Path)) or written(to=value),
            "write_coredump name": lambda value: written(name=value),
            "read_coredump": diagnostics.read_coredump,
            "dumpable": diagnostics.dumpable,
            "new_runtime": pywasmrt.new_runtime,
            "register_runtime": lambda value: (
                pywasmrt.register_runtime("never registered", value) if not callable(value) else None
            ),
            "common_features": testing.common_features,
            "differential": lambda value: testing.differential(value, ["wasmtime", "wasmtime-py"]),
            "check_runtime": lambda value: callable(value) or testing.check_runtime(value),
            "to_binary": testing.to_binary,
            "arguments": strategies.arguments,
            "results": strategies.results,
            "value_types": strategies.value_types,
            "function_types": lambda value: strategies.function_types(max_params=value),
            "modules": lambda value: strategies.modules(max_functions=value),
            "modules of": strategies.modules,
            "reencoded": strategies.reencoded,
            "mutated": strategies.mutated,
            "signals": lambda value: otel.WasmProcessor({"path": "/nowhere"}, value),
        }


@pytest.mark.filterwarnings("ignore")
def test_what_is_refused_is_refused_in_the_librarys_words(probes: dict[str, Probe]) -> None:
    wrong = []
    for where, probe in probes.items():
        for value in VALUES:
            try:
                made = probe(value)
                if hasattr(made, "close") and made is not value:
                    made.close()
            except (TypeError, ValueError, OverflowError, WasmError, IndexError, OSError) as error:
                if INSIDES.search(str(error)):
                    wrong.append(f"{where}({type(value).__name__}): {type(error).__name__}: {error}")
            except Exception as error:
                wrong.append(f"{where}({type(value).__name__}): {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def test_a_tag_takes_types(runtime: Runtime, needs: Callable[..., None]) -> None:
    needs("exception-values")
    with runtime.new_store() as store:
        for wrong in (None, 5, ValueType.I32):
            with pytest.raises(TypeError, match="a tag is made of a list of ValueTypes"):
                store.tag(wrong)  # type: ignore[arg-type]
