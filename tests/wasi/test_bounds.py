"""What a guest may make the host do: bytes and names that it adds to a directory, work that it sizes, threads that look
names up.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import DeadlineExceeded, InvalidConfigurationError, wasi
from pywasmrt.wasi import lookup
from pywasmrt.wasi.errno import Errno
from pywasmrt.wasi.memory import MAX_TRANSFER
from pywasmrt.wasi.quotas import NAME_COST
from pywasmrt.wasi.waiting import Stopped

from .guest import Raw, clock
from .test_files import ALL, CREAT, TRUNC

LIMIT = 20_000


@pytest.fixture
def bounded(one_runtime: pywasmrt.Runtime, tmp_path: Path) -> Iterator[Raw]:
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": wasi.Preopen(tmp_path, limit=LIMIT)})) as guest:
        yield guest


def added(root: Path) -> int:
    """What `root` holds, as an account counts it."""
    names, sizes = 0, {}
    for folder, folders, files in os.walk(root):
        names += len(folders) + len(files)
        for each in files:
            about = os.lstat(os.path.join(folder, each))
            sizes[about.st_ino] = about.st_size  # once, whatever number of names it has
    return names * NAME_COST + sum(sizes.values())


def test_a_guest_adds_no_more_than_the_limit(bounded: Raw, tmp_path: Path) -> None:
    fd = bounded.open("file", oflags=CREAT, rights=ALL)
    most = LIMIT - NAME_COST
    assert bounded.try_write(fd, b"x" * (most + 1))[0] is Errno.NOSPC
    assert bounded.write(fd, b"x" * (most - 10)) == most - 10
    assert bounded.try_write(fd, b"x" * 11)[0] is Errno.NOSPC
    assert bounded.try_write(fd, b"x", at=1 << 40)[0] is Errno.NOSPC
    assert bounded.call("fd_filestat_set_size", fd, 1 << 40) is Errno.NOSPC
    assert bounded.call("fd_allocate", fd, 0, 1 << 40) is Errno.NOSPC
    assert bounded.try_open("second", oflags=CREAT)[0] is Errno.NOSPC
    assert bounded.mkdir("folder") is Errno.NOSPC
    assert bounded.symlink("target", "link") is Errno.NOSPC
    assert bounded.link("file", "link") is Errno.NOSPC
    assert os.listdir(tmp_path) == ["file"]
    assert bounded.write(fd, b"y" * most, at=0) == most  # over what is there, and ten bytes more
    assert added(tmp_path) == LIMIT
    bounded.do("fd_filestat_set_size", fd, 0)
    assert bounded.write(fd, b"z" * 100, at=0) == 100


def test_appending_counts_from_the_end(bounded: Raw, tmp_path: Path) -> None:
    fd = bounded.open("log", oflags=CREAT, rights=ALL, fdflags=1)
    while bounded.try_write(fd, b"x" * 1000)[0] is Errno.SUCCESS:
        pass
    while bounded.try_write(fd, b"x" * 10, at=0)[0] is Errno.SUCCESS:
        pass
    assert LIMIT - 10 < added(tmp_path) <= LIMIT


def test_what_is_removed_is_given_back_and_what_is_held_open_is_not(bounded: Raw, tmp_path: Path) -> None:
    for _ in range(5):
        bounded.create("file", b"x" * 15_000)
        assert bounded.unlink("file") is Errno.SUCCESS
    bounded.create("one", b"x" * 15_000)
    bounded.create("two", b"")
    assert bounded.rename("two", "one") is Errno.SUCCESS
    bounded.create("two", b"x" * 15_000)
    bounded.open("two", oflags=CREAT | TRUNC)
    fd = bounded.open("two")
    bounded.write(fd, b"x" * 15_000)
    assert bounded.unlink("two") is Errno.SUCCESS
    assert bounded.try_write(bounded.open("three", oflags=CREAT), b"x" * 15_000)[0] is Errno.NOSPC
    assert added(tmp_path) < LIMIT


def test_what_was_there_gives_no_credit(one_runtime: pywasmrt.Runtime, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": wasi.Preopen(tmp_path, limit=LIMIT)})) as guest:
        assert guest.unlink("large") is Errno.SUCCESS
        assert guest.try_write(guest.open("new", oflags=CREAT), b"x" * LIMIT)[0] is Errno.NOSPC


def test_what_others_put_under_a_name_gives_no_credit(
    one_runtime: pywasmrt.Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else exchanges a large file for a small one at the last moment, and back."""
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": wasi.Preopen(tmp_path, limit=LIMIT)})) as guest:
        guest.create("kept", b"x" * 15_000)
        real = os.unlink

        def unlink(*args: Any, **options: Any) -> None:
            os.rename(tmp_path / "large", tmp_path / "away")
            (tmp_path / "large").touch()
            real(*args, **options)
            os.rename(tmp_path / "away", tmp_path / "large")

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", unlink)
            assert guest.unlink("large") is Errno.SUCCESS
        assert guest.try_write(guest.open("more", oflags=CREAT), b"x" * 15_000)[0] is Errno.NOSPC


def test_names_move_within_one_account_only(one_runtime: pywasmrt.Runtime, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    preopens = {
        "/a": wasi.Preopen(tmp_path / "a", limit=LIMIT),
        "/b": wasi.Preopen(tmp_path / "b", limit=LIMIT),
        "/c": wasi.Preopen(tmp_path / "c"),
    }
    with Raw(one_runtime, wasi.WasiConfig(preopens=preopens)) as guest:
        for fd in (3, 4, 5):
            guest.do("fd_close", guest.open("file", fd=fd, oflags=CREAT))
        for fd, to in ((3, 4), (3, 5), (5, 3)):
            assert guest.rename("file", "moved", fd=fd, to=to) is Errno.XDEV
            assert guest.link("file", "moved", fd=fd, to=to) is Errno.XDEV


OPERATION = st.one_of(
    st.tuples(st.sampled_from(["create", "append", "cut", "unlink", "mkdir", "rmdir"]), st.sampled_from("abcd")),
    st.tuples(st.sampled_from(["rename", "link", "symlink"]), st.sampled_from("abcd"), st.sampled_from("abcd")),
)


@given(operations=st.lists(st.tuples(OPERATION, st.integers(0, 9000)), max_size=25))
@settings(max_examples=60)
def test_whatever_a_guest_does_the_limit_holds(
    tmp_path_factory: pytest.TempPathFactory, one_runtime: pywasmrt.Runtime, operations: list[Any]
) -> None:
    root = tmp_path_factory.mktemp("bounded")
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": wasi.Preopen(root, limit=LIMIT)})) as guest:
        for (name, *paths), size in operations:
            if name in ("create", "append", "cut"):
                errno, fd = guest.try_open(
                    paths[0], oflags=CREAT | (TRUNC if name == "cut" else 0), rights=ALL, fdflags=name == "append"
                )
                if errno is Errno.SUCCESS:
                    guest.try_write(fd, b"x" * size, at=None if size % 2 else size)
                    if size % 3:
                        guest.do("fd_close", fd)
            elif name == "symlink":
                guest.symlink("t" * (1 + size % 100), paths[1])
            else:
                getattr(guest, name)(*paths)
            assert added(root) <= LIMIT


@pytest.mark.parametrize("limit", [-1, 1.5, "1", True])
def test_a_limit_is_a_number_of_bytes(tmp_path: Path, limit: Any) -> None:
    with pytest.raises(InvalidConfigurationError, match="limit of WasiConfig"):
        wasi.WasiConfig(preopens={"/": wasi.Preopen(tmp_path, limit=limit)}).validate()


def test_a_tree_has_its_own_limit() -> None:
    with pytest.raises(InvalidConfigurationError, match=r"MemoryTree\(limit=5\)"):
        wasi.WasiConfig(preopens={"/": wasi.Preopen(wasi.MemoryTree(), limit=5)}).validate()


# Work that a guest sizes


class Ending:
    """Ends the running call at the n-th look."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.looks = 0

    def __call__(self) -> None:
        self.looks += 1
        if self.looks > self.left:
            raise Stopped


def huge(runtime: pywasmrt.Runtime, config: wasi.WasiConfig, body: str, pages: int = 16_385) -> Any:
    """A guest of a gigabyte that opens `big`, and does something with it."""
    text = f"""(module
      (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $size (param i32 i64) (result i32)))
      (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
      (memory (export "memory") {pages}) (data (i32.const 100) "big")
      (func (export "run") (result i32)
        (drop (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 1)
          (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 200)))
        (drop (call $size (i32.load (i32.const 200)) (i64.const 0x3fff0000)))
        (i32.store (i32.const 300) (i32.const 65536)) (i32.store (i32.const 304) (i32.const 0x3fff0000))
        (drop {body}) (i32.load (i32.const 400))))"""
    return runtime.instantiate(runtime.compile(text), wasi=config)


IOV = "(i32.load (i32.const 200)) (i32.const 300) (i32.const 1)"


@pytest.mark.parametrize("kind", ["host", "bounded", "memory"])
@pytest.mark.parametrize(
    "body",
    [
        f"(call $read {IOV} (i32.const 400))",
        f"(call $write {IOV} (i32.const 400))",
        f"(call $pread {IOV} (i64.const 0) (i32.const 400))",
        f"(call $pwrite {IOV} (i64.const 0) (i32.const 400))",
    ],
    ids=["read", "write", "pread", "pwrite"],
)
def test_one_call_moves_a_bounded_number_of_bytes(
    one_runtime: pywasmrt.Runtime, tmp_path: Path, body: str, kind: str
) -> None:
    """A guest takes a short count for what it is; between two calls its deadline is looked at."""
    place: Any = wasi.MemoryTree(limit=1 << 40) if kind == "memory" else tmp_path
    if kind == "bounded":
        place = wasi.Preopen(tmp_path, limit=1 << 40)
    with huge(one_runtime, wasi.WasiConfig(preopens={"/": place}), body) as guest:
        assert guest.exports.run() == MAX_TRANSFER


def test_a_listing_looks_at_the_deadline(one_runtime: pywasmrt.Runtime, tmp_path: Path) -> None:
    for n in range(3000):
        (tmp_path / str(n)).touch()
    tree = wasi.MemoryTree({str(n): "" for n in range(20_000)})
    for place in (tmp_path, tree):
        with Raw(one_runtime, wasi.WasiConfig(preopens={"/": place})) as guest:
            (context,) = contexts(guest)
            directory = context.table.files[3]
            ending = Ending(1)
            with pytest.raises(Stopped):
                directory.entries(ending)
            ending = Ending(1000)
            count = len(directory.entries(ending))
            assert ending.looks >= 2
            assert count == (3000 if place is tmp_path else 20_000)


def test_an_allocation_looks_at_the_deadline_and_leaves_nothing(one_runtime: pywasmrt.Runtime, tmp_path: Path) -> None:
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": tmp_path})) as guest:
        fd = guest.open("file", oflags=CREAT, rights=ALL)
        guest.write(fd, b"kept")
        (context,) = contexts(guest)
        file = context.table.files[fd]
        with pytest.raises(Stopped):
            file.allocate(0, 1 << 42, Ending(1))
        assert (tmp_path / "file").read_bytes() == b"kept"
        assert guest.call("fd_allocate", fd, 0, 0) is Errno.INVAL


def contexts(guest: Raw) -> list[Any]:
    import gc

    from pywasmrt.wasi.context import WasiContext

    found = [each for each in gc.get_objects() if type(each) is WasiContext and each.table.files]
    return [each for each in found if each.memory() is guest.memory]


def test_a_stream_that_comes_byte_by_byte_is_put_together_once(one_runtime: pywasmrt.Runtime) -> None:
    """A peer chooses the pieces: a whole that was copied with each of them would take hours."""
    size = 1 << 17
    ours, theirs = socket.socketpair()
    from pywasmrt.wasi.socket_files import HostSocket, Socket
    from pywasmrt.wasi.waiting import Waiter

    with theirs:
        sock = Socket(HostSocket(fileno=ours.detach()), Waiter())

        def send() -> None:
            for _ in range(size // 64):
                theirs.sendall(b"x" * 64)

        thread = threading.Thread(target=send)
        thread.start()
        data, _, _ = sock.receive(size, False, True)
        thread.join()
    assert data == b"x" * size


# Names


def test_a_process_looks_up_a_bounded_number_of_names_at_a_time(
    raw: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch, needs: Callable[..., None]
) -> None:
    needs("deadline")
    answered = threading.Event()
    asked = []

    def getaddrinfo(*what: object) -> list[Any]:
        asked.append(what)
        answered.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(lookup, "MOST", 3)
    monkeypatch.setattr(lookup, "_under_way", set())
    guest = raw(network=wasi.Network(resolve=True))

    def look_up() -> Errno:
        return guest.call(
            "sock_getaddrinfo",
            *guest.text("nowhere.example"),
            *guest.text("80"),
            guest.alloc(32),
            guest.alloc(4),
            2,
            guest.alloc(4),
        )

    def look_up_and_wait() -> None:
        look_up()
        guest.poll(clock(1, 10**12))

    try:
        for _ in range(6):
            with pytest.raises(DeadlineExceeded), guest.instance.deadline(0.02):
                look_up_and_wait()
        assert len(asked) == 3
    finally:
        answered.set()
    end = time.monotonic() + 30
    while look_up() is not Errno.SUCCESS and time.monotonic() < end:
        pass
    assert len(asked) == 4
