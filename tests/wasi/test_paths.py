"""Paths: what they resolve to, and that none leads out of its directory. Every case runs over directories of the host,
resolved by the kernel and by walking, and over trees in memory, and must give the same answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import wasi
from pywasmrt.wasi import resolve
from pywasmrt.wasi.abi import FileType, Stat
from pywasmrt.wasi.errno import Errno, WasiError, from_os_error
from pywasmrt.wasi.host_files import HostDirectory, HostFile
from pywasmrt.wasi.waiting import Waiter

from .guest import Raw

CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8


@pytest.fixture
def shaped(tree: Raw) -> Raw:
    """dir/nested/file, and links of several kinds."""
    assert tree.mkdir("dir") is Errno.SUCCESS
    assert tree.mkdir("dir/nested") is Errno.SUCCESS
    tree.create("dir/nested/file", b"content")
    tree.create("top", b"top")
    for name, target in {
        "to_dir": "dir",
        "to_nested_slash": "dir/nested/",
        "to_file": "dir/nested/file",
        "to_file_slash": "dir/nested/file/",
        "dir/up": "..",
        "dir/to_top": "../top",
        "dangling": "nothing",
        "loop": "loop",
        "dir/out": "../../secret",
        "dir/far_out": "../../../../../../../../etc/passwd",
        "out_dir": "..",
    }.items():
        assert tree.symlink(target, name) is Errno.SUCCESS, name
    return tree


@pytest.mark.parametrize(
    ("path", "follow", "expected"),
    [
        ("dir/nested/file", False, b"content"),
        ("./dir//./nested/file", False, b"content"),
        ("dir/.//nested/../../dir/nested/../nested///./file", False, b"content"),
        ("to_file", True, b"content"),
        ("to_dir/nested/file", False, b"content"),
        ("to_nested_slash/file", False, b"content"),
        ("dir/up/top", False, b"top"),
        ("dir/up/dir/up/to_dir/to_top", True, b"top"),
        ("dir/to_top", True, b"top"),
        ("to_file", False, Errno.LOOP),
        ("loop", False, Errno.LOOP),
        ("loop", True, Errno.LOOP),
        ("loop/x", True, Errno.LOOP),
        ("dangling", True, Errno.NOENT),
        ("dangling", False, Errno.LOOP),
        ("missing", False, Errno.NOENT),
        ("missing/file", False, Errno.NOENT),
        ("missing/..", False, Errno.NOENT),
        ("top/file", False, Errno.NOTDIR),
        ("top/..", False, Errno.NOTDIR),
        ("top/", False, Errno.NOTDIR),
        ("dir/nested/file///", False, Errno.NOTDIR),
        ("to_file/", True, Errno.NOTDIR),
        ("to_file_slash", True, Errno.NOTDIR),
        ("", False, Errno.NOENT),
        ("/dir/nested/file", False, Errno.PERM),
        ("/", False, Errno.PERM),
        ("..", False, Errno.PERM),
        ("../root/top", False, Errno.PERM),
        ("dir/../..", False, Errno.PERM),
        ("dir/nested/../../../root/dir/nested/file", False, Errno.PERM),
        ("dir/out", True, Errno.PERM),
        ("dir/far_out", True, Errno.PERM),
        ("out_dir", True, Errno.PERM),
        ("out_dir/secret", False, Errno.PERM),
        ("out_dir/root/top", False, Errno.PERM),
        (b"top\0", False, Errno.INVAL),
        (b"\0", False, Errno.INVAL),
        (b"top\0/../../secret", False, Errno.INVAL),
        (b"\xff\xfe", False, Errno.ILSEQ),
        ("TOP", False, Errno.NOENT),
        ("n" * 256, False, Errno.NAMETOOLONG),
        ("a/" * 3000, False, Errno.NAMETOOLONG),
        ("./" * 2046 + "top", False, b"top"),
        ("./" * 2046 + "/top", False, Errno.NAMETOOLONG),  # of 4096 bytes: PATH_MAX of Linux counts the NUL
    ],
)
def test_opening_for_reading(shaped: Raw, path: str | bytes, follow: bool, expected: bytes | Errno) -> None:
    errno, fd = shaped.try_open(path, follow=follow, rights=0b10)
    if isinstance(expected, Errno):
        assert errno is expected
    else:
        assert errno is Errno.SUCCESS
        assert shaped.read(fd) == expected


@pytest.mark.parametrize(
    ("path", "follow", "expected"),
    [
        ("dir", False, FileType.DIRECTORY),
        ("dir/", False, FileType.DIRECTORY),
        (".", False, FileType.DIRECTORY),
        ("dir/..", False, FileType.DIRECTORY),
        ("dir/nested/..", True, FileType.DIRECTORY),
        ("top", True, FileType.REGULAR_FILE),
        ("top/", True, Errno.NOTDIR),
        ("to_dir", False, FileType.SYMBOLIC_LINK),
        ("to_dir", True, FileType.DIRECTORY),
        ("to_dir/", False, FileType.DIRECTORY),
        ("to_file", True, FileType.REGULAR_FILE),
        ("to_file_slash", True, Errno.NOTDIR),
        ("dangling", False, FileType.SYMBOLIC_LINK),
        ("dangling", True, Errno.NOENT),
        ("loop", False, FileType.SYMBOLIC_LINK),
        ("loop", True, Errno.LOOP),
        ("dir/out", False, FileType.SYMBOLIC_LINK),
        ("dir/out", True, Errno.PERM),
        ("dir/up/..", True, Errno.PERM),
        ("out_dir/", False, Errno.PERM),
        ("..", True, Errno.PERM),
        ("../root", True, Errno.PERM),
        ("/etc", True, Errno.PERM),
    ],
)
def test_looking_at(shaped: Raw, path: str, follow: bool, expected: int | Errno) -> None:
    found = shaped.stat_at(path, follow=follow)
    assert (found.filetype if isinstance(found, Stat) else found) == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda g: g.mkdir("new"), Errno.SUCCESS),
        (lambda g: g.mkdir("new/"), Errno.SUCCESS),
        (lambda g: g.mkdir("dir"), Errno.EXIST),
        (lambda g: g.mkdir("."), Errno.EXIST),
        (lambda g: g.mkdir("top/new"), Errno.NOTDIR),
        (lambda g: g.mkdir("dangling"), Errno.EXIST),
        (lambda g: g.mkdir("../new"), Errno.PERM),
        (lambda g: g.mkdir("out_dir/new"), Errno.PERM),
        (lambda g: g.mkdir("/new"), Errno.PERM),
        (lambda g: g.mkdir(""), Errno.NOENT),
        (lambda g: g.rmdir("dir/nested"), Errno.NOTEMPTY),
        (lambda g: g.rmdir("dir/nested/"), Errno.NOTEMPTY),
        (lambda g: g.rmdir("top"), Errno.NOTDIR),
        (lambda g: g.rmdir("top/"), Errno.NOTDIR),
        (lambda g: g.rmdir("to_dir"), Errno.NOTDIR),
        (lambda g: g.rmdir("."), Errno.INVAL),
        (lambda g: g.rmdir("missing"), Errno.NOENT),
        (lambda g: g.rmdir(".."), Errno.PERM),
        (lambda g: g.unlink("top"), Errno.SUCCESS),
        (lambda g: g.unlink("top/"), Errno.NOTDIR),
        (lambda g: g.unlink("dir"), Errno.ISDIR),
        (lambda g: g.unlink("dir/"), Errno.ISDIR),
        (lambda g: g.unlink("dangling"), Errno.SUCCESS),
        (lambda g: g.unlink("dir/out"), Errno.SUCCESS),
        (lambda g: g.unlink("missing"), Errno.NOENT),
        (lambda g: g.unlink("dir/up/top"), Errno.SUCCESS),
        (lambda g: g.unlink("../secret"), Errno.PERM),
        (lambda g: g.unlink("out_dir/secret"), Errno.PERM),
        (lambda g: g.symlink("x", "link"), Errno.SUCCESS),
        (lambda g: g.symlink("../../../x", "link"), Errno.SUCCESS),
        (lambda g: g.symlink("/etc", "link"), Errno.PERM),
        (lambda g: g.symlink("", "link"), Errno.NOENT),
        (lambda g: g.symlink("x", "top"), Errno.EXIST),
        (lambda g: g.symlink("x", "new/"), Errno.NOENT),
        (lambda g: g.symlink("x", "dir/"), Errno.EXIST),
        (lambda g: g.symlink("x", "top/"), Errno.NOTDIR),
        (lambda g: g.symlink("x", "../link"), Errno.PERM),
        (lambda g: g.symlink("x", "out_dir/link"), Errno.PERM),
        (lambda g: g.link("top", "other"), Errno.SUCCESS),
        (lambda g: g.link("top", "top"), Errno.EXIST),
        (lambda g: g.link("top", "dir"), Errno.EXIST),
        (lambda g: g.link("top", "new/"), Errno.NOENT),
        (lambda g: g.link("dir", "other"), Errno.PERM),
        (lambda g: g.link("top/", "other"), Errno.NOTDIR),
        (lambda g: g.link("dangling", "other"), Errno.SUCCESS),
        (lambda g: g.link("top", "dangling"), Errno.EXIST),
        (lambda g: g.link("top", "other", lookup=1), Errno.INVAL),
        (lambda g: g.link("dir/out", "other"), Errno.SUCCESS),
        (lambda g: g.link("../secret", "other"), Errno.PERM),
        (lambda g: g.link("out_dir/secret", "other"), Errno.PERM),
        (lambda g: g.link("top", "../other"), Errno.PERM),
        (lambda g: g.rename("top", "other"), Errno.SUCCESS),
        (lambda g: g.rename("top", "top"), Errno.SUCCESS),
        (lambda g: g.rename("top", "dir"), Errno.ISDIR),
        (lambda g: g.rename("dir/nested", "top"), Errno.NOTDIR),
        (lambda g: g.rename("dir", "dir/nested/inside"), Errno.INVAL),
        (lambda g: g.rename("dir/", "other/"), Errno.SUCCESS),
        (lambda g: g.rename("top/", "other"), Errno.NOTDIR),
        (lambda g: g.rename("top", "other/"), Errno.NOTDIR),
        (lambda g: g.rename("missing", "other"), Errno.NOENT),
        (lambda g: g.rename("top", "../other"), Errno.PERM),
        (lambda g: g.rename("../secret", "other"), Errno.PERM),
        (lambda g: g.rename("out_dir/secret", "other"), Errno.PERM),
        (lambda g: g.rename(".", "other"), Errno.BUSY),
        (lambda g: g.readlink("to_dir"), b"dir"),
        (lambda g: g.readlink("to_dir", 2), b"di"),
        (lambda g: g.readlink("dir/out"), b"../../secret"),
        (lambda g: g.readlink("top"), Errno.INVAL),
        (lambda g: g.readlink("dir"), Errno.INVAL),
        (lambda g: g.readlink("missing"), Errno.NOENT),
        (lambda g: g.readlink("../root"), Errno.PERM),
        (lambda g: g.try_open("new", oflags=CREAT)[0], Errno.SUCCESS),
        (lambda g: g.try_open("new/", oflags=CREAT)[0], Errno.ISDIR),
        (lambda g: g.try_open("top", oflags=CREAT | EXCL)[0], Errno.EXIST),
        (lambda g: g.try_open("dangling", oflags=CREAT | EXCL, follow=True)[0], Errno.EXIST),
        (lambda g: g.try_open("dangling", oflags=CREAT, follow=True)[0], Errno.SUCCESS),
        (lambda g: g.try_open("dir/out", oflags=CREAT, follow=True)[0], Errno.PERM),
        (lambda g: g.try_open("../new", oflags=CREAT)[0], Errno.PERM),
        (lambda g: g.try_open("out_dir/new", oflags=CREAT)[0], Errno.PERM),
        (lambda g: g.try_open("dir")[0], Errno.ISDIR),
        (lambda g: g.try_open("dir", oflags=TRUNC, rights=2)[0], Errno.ISDIR),
        (lambda g: g.try_open("dir", rights=2)[0], Errno.SUCCESS),
        (lambda g: g.try_open("top", oflags=DIRECTORY, rights=2)[0], Errno.NOTDIR),
        (lambda g: g.try_open("to_dir", oflags=DIRECTORY, rights=2)[0], Errno.NOTDIR),
        (lambda g: g.try_open("to_dir", oflags=DIRECTORY, rights=2, follow=True)[0], Errno.SUCCESS),
        (lambda g: g.try_open("x", oflags=DIRECTORY | CREAT)[0], Errno.INVAL),
        (lambda g: g.try_open("x", oflags=16)[0], Errno.INVAL),
        (lambda g: g.try_open("x", fdflags=32)[0], Errno.INVAL),
    ],
)
def test_changing(shaped: Raw, call: Callable[[Raw], object], expected: object) -> None:
    assert call(shaped) == expected


def test_nothing_is_read_or_made_outside(shaped: Raw, kind: str, tmp_path: Path) -> None:
    if kind == "memory":
        pytest.skip("there is no outside")
    (tmp_path / "secret").write_text("secret")
    before = sorted(tmp_path.rglob("*"))
    for path in ("../secret", "out_dir/secret", "dir/out", "dir/up/../secret", "/" + str(tmp_path / "secret")):
        for follow in (False, True):
            for oflags in (0, CREAT, TRUNC, CREAT | TRUNC):
                errno, _ = shaped.try_open(path, follow=follow, oflags=oflags)
                assert errno in (Errno.PERM, Errno.LOOP)
    assert (tmp_path / "secret").read_text() == "secret"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_absolute_link_made_by_the_host_leads_nowhere(shaped: Raw, kind: str, tmp_path: Path) -> None:
    if kind == "memory":
        pytest.skip("there is no host")
    (tmp_path / "secret").write_text("secret")
    os.symlink(tmp_path / "secret", tmp_path / "root" / "absolute")
    os.symlink(tmp_path / "root" / "top", tmp_path / "root" / "back_inside")
    os.symlink("/proc/self/fd", tmp_path / "root" / "magic")
    for path in ("absolute", "back_inside", "magic", "magic/0", "magic/"):
        assert shaped.try_open(path, follow=True, rights=2)[0] is Errno.PERM
        assert shaped.stat_at(path, follow=True) is Errno.PERM
    assert shaped.readlink("back_inside") == os.fsencode(tmp_path / "root" / "top")


COMPONENTS = ["a", "b", "up", "in", "out", "abs", "loop", "file", "..", ".", "", "A", "nothing"]


@given(
    path=st.lists(st.sampled_from(COMPONENTS), min_size=1, max_size=8).map("/".join),
    follow=st.booleans(),
    oflags=st.sampled_from([0, CREAT, DIRECTORY, TRUNC, CREAT | EXCL, CREAT | TRUNC]),
)
@settings(max_examples=150)
def test_the_kernel_and_the_walk_agree_and_keep_the_canary(
    tmp_path_factory: pytest.TempPathFactory, path: str, follow: bool, oflags: int
) -> None:
    """Both ways give the same errno or file, and none reads, changes or sees what lies outside."""
    if not resolve.kernel_resolves:
        pytest.skip("this kernel has no openat2")
    outcomes = []
    for kernel in (True, False):
        base = tmp_path_factory.mktemp("canary")
        root = base / "root"
        (root / "a" / "b").mkdir(parents=True)
        (root / "a" / "file").write_text("inside")
        (base / "file").write_text("canary")
        (base / "a").mkdir()
        (base / "a" / "file").write_text("canary")
        for name, target in {
            "up": "..",
            "in": "a/b",
            "out": "../file",
            "abs": str(base / "file"),
            "loop": "loop",
        }.items():
            (root / name).symlink_to(target)
            (root / "a" / name).symlink_to(target)
        outside = {each: each.read_text() for each in (base / "file", base / "a" / "file")}
        resolve.kernel_resolves = kernel
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            outcomes.append(_outcome(directory, path, follow, oflags))
        finally:
            resolve.kernel_resolves = True
            os.close(directory)
        assert {each: each.read_text() for each in outside} == outside
        assert sorted(each.name for each in base.iterdir()) == ["a", "file", "root"]
    assert outcomes[0] == outcomes[1]


def _outcome(root: int, path: str, follow: bool, oflags: int) -> object:
    directory = HostDirectory(os.dup(root), Waiter())
    found: list[object] = []
    for attempt in (
        lambda: directory.open(path.encode(), follow, oflags, 0, True, False),
        lambda: directory.stat_at(path.encode(), follow)[2],
        lambda: directory.create_directory(path.encode()),
        lambda: directory.unlink(path.encode()),
    ):
        try:
            result = attempt()
        except (WasiError, OSError) as error:
            found.append(error.errno if isinstance(error, WasiError) else from_os_error(error))
        else:
            if isinstance(result, HostFile):
                data = result.read(100)
                assert data in (b"inside", b"")
                found.append(data)
            else:
                found.append(type(result).__name__ if not isinstance(result, int) else result)
    return found


@pytest.mark.parametrize("kernel", [True, False])
def test_links_that_are_swapped_while_resolving_lead_nowhere(
    tmp_path: Path, kernel: bool, one_runtime: pywasmrt.Runtime
) -> None:
    """A directory on the way turns into a link to the outside and back, as fast as it goes, while a guest reads."""
    if kernel and not resolve.kernel_resolves:
        pytest.skip("this kernel has no openat2")
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real" / "file").write_text("inside")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("canary")
    os.symlink("../outside", root / "link")
    os.symlink("real", root / "way")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for target in ("../outside", str(outside), "real"):
                os.symlink(target, root / "next")
                os.rename(root / "next", root / "way")
            os.rename(root / "real", root / "moved")
            os.symlink("../outside", root / "real")
            os.unlink(root / "real")
            os.rename(root / "moved", root / "real")

    swapper = threading.Thread(target=swap)
    before, resolve.kernel_resolves = resolve.kernel_resolves, kernel
    try:
        with Raw(one_runtime, wasi.WasiConfig(preopens={"/": root})) as guest:
            swapper.start()
            seen = set()
            for _ in range(300):
                for path in ("way/file", "real/file", "way/../real/file", "real/../way/file"):
                    errno, fd = guest.try_open(path, follow=True, rights=2)
                    if errno is Errno.SUCCESS:
                        seen.add(guest.read(fd))
                        guest.do("fd_close", fd)
                guest.mkdir("way/made")
                guest.try_open("real/made_too", oflags=CREAT)
            assert seen <= {b"inside"}
    finally:
        resolve.kernel_resolves = before
        done.set()
        swapper.join()
    assert sorted(each.name for each in outside.iterdir()) == ["file"]
    assert (outside / "file").read_text() == "canary"
