"""Damaged modules, blobs and texts: an error each time, never a crash.

The suite does some hundreds of examples. `python -m pytest tests/runtimes/test_damaged_modules.py -m slow` does ten
thousand and more, with other seeds each time, and stops after PYWASMRT_FUZZ_SECONDS (600 if unset) seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("hypothesis")
from helpers.damage import EXTERNREF, F64, FUNCREF, NUMBERS, use
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import (
    FunctionType,
    GlobalType,
    Limits,
    MemoryType,
    ModuleCompileError,
    Runtime,
    TableType,
    WasmError,
)
from pywasmrt.testing import Module, guests
from pywasmrt.testing.strategies import mutated
from pywasmrt.wasm.primitives import section, uleb

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
