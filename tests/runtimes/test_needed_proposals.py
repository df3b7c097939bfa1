"""A module that needs a proposal which is off, or which the engine has not, is told by the proposal's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
from helpers.texts import wat
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt.runtimes.base.features import PROPOSALS, WASMTIME_FIXED
from pywasmrt.testing import guests, strategies
from pywasmrt.wasm.primitives import name, section, uleb, vector
from pywasmrt.wasm.reading import HEADER

MODULES = [
    ("multi-value", "(func (result i32 i32) (i32.const 1) (i32.const 2))"),
    ("multi-value", "(func (i32.const 1) (block (param i32) (drop)))"),
    ("simd", "(func (drop (v128.const i64x2 1 2)))"),
    ("simd", "(global v128 (v128.const i64x2 1 2))"),
    ("simd", "(func (param v128))"),
    ("relaxed-simd", "(func (param v128 v128 v128) (drop (i32x4.relaxed_trunc_f32x4_s (local.get 0))))"),
    ("tail-call", "(func $f (return_call $f))"),
    ("tail-call", "(table 1 funcref) (func (return_call_indirect (i32.const 0)))"),
    ("multi-memory", "(memory 1) (memory 1)"),
    ("memory64", "(memory i64 1)"),
    ("memory64", "(table i64 1 funcref)"),
    ("exceptions", "(tag)"),
    ("exceptions", "(tag $t) (func (throw $t))"),
    ("function-references", "(type $f (func)) (func (param (ref $f)))"),
    ("function-references", "(func $f) (func (call_ref 0 (ref.func $f))) (elem declare func $f)"),
    ("gc", "(type (struct (field i32))) (func (drop (struct.new_default 0)))"),
    ("gc", "(type (array i32))"),
    ("gc", "(func (drop (ref.i31 (i32.const 1))))"),
    ("gc", "(func (param anyref))"),
    ("gc", "(global $a i32 (i32.const 1)) (global i32 (global.get $a))"),
    ("threads", "(memory 1 1 shared)"),
    ("threads", "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))"),
    ("custom-page-sizes", "(memory 1 (pagesize 1))"),
    (
        "wide-arithmetic",
        "(func (param i64 i64 i64 i64) (result i64 i64) local.get 0 local.get 1 local.get 2 local.get 3 i64.add128)",
    ),
    ("multi-memory", "(memory 1) (memory 1) (tag)"),
    ("exceptions", "(tag) (func (param i32) (return_call 0 (local.get 0)))"),
]
_BUILDS_UPON = {"simd": {"relaxed-simd"}, "function-references": {"gc"}}


@pytest.mark.parametrize(("feature", "text"), MODULES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(MODULES)])
def test_the_proposal_is_named(runtime: pywasmrt.Runtime, feature: str, text: str) -> None:
    binary = wat(f"(module {text})")
    without = (runtime.info.features & PROPOSALS) - {feature} - _BUILDS_UPON.get(feature, set())
    if feature == "relaxed-simd" and "simd" not in runtime.info.features:
        pytest.skip("it builds upon simd, which is named first")
    with pywasmrt.new_runtime(runtime.info.name, pywasmrt.RuntimeConfig(features=without)) as chosen:
        for operation in (chosen.compile, chosen.validate):
            with pytest.raises(pywasmrt.UnsupportedFeatureError, match=repr(feature)) as caught:
                operation(binary)
            assert caught.value.feature == feature
        chosen.compile(guests.arithmetic().encode())


def test_the_proposal_is_named_where_it_is_off_by_itself(runtime: pywasmrt.Runtime) -> None:
    lacking = PROPOSALS - runtime.info.features - WASMTIME_FIXED
    for feature, text in MODULES:
        binary = wat(f"(module {text})")
        if feature in lacking and feature not in ("simd", "relaxed-simd", "threads", "multi-value"):
            with pytest.raises(pywasmrt.UnsupportedFeatureError) as caught:
                runtime.compile(binary)
            assert caught.value.feature == feature


NESTED = "(component (core module) (component (component (core module {}))))"


@pytest.mark.parametrize(("feature", "text"), MODULES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(MODULES)])
@pytest.mark.parametrize("component", ["(component (core module {}))", NESTED], ids=["plain", "nested"])
def test_the_proposal_of_a_core_module_is_named(
    runtime: pywasmrt.Runtime, needs: Callable[..., None], component: str, feature: str, text: str
) -> None:
    needs("component-model")
    if feature == "relaxed-simd" and "simd" not in runtime.info.features:
        pytest.skip("it builds upon simd, which is named first")
    without = (runtime.info.features & PROPOSALS) - {feature} - _BUILDS_UPON.get(feature, set())
    binary = wat(component.format(text))
    with pywasmrt.new_runtime(runtime.info.name, pywasmrt.RuntimeConfig(features=without)) as chosen:
        for source in (binary, component.format(text)):
            with pytest.raises(pywasmrt.UnsupportedFeatureError, match=repr(feature)) as caught:
                chosen.compile_component(source)
            assert caught.value.feature == feature
        with pytest.raises(pywasmrt.ModuleCompileError):
            chosen.compile_component(component.format("(func (result i32))"))
        chosen.compile_component(component.format("(func)"))


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        ("threads", "(memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0))))"),
        ("exceptions", "(tag $t) (func (throw $t))"),
        ("gc", "(func (drop (ref.cast i31ref (ref.i31 (i32.const 1)))))"),
        ("simd", "(func (local v128))"),
    ],
)
def test_the_proposal_is_named_where_modules_are_trusted(feature: str, text: str) -> None:
    """wasm3 itself only guesses. The validator, which is not asked for modules that are right, is asked then."""
    if not {info.name: info.available for info in pywasmrt.list_runtimes()}["wasm3"]:
        pytest.skip("needs wasm3")
    with pywasmrt.new_runtime("wasm3", {"options": {"trust_modules": True}}) as trusting:
        with pytest.raises(pywasmrt.UnsupportedFeatureError) as caught:
            trusting.compile(wat(f"(module {text})"))
        assert caught.value.feature == feature


@pytest.mark.parametrize("text", ["(elem exnref (ref.null exn))", "(tag) (elem exnref (item ref.null exn))"])
def test_what_wazero_cannot_compile_of_a_proposal_that_it_has(text: str) -> None:
    if not {info.name: info.available for info in pywasmrt.list_runtimes()}["wazero"]:
        pytest.skip("needs wazero")
    with pywasmrt.new_runtime("wazero") as runtime:
        with pytest.raises(pywasmrt.UnsupportedFeatureError, match="the module is valid, but wazero cannot") as caught:
            runtime.compile(wat(f"(module {text})"))
        assert caught.value.feature == "implementation-limit"


@pytest.mark.parametrize(
    "text",
    ["(func (result i32))", "(func (local.get 1) drop)", "(memory 70000)", "(global i32 (i64.const 1))", "(start 9)"],
)
def test_a_broken_module_stays_broken(runtime: pywasmrt.Runtime, text: str) -> None:
    binary = wat(f"(module {text})")
    for operation in (runtime.compile, runtime.validate):
        with pytest.raises(pywasmrt.ModuleCompileError):
            operation(binary)


# Proposals that no validator here can turn off: wasm3 lacks some, and wazero can turn some off.
GRANTED = [
    ("sign-extension", "(func (result i32) (i32.extend8_s (i32.const 1)))"),
    ("sign-extension", "(func (result i64) (i64.extend32_s (i64.const 1)))"),
    ("saturating-float-to-int", "(func (result i64) (i64.trunc_sat_f64_u (f64.const 1)))"),
    ("extended-const", "(global i32 (i32.add (i32.const 1) (i32.const 2)))"),
    ("extended-const", '(memory 1) (data (offset (i32.sub (i32.const 1) (i32.const 0))) "a")'),
    ("extended-const", "(table 2 funcref) (func $f) (elem (offset (i32.mul (i32.const 1) (i32.const 0))) $f)"),
    ("bulk-memory", '(memory 1) (data $d "a") (func (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0)))'),
    ("bulk-memory", "(table 1 funcref) (func (table.copy (i32.const 0) (i32.const 0) (i32.const 0)))"),
    ("bulk-memory", "(func $f) (elem func $f)"),
    ("reference-types", "(func $f (drop (ref.func $f))) (elem declare func $f)"),
    ("reference-types", "(table 1 funcref) (func (drop (table.get (i32.const 0))))"),
    ("reference-types", "(table 1 funcref) (func (drop (table.size)))"),
    ("reference-types", "(table 1 funcref) (func (table.fill (i32.const 0) (ref.null func) (i32.const 0)))"),
    ("reference-types", "(func (drop (ref.is_null (ref.null func))))"),
    ("reference-types", "(func (result i32) (select (result i32) (i32.const 1) (i32.const 2) (i32.const 0)))"),
    ("reference-types", "(func (local funcref))"),
    ("reference-types", "(func (block (result funcref) unreachable) drop)"),
    ("reference-types", "(func (param externref))"),
    ("reference-types", "(table 1 externref)"),
    ("import-mutable-global", '(import "a" "b" (global (mut i32)))'),
]


@pytest.mark.parametrize(("feature", "text"), GRANTED, ids=[f"{name}-{n}" for n, (name, _) in enumerate(GRANTED)])
def test_a_proposal_that_validators_take_for_granted_is_named(
    runtime: pywasmrt.Runtime, feature: str, text: str
) -> None:
    binary = wat(f"(module {text})")
    off = pywasmrt.RuntimeConfig(features=(runtime.info.features & PROPOSALS) - {feature})
    with pywasmrt.new_runtime(runtime.info.name, off) as chosen:
        for operation in (chosen.compile, chosen.validate):
            if feature in chosen.info.features:  # it cannot be turned off
                operation(binary)
                continue
            with pytest.raises(pywasmrt.UnsupportedFeatureError) as caught:
                operation(binary)
            assert caught.value.feature == feature


def code(body: bytes) -> bytes:
    parts = section(1, vector([b"\x60\0\0"])), section(3, vector([b"\0"]))
    return HEADER + b"".join(parts) + section(10, vector([uleb(len(body) + 2) + b"\0" + body + b"\x0b"]))


def test_a_proposal_that_no_runtime_has_is_named(runtime: pywasmrt.Runtime) -> None:
    exact = section(1, vector([b"\x60\0\0"])) + section(2, vector([name("a") * 2 + b"\x20\0"]))
    for feature, binary in [
        ("legacy-exceptions", code(b"\x06\x40\x19\x0b")),  # try, catch_all, end, as Emscripten writes them
        ("stack-switching", HEADER + section(1, vector([b"\x60\0\0", b"\x5d\0"]))),
        ("shared-everything-threads", HEADER + section(1, vector([b"\x65\x5f\0"]))),
        ("memory-control", code(b"\xfc\x12\0")),
        ("custom-descriptors", HEADER + exact),
    ]:
        for operation in (runtime.compile, runtime.validate):
            with pytest.raises(pywasmrt.UnsupportedFeatureError, match=feature) as caught:
                operation(binary)
            assert caught.value.feature == feature


def test_what_is_broken_before_a_strange_proposal_stays_broken(runtime: pywasmrt.Runtime) -> None:
    for body in (b"\x1a\x06\x40\x19\x0b", b"\xff\x06\x40\x19\x0b", b"\xfc\x63"):
        with pytest.raises(pywasmrt.ModuleCompileError):
            runtime.compile(code(body))


@pytest.fixture(scope="module")
def without(runtime: pywasmrt.Runtime) -> Iterator[Callable[[str], pywasmrt.Runtime]]:
    """Runtimes of the same name with a proposal off."""
    with ExitStack() as opened:

        @cache
        def make(feature: str) -> pywasmrt.Runtime:
            on = (runtime.info.features & PROPOSALS) - {feature} - _BUILDS_UPON.get(feature, set())
            config = pywasmrt.RuntimeConfig(features=on)
            return opened.enter_context(pywasmrt.new_runtime(runtime.info.name, config))

        yield make


DRAWN = ["multi-value", "sign-extension", "saturating-float-to-int", "bulk-memory", "reference-types", "simd"]


@given(st.data(), st.sampled_from(DRAWN), st.booleans())
def test_every_module_runs_or_names_a_proposal_that_it_uses(
    without: Callable[[str], pywasmrt.Runtime], data: st.DataObject, off: str, damaged: bool
) -> None:
    used = data.draw(st.sets(st.sampled_from(DRAWN)))
    binary = bytearray(data.draw(strategies.modules(used)).encode())
    if damaged:
        binary[data.draw(st.integers(8, len(binary) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    chosen = without(off)
    needed = None
    try:
        chosen.compile(bytes(binary)).close()
    except pywasmrt.UnsupportedFeatureError as error:
        needed = error.feature
    except pywasmrt.ModuleCompileError:
        needed = "broken"
    assert damaged or needed in {None, *used} - (chosen.info.features - {off})
