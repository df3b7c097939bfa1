"""Directories and links that change while a guest uses them: no function of a path reads, makes, changes or removes
anything outside. Each runs for a bounded time, and must have come through in between.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pywasmrt
from pywasmrt import wasi
from pywasmrt.wasi import resolve
from pywasmrt.wasi.abi import Stat
from pywasmrt.wasi.errno import Errno

from .guest import Raw

SECONDS = float(os.environ.get("PYWASMRT_RACE_SECONDS", "0.1"))
CREAT, DIRECTORY, TRUNC = 1, 2, 8
OLD = 946_684_800_000_000_000  # the times of what lies outside


@contextmanager
def swapping(root: Path) -> Iterator[None]:
    """While this lasts, `real` turns into a link to the outside and back, and so do `way`, a link, and `file` in it."""
    done = threading.Event()

    def swap() -> None:
        n = 0
        while not done.is_set():
            n += 1
            for target in ("../outside", str(root.parent / "outside"), "real", "real/../../outside"):
                os.symlink(target, root / f"next{n % 2}")
                os.replace(root / f"next{n % 2}", root / "way")
            os.rename(root / "real", root / "moved")
            os.symlink("../outside", root / "real")
            os.unlink(root / "real")
            os.rename(root / "moved", root / "real")
            try:
                os.rename(root / "real" / "file", root / "real" / "kept")
                os.symlink("../../outside/file", root / "real" / "file")
                os.unlink(root / "real" / "file")
                os.rename(root / "real" / "kept", root / "real" / "file")
            except OSError:  # the guest did something to it
                with contextlib.suppress(OSError):
                    os.unlink(root / "real" / "file")
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                with contextlib.suppress(OSError), open(os.open(root / "real" / "file", flags), "w") as file:
                    file.write("inside")

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=swap)
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)


def picture(folder: Path) -> dict[str, object]:
    """What lies in a folder, with everything that a guest could change."""
    found: dict[str, object] = {".": (os.lstat(folder).st_mtime_ns, os.lstat(folder).st_mode)}
    for each in sorted(folder.rglob("*")):
        about = os.lstat(each)
        content = each.read_bytes() if each.is_file() else None
        found[str(each.relative_to(folder))] = (about.st_mtime_ns, about.st_nlink, about.st_ino, content)
    return found


PATHS = ["way/file", "real/file", "way/../real/file", "real/../way/file", "real/sub/../file", "way/sub/deep"]


def opens(guest: Raw, path: str) -> Errno:
    errno, fd = guest.try_open(path, follow=True, rights=2)
    if errno is Errno.SUCCESS:
        assert guest.read(fd) in (b"inside", b"")
        guest.do("fd_close", fd)
    return errno


def creates(guest: Raw, path: str) -> Errno:
    errno, fd = guest.try_open(path, follow=True, oflags=CREAT | TRUNC)
    if errno is Errno.SUCCESS:
        guest.write(fd, b"inside")
        guest.do("fd_close", fd)
    return errno


def lists(guest: Raw, path: str) -> Errno:
    errno, fd = guest.try_open(path.rpartition("/")[0], follow=True, oflags=DIRECTORY, rights=1 << 14)
    if errno is Errno.SUCCESS:
        assert b"secret" not in guest.names(fd)
        guest.do("fd_close", fd)
    return errno


def looks(guest: Raw, path: str) -> Errno:
    found = guest.stat_at(path, follow=True)
    if isinstance(found, Stat):
        assert found.mtim != OLD
        return Errno.SUCCESS
    return found


def reads_link(guest: Raw, path: str) -> Errno:
    found = guest.readlink(f"{path.rpartition('/')[0]}/link")
    assert found in (b"inside target",) or isinstance(found, Errno)
    return found if isinstance(found, Errno) else Errno.SUCCESS


def sets_times(guest: Raw, path: str) -> Errno:
    return guest.with_path("path_filestat_set_times", 3, path, 5, 5, 5, lookup=1)


def makes_directory(guest: Raw, path: str) -> Errno:
    made = guest.mkdir(f"{path}-made")
    guest.rmdir(f"{path}-made")
    return made


def removes(guest: Raw, path: str) -> Errno:
    return guest.unlink(path)


def removes_directory(guest: Raw, path: str) -> Errno:
    folder = path.rpartition("/")[0]
    guest.mkdir(f"{folder}/empty")
    return guest.rmdir(f"{folder}/empty")


def renames(guest: Raw, path: str) -> Errno:
    there = guest.rename(path, f"{path}-renamed")
    guest.rename(f"{path}-renamed", path)
    return there


def links(guest: Raw, path: str) -> Errno:
    made = guest.link("plain", f"{path}-link")
    guest.unlink(f"{path}-link")
    return made


def links_from(guest: Raw, path: str) -> Errno:
    made = guest.link(path, "linked")
    guest.unlink("linked")
    return made


def makes_link(guest: Raw, path: str) -> Errno:
    made = guest.symlink("anywhere", f"{path}-symlink")
    guest.unlink(f"{path}-symlink")
    return made


FUNCTIONS: list[Callable[[Raw, str], Errno]] = [
    opens,
    creates,
    lists,
    looks,
    reads_link,
    sets_times,
    makes_directory,
    removes,
    removes_directory,
    renames,
    links,
    links_from,
    makes_link,
]


@pytest.mark.parametrize("way", ["kernel", "walk", "bounded"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.__name__)
def test_links_that_are_swapped_lead_nowhere(
    tmp_path: Path,
    way: str,
    function: Callable[[Raw, str], Errno],
    one_runtime: pywasmrt.Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way != "walk" and not resolve.kernel_resolves:
        pytest.skip("this kernel has no openat2")
    monkeypatch.setattr(resolve, "kernel_resolves", way != "walk")
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder, content in ((root / "real", "inside"), (outside, "canary")):
        (folder / "sub").mkdir(parents=True)
        (folder / "file").write_text(content)
        (folder / "sub" / "deep").write_text(content)
        (folder / "link").symlink_to(f"{content} target")
        (folder / "empty").mkdir()
    (outside / "secret").write_text("canary")
    (root / "plain").write_text("inside")
    (root / "way").symlink_to("real")
    for each in (*outside.rglob("*"), outside):
        os.utime(each, ns=(OLD, OLD), follow_symlinks=False)
    before = picture(outside)
    place = wasi.Preopen(root, limit=1 << 20) if way == "bounded" else root
    answers = set()
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": place})) as guest, swapping(root):
        end = time.monotonic() + SECONDS
        rounds = 0
        while time.monotonic() < end or (Errno.SUCCESS not in answers and rounds < 100_000):
            rounds += 1
            for path in PATHS:
                answers.add(function(guest, path))
    assert Errno.SUCCESS in answers
    assert picture(outside) == before
