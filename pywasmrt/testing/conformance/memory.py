"""Linear memories: bounds to the byte, growth, and what either side writes."""

from __future__ import annotations

from typing import Any

from ...errors import MemoryAccessError, Trap
from ...types import PAGE_SIZE, Limits, MemoryType, TrapCode
from .. import guests
from .checking import Part, Subject, equal, expect, require

__all__ = ["PART"]

PART = Part("memory")


_UP_TO_THREE = MemoryType(1, 3)


def _memory(subject: Subject, type: MemoryType = _UP_TO_THREE) -> tuple[Any, Any]:
    instance = subject.instance(guests.memories(type))
    return instance.memory(), instance.exports


@PART
def a_memory_has_its_size_and_type(subject: Subject) -> None:
    memory, exports = _memory(subject)
    equal(memory.size, PAGE_SIZE, "the size of a memory of one page")
    equal(len(memory), PAGE_SIZE, "len() of a memory of one page")
    equal(memory.type, MemoryType(1, 3), "the type of a memory")
    equal(exports.size0(), 1, "memory.size in the guest")
    empty, _ = _memory(subject, MemoryType(0))
    equal(empty.size, 0, "the size of an empty memory")
    equal(empty.read(0, 0), b"", "nothing, read of an empty memory")


@PART
def what_one_side_writes_the_other_reads(subject: Subject) -> None:
    memory, exports = _memory(subject)
    memory.write(10, bytes([1, 2, 255]))
    equal([exports.load0(n) for n in range(9, 14)], [0, 1, 2, 255, 0], "what the host wrote, read by the guest")
    exports.store0(PAGE_SIZE - 1, 0x1FF)
    equal(memory.read(PAGE_SIZE - 2, 2), b"\0\xff", "what the guest wrote, read by the host")
    for data in (bytearray(b"ab"), memoryview(b"ab"), b"ab"):
        memory.write(0, data)
        equal(memory.read(0, 3), b"ab\0", f"what was written from a {type(data).__name__}")


@PART
def bounds_are_exact(subject: Subject) -> None:
    memory, exports = _memory(subject)
    end = PAGE_SIZE
    memory.write(0, b"\x07" * end)
    equal(memory.read(0, end), b"\x07" * end, "the whole of a memory")
    equal(memory.read(end - 1, 1), b"\x07", "the last byte")
    equal(memory.read(end, 0), b"", "nothing, at the end")
    memory.write(end, b"")
    memory.write(end - 1, b"\x08")
    equal(exports.load0(end - 1), 8, "the last byte, in the guest")
    for offset, size in ((end, 1), (end - 1, 2), (0, end + 1), (end + 1, 0), (1 << 32, 1), (1 << 70, 1)):
        expect(MemoryAccessError, f"read({offset}, {size})", memory.read, offset, size)
    for offset, data in ((end, b"x"), (end - 1, b"xy"), (0, bytes(end + 1)), (end + 1, b"")):
        expect(MemoryAccessError, f"write({offset}, {len(data)} bytes)", memory.write, offset, data)
    equal(memory.read(end - 2, 2), b"\x07\x08", "the end of a memory, after writes that were refused")
    for call in (lambda: memory.read(-1, 1), lambda: memory.read(0, -1), lambda: memory.write(-1, b"x")):
        expect((ValueError, MemoryAccessError), "a negative offset or size", call)
    expect(TypeError, "a str as data", lambda: memory.write(0, "x"))
    expect(TypeError, "a float as an offset", lambda: memory.read(0.0, 1))


@PART
def the_guest_traps_beyond_its_memory(subject: Subject) -> None:
    _, exports = _memory(subject)
    for address in (PAGE_SIZE, (1 << 31), (1 << 32) - 1):
        for name, args in (("load0", (address,)), ("store0", (address, 1))):
            trap = expect(Trap, f"{name}({address})", exports[name], *args)
            equal(trap.code, TrapCode.MEMORY_OUT_OF_BOUNDS, f"the trap of {name}({address})")


@PART
def memories_grow_within_their_limits(subject: Subject) -> None:
    memory, exports = _memory(subject)
    memory.write(PAGE_SIZE - 1, b"\x05")
    equal(memory.grow(1), 1, "the pages before growing")
    equal(memory.size, 2 * PAGE_SIZE, "the size after growing by a page")
    equal(memory.read(PAGE_SIZE - 1, 2), b"\x05\0", "the bytes around the old end, after growing")
    equal(exports.grow0(1), 2, "memory.grow in the guest")
    equal(memory.size, 3 * PAGE_SIZE, "the size after the guest grew its memory")
    memory.write(3 * PAGE_SIZE - 1, b"\x06")
    equal(exports.load0(3 * PAGE_SIZE - 1), 6, "the last byte of a memory that grew")
    equal(memory.grow(0), 3, "growing by nothing")
    equal(exports.grow0(1), -1, "memory.grow beyond the maximum, in the guest")
    expect(MemoryAccessError, "growing beyond the maximum", lambda: memory.grow(1))
    expect(MemoryAccessError, "growing beyond everything", lambda: memory.grow(1 << 70))
    expect((ValueError, TypeError, MemoryAccessError), "growing by less than nothing", lambda: memory.grow(-1))
    equal(memory.size, 3 * PAGE_SIZE, "the size after growth that was refused")


@PART.needs("buffer")
def a_memory_is_a_buffer(subject: Subject) -> None:
    memory, exports = _memory(subject)
    view = memoryview(memory)
    equal(view.nbytes, PAGE_SIZE, "the size of a view")
    view[5] = 99
    equal(exports.load0(5), 99, "what was written through a view")
    exports.store0(6, 98)
    equal(view[6], 98, "what the guest wrote, read through a view")
    memory.grow(1)
    equal(view.nbytes, PAGE_SIZE, "the size of a view that was taken before growing")
    equal(memoryview(memory).nbytes, 2 * PAGE_SIZE, "the size of a view that was taken after growing")
    view[7] = 97
    equal(exports.load0(7), 97, "what was written through an old view")


@PART
def a_limit_holds_for_host_and_guest(subject: Subject) -> None:
    instance = subject.instance(guests.memories(MemoryType(1)), limits=Limits(memory_bytes=2 * PAGE_SIZE))
    memory = instance.memory()
    if memory is None:
        raise AssertionError("the exported memory is not found")
    equal(memory.grow(1), 1, "growing up to a limit")
    equal(instance.exports.grow0(1), -1, "memory.grow beyond a limit")
    expect(MemoryAccessError, "growing beyond a limit", lambda: memory.grow(1))
    require(memory.size == 2 * PAGE_SIZE, "growth that was refused changed the size")
