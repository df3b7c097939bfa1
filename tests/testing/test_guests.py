"""The testing kit's parts: the encoder against a reader of the text format, the strategies against their contracts."""

from __future__ import annotations

import struct
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from pywasmrt import ExternKind, FunctionType, GlobalType, MemoryType, Runtime, TableType, ValueType
from pywasmrt.testing import Module, as_guest_sees, const, guests, same_value, same_values
from pywasmrt.testing.strategies import (
    RecordingFunction,
    arguments,
    function_types,
    host_functions,
    mutated,
    results,
    slots,
    value_types,
    values,
    wrong_values,
)
from pywasmrt.wasm.opcodes import INSTRUCTIONS
from pywasmrt.wasm.primitives import sleb, uleb

I32, I64, F32, F64, V128 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64, ValueType.V128
FUNCREF, EXTERNREF = ValueType.FUNCREF, ValueType.EXTERNREF
NUMBERS = (I32, I64, F32, F64)
EVERY = (*NUMBERS, V128, FUNCREF, EXTERNREF)


def every_instruction() -> Module:
    """A function with each instruction in it, unreachable, so that any order is valid as long as nothing is used."""
    guest = Module()
    nothing = FunctionType()
    guest.memory(MemoryType(1))
    guest.memory(MemoryType(1))
    guest.table(TableType(FUNCREF, 1))
    guest.table(TableType(FUNCREF, 1))
    guest.global_(GlobalType(I32, True), ("i32.const", -1))
    immediates: dict[str, Any] = {
        "index": 0,
        "lane": 0,
        "type": FunctionType((I32, F64), (I64, I64)),
        "labels": (0, 0, 0),
        "types": (EXTERNREF,),
        "heap": EXTERNREF,
        "i32": -(1 << 31),
        "i64": (1 << 64) - 2,
        "f32": 0xFF80_0001,
        "f64": 0x8000_0000_0000_0001,
        "v128": bytes(range(16)),
    }
    for name, (_, kinds) in INSTRUCTIONS.items():
        if name in ("else", "end") or "block" in kinds:
            continue
        values = [(0, 300, 1)] if kinds == ("memarg",) else [[immediates[kind]] for kind in kinds]
        instruction = (name, *(item for value in values for item in value))
        guest.function(nothing, [("unreachable",), instruction, ("unreachable",)], locals=[I32], name=name)
    block = FunctionType((I32,), (F32, F64))
    nested: list[Any] = [("block", block), ("loop", FunctionType((), (I32,))), ("if", nothing), ("else",)]
    body = [part for instruction in [*nested, *[("end",)] * 3] for part in (("unreachable",), instruction)]
    guest.function(nothing, [*body, ("unreachable",)], locals=EVERY * 2)
    guest.declare(0)
    guest.elements([0], table=1)
    guest.data(b'\0"\\text\xff', memory=1)
    guest.export('na"me', ExternKind.MEMORY, 1)
    return guest


MODULES = {
    "passthrough": guests.passthrough(FunctionType(EVERY, EVERY)),
    "identities": guests.identities(EVERY),
    "nothing to pass": guests.identities([]),
    "rearranged": guests.rearranged(EVERY, [1, 1, 6, 0]),
    "globals": guests.globals_(EVERY),
    "constants": guests.constants(
        [(F32, ("f32.const", 0x7F80_0001)), (F64, const(F64, -1.5)), (V128, const(V128, bytes(16)))]
    ),
    "table": guests.table(TableType(EXTERNREF, 1, 5)),
    "memories": guests.memories(MemoryType(1), MemoryType(1, 2, is_64=True), MemoryType(1, 2, shared=True)),
    "arithmetic": guests.arithmetic(),
    "recursion": guests.recursion(),
    "starting": guests.starting([("call", 0)], imports=FunctionType()),
    "traps": guests.traps(),
    "memory": guests.exported(ExternKind.MEMORY, MemoryType(1)),
    "a global": guests.exported(ExternKind.GLOBAL, GlobalType(V128)),
    "every instruction": every_instruction(),
}


@pytest.mark.parametrize("name", MODULES)
def test_guests_are_valid(runtime: Runtime, name: str) -> None:
    data = MODULES[name].encode()
    runtime.validate(data)
    assert MODULES[name].encode() == data


@pytest.mark.parametrize("name", MODULES)
def test_the_printed_text_is_the_encoded_module(name: str) -> None:
    """Read back by another's parser, byte for byte."""
    wasmtime = pytest.importorskip("wasmtime")
    module = MODULES[name]
    assert without_custom_sections(bytes(wasmtime.wat2wasm(module.wat()))) == without_custom_sections(module.encode())


def without_custom_sections(data: bytes) -> bytes:
    out, at = data[:8], 8
    while at < len(data):
        start, size, shift = at, 0, 0
        at += 1
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += size
        if data[start]:
            out += data[start:at]
    return out


def test_an_import_after_a_definition_is_refused() -> None:
    guest = Module()
    guest.function(FunctionType(), [])
    with pytest.raises(ValueError, match=r"import env\.f comes after a function"):
        guest.import_("env", "f", FunctionType())
    guest.import_("env", "m", MemoryType(1))


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (624485, "e58e26"), ((1 << 32) - 1, "ffffffff0f")],
)
def test_unsigned_numbers(number: int, encoded: str) -> None:
    assert uleb(number).hex() == encoded


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "00"), (63, "3f"), (64, "c000"), (-1, "7f"), (-64, "40"), (-65, "bf7f"), (-123456, "c0bb78")],
)
def test_signed_numbers(number: int, encoded: str) -> None:
    assert sleb(number).hex() == encoded


@given(data=st.data())
def test_values_are_accepted_and_wrong_values_are_not(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(value_types(runtime.info.features))
    identity = runtime.instantiate(runtime.compile(guests.identities([type]).encode())).exports.straight
    value = data.draw(values(type))
    assert same_value(type, identity(value), as_guest_sees(type, value))
    if type is not EXTERNREF:
        wrong, error = data.draw(wrong_values(type))
        with pytest.raises(error):
            identity(wrong)


@given(data=st.data())
def test_types_keep_within_the_features(data: st.DataObject) -> None:
    assert data.draw(value_types(())) in NUMBERS
    assert data.draw(value_types({"reference-types"})) is not V128
    type = data.draw(function_types((), max_params=3))
    assert len(type.params) <= 3
    assert len(type.results) <= 1
    assert set(type.params + type.results) <= set(NUMBERS)


@given(data=st.data())
def test_functions_record_and_return(data: st.DataObject) -> None:
    type = data.draw(function_types())
    function = data.draw(host_functions(type))
    args = data.draw(arguments(type))
    returned = function(*args)
    assert isinstance(function, RecordingFunction)
    assert all(map(lambda a, b: a is b, function.calls[0], args))
    assert len(function.returned) == len(data.draw(results(type)))
    several = () if not type.results else (returned,) if len(type.results) == 1 else returned
    assert same_values(type.results, plain(type.results, several), plain(type.results, function.returned))


def plain(types: tuple[ValueType, ...], several: tuple[Any, ...]) -> list[Any]:
    return [as_guest_sees(type, value) for type, value in zip(types, several, strict=True)]


@given(data=st.data())
def test_slots_are_unsigned_and_narrow_enough(data: st.DataObject) -> None:
    type = data.draw(value_types(["simd"]))
    drawn = data.draw(slots(type))
    assert len(drawn) == (2 if type is V128 else 1)
    assert all(0 <= slot < 1 << (32 if type in (I32, F32) else 64) for slot in drawn)


@given(data=st.data())
def test_mutated_is_never_the_original(data: st.DataObject) -> None:
    original = data.draw(st.binary(min_size=1, max_size=20))
    assert data.draw(mutated(original)) != original


def test_what_is_the_same_value() -> None:
    quiet, payload = (struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in (0x7FF8 << 48, 0x7FF8 << 48 | 5))
    assert same_value(F64, quiet, quiet)
    assert not same_value(F64, quiet, payload)
    assert same_value(F32, quiet, payload)
    assert not same_value(F64, 0.0, -0.0)
    assert not same_value(F32, 0.0, -0.0)
    assert not same_value(F64, 1, 1.0)
    assert not same_value(I32, 1, 1.0)
    assert not same_value(EXTERNREF, [], [])
    assert same_value(FUNCREF, None, None)
    assert not same_value(FUNCREF, None, test_what_is_the_same_value)
    assert not same_values([I32], [1, 2], [1, 2])
    assert as_guest_sees(F32, 1e300) == float("inf")
    assert as_guest_sees(F32, -1e300) == float("-inf")
    assert as_guest_sees(I32, 0xFFFF_FFFF) == -1


@pytest.mark.parametrize("strategy", [values, slots, wrong_values])
def test_what_has_no_values_is_an_error(strategy: Any) -> None:
    with pytest.raises(ValueError, match="ref"):
        strategy(ValueType.REF if strategy is values else EXTERNREF)
    with pytest.raises(ValueError, match="nothing to damage"):
        mutated(b"")
