"""Generated guests: valid within their features, finished soon, the same everywhere, and readable when they fail."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest

pytest.importorskip("hypothesis")

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pywasmrt import (
    FunctionType,
    MemoryType,
    ModuleCompileError,
    Runtime,
    RuntimeConfig,
    TrapCode,
    UnsupportedFeatureError,
    ValueType,
    new_runtime,
)
from pywasmrt.testing import (
    KNOWN_DIFFERENCES,
    Difference,
    Disagreement,
    Module,
    common_features,
    differential,
    guests,
    to_binary,
)
from pywasmrt.testing.observation import observe
from pywasmrt.testing.programs import write_program
from pywasmrt.testing.reproducing import expression
from pywasmrt.testing.strategies import modules, mutated

I32, F32, F64 = ValueType.I32, ValueType.F32, ValueType.F64
MANY = settings(settings().__class__.get_profile("default"), max_examples=settings().max_examples * 4)
ANY_BYTES = st.binary(max_size=200)


@MANY
@given(module=modules())
def test_generated_modules_are_valid(runtime: Runtime, module: Module) -> None:
    if "tail-call" in runtime.info.features and "simd" in runtime.info.features:
        runtime.validate(module.encode())


@given(header=ANY_BYTES, functions=st.lists(st.tuples(ANY_BYTES, st.lists(ANY_BYTES, max_size=6)), max_size=6))
def test_any_bytes_make_a_valid_module(runtime: Runtime, header: bytes, functions: Any) -> None:
    runtime.validate(write_program(runtime.info.features, header, functions).encode())


@pytest.mark.parametrize("feature", ["multi-value", "simd", "bulk-memory", "tail-call"])
@settings(max_examples=20)
@given(data=st.data())
def test_modules_keep_within_the_features(feature: str, data: st.DataObject) -> None:
    """An engine with the feature off, and those that need it, takes what is made without it."""
    off = {feature, "relaxed-simd", "gc", "function-references", "exceptions", "multi-memory"}
    with new_runtime("auto") as everything:
        allowed = everything.info.features - off
        name = everything.info.name
    with new_runtime(name, RuntimeConfig(features=allowed)) as runtime:
        runtime.validate(data.draw(modules(allowed)).encode())


@given(module=modules(()))
def test_without_features_there_is_only_the_first_version(runtime: Runtime, module: Module) -> None:
    words = {instruction[0] for function in module.functions for instruction in function.body}
    assert not words & {"memory.copy", "table.set", "select_typed", "i32.extend8_s", "i32.trunc_sat_f32_s"}
    assert all(len(type.results) <= 1 for type in module.types)
    runtime.validate(module.encode())


def test_every_simple_module_is_short_and_prints_as_text() -> None:
    """What shrinking ends in: nothing but a function that returns a constant."""
    module = hypothesis.find(
        modules(),
        lambda module: True,
        settings=settings(max_examples=20, database=None, suppress_health_check=list(HealthCheck)),
    )
    assert repr(module) == module.wat().rstrip()
    assert len(module.wat().splitlines()) < 12
    assert to_binary(repr(module))[:4] == b"\0asm"


def test_failures_shrink_to_what_matters() -> None:
    def grows(module: Module) -> bool:
        return any(instruction[0] == "memory.grow" for function in module.functions for instruction in function.body)

    found = hypothesis.find(
        modules(), grows, settings=settings(max_examples=2000, database=None, suppress_health_check=list(HealthCheck))
    )
    assert len(found.functions) == 1
    assert len(found.functions[0].body) <= 6


@MANY
@given(data=st.data())
def test_damaged_modules_are_refused_or_run(runtime: Runtime, data: st.DataObject) -> None:
    original = data.draw(modules(runtime.info.features))
    damaged = data.draw(mutated(original))
    assert damaged != original.encode()
    with contextlib.suppress(ModuleCompileError, UnsupportedFeatureError):
        runtime.validate(damaged)


@settings(max_examples=settings().max_examples * 4)
@given(data=st.data())
def test_runtimes_agree_on_generated_modules(runtimes: list[Runtime], data: st.DataObject) -> None:
    """Two and two, so that what one of them lacks is left out for that one only."""
    if len(runtimes) < 2:
        pytest.skip("there is only one runtime")
    pair = data.draw(st.sampled_from(list(itertools.combinations(runtimes, 2))))
    differential(data.draw(modules(common_features(pair))), pair)


def test_an_agreement_is_reported(runtimes: list[Runtime]) -> None:
    if len(runtimes) < 2:
        pytest.skip("there is only one runtime")
    report = differential([guests.arithmetic(), guests.traps(), "(module)", guests.memories(MemoryType(1))], runtimes)
    assert report.modules == 4
    assert report.runtimes == tuple(runtime.info.name for runtime in runtimes)
    assert report.calls > 30
    assert report.traps >= 2 * (len(guests.TRAP_BODIES) - 1)
    drawn = differential(
        modules(common_features(runtimes)), runtimes, settings=settings(max_examples=10, deadline=None)
    )
    assert drawn.modules >= 10


def test_one_runtime_is_not_enough(runtimes: list[Runtime]) -> None:
    with pytest.raises(ValueError, match="two runtimes"):
        differential(guests.arithmetic(), runtimes[:1])


class Pretending:
    """A runtime that compiles another module than it is given."""

    def __init__(self, runtime: Runtime, other: bytes) -> None:
        self._runtime = runtime
        self._other = other

    def compile(self, source: object) -> Any:
        return self._runtime.compile(self._other)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


def constant(instruction: tuple[Any, ...], type: ValueType) -> Module:
    module = Module()
    module.function(FunctionType((), (type,)), [instruction], export="f")
    return module


def test_a_disagreement_says_what_differs_and_how_to_see_it(runtime: Runtime) -> None:
    one, two = constant(("i32.const", 1), I32), constant(("i32.const", 2), I32)
    with pytest.raises(Disagreement) as caught:
        differential(one, [runtime, Pretending(runtime, two.encode())])
    message = str(caught.value)
    assert "f()" in message
    assert "i32.const 1" in message
    program = message[message.index("import pywasmrt") :]
    printed: list[Any] = []
    exec(program, {"print": lambda *args: printed.append(args)})
    assert printed[0][0] == runtime.info.name
    assert printed[0][1] == caught.value.first.steps


def test_differences_are_data(runtime: Runtime) -> None:
    quiet, payload = constant(("f64.const", 0x7FF8 << 48), F64), constant(("f64.const", (0x7FF8 << 48) + 1), F64)
    pair = [runtime, Pretending(runtime, payload.encode())]
    differential(quiet, pair)
    with pytest.raises(Disagreement):
        differential(quiet, pair, differences=[])
    elsewhere = [
        Difference(each.name, each.source, each.types, each.bits, runtimes=frozenset({"other"}))
        for each in KNOWN_DIFFERENCES
    ]
    with pytest.raises(Disagreement):
        differential(quiet, pair, differences=elsewhere)
    traps = [Module(), Module()]
    bodies = [[("unreachable",)], [("i32.const", 1), ("i32.const", 0), ("i32.div_u",), ("drop",)]]
    for module, body in zip(traps, bodies, strict=True):
        module.function(FunctionType(), body, export="f")
    pair = [runtime, Pretending(runtime, traps[1].encode())]
    with pytest.raises(Disagreement):
        differential(traps[0], pair)
    either = Difference("x", "y", traps=frozenset({TrapCode.UNREACHABLE, TrapCode.INTEGER_DIVISION_BY_ZERO}))
    differential(traps[0], pair, differences=[either])


def test_imports_of_every_kind_are_made(runtime: Runtime) -> None:
    text = """(module
      (import "a" "m" (memory 1 2)) (import "a" "t" (table 2 5 funcref)) (import "b" "g" (global $g (mut i64)))
      (import "b" "f" (func $f (param i32) (result i32 f64)))
      (export "m" (memory 0)) (export "t" (table 0)) (export "g" (global 0))
      (func (export "run") (result i32 f64) (global.set $g (i64.const 5)) (call $f (i32.const 3))))"""
    seen = observe(runtime, to_binary(text), lambda functions: [(name, ()) for name, _ in functions])
    if seen.unsupported is None:
        assert [step for step, _ in seen.steps] == [
            "instantiate",
            "the guest calls b.f",
            "run()",
            "the memory 'm'",
            "the end of the memory 'm'",
            "the table 't'",
            "the global 'g'",
            "the memory a.m",
            "the end of the memory a.m",
            "the table a.t",
            "the global b.g",
        ]


@pytest.mark.parametrize("value", [1, -1.5, float("nan"), float("-inf"), None, b"\0x", "text", (1, None), ()])
def test_values_print_as_python(value: Any) -> None:
    from pywasmrt.testing.edge_values import float_from_bits

    made = eval(expression(value), {"float_from_bits": float_from_bits})
    assert repr(made) == repr(value)
