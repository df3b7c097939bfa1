"""Linear memories: reading, writing, growing, and their forms."""

from __future__ import annotations

import array
import mmap
from collections.abc import Callable
from typing import Any

import pytest

import pywasmrt
from pywasmrt import MemoryAccessError, MemoryType, Runtime, Trap, TrapCode
from pywasmrt.testing import Module

pytest.importorskip("hypothesis")
from helpers.memories import PAGE, Needs, instantiate
from hypothesis import given
from hypothesis import strategies as st


def test_guest_and_host_see_the_same_bytes(runtime: Runtime) -> None:
    instance = instantiate(runtime, MemoryType(1))
    memory, exports = instance.memory(), instance.exports
    assert memory.read(0, PAGE) == bytes(PAGE)
    memory.write(100, b"\x01\xfe")
    assert (exports.load0(100), exports.load0(101)) == (1, 0xFE)
    exports.store0(65535, 0x7F)
    assert memory.read(65535, 1) == b"\x7f"
    assert isinstance(memory.read(0, 1), bytes)


@pytest.mark.parametrize(
    "data",
    [
        b"abc",
        bytearray(b"abc"),
        memoryview(b"abc"),
        array.array("B", b"abc"),
        memoryview(array.array("H", [0x6261])),
        mmap.mmap(-1, 3),
        b"",
    ],
    ids=["bytes", "bytearray", "memoryview", "array", "wider items", "mmap", "nothing"],
)
def test_whatever_has_bytes_can_be_written(runtime: Runtime, data: Any) -> None:
    memory = instantiate(runtime, MemoryType(1)).memory()
    wanted = memoryview(data).tobytes()
    memory.write(PAGE - len(wanted), data)
    assert memory.read(PAGE - len(wanted), len(wanted)) == wanted
    assert memory.read(PAGE - len(wanted) - 1, 1) == b"\0"


def test_arguments_may_be_given_by_name(runtime: Runtime) -> None:
    memory = instantiate(runtime, MemoryType(1, 3)).memory()
    memory.write(offset=3, data=b"abc")
    memory.write(5, data=b"C")
    assert memory.read(offset=3, size=3) == memory.read(3, size=3) == memory.read(size=3, offset=3) == b"abC"
    assert memory.grow(pages=1) == 1
    for wrong in (
        lambda: memory.read(0),
        lambda: memory.read(0, 1, 2),
        lambda: memory.read(size=1),
        lambda: memory.read(0, offset=1),
        lambda: memory.read(0, length=1),
        lambda: memory.read(0, 1, size=1),
        lambda: memory.write(data=b""),
        lambda: memory.write(0, b"", data=b""),
        lambda: memory.grow(),
        lambda: memory.grow(1, 2),
        lambda: memory.grow(1, pages=1),
        lambda: memory.grow(delta=1),
    ):
        with pytest.raises(TypeError, match=r"(read|write|grow)\(\)"):
            wrong()
    assert memory.size == 2 * PAGE


def test_what_counts_as_an_int_may_be_an_offset(runtime: Runtime) -> None:
    class Index:
        def __init__(self, value: Any) -> None:
            self.value = value

        def __index__(self) -> Any:
            return self.value

    memory = instantiate(runtime, MemoryType(1, 3)).memory()
    memory.write(Index(2), b"abc")
    assert memory.read(Index(2), Index(3)) == b"abc"
    assert memory.grow(Index(1)) == 1
    for wrong in (Index("1"), Index(None), 1.0, "1", None):
        for attempt in (lambda: memory.read(wrong, 1), lambda: memory.read(0, wrong), lambda: memory.grow(wrong)):  # noqa: B023
            with pytest.raises(TypeError, match=f"must be an int, not {type(wrong).__name__}$"):
                attempt()
    for negative in (-1, Index(-1), -(1 << 20000)):
        with pytest.raises(ValueError, match=r"offset must not be negative: (-1|an int of 20001 bits)$"):
            memory.read(negative, 1)
    with pytest.raises(MemoryAccessError, match=f"cannot read 1 bytes at offset {PAGE * 2}: "):
        memory.read(Index(PAGE * 2), 1)


def test_what_does_not_fit_is_told_as_it_was_asked_for(runtime: Runtime) -> None:
    memory = instantiate(runtime, MemoryType(1, 2)).memory()
    huge = 1 << 70
    for attempt, message in (
        (lambda: memory.read(huge, 1), f"cannot read 1 bytes at offset {huge}: the memory ends at {PAGE}"),
        (lambda: memory.read(0, huge), f"cannot read {huge} bytes at offset 0: the memory ends at {PAGE}"),
        (lambda: memory.write(PAGE, b"ab"), f"cannot write 2 bytes at offset {PAGE}: the memory ends at {PAGE}"),
        (lambda: memory.grow(2), f"cannot grow the memory of {PAGE} bytes by 2 pages: a limit forbids it"),
        (lambda: memory.read(1 << 20000, 1), f"cannot read 1 bytes at offset an int of 20001 bits: .* {PAGE}"),
        (lambda: memory.read(0, 1 << 20000), f"cannot read an int of 20001 bits bytes at offset 0: .* {PAGE}"),
        (lambda: memory.grow(1 << 20000), "cannot grow .*by an int of 20001 bits pages: a limit forbids it"),
    ):
        with pytest.raises(MemoryAccessError, match=f"^{message}$"):
            attempt()


def test_type_size_and_growth(runtime: Runtime) -> None:
    instance = instantiate(runtime, MemoryType(1, 4))
    memory = instance.memory()
    assert memory.type == MemoryType(1, 4)
    assert memory.size == len(memory) == PAGE
    memory.write(PAGE - 1, b"x")
    assert memory.grow(0) == 1
    assert memory.grow(2) == 1
    assert memory.size == len(memory) == 3 * PAGE
    assert memory.read(PAGE - 1, 2) == b"x\0"
    memory.write(3 * PAGE - 1, b"y")
    assert instance.exports.load0(3 * PAGE - 1) == ord("y")
    assert instance.exports.grow0(1) == 3
    assert memory.size == 4 * PAGE
    assert instance.exports.grow0(1) == -1
    for pages in (1, 2, 1 << 16, 1 << 31, 1 << 32, 1 << 48, 1 << 64, 1 << 200):
        with pytest.raises(MemoryAccessError):
            memory.grow(pages)
    assert memory.size == 4 * PAGE
    assert memory.type == MemoryType(1, 4)


BEYOND = [
    (PAGE, 1),
    (PAGE - 1, 2),
    (0, PAGE + 1),
    (PAGE + 1, 0),
    (1 << 31, 1),
    (1 << 32, 1),
    ((1 << 32) - 1, 1),
    ((1 << 63) - 1, 1),
    (1 << 63, 1),
    ((1 << 64) - 1, 2),
    (1 << 64, 1),
    (1 << 200, 1),
    (0, 1 << 32),
    (1, (1 << 63) - 1),
    (1, (1 << 64) - 1),
    (1, 1 << 64),
    (-1, 1),
    (-PAGE, 1),
    (-(1 << 63), 1),
    (-(1 << 200), 1),
    (0, -1),
    (PAGE, -1),
    (2, -(1 << 63)),
]


@pytest.mark.parametrize(("offset", "size"), BEYOND)
def test_no_access_beyond_the_memory(runtime: Runtime, offset: int, size: int) -> None:
    memory = instantiate(runtime, MemoryType(1)).memory()
    with pytest.raises((MemoryAccessError, OverflowError, ValueError)) as caught:
        memory.read(offset, size)
    if 0 <= offset < 1 << 63 and 0 <= size < 1 << 63:
        assert isinstance(caught.value, MemoryAccessError)
        assert isinstance(caught.value, IndexError)
        assert str(offset) in str(caught.value)
    if 0 <= size <= 2 * PAGE:
        with pytest.raises((MemoryAccessError, OverflowError, ValueError)) as caught:
            memory.write(offset, b"x" * size)
        if 0 <= offset < 1 << 63:
            assert isinstance(caught.value, MemoryAccessError)
    assert memory.read(0, PAGE) == bytes(PAGE)


def test_the_runtimes_refuse_the_same_in_the_same_way(runtimes: list[Runtime]) -> None:
    memories = [instantiate(runtime, MemoryType(1, 2)).memory() for runtime in runtimes]

    def refusal(use: Callable[[Any], Any], memory: Any) -> type[Exception]:
        with pytest.raises(Exception) as caught:  # noqa: PT011  which one it is, is the question
            use(memory)
        return type(caught.value)

    uses: list[Callable[[Any], Any]] = [lambda memory, at=at: memory.read(*at) for at in BEYOND]
    uses += [lambda memory, at=at: memory.write(at[0], b"x" * (PAGE + 1)) for at in BEYOND]
    uses += [lambda memory, by=pages: memory.grow(by) for pages in (-1, 2, 1 << 32, 1 << 64, 1 << 200, -(1 << 200))]
    uses += [lambda memory: memory.write(0, memoryview(b"a-b-c")[::2])]
    for n, use in enumerate(uses):
        found = {refusal(use, memory) for memory in memories}
        assert len(found) == 1, (n, found)


def test_nothing_can_be_read_and_written_at_the_very_end(runtime: Runtime) -> None:
    memory = instantiate(runtime, MemoryType(1)).memory()
    assert memory.read(PAGE, 0) == b""
    memory.write(PAGE, b"")
    empty = instantiate(runtime, MemoryType(0)).memory()
    assert empty.size == 0
    assert empty.read(0, 0) == b""
    empty.write(0, b"")
    with pytest.raises(MemoryAccessError):
        empty.read(0, 1)
    with pytest.raises(MemoryAccessError):
        empty.write(0, b"x")
    assert empty.grow(1) == 0
    assert empty.read(0, 1) == b"\0"


@pytest.mark.parametrize("wrong", [None, "0", 1.0, b"0", [], object()], ids=lambda wrong: type(wrong).__name__)
def test_wrong_types_are_refused(runtime: Runtime, wrong: Any) -> None:
    memory = instantiate(runtime, MemoryType(1)).memory()
    for use in (
        lambda: memory.read(wrong, 1),
        lambda: memory.read(0, wrong),
        lambda: memory.write(wrong, b"x"),
        lambda: memory.grow(wrong),
    ):
        with pytest.raises(TypeError):
            use()
    if not isinstance(wrong, bytes):
        with pytest.raises(TypeError):
            memory.write(0, wrong)


def test_wrong_numbers_of_arguments_are_refused(runtime: Runtime) -> None:
    memory = instantiate(runtime, MemoryType(1)).memory()
    for use in (
        lambda: memory.read(),
        lambda: memory.read(0),
        lambda: memory.read(0, 1, 2),
        lambda: memory.write(),
        lambda: memory.write(0),
        lambda: memory.write(0, b"", 1),
        lambda: memory.grow(),
        lambda: memory.grow(1, 2),
    ):
        with pytest.raises(TypeError):
            use()


def test_the_guest_traps_where_the_host_gets_an_error(runtime: Runtime) -> None:
    exports = instantiate(runtime, MemoryType(1)).exports
    for address in (PAGE, -1, 1 << 31):
        with pytest.raises(Trap) as caught:
            exports.load0(address)
        assert caught.value.code is TrapCode.MEMORY_OUT_OF_BOUNDS


def test_several_memories(runtime: Runtime, needs: Needs) -> None:
    needs("multi-memory")
    instance = instantiate(runtime, MemoryType(1), MemoryType(2, 5), MemoryType(0))
    first, second, third = instance.memory(), instance.memory("memory1"), instance.memory("memory2")
    assert [each.size for each in (first, second, third)] == [PAGE, 2 * PAGE, 0]
    second.write(PAGE, b"second")
    assert instance.exports.load1(PAGE) == ord("s")
    assert first.read(0, PAGE) == bytes(PAGE)
    assert second.grow(1) == 2
    assert instance.exports.size1() == 3
    assert instance.exports.size0() == 1
    third.grow(1)
    instance.exports.store2(5, 6)
    assert third.read(5, 1) == b"\x06"


def test_a_64_bit_memory(runtime: Runtime, needs: Needs) -> None:
    needs("memory64")
    instance = instantiate(runtime, MemoryType(1, 3, is_64=True))
    memory = instance.memory()
    assert memory.type == MemoryType(1, 3, is_64=True)
    memory.write(PAGE - 2, b"ab")
    assert instance.exports.load0(PAGE - 1) == ord("b")
    assert instance.exports.grow0(1) == 1
    assert memory.grow(1) == 2
    memory.write(3 * PAGE - 1, b"z")
    assert instance.exports.load0(3 * PAGE - 1) == ord("z")
    for address in (3 * PAGE, 1 << 32, (1 << 64) - 1):
        with pytest.raises(Trap):
            instance.exports.load0(address)
        with pytest.raises(MemoryAccessError):
            memory.read(address if address < 1 << 63 else 1 << 40, 1)


def test_a_shared_memory(runtime: Runtime, needs: Needs) -> None:
    needs("threads")
    instance = instantiate(runtime, MemoryType(1, 3, shared=True))
    memory = instance.memory()
    assert memory.type == MemoryType(1, 3, shared=True)
    memory.write(10, b"shared")
    assert instance.exports.load0(10) == ord("s")
    assert memory.grow(1) == 1
    instance.exports.store0(PAGE + 1, 9)
    assert memory.read(PAGE + 1, 1) == b"\x09"
    assert memory.size == 2 * PAGE
    with pytest.raises(MemoryAccessError):
        memory.read(2 * PAGE, 1)


def test_a_shared_memory_made_by_the_host(runtime: Runtime, needs: Needs) -> None:
    needs("threads")
    store = runtime.new_store()
    memory = store.memory(1, 2, shared=True)
    assert memory.type == MemoryType(1, 2, shared=True)
    guest = Module()
    guest.import_("env", "m", MemoryType(1, 2, shared=True), export="memory")
    instance = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"m": memory}}, store=store)
    memory.write(3, b"x")
    assert instance.memory().read(3, 1) == b"x"
    with pytest.raises((ValueError, pywasmrt.ModuleInstantiateError)):
        store.memory(1, shared=True)  # a shared memory has a maximum


def test_a_memory_of_small_pages(runtime: Runtime, needs: Needs) -> None:
    needs("custom-page-sizes")
    instance = instantiate(runtime, MemoryType(10, 20, page_size=1))
    memory = instance.memory()
    assert memory.size == 10
    assert memory.grow(5) == 10
    assert memory.size == 15


OFFSETS = st.integers(0, 3 * PAGE + 2) | st.sampled_from([0, PAGE - 1, PAGE, 2 * PAGE - 1, 1 << 32, -1])
ACTIONS = st.one_of(
    st.tuples(st.just("read"), OFFSETS, st.integers(0, 300) | st.just(PAGE)),
    st.tuples(st.just("write"), OFFSETS, st.binary(max_size=40)),
    st.tuples(st.just("load"), OFFSETS),
    st.tuples(st.just("store"), OFFSETS, st.integers(0, 255)),
    st.tuples(st.just("grow"), st.sampled_from(["host", "guest"]), st.integers(0, 2)),
)


@given(actions=st.lists(ACTIONS, max_size=30))
def test_a_memory_is_an_array_of_bytes(runtime: Runtime, actions: list[tuple[Any, ...]]) -> None:
    """Whatever host and guest do by turns, it holds what an array of bytes would hold."""
    instance = instantiate(runtime, MemoryType(1, 3))
    memory, exports = instance.memory(), instance.exports
    model = bytearray(PAGE)
    for action, *args in actions:
        if action == "grow":
            by, pages = args
            fits = len(model) // PAGE + pages <= 3
            before = len(model) // PAGE
            if by == "guest":
                assert exports.grow0(pages) == (before if fits else -1)
            elif fits:
                assert memory.grow(pages) == before
            else:
                with pytest.raises(MemoryAccessError):
                    memory.grow(pages)
            model.extend(bytes(pages * PAGE if fits else 0))
            continue
        offset = args[0]
        size = args[1] if action == "read" else len(args[1]) if action == "write" else 1
        if not 0 <= offset <= offset + size <= len(model):
            if action in ("load", "store"):
                with pytest.raises((Trap, OverflowError)):
                    exports[f"{action}0"](*args)
            else:
                with pytest.raises((MemoryAccessError, ValueError) if offset < 0 else MemoryAccessError):
                    getattr(memory, action)(*args)
        elif action == "read":
            assert memory.read(*args) == model[offset : offset + size]
        elif action == "write":
            memory.write(*args)
            model[offset : offset + size] = args[1]
        elif action == "load":
            assert exports.load0(offset) == model[offset]
        else:
            exports.store0(*args)
            model[offset] = args[1]
    assert memory.size == len(model)
    assert memory.read(0, memory.size) == model


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ((None,), TypeError, "^the size of a {} is an int of {}, not None$"),
        ((1.0,), TypeError, r"^the size of a {} is an int of {}, not 1\.0 \(float\)$"),
        ((1, "2"), TypeError, r"^the size of a {} is an int of {}, not '2' \(str\)$"),
        ((-1,), ValueError, r"^a {} has 0 to \d+ {}, not -1$"),
        ((2, 1), ValueError, r"^the maximum of a {0} of 2 {1} is 2 to \d+ {1}, not 1$"),
    ],
)
def test_sizes_are_checked_before_anything_is_made(
    runtime: Runtime, sizes: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    store = runtime.new_store()
    with pytest.raises(error, match=message.format("memory", "pages")):
        store.memory(*sizes)
    with pytest.raises(error, match=message.format("table", "elements")):
        store.table(*sizes)
