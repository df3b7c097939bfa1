"""Subclasses and numbers that lie: what they say of themselves never decides how much memory is touched."""

from __future__ import annotations

import operator
from typing import Any

import pytest

import pywasmrt
from pywasmrt import (
    ClosedError,
    FunctionType,
    GlobalType,
    MemoryAccessError,
    MemoryType,
    Runtime,
    TableType,
    UnsupportedFeatureError,
    ValueType,
    wasi,
)
from pywasmrt.testing import Module

pytest.importorskip("hypothesis")
from helpers.memories import PAGE, instantiate
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.integers(0, 3 * PAGE)
EMPTY_MODULE = b"\0asm\1\0\0\0"


class Long(bytes):
    """Says that it is longer than it is."""

    def __len__(self) -> int:
        return PAGE

    def __getitem__(self, index: Any) -> Any:
        return b"x" * 5


class LongText(str):
    """The same of a text, whose encoding lies as well."""

    __slots__ = ()

    def __len__(self) -> int:
        return PAGE

    def encode(self, *_: object) -> Long:  # type: ignore[override]
        return Long(b"(module")


class Fickle:
    """Another number each time that it is asked; the last one for ever."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)

    def __index__(self) -> int:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Agreeable(int):
    """Every comparison and sum of it suits the one who asks."""

    def __index__(self) -> int:
        return 1

    __int__ = __index__

    def __le__(self, other: object) -> bool:
        return True

    __lt__ = __ge__ = __gt__ = __le__

    def __add__(self, other: object) -> int:
        return 1

    __radd__ = __sub__ = __rsub__ = __add__


def memory_of(runtime: Runtime, shared: bool) -> Any:
    """A memory of one page, 97 in each byte."""
    if shared and "threads" not in runtime.info.features:
        pytest.skip("it has no shared memories")
    memory = instantiate(runtime, MemoryType(1, 3, shared=shared)).memory()
    memory.write(0, b"a" * PAGE)
    return memory


EACH_KIND = pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])


@EACH_KIND
def test_bytes_that_say_to_be_longer_are_written_as_they_are(runtime: Runtime, shared: bool) -> None:
    memory = memory_of(runtime, shared)
    memory.write(PAGE - 3, Long(b"xyz"))
    assert memory.read(0, PAGE) == b"a" * (PAGE - 3) + b"xyz"
    with pytest.raises(MemoryAccessError, match=f"cannot write 3 bytes at offset {PAGE - 2}: "):
        memory.write(PAGE - 2, Long(b"xyz"))


@EACH_KIND
@given(offsets=st.lists(SIZES, min_size=1, max_size=4), sizes=st.lists(SIZES, min_size=1, max_size=4))
def test_a_number_is_asked_for_once(runtime: Runtime, shared: bool, offsets: list[int], sizes: list[int]) -> None:
    memory = memory_of(runtime, shared)
    offset, size = offsets[0], sizes[0]
    if offset + size <= PAGE:
        assert memory.read(Fickle(*offsets), Fickle(*sizes)) == b"a" * size
        memory.write(Fickle(*offsets), b"b" * size)
        assert memory.read(0, PAGE) == b"a" * offset + b"b" * size + b"a" * (PAGE - offset - size)
    else:
        with pytest.raises(MemoryAccessError):
            memory.read(Fickle(*offsets), Fickle(*sizes))
        with pytest.raises(MemoryAccessError):
            memory.write(Fickle(*offsets), b"b" * size)


@EACH_KIND
def test_ints_that_agree_with_everything(runtime: Runtime, shared: bool) -> None:
    memory = memory_of(runtime, shared)
    assert memory.read(Agreeable(5), Agreeable(3)) == b"aaa"
    for attempt in (
        lambda: memory.read(0, Agreeable(PAGE + 1)),
        lambda: memory.read(Agreeable(PAGE), 1),
        lambda: memory.write(Agreeable(1 << 40), b"x"),
        lambda: memory.grow(Agreeable(1 << 20)),
    ):
        with pytest.raises(MemoryAccessError):
            attempt()
    with pytest.raises(ValueError, match="offset must not be negative: -1"):
        memory.read(Agreeable(-1), 1)


@EACH_KIND
def test_a_memory_that_grows_while_its_offset_is_asked_for(runtime: Runtime, shared: bool) -> None:
    memory = memory_of(runtime, shared)

    class Growing:
        def __index__(self) -> int:
            memory.grow(1)
            return PAGE

    memory.write(Growing(), b"x")
    assert memory.read(Growing(), 1) == b"x"
    assert memory.size == 3 * PAGE


CLOSING = {
    "a global's value": lambda found, number: setattr(found.global_("global"), "value", number),
    "a table's index": lambda found, number: found.table("table")[number],
    "a table's index, to write": lambda found, number: operator.setitem(found.table("table"), number, None),
    "a table's growth": lambda found, number: found.table("table").grow(number),
    "an offset": lambda found, number: found.memory("memory").read(number, 1),
    "a size": lambda found, number: found.memory("memory").read(0, number),
    "an offset, to write": lambda found, number: found.memory("memory").write(number, b"x"),
    "pages": lambda found, number: found.memory("memory").grow(number),
    "an argument": lambda found, number: found.function("function")(number),
}


@pytest.mark.parametrize("closes", ["instance", "store"])
@pytest.mark.parametrize("what", CLOSING)
def test_what_is_closed_while_a_number_is_asked_for(runtime: Runtime, what: str, closes: str) -> None:
    guest = Module()
    guest.memory(MemoryType(1, 3), export="memory")
    guest.table(TableType(ValueType.FUNCREF, 3), export="table")
    guest.global_(GlobalType(ValueType.I32, True), ("i32.const", 1), export="global")
    guest.function(FunctionType((ValueType.I32,), ()), [], export="function")
    store = runtime.new_store()
    instance = runtime.instantiate(runtime.compile(guest.encode()), store=store)

    class Closing:
        def __index__(self) -> int:
            {"instance": instance, "store": store}[closes].close()
            return 1

    with pytest.raises(ClosedError):
        CLOSING[what](instance, Closing())


def test_modules_that_say_to_be_longer(runtime: Runtime) -> None:
    assert runtime.compile(Long(EMPTY_MODULE)).exports == ()
    runtime.validate(Long(EMPTY_MODULE))
    try:
        assert runtime.compile(LongText('(module (memory (export "m") 1))')).exports[0].name == "m"
    except UnsupportedFeatureError as error:
        assert error.feature == "wat"  # noqa: PT017
    if "serialization" in runtime.info.features:
        blob = runtime.compile(EMPTY_MODULE).serialize()
        assert runtime.deserialize(Long(blob)).exports == ()


def test_input_of_a_component_that_says_to_be_longer() -> None:
    from pywasmrt.wasi.components import component_wasi

    class Bytes(Long):
        def __bytes__(self) -> bytes:
            return self

    stdin = component_wasi(wasi.WasiConfig(stdin=Bytes(b"abc")), http=False, opened=True).stdin
    assert type(stdin) is bytes
    assert stdin == b"abc"


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1 << 31) - 1, 1 << 31, (1 << 32) - PAGE], ids=["2 GiB - 1", "2 GiB", "4 GiB"])
def test_reads_beyond_31_bits(runtime: Runtime, size: int) -> None:
    pages = -(-size // PAGE)
    try:
        memory = runtime.instantiate(runtime.compile(f'(module (memory (export "m") {pages}))')).memory("m")
        memory.write(size - 1, b"x")
        read = memory.read(0, size)
    except (pywasmrt.WasmError, MemoryError) as error:
        pytest.skip(f"the machine has too little memory: {error}")
    assert len(read) == size
    assert read[-1:] == b"x"
