"""Damaged modules, wrong types, closed objects, garbage from host functions: an error each time, never a crash.

The suite does some hundreds of examples. `python -m pytest tests/runtimes/test_bad_input.py -m slow` does ten thousand
and more, with other seeds each time, and stops after PYWASMRT_FUZZ_SECONDS (600 if unset) seconds.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import (
    ClosedError,
    ExternKind,
    FunctionType,
    GlobalType,
    HostModule,
    Limits,
    MemoryType,
    ModuleCompileError,
    Runtime,
    TableType,
    Trap,
    ValueType,
    WasmError,
)
from pywasmrt.testing import Module, guests
from pywasmrt.testing.strategies import mutated, value_types, values
from pywasmrt.wasm.primitives import section, uleb

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
EXTERNREF, FUNCREF = ValueType.EXTERNREF, ValueType.FUNCREF
NUMBERS = (I32, I64, F32, F64)
UNARY = FunctionType((I32,), (I32,))
# What a mutated module may use up before it is stopped.
LIMITS = Limits(memory_bytes=1 << 24, table_elements=10_000, instances=5)

Needs = Callable[..., None]


def original_modules() -> list[bytes]:
    """Modules with everything in them, none of which loops: a mutated one still ends."""
    everything = (*NUMBERS, EXTERNREF, FUNCREF)
    rich = guests.passthrough(FunctionType(everything, everything))
    rich.memory(MemoryType(1, 2), export="memory")
    rich.global_(GlobalType(F64, True), ("f64.const", 0x7FF8_0000_0000_0001), export="g")
    rich.data(b"some data", offset=100)
    return [
        rich.encode(),
        guests.identities(everything).encode(),
        guests.table(TableType(EXTERNREF, 1)).encode(),
        guests.starting([("i32.const", 1), ("drop",)]).encode(),
        guests.arithmetic().encode(),
        guests.traps().encode(),
    ]


ORIGINALS = original_modules()
HEADER = b"\0asm\1\0\0\0"


@st.composite
def sections(draw: st.DrawFn) -> bytes:
    """Bytes with the outer form of a module and anything inside."""
    body = b"".join(
        section(draw(st.integers(0, 14)), uleb(draw(st.integers(0, 3))) + draw(st.binary(max_size=20)))
        for _ in range(draw(st.integers(0, 5)))
    )
    return HEADER + body


DAMAGED = st.one_of(
    st.sampled_from(ORIGINALS).flatmap(mutated),
    st.sampled_from(ORIGINALS).flatmap(mutated).flatmap(lambda data: mutated(data) if data else st.just(data)),
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda data: HEADER + data),
    sections(),
)


def digest(runtime: Runtime, data: bytes) -> str:
    """Take a damaged module as far as it goes, and use whatever it has become. Returns how far that was."""
    valid = True
    refused: pywasmrt.UnsupportedFeatureError | None = None
    try:
        runtime.validate(data)
    except ModuleCompileError:
        valid = False
    except pywasmrt.UnsupportedFeatureError as error:
        refused = error
    try:
        module = runtime.compile(data)
    except ModuleCompileError:
        return "invalid"
    except pywasmrt.UnsupportedFeatureError as error:
        refused = error
    if refused is not None:
        assert refused.feature not in runtime.info.features
        return "unsupported"
    assert valid
    with module:
        str(module.imports) + str(module.exports) + repr(module)
        store = runtime.new_store(LIMITS)
        with contextlib.closing(store):
            try:
                instance = runtime.instantiate(module, {"env": {"f": lambda *args: None}}, store=store)
            except (WasmError, TypeError, OverflowError):
                return "valid"
            for name in instance.exports:
                with contextlib.suppress(WasmError, TypeError, OverflowError, RecursionError):
                    use(instance.exports[name])
    return "ran"


def use(export: Any) -> None:
    if callable(export):
        export(*(0 if param in NUMBERS else None for param in export.type.params))
    elif isinstance(export, pywasmrt.Memory):
        export.read(0, min(export.size, 100))
    elif isinstance(export, pywasmrt.Global):
        assert export.type
        _ = export.value
    elif isinstance(export, pywasmrt.Table) and len(export):
        _ = export[0]


# --- damaged modules -------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(data=DAMAGED)
def test_damaged_modules(runtime: Runtime, data: bytes) -> None:
    digest(runtime, data)


@pytest.mark.parametrize("data", ORIGINALS, ids=range(len(ORIGINALS)))
def test_truncated_modules(runtime: Runtime, data: bytes) -> None:
    """Cut at every place: only where a section ends may what is left be a module."""
    assert digest(runtime, data) in ("ran", "valid", "unsupported")
    ends = section_ends(data)
    for size in range(len(data)):
        if size not in ends:
            with pytest.raises(ModuleCompileError):
                runtime.validate(data[:size])
    for size in ends:
        digest(runtime, data[:size])


def section_ends(data: bytes) -> set[int]:
    ends, at = {8}, 8
    while at < len(data):
        size, shift = 0, 0
        at += 1
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += size
        ends.add(at)
    return ends


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_blob_is_refused(runtime: Runtime, data: st.DataObject) -> None:
    """Whatever is changed in it: the blob is machine code, and a changed one must never be run."""
    if "serialize" not in runtime.info.features:
        pytest.skip("the runtime cannot serialise")
    blob = runtime.compile(guests.arithmetic().encode()).serialize()
    damaged = data.draw(
        mutated(blob) | st.binary(max_size=100) | st.binary(max_size=100).map(lambda tail: blob + b"x" + tail)
    )
    with pytest.raises(ModuleCompileError):
        runtime.deserialize(damaged)


@settings(max_examples=60)
@given(body=st.binary(max_size=60) | st.binary(max_size=20).map(lambda name: len(name).to_bytes(8, "little") + name))
def test_a_blob_that_was_made_by_others_is_refused(runtime: Runtime, body: bytes) -> None:
    """One whose digest is right, and whose parts are not."""
    if "serialize" not in runtime.info.features:
        pytest.skip("the runtime cannot serialise")
    magic = b"pywasmrt module 1\n"
    assert runtime.compile(guests.arithmetic().encode()).serialize().startswith(magic)
    with pytest.raises(ModuleCompileError):
        runtime.deserialize(magic + hashlib.blake2b(body, digest_size=16).digest() + body)


@settings(max_examples=100)
@given(text=st.text(max_size=60) | st.text('()$"; abcdefilmnorstu0123.32\n\\', max_size=80).map("(module {})".format))
def test_damaged_text(runtime: Runtime, text: str) -> None:
    if "wat" not in runtime.info.features:
        pytest.skip("the runtime reads no text")
    for way in (runtime.validate, runtime.compile):
        with contextlib.suppress(ModuleCompileError):
            way(text)


def test_text_of_lone_surrogates(runtime: Runtime, needs: Needs) -> None:
    needs("wat")
    for text in ("\ud800", '(module (func (export "\udfff")))', "(module \0)"):
        with pytest.raises(ModuleCompileError):
            runtime.compile(text)


@pytest.mark.parametrize(
    "data",
    [
        HEADER + section(1, uleb(1 << 31)),
        HEADER + section(1, uleb((1 << 32) - 1) + b"\x60" * 100),
        HEADER + section(3, uleb(1 << 31)),
        HEADER + section(5, b"\x01\x00" + uleb(1 << 17)),
        HEADER + section(4, b"\x01\x70\x00" + uleb((1 << 32) - 1)),
        HEADER + b"\x01" + b"\xff" * 9 + b"\x01",
        HEADER + section(10, uleb(1) + uleb((1 << 32) - 1)),
        HEADER + section(0, uleb((1 << 32) - 1)),
        HEADER + section(0, b"\x04name" + b"\xff" * 50),
        HEADER + section(2, b"\x01\x02\xff\xfe\x01f\x00\x00"),
        b"\0asm\x0d\0\1\0",  # a component
        b"\0asm\2\0\0\0",
    ],
    ids=range(12),
)
def test_lengths_that_lie(runtime: Runtime, data: bytes) -> None:
    digest(runtime, data)


def test_deep_nesting(runtime: Runtime) -> None:
    guest = Module()
    nothing = FunctionType()
    guest.function(nothing, [("block", nothing)] * 50_000 + [("end",)] * 50_000, export="f")
    digest(runtime, guest.encode())


def test_names_of_any_kind(runtime: Runtime) -> None:
    names = [
        "",
        "\0",
        "a\0b",
        "ü",
        "\U0001f980",
        "a" * 10_000,
        "__class__",
        "_Exports__state",
        "mémoire",
        "exports",
        "close",
    ]
    guest = Module()
    for name in names:
        guest.import_(name, name, FunctionType(), export=name)
    imports = {name: {name: lambda: None} for name in names}
    instance = runtime.instantiate(runtime.compile(guest.encode()), imports)
    assert list(instance.exports) == names
    for name in names:
        assert instance.exports[name]() is None
        assert instance.function(name)() is None
        assert instance.memory(name) is None


# --- wrong types -----------------------------------------------------------------------------------------------------

WRONG: list[Any] = [
    None,
    0,
    -1,
    1 << 200,
    1.5,
    "text",
    b"bytes",
    [],
    {},
    (),
    object(),
    int,
    len,
    lambda: None,
    Ellipsis,
]


def set_value(global_: Any, value: Any) -> None:
    global_.value = value


def set_item(table: Any, index: Any, value: Any = None) -> None:
    table[index] = value


class Targets:
    """One of everything, for calling with what does not fit."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        guest = guests.passthrough(UNARY)
        guest.memory(MemoryType(1, 2), export="memory")
        guest.global_(GlobalType(I32, True), ("i32.const", 5), export="g")
        guest.tables[0] = TableType(FUNCREF, 1, 9)  # as not every engine has a second table
        guest.export("functions", ExternKind.TABLE, 0)
        self.module = runtime.compile(guest.encode())
        self.imports = {"env": {"f": lambda x: x}}
        self.store = runtime.new_store()
        self.instance = runtime.instantiate(self.module, self.imports, store=self.store)
        self.function = self.instance.function("direct")
        self.memory = self.instance.memory()
        self.global_ = self.instance.global_("g")
        self.table = self.instance.table("functions")
        self.exports = self.instance.exports


# Each takes the targets and one wrong value; some values are right for some of them.
OPERATIONS: dict[str, Callable[[Targets, Any], Any]] = {
    "new_runtime": lambda on, x: pywasmrt.new_runtime(x),
    "new_runtime config": lambda on, x: pywasmrt.new_runtime(on.runtime.info.name, x),
    "register_runtime name": lambda on, x: (
        isinstance(x, str) or pywasmrt.register_runtime(x, lambda config: on.runtime)
    ),
    "register_runtime factory": lambda on, x: callable(x) or pywasmrt.register_runtime("bad input", x),
    "validate": lambda on, x: on.runtime.validate(x),
    "compile": lambda on, x: on.runtime.compile(x),
    "deserialize": lambda on, x: on.runtime.deserialize(x),
    "new_store": lambda on, x: on.runtime.new_store(x),
    "instantiate module": lambda on, x: on.runtime.instantiate(x),
    "instantiate imports": lambda on, x: on.runtime.instantiate(on.module, x),
    "instantiate namespace": lambda on, x: on.runtime.instantiate(on.module, {"env": x}),
    "instantiate namespace name": lambda on, x: on.runtime.instantiate(on.module, {x: {}} if hashable(x) else x),
    "instantiate field": lambda on, x: on.runtime.instantiate(on.module, {"env": {"f": x}}),
    "instantiate store": lambda on, x: on.runtime.instantiate(on.module, on.imports, store=x),
    "instantiate limits": lambda on, x: on.runtime.instantiate(on.module, on.imports, limits=x),
    "store.memory": lambda on, x: on.store.memory(x),
    "store.memory maximum": lambda on, x: on.store.memory(0, x),
    "store.table": lambda on, x: on.store.table(x if x != 1 << 31 else -1),
    "store.table maximum": lambda on, x: on.store.table(0, x),
    "store.table element": lambda on, x: on.store.table(0, 1, x),
    "store.table init": lambda on, x: on.store.table(1, init=x),
    "store.global_ type": lambda on, x: on.store.global_(x, 0),
    "store.global_ value": lambda on, x: on.store.global_(I32, x),
    "store.global_ funcref": lambda on, x: on.store.global_(FUNCREF, x),
    "instance.function": lambda on, x: on.instance.function(x),
    "instance.memory": lambda on, x: on.instance.memory(x),
    "instance.global_": lambda on, x: on.instance.global_(x),
    "instance.table": lambda on, x: on.instance.table(x),
    "exports item": lambda on, x: on.exports[x],
    "exports contains": lambda on, x: x in on.exports,
    "call": lambda on, x: on.function(x),
    "call with too many": lambda on, x: on.function(1, x),
    "call raw": lambda on, x: on.function.call(x),
    "call raw with too many": lambda on, x: on.function.call(1, x),
    "memory.read offset": lambda on, x: on.memory.read(x, 1),
    "memory.read size": lambda on, x: on.memory.read(0, x),
    "memory.write offset": lambda on, x: on.memory.write(x, b"x"),
    "memory.write data": lambda on, x: on.memory.write(0, x),
    "memory.grow": lambda on, x: on.memory.grow(x),
    "global set": lambda on, x: set_value(on.global_, x),
    "table get": lambda on, x: on.table[x],
    "table set index": lambda on, x: set_item(on.table, x),
    "table set value": lambda on, x: set_item(on.table, 0, x),
    "table.grow": lambda on, x: on.table.grow(x if x != 1 << 31 else -1),
    "table.grow value": lambda on, x: on.table.grow(0, x),
    "HostModule": lambda on, x: HostModule(x),
    "HostModule.function": lambda on, x: HostModule("env").function(x),
    "add_function name": lambda on, x: HostModule("env").add_function(x, [], [], len),
    "add_function params": lambda on, x: HostModule("env").add_function("f", x, [], len),
    "add_function param": lambda on, x: HostModule("env").add_function("f", [x], [], len),
    "add_function results": lambda on, x: HostModule("env").add_function("f", [], x, len),
    "add_function callable": lambda on, x: HostModule("env").add_function("f", [], [], x),
    "HostModule.get": lambda on, x: HostModule("env").get(x) if hashable(x) else None,
}


def hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


EXPECTED = (TypeError, ValueError, OverflowError, WasmError)


@pytest.mark.parametrize("name", OPERATIONS)
def test_wrong_types_everywhere(runtime: Runtime, name: str) -> None:
    """A documented error, or where the value happens to be right, no error; and all goes on."""
    targets = Targets(runtime)
    kinds = KINDS.get(name, EXPECTED)
    for wrong in WRONG:
        try:
            OPERATIONS[name](targets, wrong)
        except kinds:
            pass
        else:
            assert may_be_right(name, wrong), f"{name} takes {wrong!r}"
    assert targets.instance.exports.nested(2, 42) == 42
    gc.collect()


# Where a look-up by a wrong key is the error of its kind.
KINDS: dict[str, tuple[type[Exception], ...]] = {
    "exports item": (*EXPECTED, KeyError),
    "table get": (*EXPECTED, IndexError),
    "table set index": (*EXPECTED, IndexError),
    "table.grow": (*EXPECTED, IndexError),
}

RIGHT: dict[str, Callable[[Any], bool]] = {
    "new_runtime": lambda x: x == {},
    "new_runtime config": lambda x: x is None or x == {},
    "register_runtime name": lambda x: isinstance(x, str),
    "register_runtime factory": callable,
    "new_store": lambda x: x is None,
    "instantiate imports": lambda x: False,
    "instantiate field": lambda x: callable(x),
    "instantiate store": lambda x: x is None,
    "instantiate limits": lambda x: x is None,
    "store.memory": lambda x: x == 0,
    "store.memory maximum": lambda x: x is None or x == 0,
    "store.table": lambda x: x == 0,
    "store.table maximum": lambda x: x is None or x == 0,
    "store.table init": lambda x: x is None,
    "store.global_ value": lambda x: x in (0, -1),
    "store.global_ funcref": lambda x: x is None,
    "instance.function": lambda x: True,
    "instance.memory": lambda x: True,
    "instance.global_": lambda x: True,
    "instance.table": lambda x: True,
    "exports contains": lambda x: True,
    "call": lambda x: x in (0, -1),
    "call raw": lambda x: x == 0,
    "memory.read offset": lambda x: x == 0,
    "memory.read size": lambda x: x == 0,
    "memory.write offset": lambda x: x == 0,
    "memory.write data": lambda x: isinstance(x, bytes),
    "memory.grow": lambda x: x == 0,
    "global set": lambda x: x in (0, -1),
    "table get": lambda x: x == 0,
    "table set index": lambda x: x == 0,
    "table set value": lambda x: x is None,
    "table.grow": lambda x: x == 0,
    "table.grow value": lambda x: x is None,
    "HostModule": lambda x: isinstance(x, str),
    "HostModule.function": lambda x: callable(x) or x is None,
    "add_function name": lambda x: isinstance(x, str),
    "add_function params": lambda x: x in ([], {}, ()),
    "add_function results": lambda x: x in ([], {}, ()),
    "add_function callable": callable,
    "HostModule.get": lambda x: not hashable(x),
}


def may_be_right(name: str, value: Any) -> bool:
    return name in RIGHT and RIGHT[name](value)


def test_objects_of_no_public_constructor(runtime: Runtime) -> None:
    """Making one's own of a type that the library hands out is refused, or harmless."""
    targets = Targets(runtime)
    for each in (targets.function, targets.memory, targets.global_, targets.table, targets.exports, targets.instance):
        for make in (lambda: type(each)(), lambda: type(each).__new__(type(each))):  # noqa: B023  called at once
            try:
                made = make()
            except (TypeError, AttributeError):
                continue
            for attempt in (repr, len, callable, lambda it: it.close(), lambda it: it(1), lambda it: it.read(0, 1)):
                with contextlib.suppress(Exception):
                    attempt(made)
    assert targets.function(1) == 1


def test_objects_cannot_be_copied_or_pickled(runtime: Runtime) -> None:
    import copy
    import pickle

    targets = Targets(runtime)
    for each in (targets.function, targets.memory, targets.global_, targets.table, targets.module, targets.store):
        with pytest.raises(Exception):  # noqa: B017, PT011  the class is Python's affair
            pickle.dumps(each)
        with contextlib.suppress(Exception):
            twin = copy.copy(each)
            repr(twin)
            del twin
    gc.collect()
    assert targets.function(1) == 1


def refusal(attempt: Callable[[], Any]) -> type[BaseException] | None:
    try:
        attempt()
    except Exception as error:
        return type(error)
    return None


def test_closed_objects_everywhere(runtime: Runtime) -> None:
    """Given to anything that takes one of its kind, a closed object is an error."""
    targets, other = Targets(runtime), Targets(runtime)
    memory, table = other.store.memory(1), other.store.table(1)
    global_ = other.store.global_(I32, 1)
    other.store.close()
    user = Module()
    user.import_("env", "it", UNARY)
    link = runtime.compile(user.encode())
    for use in (
        lambda: runtime.instantiate(targets.module, targets.imports, store=other.store),
        lambda: runtime.instantiate(link, {"env": {"it": other.function}}, store=targets.store),
        lambda: runtime.instantiate(link, {"env": other.instance}, store=targets.store),
        lambda: runtime.instantiate(targets.module, {"env": {"f": memory}}, store=targets.store),
        lambda: runtime.instantiate(targets.module, {"env": {"f": table}}, store=targets.store),
        lambda: runtime.instantiate(targets.module, {"env": {"f": global_}}, store=targets.store),
        lambda: set_item(targets.table, 0, other.function),
        lambda: targets.store.table(1, init=other.function),
        lambda: targets.store.global_(FUNCREF, other.function),
    ):
        with pytest.raises((WasmError, TypeError)):
            use()
    closing = runtime.instantiate(targets.module, targets.imports, store=targets.store)
    function = closing.function("direct")
    closing.close()
    for name, attempt in {
        "table set": lambda: set_item(targets.table, 0, function),
        "table init": lambda: targets.store.table(1, init=function),
        "global": lambda: targets.store.global_(FUNCREF, function),
        "import": lambda: runtime.instantiate(link, {"env": {"it": function}}, store=targets.store),
    }.items():
        assert refusal(attempt) is ClosedError, name
    assert targets.function(3) == 3


# --- garbage from the host -------------------------------------------------------------------------------------------

GARBAGE = st.one_of(
    st.sampled_from(
        [*WRONG, NotImplemented, Exception("not raised"), Trap("not raised"), type, gc, range(3), 1j, {1, 2}]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=20),
    st.recursive(
        st.none() | st.integers() | st.floats(), lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
    ),
)


@settings(max_examples=100)
@given(data=st.data())
def test_host_functions_that_return_garbage(runtime: Runtime, data: st.DataObject) -> None:
    types = value_types(runtime.info.features).filter(lambda type: type is not EXTERNREF)
    results = tuple(data.draw(st.lists(types, max_size=3)))
    garbage = data.draw(GARBAGE)
    guest = guests.passthrough(FunctionType((), results))
    instance = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": lambda: garbage}})
    for name, args in (("direct", ()), ("nested", (5,)), ("host", ())):
        try:
            returned = instance.exports[name](*args)
        except (TypeError, OverflowError) as error:
            refused = str(error)
            assert "host function env.f returned" in refused
        else:
            # Nothing wraps: what came through is what was given, as far as its type can hold it.
            given_values = garbage if len(results) > 1 else (garbage,) if results else ()
            returned = returned if len(results) > 1 else (returned,) if results else ()
            for type, value, came in zip(results, given_values, returned, strict=True):
                if type in (I32, I64):
                    bits = 32 if type is I32 else 64
                    assert came == value or came + (1 << bits) == value
                elif type is F64:
                    assert came == value or came != came


# --- the long run ----------------------------------------------------------------------------------------------------


def seconds() -> float:
    return float(os.environ.get("PYWASMRT_FUZZ_SECONDS", "600"))


@pytest.mark.slow
def test_ten_thousand_damaged_modules(runtime: Runtime) -> None:
    """Other ones each time. A failure prints what made it; keep such bytes as an example of `test_damaged_modules`."""
    until = time.monotonic() + seconds()
    reached: dict[str, int] = {}

    @settings(
        max_examples=10_000,
        derandomize=False,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=DAMAGED)
    def fuzz(data: bytes) -> None:
        if time.monotonic() < until:
            outcome = digest(runtime, data)
            reached[outcome] = reached.get(outcome, 0) + 1

    fuzz()
    print(f"\n{runtime.info.name}: {sum(reached.values())} modules: {reached}")
    assert reached.get("ran", 0) > 0


@pytest.mark.slow
def test_ten_thousand_flips_of_every_kind(runtime: Runtime) -> None:
    """Quicker than Hypothesis, and blinder: random damage, many times over."""
    seed = random.randrange(1 << 32)
    print(f"\nseed {seed}")
    source = random.Random(seed)
    until = time.monotonic() + seconds()
    for data in damage(source, 10_000):
        try:
            digest(runtime, data)
        except BaseException:
            print(f"module: {data.hex()}")
            raise
        if time.monotonic() > until:
            break


def damage(source: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        data = bytearray(source.choice(ORIGINALS))
        for _ in range(source.choice((1, 1, 2, 4, 16))):
            at = source.randrange(len(data))
            action = source.randrange(5)
            if action == 0:
                data[at] ^= 1 << source.randrange(8)
            elif action == 1:
                data[at] = source.randrange(256)
            elif action == 2:
                del data[at : at + source.randrange(1, 8)]
            elif action == 3:
                data[at:at] = source.randbytes(source.randrange(1, 8))
            else:
                data[at] = source.choice((0x00, 0x0B, 0x7F, 0x80, 0xFF, 0x41, 0x10, 0x11))
            if not data:
                break
        yield bytes(data)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(data=st.data())
def test_many_values_of_every_type(runtime: Runtime, data: st.DataObject) -> None:
    type = data.draw(value_types(runtime.info.features))
    instance = runtime.instantiate(runtime.compile(guests.identities([type]).encode()))
    value = data.draw(values(type) | GARBAGE)
    with contextlib.suppress(TypeError, OverflowError):
        instance.exports.straight(value)
    with contextlib.suppress(TypeError, OverflowError):
        instance.exports.straight.call(value)
