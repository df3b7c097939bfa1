"""Texts and bytes across: buffers of a guest's allocator, C strings, records, typed views."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import (
    Caller,
    ClosedError,
    FunctionNotExportedError,
    FunctionType,
    GlobalType,
    HostModule,
    MemoryAccessError,
    MemoryExportNotFoundError,
    MemoryType,
    Runtime,
    Trap,
    ValueType,
    i32,
)
from pywasmrt.protocols import GuestBuffer
from pywasmrt.wasm.module import Module

I32 = ValueType.I32
NAMES = {
    ("malloc", "free"): (1, 1),
    ("alloc", "dealloc"): (1, 2),
    ("allocate", "deallocate"): (2, 3),
    ("__wbindgen_malloc", "__wbindgen_free"): (2, 3),
}


def guest(name: str, params: int, free: str | None, freed: int = 1) -> Module:
    """Exports an allocator that gives one place after the other, and what was freed last, in the global `freed`."""
    made = Module()
    made.memory(MemoryType(1, 2), export="memory")
    made.global_(GlobalType(I32, True), ("i32.const", 1024), export="next")
    made.global_(GlobalType(I32, True), ("i32.const", 0), export="freed")
    size = params - 1 if params == 4 else 0
    made.function(
        FunctionType((I32,) * params, (I32,)),
        [("global.get", 0), ("global.get", 0), ("local.get", size), ("i32.add",), ("global.set", 0)],
        export=name,
    )
    if free is not None:
        made.function(FunctionType((I32,) * freed), [("local.get", 0), ("global.set", 1)], export=free)
    made.function(FunctionType((I32,), (I32,)), [("local.get", 0), ("i32.load8_u", 0, 0)], export="load")
    return made


def instance_of(runtime: Runtime, made: Module) -> Any:
    return runtime.instantiate(runtime.compile(made.encode()))


@pytest.mark.parametrize("names", NAMES, ids="-".join)
def test_known_allocators(runtime: Runtime, names: tuple[str, str]) -> None:
    instance = instance_of(runtime, guest(names[0], NAMES[names][0], names[1], NAMES[names][1]))
    with instance.put(b"abc") as buffer:
        assert isinstance(buffer, GuestBuffer)
        assert (*buffer,) == (1024, 3)
        assert (buffer.pointer, buffer.size, len(buffer), buffer.read()) == (1024, 3, 3, b"abc")
        assert instance.exports.load(buffer.pointer + 2) == ord("c")
        assert "3 bytes at 1024" in repr(buffer)
        assert instance.exports.freed.value == 0
    assert instance.exports.freed.value == 1024
    buffer.free()
    other = instance.put("d\N{SNOWMAN}")
    assert other.read() == "d\N{SNOWMAN}".encode()
    other.free()
    assert instance.exports.freed.value == other.pointer


def test_assemblyscript_pins(runtime: Runtime) -> None:
    made = guest("__new", 2, "__unpin")
    made.function(FunctionType((I32,), (I32,)), [("local.get", 0), ("i32.const", 4096), ("i32.add",)], export="__pin")
    instance = instance_of(runtime, made)
    with instance.put(b"abc") as buffer:
        assert (buffer.pointer, buffer.read()) == (1024 + 4096, b"abc")
    assert instance.exports.freed.value == 1024 + 4096


def test_the_allocator_of_components_frees_nothing(runtime: Runtime) -> None:
    instance = instance_of(runtime, guest("cabi_realloc", 4, None))
    with instance.put(b"abc") as buffer:
        assert buffer.read() == b"abc"


def test_allocators_may_be_declared(runtime: Runtime) -> None:
    instance = instance_of(runtime, guest("mine", 1, "yours"))
    with pytest.raises(FunctionNotExportedError, match=r"no allocator that is known here \(malloc, .*allocator="):
        instance.put(b"abc")
    with instance.put(b"abc", allocator=("mine", "yours")) as buffer:
        assert buffer.read() == b"abc"
    assert instance.exports.freed.value == buffer.pointer
    with instance.put(b"de", allocator="mine") as kept:
        assert kept.read() == b"de"
    assert instance.exports.freed.value == buffer.pointer
    for wrong, message in (("other", "'other' to allocate"), (("mine", "other"), "'other' to free")):
        with pytest.raises(FunctionNotExportedError, match=message):
            instance.put(b"x", allocator=wrong)
    for bad in (5, ("a",), ("a", 5), (5, None)):
        with pytest.raises(TypeError, match="an allocator is a pair of names"):
            instance.put(b"x", allocator=bad)
    with pytest.raises(TypeError, match="bytes"):
        instance.put(5, allocator="mine")


def test_allocators_that_are_none(runtime: Runtime) -> None:
    made = Module()
    made.memory(MemoryType(1), export="memory")
    made.function(FunctionType((ValueType.F64,), (I32,)), [("i32.const", 1)], export="malloc")
    with pytest.raises(FunctionNotExportedError, match=r"'malloc' is \(f64\) -> \(i32\), which is no allocator's"):
        instance_of(runtime, made).put(b"x")
    made = Module()
    made.function(FunctionType((I32,), (I32,)), [("i32.const", 1)], export="malloc")
    with pytest.raises(MemoryExportNotFoundError, match="no memory to put bytes into"):
        instance_of(runtime, made).put(b"x")


@pytest.mark.parametrize(("gives", "message"), [(0, "gave 0 for 3 bytes"), (-1, "not its memory"), (65534, "not its")])
def test_allocators_that_lie(runtime: Runtime, gives: int, message: str) -> None:
    made = Module()
    made.memory(MemoryType(1), export="memory")
    made.function(FunctionType((I32,), (I32,)), [("i32.const", gives)], export="malloc")
    made.function(FunctionType((I32,)), [("unreachable",)], export="free")
    instance = instance_of(runtime, made)
    with pytest.raises(MemoryAccessError, match=message):
        instance.put(b"abc")
    assert instance.memory().read(65533, 3) == bytes(3)


def test_freeing_that_fails(runtime: Runtime) -> None:
    made = guest("malloc", 1, None)
    made.function(FunctionType((I32,)), [("unreachable",)], export="free")
    instance = instance_of(runtime, made)
    with pytest.raises(Trap), instance.put(b"abc"):
        pass
    with pytest.raises(KeyError), instance.put(b"abc"):
        raise KeyError
    buffer = instance.put(b"abc")
    instance.close()
    buffer.free()  # nothing is left to give back
    with pytest.raises(ClosedError):
        buffer.read()
    with pytest.raises(ClosedError):
        instance.put(b"abc")


def test_empty_data_has_a_place_too(runtime: Runtime) -> None:
    instance = instance_of(runtime, guest("malloc", 1, "free"))
    with instance.put(b"") as buffer:
        assert (*buffer,) == (1024, 0)
    assert instance.exports.next.value == 1025


def test_a_host_function_puts_into_its_caller(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def fill(caller: Caller) -> i32:
        return caller.put("from the host\0").pointer

    made = Module()
    made.import_("env", "fill", FunctionType((), (I32,)))
    made.memory(MemoryType(1), export="memory")
    made.function(FunctionType((I32,), (I32,)), [("i32.const", 512)], export="malloc")
    made.function(FunctionType((), (I32,)), [("call", 0)], export="run")
    instance = runtime.instantiate(runtime.compile(made.encode()), env)
    memory = instance.memory()
    assert memory is not None
    assert memory.read_cstring(instance.exports.run()) == "from the host"


@pytest.fixture
def memory(runtime: Runtime) -> Any:
    made = Module()
    made.memory(MemoryType(1, 1), export="memory")
    return instance_of(runtime, made).memory()


@given(st.binary(max_size=3000).filter(lambda data: b"\0" not in data), st.integers(0, 70_000))
def test_a_c_string_is_what_comes_before_the_nul(runtime: Runtime, data: bytes, at: int) -> None:
    made = Module()
    made.memory(MemoryType(1, 1), export="memory")
    memory = instance_of(runtime, made).memory()
    memory.write(0, b"x" * memory.size)
    if at + len(data) + 1 > memory.size:
        with pytest.raises(MemoryAccessError):
            memory.read_cstring(at, encoding=None)
        return
    memory.write(at, data + b"\0")
    assert memory.read_cstring(at, encoding=None) == data
    assert memory.read_cstring(at, len(data), encoding=None) == data
    assert memory.read_cstring(at, encoding="latin-1") == data.decode("latin-1")
    if data:
        with pytest.raises(ValueError, match="no NUL within its first"):
            memory.read_cstring(at, len(data) - 1, encoding=None)


def test_c_strings_that_are_none(memory: Any) -> None:
    memory.write(0, b"a\xffb\0" + b"x" * 100)
    with pytest.raises(UnicodeDecodeError):
        memory.read_cstring(0)
    assert memory.read_cstring(0, errors="replace") == "a\N{REPLACEMENT CHARACTER}b"
    memory.write(65000, b"y" * 536)
    with pytest.raises(MemoryAccessError, match="no NUL before the memory ends at 65536"):
        memory.read_cstring(65000)
    with pytest.raises(MemoryAccessError):
        memory.read_cstring(65537)
    for wrong in (-1, "5", None, 2.5):
        with pytest.raises((TypeError, ValueError)):
            memory.read_cstring(wrong)
    with pytest.raises(ValueError, match="negative"):
        memory.read_cstring(0, -1)
    with pytest.raises(TypeError, match="encoding is"):
        memory.read_cstring(0, encoding=5)
    with pytest.raises(LookupError, match="nonsense"):
        memory.read_cstring(0, encoding="nonsense")


@given(st.data())
def test_records_are_what_struct_makes(runtime: Runtime, data: st.DataObject) -> None:
    made = Module()
    made.memory(MemoryType(1, 1), export="memory")
    memory = instance_of(runtime, made).memory()
    numbers = {"b": (-128, 127), "H": (0, 65535), "i": (-(2**31), 2**31 - 1), "Q": (0, 2**64 - 1), "l": (-9, 9)}
    signs = data.draw(st.lists(st.sampled_from([*numbers, "x", "?"]), max_size=6))
    values = [data.draw(st.booleans() if sign == "?" else st.integers(*numbers[sign])) for sign in signs if sign != "x"]
    format, at = "".join(signs), data.draw(st.integers(0, 65536 - 48))
    memory.write_struct(format, at, *values)
    assert memory.read_struct("<" + format, at) == tuple(values)
    packed = struct.pack("<" + format, *values)
    assert memory.read(at, len(packed)) == packed


def test_records_that_are_none(memory: Any) -> None:
    for format in (">i", "@i", "=i", "!i", "P", "n", "i>", "z", "é"):
        with pytest.raises(ValueError, match="format"):
            memory.read_struct(format)
    with pytest.raises(TypeError, match="a format is a str"):
        memory.read_struct(b"i")
    with pytest.raises(MemoryAccessError):
        memory.read_struct("i", 65533)
    with pytest.raises(MemoryAccessError):
        memory.write_struct("i", 65533, 5)
    with pytest.raises(struct.error):
        memory.write_struct("B", 0, 256)
    with pytest.raises(struct.error):
        memory.write_struct("BB", 0, 1)
    with pytest.raises(ValueError, match="format"):
        memory.read_struct("99999999999999999999s")


def test_views_are_of_numbers(memory: Any, runtime: Runtime) -> None:
    if "buffer" not in runtime.info.features:
        with pytest.raises(pywasmrt.UnsupportedFeatureError, match="no views"):
            memory.view("i")
        return
    memory.write_struct("iii", 4, 1, -2, 3)
    view = memory.view("i", 4, 3)
    assert (view.format, view.tolist()) == ("i", [1, -2, 3])
    view[1] = 7
    assert memory.read_struct("i", 8) == (7,)
    assert len(memory.view("d", 1)) == (65536 - 1) // 8
    assert len(memory.view("H", 65536)) == 0
    assert memory.view("B", 65535, 1).tolist() == [0]
    for at, count in ((65533, 1), (0, 16385), (65537, 0), (1 << 70, 1), (0, 1 << 70)):
        with pytest.raises(MemoryAccessError):
            memory.view("i", at, count)
    for format in ("l", "P", "<i", "", "ii", "s", 5, None):
        with pytest.raises(ValueError, match="the numbers of a view"):
            memory.view(format)
    with pytest.raises(ValueError, match="negative"):
        memory.view("i", -1)
    with pytest.raises(TypeError):
        memory.view("i", 0, 1.5)
