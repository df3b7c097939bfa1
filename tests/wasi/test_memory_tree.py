"""Trees of files in memory: what the host makes them of and reads, and what they may take of its memory."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt import wasi
from pywasmrt.wasi.errno import Errno, WasiError
from pywasmrt.wasi.memory_files import MemoryDirectory
from pywasmrt.wasi.memory_tree import NAME_COST

from .guest import Raw
from .test_files import ALL, CREAT


def test_a_memory_tree_fills_up(one_runtime: pywasmrt.Runtime) -> None:
    tree = wasi.MemoryTree({"a": b"x" * 100}, limit=10_000)
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": tree})) as guest:
        fd = guest.open("big", oflags=CREAT, rights=ALL)
        assert guest.try_write(fd, b"x" * 20_000)[0] is Errno.NOSPC
        assert guest.call("fd_filestat_set_size", fd, 1 << 40) is Errno.NOSPC
        assert guest.call("fd_allocate", fd, 1 << 40, 1) is Errno.NOSPC
        assert guest.try_write(fd, b"x", at=1 << 40)[0] is Errno.NOSPC
        for n in range(100):
            if guest.mkdir(f"d{n}") is Errno.NOSPC:
                break
        else:
            pytest.fail("directories cost nothing")
        for n in range(100):
            guest.rmdir(f"d{n}")
        assert guest.unlink("big") is Errno.SUCCESS
        assert tree.used == 100 + NAME_COST


def test_nothing_in_a_memory_tree_is_free_of_charge(one_runtime: pywasmrt.Runtime) -> None:
    tree = wasi.MemoryTree({"a": b"x" * 100}, limit=10_000)
    before = tree.used
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": tree})) as guest:
        # What was removed and is still open counts until it is closed.
        fd = guest.open("removed", oflags=CREAT)
        assert guest.unlink("removed") is Errno.SUCCESS
        assert guest.write(fd, b"x" * 6000) == 6000
        assert tree.used == before + 6000
        second = guest.open("removed", oflags=CREAT)
        assert guest.try_write(second, b"x" * 6000)[0] is Errno.NOSPC
        assert guest.unlink("removed") is Errno.SUCCESS
        guest.do("fd_close", fd)
        guest.do("fd_close", second)
        assert tree.used == before
        # So does what the host replaced under the guest.
        fd = guest.open("a")
        tree.write("a", b"y" * 50)
        assert tree.used == before + 50
        guest.do("fd_close", fd)
        assert tree.used == before - 50
        # And what a link says.
        assert guest.symlink("t" * 3000, "link") is Errno.SUCCESS
        assert tree.used == before - 50 + NAME_COST + 3000
        assert guest.symlink("t" * 3000, "second") is Errno.SUCCESS
        assert guest.symlink("t" * 3000, "third") is Errno.NOSPC
        assert [guest.unlink(name) for name in ("link", "second")] == [Errno.SUCCESS] * 2
        assert tree.used == before - 50


def test_a_memory_tree_may_be_deep(one_runtime: pywasmrt.Runtime) -> None:
    tree = wasi.MemoryTree()
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": tree})) as guest:
        fd = 3
        for _ in range(1500):
            assert guest.mkdir("d", fd) is Errno.SUCCESS
            inner = guest.open_directory("d", fd=fd)
            if fd != 3:
                guest.do("fd_close", fd)
            fd = inner
        guest.open("leaf", fd=fd, oflags=CREAT)
    assert tree.files() == {"d/" * 1500 + "leaf": b""}
    assert repr(tree).startswith("<MemoryTree of 1 files")


def test_a_memory_tree_is_shaped_and_read(one_runtime: pywasmrt.Runtime) -> None:
    tree = wasi.MemoryTree({"a.txt": "text", "dir": {"b": b"bytes", "sub": {}}, "x/y/z": b"deep"})
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": tree})) as guest:
        assert guest.read(guest.open("dir/b")) == b"bytes"
        assert guest.names(guest.open_directory("dir")) == {b"b", b"sub"}
        guest.create("dir/sub/new", b"made by the guest")
    assert list(tree.files()) == ["a.txt", "dir/b", "dir/sub/new", "x/y/z"]
    assert tree.files() == {"a.txt": b"text", "dir/b": b"bytes", "dir/sub/new": b"made by the guest", "x/y/z": b"deep"}
    assert tree.read("dir/sub/new") == b"made by the guest"
    with pytest.raises(FileNotFoundError):
        tree.read("dir")
    with pytest.raises(FileExistsError):
        tree.write("dir", b"")
    with pytest.raises(NotADirectoryError):
        tree.write("a.txt/b", b"")
    with pytest.raises(OSError, match="limit"):
        wasi.MemoryTree(limit=10).write("a", bytes(100))


@pytest.mark.parametrize("operation", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_tree_is_not_copied_as_guests_and_the_host_share_it(operation: Callable[[Any], Any]) -> None:
    tree = wasi.MemoryTree({"a": b"data"})
    message = "a MemoryTree cannot be copied or pickled: it belongs to this process, .*; hand over what files"
    with pytest.raises(TypeError, match=message):
        operation(tree)
    config = wasi.WasiConfig(preopens={"/": tree})
    if operation is copy.copy:
        assert operation(config).preopens["/"] is tree
    else:
        with pytest.raises(TypeError, match=message):
            operation(config)
    assert wasi.MemoryTree(pickle.loads(pickle.dumps(tree.files()))).files() == tree.files()


@pytest.mark.parametrize("path", [Path("a"), b"a", 1, None, ["a"]])
def test_a_path_to_read_is_a_str(path: Any) -> None:
    with pytest.raises(TypeError, match="a name in a MemoryTree is a str, not"):
        wasi.MemoryTree({"a": b""}).read(path)


def test_a_path_that_no_file_has() -> None:
    with pytest.raises(ValueError, match="has no UTF-8"):
        wasi.MemoryTree({"a": b""}).read("a/\ud800")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        wasi.MemoryTree({"a": b""}).read("\udcff")  # a byte that a guest could have written


CONTENTS: list[tuple[Any, type[Exception], str]] = [
    ({"port.txt": 80}, TypeError, "'port.txt' is bytes-like or str, or a mapping for a directory; not 80"),
    ({"flag": True}, TypeError, "True"),
    ({"a": {"sizes": [1, 2, 3]}}, TypeError, "'a/sizes' is bytes-like"),
    ({"none": None}, TypeError, "not None"),
    ({"set": {1}}, TypeError, "{1}"),
    ({"../up": "x"}, ValueError, "'..'"),
    ({"a/./b": "x"}, ValueError, "'.'"),
    ({"a/../b": "x"}, ValueError, "'..'"),
    ({"a": {"..": {}}}, ValueError, "'..'"),
    ({".": "x"}, ValueError, "'.'"),
    ({"a\0b": "x"}, ValueError, "NUL"),
    ({"n" * 256: "x"}, ValueError, "255 bytes"),
    ({"ä" * 128: "x"}, ValueError, "255 bytes"),
    ({"\udcff": "x"}, ValueError, "UTF-8"),
    ({"text": "\udcff"}, ValueError, "UTF-8"),
    ({"": "x"}, ValueError, "empty"),
    ({"/": {}}, ValueError, "empty"),
    ({b"raw": b"x"}, TypeError, "a name in a MemoryTree is a str"),
    ({1: b"x"}, TypeError, "a name in a MemoryTree is a str"),
    ([("a", b"x")], TypeError, "a mapping of names to contents"),
    ("a", TypeError, "a mapping of names to contents"),
]


@pytest.mark.parametrize(("files", "error", "says"), CONTENTS)
def test_contents_and_names_that_make_no_sense_are_refused(files: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as raised:
        wasi.MemoryTree(files)
    assert says in str(raised.value)
    if isinstance(files, dict):
        tree = wasi.MemoryTree({"kept": "x"})
        before = tree.used
        with pytest.raises(error):
            tree.write("new", {"fine": b"y", "more": files})
        assert tree.files() == {"kept": b"x"}
        assert tree.used == before


@pytest.mark.parametrize("limit", [-1, 1.5, None, "1", True])
def test_a_limit_is_a_number(limit: Any) -> None:
    with pytest.raises(ValueError, match="limit of a MemoryTree"):
        wasi.MemoryTree(limit=limit)


def test_what_bytes_may_be() -> None:
    from array import array

    numbers = array("H", [1])

    tree = wasi.MemoryTree({"a": bytearray(b"x"), "b": memoryview(b"xyz")[::2], "c": numbers, "d/": {}, "/e": ""})
    assert tree.files() == {"a": b"x", "b": b"xz", "c": numbers.tobytes(), "e": b""}
    with pytest.raises(ValueError, match="directory"):
        tree.write("f/", b"x")
    with pytest.raises(ValueError, match="directory"):
        tree.write("", b"x")
    circle: dict[str, Any] = {}
    circle["again"] = circle
    with pytest.raises((ValueError, OSError), match=r"nested|limit"):
        tree.write("g", circle)


@pytest.mark.parametrize("gave", [5, True, [1, 2], {"a": 1}, object()])
def test_an_input_that_is_no_bytes_is_an_error(one_runtime: pywasmrt.Runtime, gave: Any) -> None:
    class File:
        def read(self, size: int) -> Any:
            return gave

    for source in (lambda size: gave, File()):
        with (
            Raw(one_runtime, wasi.WasiConfig(stdin=source)) as guest,
            pytest.raises(TypeError, match=r"WasiConfig\.stdin gave .* where bytes were asked for"),
        ):
            guest.read(0)
    with (
        Raw(one_runtime, wasi.WasiConfig(random=lambda size: gave)) as guest,
        pytest.raises(TypeError, match=r"WasiConfig\.random gave"),
    ):
        guest.call("random_get", 0, 4)


# The host's memory

LIMIT = 1 << 21


class Counting(wasi.Clock):
    """A clock whose every answer is an int of its own, which takes memory."""

    now = 1 << 60

    def realtime(self) -> int:
        self.now += 1
        return self.now


def named(n: int) -> bytes:
    return str(n).encode().rjust(255, b"n")


def write(top: MemoryDirectory, name: bytes, data: bytes, piece: int = 1 << 20) -> None:
    file = top.open(name, False, CREAT, 0, True, True)
    for at in range(0, len(data), piece):
        file.write(data[at : at + piece])


def nest(top: MemoryDirectory) -> Callable[[int], None]:
    inner = [top]

    def more(n: int) -> None:
        inner[0].create_directory(named(n))
        opened = inner[0].open(named(n), False, 0, 0, True, False)
        assert isinstance(opened, MemoryDirectory)
        inner[0] = opened

    return more


def orphan(top: MemoryDirectory) -> Callable[[int], None]:
    held = []

    def more(n: int) -> None:
        file = top.open(b"file", False, CREAT, 0, True, True)
        file.write(b"x" * 5000)
        top.unlink(b"file")
        held.append(file)

    return more


def cut(top: MemoryDirectory) -> Callable[[int], None]:
    def more(n: int) -> None:
        file = top.open(named(n), False, CREAT, 0, True, True)
        file.write(b"x" * 65_536)
        file.set_size(33_000)

    return more


def append(top: MemoryDirectory) -> Callable[[int], None]:
    file = top.open(b"file", False, CREAT, 0, True, True)

    def more(n: int) -> None:
        file.write(b"x" * 1000)

    return more


def until_full(more: Callable[[int], None]) -> None:
    for n in range(1_000_000):
        more(n)


GREED: dict[str, Callable[[MemoryDirectory], Callable[[int], None]]] = {
    "empty files": lambda top: lambda n: write(top, named(n), b""),
    "tiny files": lambda top: lambda n: write(top, named(n), b"x"),
    "files that grow": lambda top: lambda n: write(top, named(n), b"x" * 40_000, 100),
    "one file that grows": append,
    "large pieces": lambda top: lambda n: write(top, named(n), b"x" * 300_000),
    "files cut off": cut,
    "directories": lambda top: lambda n: top.create_directory(named(n)),
    "nested directories": nest,
    "links": lambda top: lambda n: top.symlink(b"t", named(n)),
    "removed files that are open": orphan,
}


@pytest.mark.parametrize("shape", GREED)
def test_a_tree_takes_no_more_memory_than_its_limit_says(shape: str) -> None:
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tree = wasi.MemoryTree(limit=LIMIT)
        more = GREED[shape](MemoryDirectory(tree, tree.root, Counting()))
        with pytest.raises(WasiError) as raised:
            until_full(more)
        assert raised.value.errno == Errno.NOSPC
        assert tree.used <= LIMIT
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < LIMIT * 1.25 + 2 * 300_000  # and what one call writes, on its way there


def test_a_file_with_holes(one_runtime: pywasmrt.Runtime) -> None:
    """What was never written takes no memory, and growing a file copies nothing."""
    tree = wasi.MemoryTree(limit=1 << 40)
    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": tree})) as guest:
        fd = guest.open("f", oflags=CREAT, rights=ALL)
        tracemalloc.start()
        try:
            guest.do("fd_filestat_set_size", fd, 1 << 39)
            guest.write(fd, b"end", at=(1 << 38) - 1)
            guest.do("fd_allocate", fd, 0, (1 << 39) + 5)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1 << 21
        assert guest.stat(fd).size == (1 << 39) + 5
        assert guest.read(fd, 7, at=(1 << 38) - 3) == b"\0\0end\0\0"
        guest.do("fd_filestat_set_size", fd, 1 << 38)
        guest.do("fd_filestat_set_size", fd, (1 << 38) + 4)
        assert guest.read(fd, 9, at=(1 << 38) - 2) == b"\0e\0\0\0\0"
        guest.do("fd_filestat_set_size", fd, 0)
        assert guest.read(fd, at=0) == b""
    assert tree.used == NAME_COST


def test_a_buffer_of_python_objects_is_no_content(one_runtime: pywasmrt.Runtime) -> None:
    """It would show the guest addresses of this process."""
    numpy = pytest.importorskip("numpy")
    objects = numpy.array([None, "x"], dtype=object)
    with pytest.raises(TypeError, match="content of 'a'"):
        wasi.MemoryTree({"a": objects})
    with (
        Raw(one_runtime, wasi.WasiConfig(stdin=lambda size: objects)) as guest,
        pytest.raises(TypeError, match="where bytes were asked for"),
    ):
        guest.read(0)


def test_odd_text_and_buffers_with_gaps_as_input(one_runtime: pywasmrt.Runtime) -> None:
    with (
        Raw(one_runtime, wasi.WasiConfig(stdin=lambda size: "\ud800")) as guest,
        pytest.raises(ValueError, match="text that has no UTF-8"),
    ):
        guest.read(0)
    with Raw(one_runtime, wasi.WasiConfig(stdin=memoryview(b"a.b.c.")[::2])) as guest:
        assert guest.read(0) == b"abc"
