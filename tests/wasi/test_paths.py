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
from pywasmrt.wasi.errno import Errno

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
