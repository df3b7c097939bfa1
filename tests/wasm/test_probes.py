"""Modules with probes: they do what they did, and tell exactly what runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from helpers.texts import wat
from hypothesis import given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import ModuleCompileError, Trap, UnsupportedFeatureError
from pywasmrt.runtimes.base.runtime import BaseRuntime
from pywasmrt.testing import common_features, differential, strategies
from pywasmrt.wasm.disassembly import disassembled
from pywasmrt.wasm.primitives import name, section
from pywasmrt.wasm.probes import HOST_FUNCTION, HOST_MODULE, Branch, Plan, probed
from pywasmrt.wasm.symbols import bodies, function_names

from .test_reencoding import EVERYTHING


class Guest:
    """An instance of a module with probes; `reached` has those that were told of, in their order."""

    def __init__(self, runtime: pywasmrt.Runtime, source: str, **imports: Callable[..., Any]) -> None:
        self.data = wat(source)
        self.binary, self.plan = probed(self.data)
        self.reached: list[int] = []
        host = {"env": imports, HOST_MODULE: {HOST_FUNCTION: self.reached.append}}
        self.instance = runtime.instantiate(runtime.compile(self.binary), host)
        self.exports = self.instance.exports

    def taken(self, number: int = 0) -> list[str]:
        """The outcomes of a branch that have come, by their names."""
        branch: Branch = sorted(self.plan.branches, key=lambda each: each.at)[number]
        return [name for name, probe in branch.outcomes if probe in self.reached]

    def texts(self) -> list[str]:
        """The instructions that were reached, or rather whose block was."""
        _, found = bodies(self.data)
        return [
            shown.text
            for body in found
            for shown in disassembled(self.data, body)
            for block in self.plan.blocks
            if block.begin <= shown.at < block.end and block.probe in self.reached
        ]


MARK = section(0, name("with probes"))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_module_does_what_it_did(data: st.DataObject) -> None:
    plain = data.draw(strategies.modules(common_features())).encode()
    told: list[int] = []
    plans: list[Plan] = []

    def instrument(source: Any, binary: bytes) -> tuple[bytes, tuple[Any, ...]] | None:
        if not binary.endswith(MARK):
            return None
        changed, plan = probed(binary)
        plans.append(plan)
        return changed, ({HOST_MODULE: {HOST_FUNCTION: told.append}},)

    BaseRuntime.instrument = staticmethod(instrument)
    try:
        differential([plain, plain + MARK], calls=3)
    finally:
        BaseRuntime.instrument = None
    assert plans
    assert all(0 <= probe < plans[0].probes for probe in told)


def test_every_part_of_a_module_is_carried_over(validate: Callable[[bytes], str]) -> None:
    binary = wat(EVERYTHING)
    changed, plan = probed(binary)
    assert validate(changed) == ""
    assert plan.probes > 5
    with pytest.raises(ModuleCompileError, match="probes already"):
        probed(changed)
    for end in range(len(binary)):  # cut short: told, or cut between two sections
        with suppress(ModuleCompileError, UnsupportedFeatureError):
            probed(binary[:end])


def test_names_follow_their_functions() -> None:
    changed, _ = probed(wat('(module (import "a" "b" (func $b)) (func $c call $b) (func $d call $c))'))
    assert function_names(changed) == {0: "b", 1: f"{HOST_MODULE}.{HOST_FUNCTION}", 2: "c", 3: "d"}


def test_a_module_without_code_stays_as_it_is() -> None:
    binary = wat('(module (import "a" "b" (func)) (memory 1))')
    assert probed(binary) == (binary, Plan(0, [], [], {}))


def test_both_sides_of_an_if(runtime: pywasmrt.Runtime) -> None:
    source = """(module (func (export "f") (param i32) (result i32)
      (if (result i32) (local.get 0) (then (i32.const 5)) (else (i32.const 6)))))"""
    guest = Guest(runtime, source)
    assert guest.exports.f(1) == 5
    assert guest.taken() == ["then"]
    assert "i32.const 6" not in guest.texts()
    assert guest.exports.f(0) == 6
    assert guest.taken() == ["then", "else"]
    assert sorted(guest.reached) == list(range(guest.plan.probes))
    assert guest.exports.f(0) == 6
    assert len(guest.reached) == guest.plan.probes  # each is told once


def test_an_if_without_else_has_two_outcomes(runtime: pywasmrt.Runtime) -> None:
    source = """(module (func (export "f") (param i32) (if (local.get 0) (then (nop))) (drop (i32.const 9))))"""
    guest = Guest(runtime, source)
    guest.exports.f(0)
    assert guest.taken() == ["else"]
    assert "nop" not in guest.texts()
    assert "i32.const 9" in guest.texts()
    guest.exports.f(1)
    assert guest.taken() == ["then", "else"]


def test_conditional_branches_with_values(runtime: pywasmrt.Runtime) -> None:
    source = """(module (func (export "f") (param i32) (result i32)
      (block (result i32) (br_if 0 (i32.const 7) (local.get 0)) drop (i32.const 8))))"""
    guest = Guest(runtime, source)
    assert guest.exports.f(0) == 8
    assert guest.taken() == ["not taken"]
    assert guest.exports.f(-1) == 7
    assert guest.taken() == ["taken", "not taken"]


@pytest.mark.parametrize(
    ("given", "result", "case"), [(0, 10, "0, 2"), (1, 20, "1"), (2, 10, "0, 2"), (9, 30, "default")]
)
def test_each_case_of_a_table(runtime: pywasmrt.Runtime, given: int, result: int, case: str) -> None:
    source = """(module (func (export "f") (param i32) (result i32)
      (block (block (block (br_table 0 1 0 2 (local.get 0))) (return (i32.const 10))) (return (i32.const 20)))
      (i32.const 30)))"""
    guest = Guest(runtime, source)
    assert guest.exports.f(given) == result
    assert guest.taken() == [f"case {case}"]


def test_a_loop_and_code_behind_it(runtime: pywasmrt.Runtime) -> None:
    source = """(module (func (export "f") (param i32) (result i32) (local i32)
      (loop (local.set 1 (i32.add (local.get 1) (i32.const 2)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
      (local.get 1)))"""
    guest = Guest(runtime, source)
    assert guest.exports.f(1) == 2
    assert guest.taken() == ["not taken"]
    assert guest.exports.f(100_000) == 200_000
    assert guest.taken() == ["taken", "not taken"]


def test_a_trap_leaves_what_comes_after_it_unreached(runtime: pywasmrt.Runtime) -> None:
    source = """(module
      (func $fail (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
      (func (export "f") (param i32)
        (if (call $fail (local.get 0)) (then (drop (i64.const 77))) (else (drop (i64.const 78))))
        (drop (i64.const 79)))
      (func (export "g") (drop (i64.const 1)) (unreachable)))"""
    guest = Guest(runtime, source)
    with pytest.raises(Trap):
        guest.exports.f(0)
    with pytest.raises(Trap):
        guest.exports.g()
    assert guest.taken() == []
    assert not {"i64.const 77", "i64.const 78", "i64.const 79"} & set(guest.texts())
    assert "i64.const 1" in guest.texts()


def test_code_that_cannot_be_reached_has_no_blocks(runtime: pywasmrt.Runtime) -> None:
    source = """(module (func (export "f") (result i32)
      (block (result i32)
        (br 0 (i32.const 1)) (if (then (nop)) (else (nop)))
        (block (br_if 0 (i32.const 3))) (loop (nop)) (i32.const 2))))"""
    guest = Guest(runtime, source)
    assert guest.exports.f() == 1
    assert guest.plan.branches == []
    assert sorted(guest.reached) == list(range(guest.plan.probes))


def test_start_functions_and_indirect_calls_and_re_entry(runtime: pywasmrt.Runtime) -> None:
    source = """(module
      (import "env" "again" (func $again (param i32) (result i32)))
      (table 2 funcref) (elem (i32.const 0) $one $two)
      (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
      (func $begin (drop (call $one))) (start $begin)
      (func (export "call") (param i32) (result i32)
        (if (result i32) (i32.gt_s (local.get 0) (i32.const 1))
          (then (call $again (i32.sub (local.get 0) (i32.const 1))))
          (else (call_indirect (result i32) (local.get 0))))))"""
    guest = Guest(runtime, source, again=lambda x: guest.exports.call(x))
    entries = guest.plan.entries
    assert [entries[n] in guest.reached for n in sorted(entries)] == [True, False, True, False]
    assert guest.exports.call(4) == 2
    assert [entries[n] in guest.reached for n in sorted(entries)] == [True, True, True, True]
    assert guest.taken() == ["then", "else"]


def test_many_probes(runtime: pywasmrt.Runtime) -> None:
    """More than one global has bits for, the sign bit of each among them."""
    parts = "".join(
        f"(if (i32.eq (local.get 0) (i32.const {n})) (then (local.set 1 (i32.const {n}))))" for n in range(200)
    )
    guest = Guest(runtime, f'(module (func (export "f") (param i32) (result i32) (local i32) {parts} (local.get 1)))')
    for n in range(200):
        assert guest.exports.f(n) == n
    assert sorted(guest.reached) == list(range(guest.plan.probes))
    assert guest.plan.probes > 600


def test_exceptions_and_references(runtime: pywasmrt.Runtime, needs: Callable[..., None]) -> None:
    needs("exceptions", "gc", "function-references")
    source = """(module (tag $t (param i32))
      (func (export "f") (param i32) (result i32)
        (block $h (result i32)
          (try_table (result i32) (catch $t $h)
            (if (local.get 0) (then (throw $t (i32.const 7)))) (i32.const 1))))
      (func (export "g") (param i32) (result i32)
        (block $null
          (br_on_null $null (if (result (ref null i31)) (local.get 0)
            (then (ref.i31 (i32.const 1))) (else (ref.null i31)))) drop
          (return (i32.const 5)))
        (i32.const 6)))"""
    guest = Guest(runtime, source)
    assert (guest.exports.f(1), guest.exports.g(0)) == (7, 6)
    assert "i32.const 5" not in guest.texts()
    assert "i32.const 1" not in guest.texts()
    assert (guest.exports.f(0), guest.exports.g(1)) == (1, 5)
    assert {"i32.const 5", "i32.const 6", "i32.const 1"} <= set(guest.texts())
