"""Open files and directories: the functions fd_*, over each kind of directory."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

import pywasmrt
from pywasmrt import wasi
from pywasmrt.wasi import descriptors
from pywasmrt.wasi.abi import DIRECTORY_INHERITING, DIRECTORY_RIGHTS, FdFlags, FileType, FstFlags, Rights, Stat
from pywasmrt.wasi.errno import Errno
from pywasmrt.wasi.host_files import stat_of

from .guest import READ_WRITE, Raw

CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
ALL = READ_WRITE | Rights.FD_FILESTAT_SET_SIZE | Rights.FD_FILESTAT_SET_TIMES | Rights.FD_ALLOCATE | Rights.FD_ADVISE
ALL |= Rights.FD_SYNC | Rights.FD_DATASYNC | Rights.FD_FDSTAT_SET_FLAGS


@pytest.fixture
def file(tree: Raw) -> int:
    """The descriptor of a new file `file`, with every right, in `tree`."""
    return tree.open("file", oflags=CREAT, rights=ALL)


def test_reading_writing_and_seeking(tree: Raw, file: int) -> None:
    assert tree.write(file, b"0123456789") == 10
    assert tree.seek(file, 2) == 2
    assert tree.read(file, 3) == b"234"
    assert tree.seek(file, -1, 1) == 4
    assert tree.seek(file, -2, 2) == 8
    assert tree.read(file) == b"89"
    assert tree.read(file) == b""
    assert tree.read(file, 4, at=3) == b"3456"
    assert tree.write(file, b"xy", at=1) == 2
    assert tree.read(file, at=0) == b"0xy3456789"
    assert tree.seek(file, 0, 1) == 10
    out = tree.alloc(8)
    assert tree.call("fd_seek", file, -1, 0, out) is Errno.INVAL
    assert tree.call("fd_seek", file, 0, 3, out) is Errno.INVAL
    assert tree.call("fd_tell", file, out) is Errno.SUCCESS
    assert tree.u64(out) == 10


def test_several_buffers_are_filled_and_written_in_order(tree: Raw, file: int) -> None:
    assert tree.write(file, b"abcdefgh") == 8
    tree.seek(file, 0)
    iovs, count, buffers = tree.iovs(3, 0, 2, 10)
    out = tree.alloc(4)
    tree.do("fd_read", file, iovs, count, out)
    assert tree.u32(out) == 8
    assert [tree.memory.read(at, n) for at, n in zip(buffers, (3, 0, 2, 3), strict=True)] == [
        b"abc",
        b"",
        b"de",
        b"fgh",
    ]
    tree.seek(file, 0)
    tree.do("fd_write", file, iovs, 3, out)
    assert tree.u32(out) == 5
    assert tree.read(file, at=0) == b"abcdefgh"


def test_appending(tree: Raw) -> None:
    fd = tree.open("log", oflags=CREAT, rights=ALL, fdflags=FdFlags.APPEND)
    assert tree.fdstat(fd)[1] == FdFlags.APPEND
    tree.write(fd, b"one")
    tree.seek(fd, 0)
    tree.write(fd, b"two")
    assert tree.read(fd, at=0) == b"onetwo"
    tree.do("fd_fdstat_set_flags", fd, 0)
    tree.seek(fd, 0)
    tree.write(fd, b"ONE")
    assert tree.read(fd, at=0) == b"ONEtwo"
    tree.do("fd_fdstat_set_flags", fd, FdFlags.APPEND | FdFlags.NONBLOCK)
    assert tree.fdstat(fd)[1] == FdFlags.APPEND | FdFlags.NONBLOCK
    assert tree.call("fd_fdstat_set_flags", fd, FdFlags.SYNC) is Errno.NOTSUP
    assert tree.call("fd_fdstat_set_flags", fd, 64) is Errno.INVAL


def test_synchronous_writing_is_for_opening(tree: Raw) -> None:
    flags = FdFlags.SYNC | FdFlags.DSYNC | FdFlags.RSYNC
    fd = tree.open("file", oflags=CREAT, rights=ALL, fdflags=flags)
    assert tree.fdstat(fd)[1] == flags
    tree.write(fd, b"x")
    tree.do("fd_sync", fd)
    tree.do("fd_datasync", fd)


def test_sizes(tree: Raw, file: int) -> None:
    tree.write(file, b"abc")
    tree.do("fd_filestat_set_size", file, 5)
    assert tree.read(file, at=0) == b"abc\0\0"
    tree.do("fd_filestat_set_size", file, 1)
    assert tree.stat(file).size == 1
    tree.do("fd_allocate", file, 0, 10)
    assert tree.stat(file).size == 10
    tree.do("fd_allocate", file, 2, 3)
    assert tree.stat(file).size == 10
    assert tree.call("fd_allocate", file, 0, 0) is Errno.INVAL
    assert tree.call("fd_allocate", file, -1, 5) is Errno.INVAL
    assert tree.call("fd_filestat_set_size", file, -1) is Errno.INVAL
    tree.write(file, b"far", at=100)
    assert tree.stat(file).size == 103


def test_advice(tree: Raw, file: int) -> None:
    for advice in range(6):
        tree.do("fd_advise", file, 0, 0, advice)
    assert tree.call("fd_advise", file, 0, 0, 6) is Errno.INVAL
    assert tree.call("fd_advise", file, -1, 0, 0) is Errno.INVAL
    assert tree.call("fd_advise", 3, 0, 0, 0) is Errno.BADF


def test_truncating(tree: Raw) -> None:
    tree.create("file", b"content")
    fd = tree.open("file", oflags=TRUNC, rights=READ_WRITE)
    assert tree.stat(fd).size == 0
    tree.create("file", b"content")
    tree.open("file", oflags=TRUNC, rights=0)
    found = tree.stat_at("file")
    assert isinstance(found, Stat)
    assert found.size == 0


def test_times(tree: Raw, file: int) -> None:
    tree.do("fd_filestat_set_times", file, 1_000, 2_000_000_000_000_000_001, FstFlags.ATIM | FstFlags.MTIM)
    found = tree.stat(file)
    assert (found.atim, found.mtim) == (1_000, 2_000_000_000_000_000_001)
    tree.do("fd_filestat_set_times", file, 5, 6, FstFlags.MTIM)
    found = tree.stat(file)
    assert (found.atim, found.mtim) == (1_000, 6)
    tree.do("fd_filestat_set_times", file, 5, 6, FstFlags.ATIM_NOW)
    found = tree.stat(file)
    assert found.atim > 1_600_000_000_000_000_000
    assert found.mtim == 6
    for flags in (3, 12, 16, 255):
        assert tree.call("fd_filestat_set_times", file, 0, 0, flags) is Errno.INVAL
    assert tree.symlink("file", "link") is Errno.SUCCESS
    for path, follow in (("link", 0), ("file", 0), ("link", 1)):
        errno = tree.with_path("path_filestat_set_times", 3, path, 7, 8 + follow, 5, lookup=follow)
        assert errno is Errno.SUCCESS
        found_at = tree.stat_at(path, follow=bool(follow))
        assert isinstance(found_at, Stat)
        assert found_at.mtim == 8 + follow
    assert tree.with_path("path_filestat_set_times", 3, "file", -1, 0, 1, lookup=0) is Errno.INVAL
    assert tree.with_path("path_filestat_set_times", 3, "file/", 1, 0, 1, lookup=0) is Errno.NOTDIR


def test_links_count(tree: Raw) -> None:
    tree.create("a", b"x")
    assert tree.link("a", "b") is Errno.SUCCESS
    a, b = tree.stat_at("a"), tree.stat_at("b")
    assert isinstance(a, Stat)
    assert isinstance(b, Stat)
    assert (a.ino, a.nlink) == (b.ino, 2)
    assert tree.unlink("a") is Errno.SUCCESS
    b = tree.stat_at("b")
    assert isinstance(b, Stat)
    assert b.nlink == 1


def test_an_unlinked_file_lives_as_long_as_it_is_open(tree: Raw, file: int) -> None:
    tree.write(file, b"still here")
    assert tree.unlink("file") is Errno.SUCCESS
    assert tree.read(file, at=0) == b"still here"
    tree.write(file, b"!")
    assert tree.stat(file).nlink == 0


def test_a_removed_directory_takes_nothing(tree: Raw) -> None:
    assert tree.mkdir("gone") is Errno.SUCCESS
    fd = tree.open_directory("gone")
    assert tree.rmdir("gone") is Errno.SUCCESS
    assert tree.try_open("x", fd=fd, oflags=CREAT)[0] is Errno.NOENT
    assert tree.mkdir("x", fd=fd) is Errno.NOENT
    assert tree.names(fd) == set()


def test_opened_directories_confine_too(tree: Raw) -> None:
    assert tree.mkdir("dir") is Errno.SUCCESS
    tree.create("secret", b"secret")
    tree.create("dir/file", b"file")
    fd = tree.open_directory("dir")
    assert tree.read(tree.open("file", fd=fd)) == b"file"
    assert tree.try_open("../secret", fd=fd)[0] is Errno.PERM
    assert tree.rename("file", "moved", fd=fd, to=3) is Errno.SUCCESS
    assert tree.link("moved", "back", fd=3, to=fd) is Errno.SUCCESS
    assert tree.names(fd) == {b"back"}


def test_listing(tree: Raw) -> None:
    wanted = {f"file-{n:03}".encode() for n in range(100)}
    for name in wanted:
        tree.create(name)
    assert tree.mkdir("dir") is Errno.SUCCESS
    assert tree.symlink("dir", "link") is Errno.SUCCESS
    entries, done = tree.entries(3, size=65536)
    assert done
    assert [entry.name for entry in entries[:2]] == [b".", b".."]
    kinds = {entry.name: entry.type for entry in entries}
    assert kinds.pop(b"dir") == FileType.DIRECTORY
    assert kinds.pop(b"link") == FileType.SYMBOLIC_LINK
    assert kinds.pop(b".") == kinds.pop(b"..") == FileType.DIRECTORY
    assert kinds == dict.fromkeys(wanted, FileType.REGULAR_FILE)
    for entry in entries[2:5]:
        found = tree.stat_at(entry.name)
        assert isinstance(found, Stat)
        assert found.ino == entry.ino
    # In pieces, from every cookie, and cut off in the middle of an entry.
    assert tree.names(3) == wanted | {b"dir", b"link"}
    for entry, following in itertools.pairwise(entries):
        again, _ = tree.entries(3, size=200, cookie=entry.next)
        assert again[0] == following
    assert tree.entries(3, size=10)[0] == []
    assert not tree.entries(3, size=10)[1]
    assert tree.entries(3, cookie=entries[-1].next) == ([], True)
    assert tree.entries(3, cookie=(1 << 63) - 1) == ([], True)
    assert tree.entries(3, cookie=-1) == ([], True)


def test_a_listing_goes_on_with_another_descriptor(tree: Raw) -> None:
    for name in "abc":
        tree.create(name)
    entries, _ = tree.entries(3)
    assert tree.entries(tree.open_directory("."), cookie=entries[2].next) == (entries[3:], True)


def test_a_listing_survives_removal_on_the_way(tree: Raw) -> None:
    for n in range(50):
        tree.create(f"f{n}")
    cookie, seen = 0, set()
    while True:
        entries, done = tree.entries(3, size=300, cookie=cookie)
        for entry in entries:
            if entry.name not in (b".", b".."):
                assert tree.unlink(entry.name) is Errno.SUCCESS
                seen.add(entry.name)
            cookie = entry.next
        if done:
            break
    assert seen == {f"f{n}".encode() for n in range(50)}
    assert tree.names(3) == set()


def test_listings_are_bounded_together(tree: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest may have one large directory open many times; what it is in the middle of goes on nevertheless."""
    monkeypatch.setattr(descriptors, "MAX_LISTED", 100)
    names = {f"f{n}".encode() for n in range(30)}
    for name in names:
        tree.create(name)
    kept = WeakSet[descriptors.Directory]()
    keep = descriptors.Table.keep_listing

    def keep_listing(table: descriptors.Table, directory: descriptors.Directory, listing: Any) -> None:
        keep(table, directory, listing)
        kept.add(directory)
        assert sum(len(each.listing) for each in kept) <= 100

    monkeypatch.setattr(descriptors.Table, "keep_listing", keep_listing)
    opened = [tree.open_directory(".") for _ in range(20)]
    begun = {fd: tree.entries(fd, size=300) for fd in opened}
    for fd in opened:
        entries, done = begun[fd]
        while not done:
            more, done = tree.entries(fd, size=300, cookie=entries[-1].next)
            entries += more
        assert {each.name for each in entries} == names | {b".", b".."}
    assert len(kept) == 20
    monkeypatch.setattr(descriptors, "MAX_LISTED", 10)  # one alone may have more
    assert tree.names(opened[0]) == tree.names(opened[1]) == names


def test_renumbering(tree: Raw) -> None:
    tree.create("a", b"a")
    tree.create("b", b"b")
    a, b = tree.open("a"), tree.open("b")
    tree.do("fd_renumber", a, b)
    assert tree.read(b) == b"a"
    assert tree.call("fd_close", a) is Errno.BADF
    assert tree.call("fd_renumber", b, a) is Errno.BADF
    tree.do("fd_renumber", b, b)
    tree.do("fd_renumber", b, 3)
    assert tree.read(3, at=0) == b"a"
    assert tree.try_open("a")[0] is Errno.NOTDIR


def test_the_lowest_free_number_is_given(tree: Raw) -> None:
    tree.create("a")
    first = [tree.open("a") for _ in range(4)]
    assert first == [4, 5, 6, 7]
    tree.do("fd_close", 5)
    tree.do("fd_close", 0)
    assert [tree.open("a") for _ in range(3)] == [0, 5, 8]


def test_directories_are_no_files(tree: Raw) -> None:
    out = tree.alloc(8)
    iovs, count, _ = tree.iovs(8)
    for name, args in {
        "fd_read": (3, iovs, count, out),
        "fd_write": (3, iovs, count, out),
        "fd_pread": (3, iovs, count, 0, out),
        "fd_pwrite": (3, iovs, count, 0, out),
        "fd_seek": (3, 0, 1, out),
        "fd_tell": (3, out),
        "fd_allocate": (3, 0, 1),
        "fd_filestat_set_size": (3, 0),
    }.items():
        assert tree.call(name, *args) in (Errno.ISDIR, Errno.BADF, Errno.NOTCAPABLE)
    tree.create("file")
    fd = tree.open("file")
    assert tree.call("fd_readdir", fd, 0, 0, 0, out) is Errno.NOTDIR
    assert tree.try_open("x", fd=fd)[0] is Errno.NOTDIR


def test_rights_are_dropped_and_never_regained(tree: Raw) -> None:
    fd = tree.open("file", oflags=CREAT, rights=READ_WRITE)
    _, _, base, inheriting = tree.fdstat(fd)
    assert (base, inheriting) == (READ_WRITE, 0)
    tree.do("fd_fdstat_set_rights", fd, base & ~(Rights.FD_READ | Rights.FD_WRITE), 0)
    assert tree.try_read(fd, 1)[0] is Errno.NOTCAPABLE
    assert tree.try_write(fd, b"x")[0] is Errno.NOTCAPABLE
    assert tree.call("fd_fdstat_set_rights", fd, base, 0) is Errno.NOTCAPABLE
    assert tree.seek(fd, 0) == 0


def test_rights_on_opening(tree: Raw) -> None:
    kind, flags, base, inheriting = tree.fdstat(3)
    assert (kind, flags, base, inheriting) == (FileType.DIRECTORY, 0, DIRECTORY_RIGHTS, DIRECTORY_INHERITING)
    assert base & (Rights.FD_SEEK | Rights.FD_FILESTAT_SET_SIZE) == 0
    tree.create("file", b"data")
    read_only = tree.open("file", rights=Rights.FD_READ)
    assert tree.fdstat(read_only)[2] == Rights.FD_READ
    assert tree.try_write(read_only, b"x")[0] is Errno.NOTCAPABLE
    assert tree.try_read(read_only, 1, at=0)[0] is Errno.NOTCAPABLE  # pread needs the right to seek
    write_only = tree.open("file", rights=Rights.FD_WRITE)
    assert tree.try_read(write_only, 1)[0] is Errno.NOTCAPABLE
    assert tree.write(write_only, b"x") == 1
    # What a directory does not pass on cannot be had in it.
    narrow = tree.open(".", oflags=DIRECTORY, rights=Rights.PATH_OPEN, inheriting=Rights.FD_READ)
    assert tree.try_open("file", fd=narrow, rights=Rights.FD_WRITE)[0] is Errno.NOTCAPABLE
    assert tree.try_open("file", fd=narrow, rights=Rights.FD_READ)[0] is Errno.SUCCESS
    assert tree.try_open("new", fd=narrow, rights=Rights.FD_READ, oflags=CREAT)[0] is Errno.NOTCAPABLE
    assert tree.mkdir("x", fd=narrow) is Errno.NOTCAPABLE
    assert tree.try_open(".", oflags=DIRECTORY, rights=Rights.FD_READ | Rights.FD_WRITE)[0] is Errno.ISDIR


def test_truncating_needs_a_right(tree: Raw) -> None:
    tree.create("file", b"data")
    base, inheriting = tree.fdstat(3)[2:]
    tree.do("fd_fdstat_set_rights", 3, base, inheriting & ~Rights.FD_FILESTAT_SET_SIZE)
    assert tree.try_open("file", oflags=TRUNC, rights=0)[0] is Errno.SUCCESS
    tree.do("fd_fdstat_set_rights", 3, base & ~Rights.PATH_FILESTAT_SET_SIZE, 0)
    assert tree.try_open("file", oflags=TRUNC, rights=0)[0] is Errno.NOTCAPABLE


def test_a_read_only_directory_changes_in_no_way(place: Any, one_runtime: pywasmrt.Runtime) -> None:
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": place})) as guest:
        guest.create("file", b"data")
        assert guest.mkdir("dir") is Errno.SUCCESS
        assert guest.symlink("file", "link") is Errno.SUCCESS
    config = wasi.WasiConfig(preopens={"/": wasi.Preopen(place, readonly=True), "/rw": place})
    with Raw(one_runtime, config) as guest:
        before = guest.stat_at("file"), guest.stat_at("dir")
        fd = guest.open("file", rights=Rights.FD_READ | Rights.FD_FILESTAT_SET_TIMES)
        assert guest.read(fd) == b"data"
        assert guest.call("fd_filestat_set_times", fd, 1, 1, 5) is Errno.NOTCAPABLE
        assert guest.call("fd_filestat_set_times", 3, 1, 1, 5) is Errno.ROFS
        sub = guest.open_directory("dir")
        for outcome in (
            guest.try_open("file", rights=Rights.FD_WRITE)[0],
            guest.try_open("file", rights=0, oflags=TRUNC)[0],
            guest.try_open("new", rights=0, oflags=CREAT)[0],
            guest.try_open("new", fd=sub, rights=0, oflags=CREAT)[0],
            guest.mkdir("new"),
            guest.mkdir("new", fd=sub),
            guest.rmdir("dir"),
            guest.unlink("file"),
            guest.symlink("x", "new"),
            guest.link("file", "new"),
            guest.link("file", "new", to=4),
            guest.link("file", "new", fd=4, to=3),
            guest.rename("file", "new"),
            guest.rename("file", "new", to=4),
            guest.rename("file", "new", fd=4, to=3),
            guest.with_path("path_filestat_set_times", 3, "file", 1, 1, 5, lookup=0),
        ):
            assert outcome is Errno.ROFS
        after = guest.stat_at("file"), guest.stat_at("dir")
        for one, other in zip(before, after, strict=True):
            assert isinstance(one, Stat)
            assert isinstance(other, Stat)
            assert one._replace(atim=0) == other._replace(atim=0)


def test_times_beyond_64_bits_are_the_last() -> None:
    far = os.stat_result(
        (0o100644, 1, 1, 1, 0, 0, 0, 0, 0, 0), {f"st_{which}time_ns": 10**20 for which in ("a", "m", "c")}
    )
    assert stat_of(far)[-3:] == ((1 << 64) - 1,) * 3


def test_trees_of_different_kinds_do_not_mix(tmp_path: Path, one_runtime: pywasmrt.Runtime) -> None:
    config = wasi.WasiConfig(preopens={"/host": tmp_path, "/a": wasi.MemoryTree(), "/b": wasi.MemoryTree()})
    with Raw(one_runtime, config) as guest:
        for fd in (3, 4, 5):
            guest.do("fd_close", guest.open("file", fd=fd, oflags=CREAT))
        for fd, to in ((3, 4), (4, 3), (4, 5)):
            assert guest.rename("file", "other", fd=fd, to=to) is Errno.XDEV
            assert guest.link("file", "other", fd=fd, to=to) is Errno.XDEV


def test_descriptors_run_out(place: Any, one_runtime: pywasmrt.Runtime) -> None:
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": place}, max_descriptors=10)) as guest:
        guest.create("file")
        fds = [guest.open("file") for _ in range(6)]
        assert guest.try_open("file")[0] is Errno.MFILE
        assert guest.try_open("new", oflags=CREAT)[0] is Errno.MFILE
        assert guest.stat_at("new") is Errno.NOENT
        guest.do("fd_close", fds[2])
        assert guest.open("file") == fds[2]


def test_preopens_tell_their_names(tmp_path: Path, one_runtime: pywasmrt.Runtime) -> None:
    config = wasi.WasiConfig(preopens={"/": tmp_path, "/däta": wasi.MemoryTree()})
    with Raw(one_runtime, config) as guest:
        out = guest.alloc(8)
        names = []
        for fd in (3, 4):
            guest.do("fd_prestat_get", fd, out)
            assert guest.u32(out) == 0
            size = guest.u32(out + 4)
            at = guest.alloc(size + 1)
            guest.do("fd_prestat_dir_name", fd, at, size + 1)
            names.append(guest.memory.read(at, size).decode())
            assert guest.call("fd_prestat_dir_name", fd, at, size - 1) is Errno.NAMETOOLONG
        assert names == ["/", "/däta"]
        for fd in (0, 1, 5, -1, 1 << 30):
            assert guest.call("fd_prestat_get", fd, out) is Errno.BADF
        assert guest.call("fd_prestat_dir_name", 1, out, 8) is Errno.BADF
