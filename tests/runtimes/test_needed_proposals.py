"""A module that needs a proposal which is off, or which the engine has not, is told by the proposal's name."""

from __future__ import annotations

import pytest
from helpers.texts import wat

import pywasmrt
from pywasmrt.runtimes.base.features import PROPOSALS, WASMTIME_FIXED
from pywasmrt.testing import guests

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


@pytest.mark.parametrize(
    "text",
    ["(func (result i32))", "(func (local.get 1) drop)", "(memory 70000)", "(global i32 (i64.const 1))", "(start 9)"],
)
def test_a_broken_module_stays_broken(runtime: pywasmrt.Runtime, text: str) -> None:
    binary = wat(f"(module {text})")
    for operation in (runtime.compile, runtime.validate):
        with pytest.raises(pywasmrt.ModuleCompileError):
            operation(binary)
