"""What holds for every signature and every value, on every available runtime.

Guests are generated around generated host functions. Values must cross unchanged in both directions, what is wrong must
raise what the value rules say, exceptions must come back as themselves, and the runtimes must agree with each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from helpers.returned import as_tuple
from hypothesis import assume, given, note
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import FunctionType, GlobalType, Runtime, TableType, Trap, TrapCode, ValueType
from pywasmrt.testing import Module, as_guest_sees, guests, same_values
from pywasmrt.testing.strategies import (
    arguments,
    function_types,
    host_functions,
    results,
    slots,
    value_types,
    values,
    wrong_values,
)

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
NUMBERS = (I32, I64, F32, F64)
REFERENCES = (ValueType.FUNCREF, ValueType.EXTERNREF)
DEPTHS = st.integers(0, 40)


def instantiate(runtime: Runtime, guest: Module, *imports: Any, **kwargs: Any) -> Any:
    note(guest.wat())
    return runtime.instantiate(runtime.compile(guest.encode()), *imports, **kwargs)


def host(type: FunctionType, function: Callable[..., Any]) -> pywasmrt.HostModule:
    module = pywasmrt.HostModule("env")
    module.add_function("f", type.params, type.results, function, pass_caller=False)
    return module


def seen(types: tuple[ValueType, ...], given_values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(as_guest_sees, types, given_values))


def functions_of(runtime: Runtime) -> tuple[Any, list[Any]]:
    """A store, and functions in it to serve as funcrefs."""
    store = runtime.new_store()
    instance = instantiate(runtime, guests.arithmetic(), store=store)
    return store, [instance.function("add"), instance.function("add_f64"), instance.function("nothing")]


# --- values ----------------------------------------------------------------------------------------------------------


@given(data=st.data())
def test_values_cross_unchanged_to_a_host_function_and_back(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(function_types(runtime.info.features))
    store, functions = functions_of(runtime)
    function = data.draw(host_functions(type, functions=functions))
    args = data.draw(arguments(type, functions=functions))
    instance = instantiate(runtime, guests.passthrough(type), host(type, function), store=store)
    for name in ("direct", "indirect", "nested", "host"):
        leading = (data.draw(DEPTHS),) if name == "nested" else ()
        returned = instance.exports[name](*leading, *args)
        assert same_values(type.params, function.calls.pop(), seen(type.params, args)), name
        assert same_values(type.results, as_tuple(type, returned), seen(type.results, function.returned)), name
    assert not function.calls


@given(data=st.data())
def test_values_pass_through_a_guest_unchanged(runtime: Runtime, data: st.DataObject) -> None:
    types = tuple(data.draw(st.lists(value_types(runtime.info.features), max_size=12)))
    store, functions = functions_of(runtime)
    instance = instantiate(runtime, guests.identities(types), store=store)
    type = FunctionType(types, types)
    args = data.draw(arguments(type, functions=functions))
    for name in ("straight", "locals", "block", "call", "globals", "memory", "tables"):
        function = instance.function(name)
        assert function.type == type
        assert same_values(types, as_tuple(type, function(*args)), seen(types, args)), name


@given(data=st.data())
def test_results_come_in_their_order(runtime: Runtime, data: st.DataObject) -> None:
    params = data.draw(st.lists(value_types(runtime.info.features), min_size=1, max_size=10))
    order = data.draw(st.lists(st.integers(0, len(params) - 1), max_size=16))
    guest = guests.rearranged(params, order)
    function = instantiate(runtime, guest).function("rearrange")
    args = data.draw(arguments(FunctionType(tuple(params))))
    wanted = tuple(as_guest_sees(params[n], args[n]) for n in order)
    assert same_values(function.type.results, as_tuple(function.type, function(*args)), wanted)


@given(data=st.data())
def test_values_that_the_guest_makes_arrive(runtime: Runtime, data: st.DataObject) -> None:
    types = data.draw(
        st.lists(value_types(runtime.info.features).filter(lambda type: type not in REFERENCES), max_size=8)
    )
    bits = [data.draw(slots(type)) for type in types]
    instructions = []
    for type, each in zip(types, bits, strict=True):
        whole = sum(slot << 64 * n for n, slot in enumerate(each))
        instructions.append((f"{type}.const", whole.to_bytes(16, "little") if type is ValueType.V128 else whole))
    instance = instantiate(runtime, guests.constants(list(zip(types, instructions, strict=True))))
    every = [slot for each in bits for slot in each]
    if "f32-nan-bits" not in runtime.info.features:
        assume(not any(type is F32 and is_f32_nan(each[0]) for type, each in zip(types, bits, strict=True)))
    assert instance.function("all").call() == every
    for n, each in enumerate(bits):
        assert instance.function(f"c{n}").call() == each


def is_f32_nan(bits: int) -> bool:
    return bits & 0x7FFF_FFFF > 0x7F80_0000


@given(data=st.data())
def test_raw_slots_are_exact_to_the_bit(runtime: Runtime, data: st.DataObject) -> None:
    features = runtime.info.features
    types = data.draw(st.lists(value_types(features).filter(lambda type: type not in REFERENCES), max_size=8))
    args = [data.draw(slots(type)) for type in types]
    if "f32-nan-bits" not in features:
        assume(not any(type is F32 and is_f32_nan(arg[0]) for type, arg in zip(types, args, strict=True)))
    instance = instantiate(runtime, guests.identities(types))
    given_slots = [slot for arg in args for slot in arg]
    for name in ("straight", "locals", "block", "call", "globals", "memory"):
        returned = instance.function(name).call(*given_slots)
        assert returned == given_slots, name
        assert all(slot.__class__ is int for slot in returned)


@given(data=st.data())
def test_raw_slots_reach_a_host_function_as_values_and_come_back(runtime: Runtime, data: st.DataObject) -> None:
    types = value_types(runtime.info.features).filter(lambda type: type not in REFERENCES)
    type = data.draw(function_types(runtime.info.features, types=types))
    function = data.draw(host_functions(type))
    instance = instantiate(runtime, guests.passthrough(type), host(type, function))
    args = data.draw(arguments(type))
    typed = as_tuple(type, instance.exports.direct(*args))
    given_slots = [slot for each, arg in zip(type.params, args, strict=True) for slot in slots_of(each, arg)]
    raw = instance.exports.direct.call(*given_slots)
    first, second = function.calls
    assert same_values(type.params, first, second)
    wanted = [slot for each, value in zip(type.results, typed, strict=True) for slot in slots_of(each, value)]
    assert [slot for slot in raw if not is_f32_nan(slot)] == [slot for slot in wanted if not is_f32_nan(slot)]


def slots_of(type: ValueType, value: Any) -> list[int]:
    import struct

    if type is F32:
        return list(struct.unpack("<I", struct.pack("<f", value)))
    if type is F64:
        return list(struct.unpack("<Q", struct.pack("<d", value)))
    if type is ValueType.V128:
        return list(struct.unpack("<QQ", value))
    return [value & ((1 << (32 if type is I32 else 64)) - 1)]


@given(data=st.data())
def test_globals_hold_what_either_side_puts_in(runtime: Runtime, data: st.DataObject) -> None:
    types = tuple(data.draw(st.lists(value_types(runtime.info.features), min_size=1, max_size=6)))
    store, functions = functions_of(runtime)
    instance = instantiate(runtime, guests.globals_(types), store=store)
    for n, type in enumerate(types):
        global_ = instance.global_(f"g{n}")
        assert global_.type == GlobalType(type, True)
        value, other = data.draw(values(type, functions=functions)), data.draw(values(type, functions=functions))
        global_.value = value
        sees = (as_guest_sees(type, value),)
        assert same_values((type,), (instance.exports[f"get{n}"](),), sees)
        assert same_values((type,), (global_.value,), sees)
        instance.exports[f"set{n}"](other)
        assert same_values((type,), (global_.value,), (as_guest_sees(type, other),))


@given(data=st.data())
def test_globals_made_by_the_host_arrive(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(value_types(runtime.info.features))
    mutable = data.draw(st.booleans())
    mutable |= type is ValueType.EXTERNREF and "constant-externref" not in runtime.info.features
    store, functions = functions_of(runtime)
    value = data.draw(values(type, functions=functions))
    made = store.global_(type, value, mutable=mutable)
    guest = Module()
    guest.import_("env", "g", GlobalType(type, mutable), export="again")
    guest.function(FunctionType((), (type,)), [("global.get", 0)], export="get")
    instance = instantiate(runtime, guest, {"env": {"g": made}}, store=store)
    for found in (made.value, instance.exports.get(), instance.global_("again").value):
        assert same_values((type,), (found,), (as_guest_sees(type, value),))


@given(data=st.data())
def test_tables_hold_what_either_side_puts_in(runtime: Runtime, data: st.DataObject) -> None:
    element = data.draw(st.sampled_from(REFERENCES))
    store, functions = functions_of(runtime)
    size = data.draw(st.integers(1, 8))
    instance = instantiate(runtime, guests.table(TableType(element, size, 20)), store=store)
    table = instance.table("table")
    model = [None] * size
    put = values(element, functions=functions)
    for action in data.draw(
        st.lists(st.sampled_from(["host sets", "guest sets", "host grows", "guest grows"]), max_size=8)
    ):
        value = data.draw(put)
        if "sets" in action:
            index = data.draw(st.integers(0, len(model) - 1))
            model[index] = value
            if action == "host sets":
                table[index] = value
            else:
                instance.exports.set(index, value)
        else:
            delta = data.draw(st.integers(0, 3))
            if len(model) + delta > 20:
                continue
            before = table.grow(delta, value) if action == "host grows" else instance.exports.grow(value, delta)
            assert before == len(model)
            model += [value] * delta
        found = [table[index] for index in range(len(table))]
        through_guest = [instance.exports.get(index) for index in range(instance.exports.size())]
        assert same_values([element] * len(model), found, model)
        assert same_values([element] * len(model), through_guest, model)


# --- what must be refused --------------------------------------------------------------------------------------------


def with_a_wrong_value(
    data: st.DataObject, types: tuple[ValueType, ...], right: tuple[Any, ...]
) -> tuple[int, tuple[Any, ...], type[Exception]]:
    """`right` with a wrong value at one place: the place, the values, the error."""
    at = data.draw(st.sampled_from([n for n, type in enumerate(types) if type is not ValueType.EXTERNREF]))
    wrong, error = data.draw(wrong_values(types[at]))
    return at, (*right[:at], wrong, *right[at + 1 :]), error


def can_be_wrong(types: tuple[ValueType, ...]) -> bool:
    return any(type is not ValueType.EXTERNREF for type in types)


@given(data=st.data())
def test_wrong_arguments_are_refused_before_the_guest_runs(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(function_types(runtime.info.features).filter(lambda type: can_be_wrong(type.params)))
    function = data.draw(host_functions(type))
    instance = instantiate(runtime, guests.passthrough(type), host(type, function))
    right = data.draw(arguments(type))
    at, args, error = with_a_wrong_value(data, type.params, right)
    for name in ("direct", "host"):
        with pytest.raises(error, match=rf"^argument {at + 1} of .*{type.params[at]}") as caught:
            instance.exports[name](*args)
        assert not isinstance(caught.value, pywasmrt.WasmError)
    assert not function.calls
    instance.exports.direct(*right)
    assert len(function.calls) == 1


@given(data=st.data())
def test_a_wrong_number_of_arguments_is_refused(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(function_types(runtime.info.features))
    function = data.draw(host_functions(type))
    instance = instantiate(runtime, guests.passthrough(type), host(type, function))
    right = data.draw(arguments(type))
    count = data.draw(st.integers(0, len(right) + 3).filter(lambda count: count != len(right)))
    args = (*right, 0, 0, 0)[:count]
    with pytest.raises(TypeError, match=rf"direct\(\) takes .*, {count} given"):
        instance.exports.direct(*args)
    assert not function.calls
    with pytest.raises(TypeError):
        instance.exports.direct(*right, keyword=1)


@given(data=st.data())
def test_wrong_slots_are_refused(runtime: Runtime, data: st.DataObject) -> None:
    types = data.draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=4))
    function = instantiate(runtime, guests.identities(types)).function("straight")
    right = [data.draw(slots(type))[0] for type in types]
    at = data.draw(st.integers(0, len(types) - 1))
    width = 32 if types[at] in (I32, F32) else 64
    beyond = st.sampled_from([1 << width, -1, -(1 << (width - 1)), 1 << 200]) | st.integers(min_value=1 << width)
    for wrong, error in (
        (data.draw(beyond), OverflowError),
        (data.draw(st.sampled_from([None, 1.5, "1", b"1"])), TypeError),
    ):
        with pytest.raises(error, match=rf"slot {at + 1} of straight"):
            function.call(*right[:at], wrong, *right[at + 1 :])
    with pytest.raises(TypeError, match=r"straight.call\(\) takes"):
        function.call(*right, 0)
    with pytest.raises(TypeError, match=r"straight.call\(\) takes"):
        function.call(*right[1:])


@given(data=st.data())
def test_references_have_no_slots(runtime: Runtime, data: st.DataObject) -> None:
    if "reference-types" not in runtime.info.features:
        pytest.skip(f"{runtime.info.name} lacks reference-types")
    type = data.draw(function_types(runtime.info.features).filter(lambda t: set(REFERENCES) & {*t.params, *t.results}))
    instance = instantiate(runtime, guests.passthrough(type), host(type, data.draw(host_functions(type))))
    with pytest.raises(TypeError, match=r"direct.call\(\) cannot pass a (funcref|externref)"):
        instance.exports.direct.call(*(0 for _ in type.params))


@given(data=st.data())
def test_wrong_results_of_a_host_function_raise_at_the_guests_call(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(function_types(runtime.info.features).filter(lambda type: can_be_wrong(type.results)))
    right = data.draw(results(type))
    _, wrong, error = with_a_wrong_value(data, type.results, right)
    returned = [wrong[0] if len(wrong) == 1 else wrong]
    instance = instantiate(runtime, guests.passthrough(type), host(type, lambda *args: returned[0]))
    args = data.draw(arguments(type))
    depth = data.draw(DEPTHS)
    for call in (lambda: instance.exports.direct(*args), lambda: instance.exports.nested(depth, *args)):
        with pytest.raises(error, match=r"host function env\.f returned"):
            call()
    returned[0] = right[0] if len(right) == 1 else right
    assert same_values(type.results, as_tuple(type, instance.exports.direct(*args)), seen(type.results, right))


@given(data=st.data())
def test_a_wrong_number_of_results_of_a_host_function_raises(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(function_types(runtime.info.features))
    right = data.draw(results(type))
    count = len(right)
    if count == 0:
        candidates: list[Any] = [0, (), (1,), "", False]
    elif count == 1:
        assume(type.results != (ValueType.EXTERNREF,))
        candidates = [(*right, *right), right, []]
    else:
        candidates = [right[:-1], (*right, right[0]), None, right[0], (), iter(right), dict.fromkeys(range(count))]
        candidates = [each for each in candidates if not isinstance(each, (tuple, list)) or len(each) != count]
    wrong = data.draw(st.sampled_from(candidates))
    instance = instantiate(runtime, guests.passthrough(type), host(type, lambda *args: wrong))
    with pytest.raises(TypeError, match=r"host function env\.f returned"):
        instance.exports.direct(*data.draw(arguments(type)))


@given(data=st.data())
def test_globals_refuse_what_calls_refuse(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(value_types(runtime.info.features).filter(lambda type: type is not ValueType.EXTERNREF))
    instance = instantiate(runtime, guests.globals_([type]))
    global_ = instance.global_("g0")
    before = global_.value
    wrong, error = data.draw(wrong_values(type))
    with pytest.raises(error, match=str(type)):
        global_.value = wrong
    assert same_values((type,), (global_.value,), (before,))
    store = runtime.new_store()
    with pytest.raises(error, match=str(type)):
        store.global_(type, wrong)


# --- exceptions ------------------------------------------------------------------------------------------------------


class Raised(BaseException):
    """Nothing that anybody catches by accident."""


EXCEPTIONS = st.sampled_from(
    [
        BaseException,
        Exception,
        ArithmeticError,
        AssertionError,
        GeneratorExit,
        KeyboardInterrupt,
        KeyError,
        MemoryError,
        OSError,
        RecursionError,
        Raised,
        StopAsyncIteration,
        StopIteration,
        SystemExit,
        Trap,
        pywasmrt.ClosedError,
        pywasmrt.WasmError,
    ]
)


@given(data=st.data())
def test_an_exception_comes_back_as_itself(runtime: Runtime, data: st.DataObject) -> None:
    """Through any number of guest frames, and any number of times from guest to host and back."""
    error = data.draw(EXCEPTIONS)("the very one")
    cause = ValueError("its cause")
    plan = data.draw(st.lists(st.tuples(st.sampled_from(["direct", "indirect", "nested", "host"]), DEPTHS), max_size=5))
    note(f"{plan}")
    left: list[tuple[str, int]] = []

    def call(name: str, depth: int) -> None:
        instance.exports[name](*([depth] if name == "nested" else []))

    def thrower() -> None:
        if left:
            call(*left.pop())
        raise error from cause

    instance = instantiate(runtime, guests.passthrough(FunctionType()), host(FunctionType(), thrower))
    for _ in range(2):  # and again, on an instance that saw it
        left[:] = plan
        with pytest.raises(type(error)) as caught:
            call("nested", data.draw(DEPTHS))
        assert caught.value is error
        assert error.__cause__ is cause
        assert "thrower" in [entry.name for entry in caught.traceback]
        assert not left
        error.__traceback__ = None


@given(data=st.data())
def test_an_exception_that_the_host_catches_goes_no_further(runtime: Runtime, data: st.DataObject) -> None:
    error = data.draw(EXCEPTIONS)("the very one")
    depth = data.draw(DEPTHS)
    caught = []

    def function(n: int) -> int:
        if n == 0:
            raise error
        try:
            return int(instance.exports.nested(depth, n - 1))
        except BaseException as found:
            caught.append(found)
            return n

    type = FunctionType((I32,), (I32,))
    instance = instantiate(runtime, guests.passthrough(type), host(type, function))
    assert instance.exports.direct(3) == 1
    assert caught == [error]


# --- the runtimes together -------------------------------------------------------------------------------------------


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    """What a call ended in, so that runtimes can be compared."""
    try:
        return "returned", call(*args)
    except Trap as trap:
        return "trapped", trap.code
    except Exception as error:
        return "raised", type(error), str(error)


def same_outcome(type: FunctionType, first: Any, second: Any) -> bool:
    if first[0] != "returned" or second[0] != "returned":
        return bool(first == second)
    return same_values(type.results, as_tuple(type, first[1]), as_tuple(type, second[1]))


@given(data=st.data())
def test_runtimes_agree_on_calls_right_and_wrong(runtimes: list[Runtime], data: st.DataObject) -> None:
    """The same guest, host function and arguments have the same outcome everywhere, down to the messages."""
    common = frozenset.intersection(*(runtime.info.features for runtime in runtimes))
    type = data.draw(function_types(common))
    function = data.draw(host_functions(type))
    args = data.draw(arguments(type))
    if can_be_wrong(type.params) and data.draw(st.booleans()):
        _, args, _ = with_a_wrong_value(data, type.params, args)
    if can_be_wrong(type.results) and data.draw(st.booleans()):
        _, function.returned, _ = with_a_wrong_value(data, type.results, function.returned)
    outcomes = []
    for runtime in runtimes:
        instance = instantiate(runtime, guests.passthrough(type), host(type, function))
        found = outcome(instance.exports.direct, *args)
        outcomes.append((runtime.info.name, re_addressed(found)))
    for name, found in outcomes[1:]:
        assert same_outcome(type, found, outcomes[0][1]), (name, outcomes)


def re_addressed(found: Any) -> Any:
    """An outcome without the addresses that a message may show."""
    return tuple(re.sub(r"0x[0-9a-f]+", "0x", each) if isinstance(each, str) else each for each in found)


def test_runtimes_agree_on_traps(runtimes: list[Runtime]) -> None:
    codes = {}
    told_apart = {code: ("trapped", code) for code in guests.TRAP_BODIES}
    as_one = {**told_apart, TrapCode.INDIRECT_CALL_TO_NULL: ("trapped", TrapCode.TABLE_OUT_OF_BOUNDS)}
    wanted = {}
    for runtime in runtimes:
        if "reference-types" not in runtime.info.features:
            continue
        wanted[runtime.info.name] = told_apart if "trap-null-element" in runtime.info.features else as_one
        instance = runtime.instantiate(runtime.compile(guests.traps().encode()))
        codes[runtime.info.name] = {code: outcome(instance.exports[code.value]) for code in guests.TRAP_BODIES}
    for name, found in codes.items():
        assert found == wanted[name], name
