"""Views of memories through the buffer protocol."""

from __future__ import annotations

import gc
import struct

import pytest

import pywasmrt
from pywasmrt import ClosedError, FunctionType, MemoryType, Runtime, ValueType
from pywasmrt.testing import guests

pytest.importorskip("hypothesis")
from helpers.memories import PAGE, Needs, instantiate


def test_a_view_reads_and_writes_the_memory_itself(runtime: Runtime, needs: Needs) -> None:
    needs("buffer")
    instance = instantiate(runtime, MemoryType(1))
    memory = instance.memory()
    view = memoryview(memory)
    assert (view.nbytes, view.format, view.itemsize, view.readonly, view.contiguous) == (PAGE, "B", 1, False, True)
    view[5:8] = b"abc"
    assert memory.read(5, 3) == b"abc"
    assert instance.exports.load0(6) == ord("b")
    instance.exports.store0(6, ord("B"))
    assert view[5:8].tobytes() == b"aBc"
    struct.pack_into("<Id", memory, 16, 7, 0.5)
    assert struct.unpack_from("<Id", memory, 16) == (7, 0.5)
    assert view.cast("I")[4] == 7
    assert bytes(memory)[5:8] == b"aBc"
    with pytest.raises(IndexError):
        view[PAGE]
    with pytest.raises(ValueError, match="different structures"):
        view[0:2] = b"abc"


def test_a_view_covers_the_memory_as_it_was(runtime: Runtime, needs: Needs) -> None:
    needs("buffer")
    instance = instantiate(runtime, MemoryType(1, 5))
    memory = instance.memory()
    view = memoryview(memory)
    view[0] = 1
    assert memory.grow(2) == 1
    assert instance.exports.grow0(1) == 3
    assert len(view) == PAGE
    assert view[0] == 1
    memory.write(PAGE - 1, b"xy")
    assert view[PAGE - 1] == ord("x")
    later = memoryview(memory)
    assert len(later) == 4 * PAGE
    assert later[PAGE] == ord("y")
    view[1] = 2
    assert later[1] == 2


@pytest.mark.parametrize("how", ["instance", "store", "runtime", "dropped"])
def test_a_view_outlives_what_it_looks_at(runtime: Runtime, needs: Needs, how: str) -> None:
    """It stays readable for as long as it is referenced, whatever is closed or dropped."""
    needs("buffer")
    own = pywasmrt.new_runtime(runtime.info.name)
    instance = instantiate(own, MemoryType(1, 2))
    memory = instance.memory()
    memory.write(0, b"still here")
    view = memoryview(memory)
    part = view[0:10]
    if how != "dropped":
        {"instance": instance, "store": instance.store, "runtime": own}[how].close()
        with pytest.raises(ClosedError):
            memory.read(0, 1)
        with pytest.raises(ClosedError):
            memory.grow(1)
        with pytest.raises((ClosedError, BufferError)):
            memoryview(memory)
    del own, instance, memory, view
    gc.collect()
    assert part.tobytes() == b"still here"
    part[0] = ord("S")
    assert part.tobytes() == b"Still here"
    part.release()
    with pytest.raises(ValueError, match="released"):
        part[0]


def test_views_during_a_call(runtime: Runtime, needs: Needs) -> None:
    """Made, used, grown under and closed under while the guest runs."""
    needs("buffer")
    type = FunctionType((ValueType.I32,), (ValueType.I32,))
    guest = guests.passthrough(type)
    guest.memory(MemoryType(1, 3), export="memory")
    views = []

    def f(caller: pywasmrt.Caller, n: int) -> int:
        memory = caller.memory()
        view = memoryview(memory)
        views.append(view)
        view[n] = n
        if n < 2:
            memory.grow(1)
        if n == 3:
            instance.close()
        return n

    instance = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": f}})
    direct = instance.exports.direct
    for n in range(3):
        assert direct(n) == n
    with pytest.raises(ClosedError):
        direct(3)
    assert [len(view) for view in views] == [PAGE, 2 * PAGE, 3 * PAGE, 3 * PAGE]
    assert instance.closed
    gc.collect()
    assert [view[3] for view in views] == [3, 3, 3, 3]


def test_without_the_feature_a_view_is_refused(runtime: Runtime) -> None:
    if "buffer" in runtime.info.features:
        pytest.skip("views are there")
    memory = instantiate(runtime, MemoryType(1)).memory()
    with pytest.raises(TypeError):
        memoryview(memory)


def test_a_view_of_numpy(runtime: Runtime, needs: Needs) -> None:
    needs("buffer")
    numpy = pytest.importorskip("numpy")
    memory = instantiate(runtime, MemoryType(1)).memory()
    numbers = numpy.frombuffer(memory, dtype="<u4", count=4, offset=8)
    numbers[1] = 0x01020304
    assert memory.read(12, 4) == b"\x04\x03\x02\x01"
