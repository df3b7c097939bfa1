"""Any call, with any arguments, over any memory: an errno every time, and nothing outside the directories is
touched.
"""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywasmrt import Exit, ValueType, wasi
from pywasmrt.wasi.errno import Errno

from .guest import ALL_V1, ALL_V2, PAGES, Raw

SIZE = PAGES * 65536
SMALL = st.integers(-2, 40)
POINTERS = st.one_of(SMALL.map(lambda n: n * 8), st.integers(0, 4096), st.sampled_from([SIZE - 4, SIZE - 1, SIZE, -1]))
I32 = st.one_of(SMALL, POINTERS, st.integers(-(1 << 31), (1 << 31) - 1))
I64 = st.one_of(
    SMALL, st.sampled_from([(1 << 63) - 1, -(1 << 63), -1, 1 << 40]), st.integers(-(1 << 63), (1 << 63) - 1)
)
# What would block for ever here, with nobody to end it, is given a clock that does not.
CALLS = st.sampled_from(sorted(set(ALL_V2) | set(ALL_V1)))
PATHS = [b"file", b"dir", b"dir/../file", b"../canary", b"link", b"out", b"/etc/passwd", b"", b"a\0b", b"\xff", b"dir/"]


def world(base: Path) -> wasi.WasiConfig:
    root = base / "root"
    (root / "dir").mkdir(parents=True)
    (root / "file").write_text("content")
    os.symlink("file", root / "link")
    os.symlink("../canary", root / "out")
    (base / "canary").write_text("canary")
    return wasi.WasiConfig(
        args=["x"],
        env={"A": "b"},
        stdin=b"input" * 100,
        stdout=bytearray(),
        preopens={
            "/": root,
            "/mem": wasi.MemoryTree({"file": b"content"}, limit=1 << 20),
            "/ro": wasi.Preopen(root, True),
        },
        clock=wasi.FixedClock(),
        random=1,
        network=wasi.Network(connect=["127.0.0.1:1-9"], listen=["127.0.0.1:0"]),
        max_descriptors=64,
    )


def fill(guest: Raw, seed: int) -> None:
    """Memory that now and then makes sense: small numbers, pointers, paths and descriptors."""
    source = random.Random(seed)
    words = [
        source.choice([source.randrange(0, 64), source.randrange(0, 8192), source.randrange(1 << 32)])
        for _ in range(2048)
    ]
    guest.memory.write(0, b"".join(word.to_bytes(4, "little") for word in words))
    for n, path in enumerate(PATHS):
        guest.memory.write(64 * n, path)


def call(guest: Raw, name: str, data: st.DataObject) -> None:
    functions = ALL_V2 if name in ALL_V2 else ALL_V1
    args = [data.draw(I64 if type is ValueType.I64 else I32) for type in functions[name].params]
    if name in ("sock_accept", "sock_recv", "sock_recv_from"):
        return  # may block; they are called in test_sockets
    if name.startswith("path_") and data.draw(st.booleans()):
        path = data.draw(st.integers(0, len(PATHS) - 1))
        at = {"path_open": 2, "path_filestat_get": 2, "path_filestat_set_times": 2, "path_link": 2}.get(name, 1)
        args[0] = data.draw(st.integers(3, 5))
        args[at : at + 2] = [64 * path, len(PATHS[path])]
    try:
        result = getattr(guest.instance.exports, name)(*args)
    except Exit:
        assert name in ("proc_exit", "proc_raise")
    else:
        Errno(result)


@given(data=st.data(), seed=st.integers(0, 1 << 32))
@settings(max_examples=120)
def test_an_errno_every_time(
    tmp_path_factory: pytest.TempPathFactory, runtimes: list[Any], data: st.DataObject, seed: int
) -> None:
    runtime = data.draw(st.sampled_from(runtimes))
    base = tmp_path_factory.mktemp("fuzz")
    with Raw(runtime, world(base)) as guest, contextlib.ExitStack() as stack:
        if "deadline" in runtime.info.features:  # to fail, should something block
            stack.enter_context(guest.instance.deadline(30))
        fill(guest, seed)
        for _ in range(data.draw(st.integers(1, 25))):
            call(guest, data.draw(CALLS), data)
    assert (base / "canary").read_text() == "canary"
    assert sorted(each.name for each in base.iterdir()) == ["canary", "root"]


@pytest.mark.parametrize("name", sorted(ALL_V2))
def test_each_function_with_pointers_beyond_the_memory(raw: Any, tmp_path: Path, name: str) -> None:
    """The same wild value in every place, for each of some values."""
    if name in ("proc_exit", "proc_raise", "sched_yield"):
        return
    function = ALL_V2[name]
    guest = raw(stdin=b"x", preopens={"/": tmp_path}, network=wasi.Network(listen=["127.0.0.1:0"]))
    for value in (-1, 1 << 30, SIZE, SIZE - 1, -(1 << 31)):
        for first in (0, 1, 3, value):
            Errno(getattr(guest.instance.exports, name)(*[first, *[value] * (len(function.params) - 1)]))


def test_hostile_vectors(raw: Any) -> None:
    guest = raw(stdin=b"x" * 100, stdout=bytearray())
    out = guest.alloc(4)
    many = 1025
    at = guest.alloc(8 * many)
    guest.memory.write(at, bytes(8 * many))
    assert guest.call("fd_write", 1, at, many, out) is Errno.INVAL
    assert guest.call("fd_write", 1, at, -1, out) is Errno.INVAL
    assert guest.call("fd_write", 1, at, 1024, out) is Errno.SUCCESS
    assert guest.call("fd_read", 0, at, -1, out) is Errno.INVAL
    huge = b"".join((0).to_bytes(4, "little") + (0xFFFFFFFF).to_bytes(4, "little") for _ in range(1024))
    guest.memory.write(at, huge)
    assert guest.call("fd_write", 1, at, 1024, out) is Errno.FAULT
    assert guest.call("fd_read", 0, at, 1024, out) is Errno.FAULT
    # The whole memory, a thousand times: bounded, and a short count.
    whole = b"".join((0).to_bytes(4, "little") + SIZE.to_bytes(4, "little") for _ in range(1024))
    guest.memory.write(at, whole)
    assert guest.call("fd_write", 1, at, 1024, out) is Errno.SUCCESS
    assert guest.u32(out) == 1 << 24
    # A result that cannot be stored loses no input.
    guest.memory.write(at, (SIZE - 2).to_bytes(4, "little") + (10).to_bytes(4, "little"))
    assert guest.call("fd_read", 0, at, 1, out) is Errno.FAULT
    assert guest.read(0) == b"x" * 100


def test_offsets_of_64_bits(raw: Any, tmp_path: Path) -> None:
    for place in (tmp_path, wasi.MemoryTree()):
        guest = raw(preopens={"/": place})
        fd = guest.open("file", oflags=1, rights=(1 << 30) - 1 & 0xFFF)
        out = guest.alloc(8)
        for offset in (-1, -(1 << 63)):
            assert guest.call("fd_seek", fd, offset, 0, out) is Errno.INVAL
            assert guest.try_read(fd, 1, at=offset)[0] is Errno.INVAL
            assert guest.try_write(fd, b"x", at=offset)[0] is Errno.INVAL
        assert guest.try_read(fd, 1, at=(1 << 63) - 1)[0] in (Errno.SUCCESS, Errno.INVAL, Errno.OVERFLOW)
        assert guest.try_write(fd, b"x", at=(1 << 63) - 1)[0] is not Errno.SUCCESS
