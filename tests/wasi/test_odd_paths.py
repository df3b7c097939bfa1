"""Every path function against the kernel's own answer, on a grammar of odd paths: `.`, `..`, doubled and trailing
slashes, empty parts, and links at each place. Over directories of the host, resolved by the kernel and by walking, and
over trees in memory.

The kernel is asked with the path as it is written. What it would do outside of the directory it is not asked: there the
answer is `EPERM`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import wasi
from pywasmrt.wasi import resolve
from pywasmrt.wasi.abi import Stat
from pywasmrt.wasi.errno import Errno, from_os_error
from pywasmrt.wasi.host_files import file_type
from pywasmrt.wasi.memory_tree import File, Folder, Link, MemoryTree

from .guest import Raw

CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
LINKS = {
    "to_dir": "dir",
    "to_slash": "dir/",
    "to_dot": "dir/.",
    "to_file": "dir/file",
    "to_file_slash": "file/",
    "to_nothing": "nothing",
    "to_nothing_slash": "nothing/",
    "to_link": "to_dir",
    "loop": "loop",
    "here": ".",
    "dir/up": "..",
    "dir/up_slash": "../",
    "dir/down": "sub/..",
    "dir/sub/far": "../../to_dir/sub",
}
LONG = "n" * 256
PARTS = [*{name.rpartition("/")[2] for name in LINKS}, "dir", "sub", "file", "nothing", "new", "empty"]
part = st.one_of(st.sampled_from(PARTS), st.sampled_from([".", "..", "", "dir", "sub", "empty", LONG]))
paths = st.tuples(
    st.lists(part, min_size=1, max_size=5).map("/".join), st.sampled_from(["", "", "/", "//", "/.", "/.."])
).map("".join)
ONE = ["mkdir", "rmdir", "unlink", "readlink", "stat", "follow", "times", "symlink"]
TWO = ["rename", "link"]
operation = st.one_of(
    st.tuples(st.sampled_from(ONE), paths),
    st.tuples(st.sampled_from(TWO), paths, paths),
    st.tuples(st.just("open"), paths, st.booleans(), st.sampled_from([0, CREAT, DIRECTORY, CREAT | EXCL, TRUNC])),
)


class Answer(NamedTuple):
    """What an operation gave: an errno, or something that all agree on."""

    errno: Errno
    value: Any = None


def shape(root: Path) -> None:
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "file").write_text("top")
    (root / "dir" / "file").write_text("inner")
    for name, target in LINKS.items():
        os.symlink(target, root / name)


def tree_of(root: Path) -> MemoryTree:
    tree = MemoryTree({"dir": {"sub": {}, "file": "inner"}, "empty": {}, "file": "top"})
    with Raw(_runtime(), wasi.WasiConfig(preopens={"/": tree})) as guest:
        for name, target in LINKS.items():
            assert guest.symlink(target, name) is Errno.SUCCESS
    return tree


_runtimes: list[pywasmrt.Runtime] = []


def _runtime() -> pywasmrt.Runtime:
    if not _runtimes:
        _runtimes.append(pywasmrt.new_runtime())
    return _runtimes[0]


# What the kernel says


def escapes(root: int, path: str) -> bool:
    """Whether walking `path` leads above `root`, before the kernel would meet an error."""
    depth: list[str] = []
    pending = path.split("/") if path else []
    if path.startswith("/"):
        return True
    for _ in range(5000):
        while pending and pending[0] in ("", "."):
            pending.pop(0)
        if not pending:
            return False
        name = pending.pop(0)
        if name == "..":
            if not depth:
                return True
            depth.pop()
            continue
        here = "/".join([*depth, name])
        try:
            target = os.readlink(here, dir_fd=root)
        except OSError:
            try:
                os.stat(here, dir_fd=root, follow_symlinks=False)
                os.stat(f"{here}/.", dir_fd=root)
            except OSError:
                return False
            depth.append(name)
        else:
            if len(pending) > 400:  # a loop
                return False
            pending = [*target.split("/"), *pending]
    return False


def by_the_kernel(root: int, call: tuple[Any, ...]) -> Answer:
    name, path, *more = call
    at = {"dir_fd": root}
    try:
        if name == "mkdir":
            os.mkdir(path, **at)
        elif name == "rmdir":
            os.rmdir(path, **at)
        elif name == "unlink":
            os.unlink(path, **at)
        elif name == "readlink":
            return Answer(Errno.SUCCESS, os.fsencode(os.readlink(path, **at)))
        elif name in ("stat", "follow"):
            found = os.stat(path, dir_fd=root, follow_symlinks=name == "follow")
            return Answer(Errno.SUCCESS, file_type(found.st_mode))
        elif name == "times":
            os.utime(path, ns=(1, 2), dir_fd=root, follow_symlinks=False)
        elif name == "symlink":
            os.symlink("target", path, **at)
        elif name == "rename":
            os.rename(path, more[0], src_dir_fd=root, dst_dir_fd=root)
        elif name == "link":
            os.link(path, more[0], src_dir_fd=root, dst_dir_fd=root, follow_symlinks=False)
        else:
            follow, oflags = more
            flags = os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
            for ours, theirs in (
                (CREAT, os.O_CREAT),
                (DIRECTORY, os.O_DIRECTORY),
                (EXCL, os.O_EXCL),
                (TRUNC, os.O_TRUNC),
            ):
                flags |= theirs if oflags & ours else 0
            fd = os.open(path, flags, 0o666, dir_fd=root)
            kind = file_type(os.fstat(fd).st_mode)
            os.close(fd)
            return Answer(Errno.SUCCESS, kind)
    except OSError as error:
        if name in ("symlink", "link") and error.errno == 17 and (more or [path])[0].endswith("/"):
            return SLASH_AFTER_A_FILE
        return Answer(Errno(from_os_error(error)))
    return Answer(Errno.SUCCESS)


def parent_of(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] or "."


def by_wasi(guest: Raw, call: tuple[Any, ...]) -> Answer:
    name, path, *more = call
    if name == "open":
        follow, oflags = more
        errno, fd = guest.try_open(path, follow=follow, oflags=oflags, rights=2)
        if errno is not Errno.SUCCESS:
            return Answer(errno)
        kind = guest.fdstat(fd)[0]
        guest.do("fd_close", fd)
        return Answer(errno, kind)
    if name in ("stat", "follow"):
        found = guest.stat_at(path, follow=name == "follow")
        return Answer(Errno.SUCCESS, found.filetype) if isinstance(found, Stat) else Answer(found)
    if name == "readlink":
        target = guest.readlink(path)
        return Answer(target) if isinstance(target, Errno) else Answer(Errno.SUCCESS, target)
    if name == "times":
        return Answer(guest.with_path("path_filestat_set_times", 3, path, 1, 2, 5, lookup=0))
    if name == "symlink":
        return Answer(guest.symlink("target", path))
    if name in TWO:
        return Answer(getattr(guest, name)(path, more[0]))
    return Answer(getattr(guest, name)(path))


def snapshot(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(root):
        for each in (*folders, *files):
            path = Path(folder, each)
            key = str(path.relative_to(root))
            found[key] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def snapshot_of_tree(tree: MemoryTree) -> dict[str, object]:
    found: dict[str, object] = {}
    pending: list[tuple[str, Folder]] = [("", tree.root)]
    while pending:
        prefix, folder = pending.pop()
        for name, node in folder.nodes.items():
            key = prefix + os.fsdecode(name)
            if isinstance(node, Folder):
                found[key] = None
                pending.append((f"{key}/", node))
            elif isinstance(node, Link):
                found[key] = os.fsdecode(node.target)
            elif isinstance(node, File):
                found[key] = node.get(node.size, 0)
    return found


SLASH_AFTER_A_FILE = Answer(Errno.EXIST, "slash")
"""A new name with a slash behind it, where there is a file: Linux says EEXIST, the official tests want ENOTDIR."""


def acceptable(root: int, call: tuple[Any, ...], wanted: Answer) -> set[Answer]:
    """The answers that are right where the kernel's is `wanted`."""
    right = {wanted}
    if wanted == SLASH_AFTER_A_FILE:
        right = {Answer(Errno.EXIST), Answer(Errno.NOTDIR)}
    if call[0] == "link" and wanted.errno is not Errno.SUCCESS:  # of two errors either may be told
        right |= {by_the_kernel(root, ("stat", each)) for each in (call[1], f"{parent_of(call[2])}/.")}
    return right


class Rig:
    """The same tree four times: for the kernel, and for guests over each kind of directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.roots = {each: base / each / "root" for each in ("truth", "kernel", "walk", "bounded")}
        for root in self.roots.values():
            root.mkdir(parents=True)
            shape(root)
        self.tree = tree_of(base)
        self.truth = os.open(self.roots["truth"], os.O_RDONLY)
        places: dict[str, Any] = {"kernel": self.roots["kernel"], "walk": self.roots["walk"], "memory": self.tree}
        if not resolve.kernel_resolves:
            del places["kernel"]
        places["bounded"] = wasi.Preopen(self.roots["bounded"], limit=1 << 40)
        self.guests = {kind: Raw(_runtime(), wasi.WasiConfig(preopens={"/": place})) for kind, place in places.items()}

    def close(self) -> None:
        os.close(self.truth)
        for each in self.guests.values():
            each.close()
        shutil.rmtree(self.base)

    def do(self, call: tuple[Any, ...]) -> None:
        leaves = any(isinstance(each, str) and escapes(self.truth, each) for each in call[1:])
        right: set[Answer] | None = None
        if not leaves:
            right = acceptable(self.truth, call, by_the_kernel(self.truth, call))
        elif call[0] in (
            "stat",
            "follow",
            "readlink",
        ):  # only looking: the kernel may, but for `EPERM` or an error of its own
            right = {Answer(Errno.PERM), by_the_kernel(self.truth, call)}
        before = resolve.kernel_resolves
        had: dict[str, Answer] = {}
        for kind, guest in self.guests.items():
            resolve.kernel_resolves = before and kind != "walk"
            try:
                had[kind] = by_wasi(guest, call)
            finally:
                resolve.kernel_resolves = before
        if right is None:  # the kernel was not asked: it would have changed what lies outside
            assert all(each.errno is not Errno.SUCCESS for each in had.values()), (call, had)
            assert len({each.errno for each in had.values()}) == 1, (call, had)
        else:
            assert set(had.values()) <= right, (call, right, had)
            assert len(set(had.values())) == 1, (call, had)

    def compare(self) -> None:
        truth = snapshot(self.roots["truth"])
        assert snapshot_of_tree(self.tree) == truth
        for kind in ("kernel", "walk", "bounded"):
            if kind in self.guests:
                assert snapshot(self.roots[kind]) == truth


@given(calls=st.lists(operation, min_size=1, max_size=6))
@settings(max_examples=80, deadline=None)
@example(calls=[("rmdir", "empty/.")])
@example(calls=[("mkdir", "new/.")])
@example(calls=[("rename", "empty/.", "new"), ("rename", "empty", "new/."), ("rename", "dir/sub/..", "new")])
@example(calls=[("unlink", "to_dir/"), ("unlink", "to_dir/."), ("rmdir", "to_dir/"), ("rmdir", "to_dir/.")])
@example(calls=[("link", "to_file/", "new"), ("link", "to_dir/", "new"), ("link", "to_dir/.", "new")])
@example(
    calls=[
        ("open", "to_nothing_slash", True, CREAT),
        ("open", "new/", False, CREAT),
        ("open", "./", False, CREAT | EXCL),
    ]
)
def test_odd_paths_are_answered_as_by_the_kernel(calls: list[tuple[Any, ...]]) -> None:
    rig = Rig(Path(tempfile.mkdtemp(prefix="odd-paths-")))
    try:
        for call in calls:
            rig.do(call)
        rig.compare()
    finally:
        rig.close()
