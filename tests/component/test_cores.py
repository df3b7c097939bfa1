"""The core modules in a component, which are rewritten as other modules are."""

from __future__ import annotations

from contextlib import suppress

import pytest

from pywasmrt import DeadlineExceeded, Limits, ModuleCompileError, Runtime, UnsupportedFeatureError
from pywasmrt.component.cores import with_rewritten_cores
from pywasmrt.wasm.bulk_copies import PIECES

CORE = """(core module $m
  (memory (export "memory") 32768)
  (func (export "fill") (param i32) (memory.fill (i32.const 0) (i32.const 1) (local.get 0)))
  (func (export "read") (param i32) (result i32) (i32.load8_u (local.get 0))))"""
LIFTED = """(core instance $i (instantiate $m))
  (func $fill (param "size" u32) (canon lift (core func $i "fill")))
  (func $read (param "at" u32) (result u32) (canon lift (core func $i "read")))
  (export "fill" (func $fill)) (export "read" (func $read))"""
PLAIN = f"(component {CORE} {LIFTED})"
NESTED = f"""(component
  (component $inner {CORE} {LIFTED})
  (instance $i (instantiate $inner))
  (export "fill" (func $i "fill")) (export "read" (func $i "read")))"""
SIZE = 0x7FFF0000


@pytest.mark.parametrize("text", [PLAIN, NESTED], ids=["plain", "nested"])
def test_one_instruction_of_a_component_ends_at_the_deadline(runtime: Runtime, text: str) -> None:
    if "component-model" not in runtime.info.features:
        pytest.skip("no components")
    with runtime.compile_component(text) as component:
        with runtime.instantiate_component(component) as instance:
            instance.exports.fill(1000)
            assert [instance.exports.read(at) for at in (0, 999, 1000)] == [1, 1, 0]
        limited = runtime.instantiate_component(component, limits=Limits(timeout=0.02))
        with limited as instance, pytest.raises(DeadlineExceeded):
            instance.exports.fill(SIZE)  # ended on its way, after which a component cannot be entered again


def test_what_is_malformed_is_left_to_the_engine(runtime: Runtime) -> None:
    if "component-model" not in runtime.info.features:
        pytest.skip("no components")
    data = bytes(pytest.importorskip("wasmtime").wat2wasm(NESTED))
    assert with_rewritten_cores(data, [PIECES]) != data
    for end in range(8, len(data)):
        with suppress(ModuleCompileError, UnsupportedFeatureError):  # some cuts are between sections, and valid
            runtime.compile_component(data[:end]).close()
