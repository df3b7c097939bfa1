"""A tree of files in memory, shaped by the host before a guest runs and looked at afterwards."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Union, cast

from .abi import DIRECTORY_INHERITING, DIRECTORY_RIGHTS, FILE_RIGHTS, WRITING_RIGHTS, FdFlags, FileType, OFlags, Stat
from .descriptors import Descriptor, Directory, Entry
from .errno import Errno, WasiError
from .resolve import MAX_LINKS, split

if TYPE_CHECKING:
    from .clocks import Clock

__all__ = ["MemoryDirectory", "MemoryTree"]

_Content = Union[bytes, bytearray, memoryview, str, Mapping[str, Any]]
_numbers = count(1)
_NAME_COST = 256
"""What a name in a directory counts for, so that a guest cannot fill the memory with empty files."""


class _Node:
    filetype: int
    opens = 0
    """How many descriptors are open on it, of a file."""

    def __init__(self) -> None:
        self.ino = next(_numbers)
        self.nlink = 1
        self.atim = self.mtim = self.ctim = time.time_ns()

    @property
    def size(self) -> int:
        return 0

    def stat(self) -> Stat:
        return Stat(1, self.ino, self.filetype, self.nlink, self.size, self.atim, self.mtim, self.ctim)

    def touch(self, now: int) -> None:
        self.mtim = self.ctim = now

    def freed(self) -> int:
        """How many bytes are freed with one name less: none while there are other names or descriptors."""
        return self.size if self.nlink == 1 and not self.opens else 0


class _File(_Node):
    filetype = FileType.REGULAR_FILE

    def __init__(self, data: bytes = b"") -> None:
        super().__init__()
        self.data = bytearray(data)

    @property
    def size(self) -> int:
        return len(self.data)


class _Link(_Node):
    filetype = FileType.SYMBOLIC_LINK

    def __init__(self, target: bytes) -> None:
        super().__init__()
        self.target = target

    @property
    def size(self) -> int:
        return len(self.target)


class _Folder(_Node):
    filetype = FileType.DIRECTORY

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[bytes, _Node] = {}
        self.removed = False


class _Found(NamedTuple):
    """Where a path leads: a folder, the name in it (`.` for the folder itself), and what is there."""

    folder: _Folder
    name: bytes
    node: _Node | None
    must_be_directory: bool


class MemoryTree:
    """Files and directories in memory, to be given to guests as a preopened directory.

        tree = MemoryTree({"config.json": b"{}", "data": {"a.txt": "text, as UTF-8"}})
        WasiConfig(preopens={"/": tree})
        tree.read("data/result.txt")

    It outlives the guests, and several may share it, in any thread. `limit` bounds the bytes of all files and links
    together, where each name in a directory counts for 256, and a file that was removed until it is closed; a guest
    that wants more gets `ENOSPC`.
    """

    def __init__(self, files: Mapping[str, _Content] | None = None, *, limit: int = 1 << 28) -> None:
        self.limit = limit
        self.used = 0
        self.lock = threading.RLock()
        self.root = _Folder()
        for name, content in (files or {}).items():
            self.write(name, content)

    def write(self, path: str, content: _Content) -> None:
        """Make or replace the file at `path`, and the directories on the way. A mapping makes a directory.

        Raises `OSError` where the path or the limit forbids it.
        """
        if isinstance(content, Mapping):
            with self.lock:
                self._folder(path.split("/"))
            for name, each in content.items():
                self.write(f"{path}/{name}", each)
            return
        data = content.encode() if isinstance(content, str) else bytes(content)
        *folders, name = [part for part in path.split("/") if part]
        with self.lock:
            folder = self._folder(folders)
            before = folder.nodes.get(name.encode())
            if before is not None and not isinstance(before, _File):
                raise FileExistsError(f"{path!r} is no file in this tree")
            grown = len(data) + _NAME_COST - (0 if before is None else _NAME_COST + before.freed())
            if self.used + grown > self.limit:
                raise OSError(f"the tree's limit of {self.limit} bytes is reached")
            self.used += len(data) + _NAME_COST
            if before is not None:
                self.forget(before)
            folder.nodes[name.encode()] = _File(data)

    def read(self, path: str) -> bytes:
        """The content of the file at `path`. Raises `FileNotFoundError`."""
        with self.lock:
            node: _Node | None = self.root
            for part in path.split("/"):
                if part:
                    node = node.nodes.get(part.encode()) if isinstance(node, _Folder) else None
            if not isinstance(node, _File):
                raise FileNotFoundError(f"there is no file {path!r} in this tree")
            return bytes(node.data)

    def files(self) -> dict[str, bytes]:
        """Every file by its path, in order. All paths together may be far longer than `limit`, where a guest that
        nobody trusts has nested directories: then rather `read` what is expected.
        """
        found: dict[str, bytes] = {}
        names: list[bytes] = []  # of the folders above the node at hand
        with self.lock:
            for depth, name, node in self._nodes():
                names[depth:] = [name]
                if isinstance(node, _File):
                    found[b"/".join(names).decode(errors="surrogateescape")] = bytes(node.data)
        return found

    def _nodes(self) -> Iterator[tuple[int, bytes, _Node]]:
        """What is below the root, in order: how deep each lies, its name, and itself."""
        pending: list[tuple[int, bytes, _Node]] = []  # a guest may nest deeper than Python recurses
        depth, node = -1, cast("_Node", self.root)
        while True:
            if isinstance(node, _Folder):
                pending.extend((depth + 1, name, node.nodes[name]) for name in sorted(node.nodes, reverse=True))
            if not pending:
                return
            depth, name, node = pending.pop()
            yield depth, name, node

    def _folder(self, parts: list[str]) -> _Folder:
        folder = self.root
        for part in parts:
            if part:
                node = folder.nodes.get(part.encode())
                if node is None:
                    node = folder.nodes[part.encode()] = _Folder()
                    self.used += _NAME_COST
                if not isinstance(node, _Folder):
                    raise NotADirectoryError(f"{part!r} is no directory in this tree")
                folder = node
        return folder

    def reserve(self, size: int) -> None:
        """Account for `size` more bytes. `ENOSPC` beyond the limit."""
        if self.used + size > self.limit:
            raise WasiError(Errno.NOSPC)
        self.used += size

    def forget(self, node: _Node) -> None:
        """One name less for `node`."""
        self.used -= _NAME_COST + node.freed()
        node.nlink -= 1

    def __repr__(self) -> str:
        with self.lock:
            count = sum(isinstance(node, _File) for _, _, node in self._nodes())
        return f"<MemoryTree of {count} files, {self.used} bytes>"


def resolve(root: _Folder, path: bytes, follow: bool) -> _Found:
    """Find where a path leads, never above `root`. The errors are those of `resolve.walk`."""
    components, must_be_directory = split(path)
    pending = deque(components)
    stack = [root]
    links = 0
    while pending:
        name = pending.popleft()
        if name == b"..":
            if len(stack) == 1:
                raise WasiError(Errno.PERM)
            stack.pop()
            continue
        if len(name) > 255:
            raise WasiError(Errno.NAMETOOLONG)
        node = stack[-1].nodes.get(name)
        if isinstance(node, _Link) and (pending or follow):
            links += 1
            if links > MAX_LINKS:
                raise WasiError(Errno.LOOP)
            more, of_directory = split(node.target)
            if not pending:
                must_be_directory |= of_directory
            pending.extendleft(reversed(more))
        elif not pending:
            return _Found(stack[-1], name, node, must_be_directory)
        elif node is None:
            raise WasiError(Errno.NOENT)
        elif isinstance(node, _Folder):
            stack.append(node)
        else:
            raise WasiError(Errno.NOTDIR)
    return _Found(stack[-1], b".", stack[-1], True)


class MemoryFile(Descriptor):
    """An open file of a tree."""

    __slots__ = ("_clock", "_node", "_position", "_tree")

    filetype = FileType.REGULAR_FILE
    most_rights = FILE_RIGHTS

    def __init__(self, tree: MemoryTree, node: _File, clock: Clock, flags: int) -> None:
        super().__init__(flags)
        self._tree = tree
        self._node = node
        self._clock = clock
        self._position = 0
        with tree.lock:
            node.opens += 1

    def __del__(self) -> None:
        node = self._node
        with self._tree.lock:
            node.opens -= 1
            if not node.nlink and not node.opens:
                self._tree.used -= node.size

    def read(self, size: int) -> bytes:
        data = self.read_at(size, self._position)
        self._position += len(data)
        return data

    def write(self, data: bytes) -> int:
        with self._tree.lock:
            at = len(self._node.data) if self.flags & FdFlags.APPEND else self._position
            self._put(data, at)
            self._position = at + len(data)
        return len(data)

    def read_at(self, size: int, offset: int) -> bytes:
        return bytes(self._node.data[offset : offset + size])

    def write_at(self, data: bytes, offset: int) -> int:
        with self._tree.lock:
            self._put(data, len(self._node.data) if self.flags & FdFlags.APPEND else offset)
        return len(data)

    def _put(self, data: bytes, at: int) -> None:
        if data:
            if at + len(data) > self._node.size:
                self._resize(at + len(data))
            self._node.data[at : at + len(data)] = data
            self._node.touch(self._clock.realtime())

    def _resize(self, size: int) -> None:
        node = self._node
        grown = size - node.size
        self._tree.reserve(grown)
        if grown > 0:
            node.data.extend(bytes(grown))
        else:
            del node.data[size:]

    def seek(self, offset: int, whence: int) -> int:
        at = offset + (0, self._position, self._node.size)[whence]
        if not 0 <= at < 1 << 63:
            raise WasiError(Errno.INVAL)
        self._position = at
        return at

    def stat(self) -> Stat:
        return self._node.stat()

    def set_size(self, size: int) -> None:
        with self._tree.lock:
            self._resize(size)
            self._node.touch(self._clock.realtime())

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        _set_times(self._node, atim, mtim, self._clock)

    def advise(self, offset: int, size: int, advice: int) -> None:
        pass

    def allocate(self, offset: int, size: int) -> None:
        if not size:
            raise WasiError(Errno.INVAL)
        with self._tree.lock:
            if offset + size > self._node.size:
                self._resize(offset + size)

    def readable_bytes(self) -> int:
        return max(0, self._node.size - self._position)


def _set_times(node: _Node, atim: int | None, mtim: int | None, clock: Clock) -> None:
    node.atim = node.atim if atim is None else atim
    node.mtim = node.mtim if mtim is None else mtim
    node.ctim = clock.realtime()


class MemoryDirectory(Directory):
    """An open directory of a tree."""

    __slots__ = ("_clock", "_folder", "_read_only", "_tree")

    most_rights = DIRECTORY_RIGHTS
    most_inheriting = DIRECTORY_INHERITING

    def __init__(self, tree: MemoryTree, folder: _Folder, clock: Clock, read_only: bool = False) -> None:
        super().__init__()
        self._tree = tree
        self._folder = folder
        self._clock = clock
        self._read_only = read_only

    def open(self, path: bytes, follow: bool, oflags: int, fdflags: int, read: bool, write: bool) -> Descriptor:
        if write or oflags & (OFlags.CREAT | OFlags.TRUNC):
            self._check_writable()
        creates = oflags & OFlags.CREAT
        if creates and oflags & OFlags.EXCL:
            follow = False
        with self._tree.lock:
            found = resolve(self._folder, path, follow or path[-1:] == b"/")
            node = found.node
            if creates and found.must_be_directory:
                exists = oflags & OFlags.EXCL and node is not None and path[-1:] != b"/"
                raise WasiError(Errno.EXIST if exists else Errno.ISDIR)
            if node is None:
                if not creates:
                    raise WasiError(Errno.NOENT)
                node = _File()
                self._add(found, node)
            elif creates and oflags & OFlags.EXCL:
                raise WasiError(Errno.EXIST)
            elif isinstance(node, _Link):
                raise WasiError(Errno.NOTDIR if oflags & OFlags.DIRECTORY else Errno.LOOP)
            if isinstance(node, _Folder):
                if write or oflags & OFlags.TRUNC:
                    raise WasiError(Errno.ISDIR)
                return MemoryDirectory(self._tree, node, self._clock, self._read_only)
            if found.must_be_directory or oflags & OFlags.DIRECTORY:
                raise WasiError(Errno.NOTDIR)
            assert isinstance(node, _File)
            file = MemoryFile(self._tree, node, self._clock, fdflags)
            if oflags & OFlags.TRUNC:
                file.set_size(0)
            if self._read_only:
                file.rights &= ~WRITING_RIGHTS
            return file

    def _check_writable(self) -> None:
        if self._read_only:
            raise WasiError(Errno.ROFS)

    def _add(self, found: _Found, node: _Node) -> None:
        if found.folder.removed:
            raise WasiError(Errno.NOENT)
        self._tree.reserve(_NAME_COST + node.size)
        found.folder.nodes[found.name] = node
        node.atim = now = self._clock.realtime()
        node.touch(now)
        found.folder.touch(now)

    def _existing(self, path: bytes, follow: bool) -> _Node:
        found = resolve(self._folder, path, follow or path[-1:] == b"/")
        if found.node is None:
            raise WasiError(Errno.NOENT)
        if found.must_be_directory and not isinstance(found.node, _Folder):
            raise WasiError(Errno.NOTDIR)
        return found.node

    def stat(self) -> Stat:
        return self._folder.stat()

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        self._check_writable()
        _set_times(self._folder, atim, mtim, self._clock)

    def stat_at(self, path: bytes, follow: bool) -> Stat:
        with self._tree.lock:
            return self._existing(path, follow).stat()

    def set_times_at(self, path: bytes, follow: bool, atim: int | None, mtim: int | None) -> None:
        self._check_writable()
        with self._tree.lock:
            _set_times(self._existing(path, follow), atim, mtim, self._clock)

    def create_directory(self, path: bytes) -> None:
        self._check_writable()
        with self._tree.lock:
            found = resolve(self._folder, path, False)
            if found.node is not None:
                raise WasiError(Errno.EXIST)
            self._add(found, _Folder())

    def remove_directory(self, path: bytes) -> None:
        self._check_writable()
        with self._tree.lock:
            found = resolve(self._folder, path, False)
            if found.node is None:
                raise WasiError(Errno.NOENT)
            if not isinstance(found.node, _Folder):
                raise WasiError(Errno.NOTDIR)
            if found.name == b".":
                raise WasiError(Errno.INVAL)
            if found.node.nodes:
                raise WasiError(Errno.NOTEMPTY)
            self._remove(found)

    def _remove(self, found: _Found) -> None:
        node = found.folder.nodes.pop(found.name)
        if isinstance(node, _Folder):
            node.removed = True
        self._tree.forget(node)
        node.ctim = now = self._clock.realtime()
        found.folder.touch(now)

    def unlink(self, path: bytes) -> None:
        self._check_writable()
        with self._tree.lock:
            found = resolve(self._folder, path, False)
            if found.node is None:
                raise WasiError(Errno.NOENT)
            if isinstance(found.node, _Folder):
                raise WasiError(Errno.ISDIR)
            if found.must_be_directory:
                raise WasiError(Errno.NOTDIR)
            self._remove(found)

    def readlink(self, path: bytes) -> bytes:
        with self._tree.lock:
            node = self._existing(path, False)
            if not isinstance(node, _Link):
                raise WasiError(Errno.INVAL)
            return node.target

    def symlink(self, target: bytes, path: bytes) -> None:
        self._check_writable()
        with self._tree.lock:
            found = resolve(self._folder, path, False)
            self._check_new(found)
            self._add(found, _Link(target))

    @staticmethod
    def _check_new(found: _Found) -> None:
        """Whether a name can be given to what is no directory."""
        if found.must_be_directory:
            if found.node is None:
                raise WasiError(Errno.NOENT)
            raise WasiError(Errno.EXIST if isinstance(found.node, _Folder) else Errno.NOTDIR)
        if found.node is not None:
            raise WasiError(Errno.EXIST)

    def _same_tree(self, to: Directory) -> MemoryDirectory:
        self._check_writable()
        if not isinstance(to, MemoryDirectory) or to._tree is not self._tree:
            raise WasiError(Errno.XDEV)
        to._check_writable()
        return to

    def link(self, path: bytes, to: Directory, to_path: bytes) -> None:
        other = self._same_tree(to)
        with self._tree.lock:
            source = resolve(self._folder, path, False)
            if source.must_be_directory and not isinstance(source.node, _Folder):
                raise WasiError(Errno.NOENT if source.node is None else Errno.NOTDIR)
            found = resolve(other._folder, to_path, False)
            if source.node is None:
                raise WasiError(Errno.NOENT)
            self._check_new(found)
            if isinstance(source.node, _Folder):
                raise WasiError(Errno.PERM)
            if found.folder.removed:
                raise WasiError(Errno.NOENT)
            self._tree.reserve(_NAME_COST)
            found.folder.nodes[found.name] = source.node
            source.node.nlink += 1
            source.node.ctim = now = self._clock.realtime()
            found.folder.touch(now)

    def rename(self, path: bytes, to: Directory, to_path: bytes) -> None:
        other = self._same_tree(to)
        with self._tree.lock:
            source = resolve(self._folder, path, False)
            found = resolve(other._folder, to_path, False)
            node, before = source.node, found.node
            if b"." in (source.name, found.name):
                raise WasiError(Errno.BUSY)
            if node is None:
                raise WasiError(Errno.NOENT)
            if (source.must_be_directory or found.must_be_directory) and not isinstance(node, _Folder):
                raise WasiError(Errno.NOTDIR)
            if found.folder.removed:
                raise WasiError(Errno.NOENT)
            if before is node:
                return
            if isinstance(node, _Folder):
                if _holds(node, found.folder):
                    raise WasiError(Errno.INVAL)
                if before is not None and not isinstance(before, _Folder):
                    raise WasiError(Errno.NOTDIR)
            elif isinstance(before, _Folder):
                raise WasiError(Errno.NOTEMPTY if _holds(before, source.folder) else Errno.ISDIR)
            if isinstance(before, _Folder):
                if before.nodes:
                    raise WasiError(Errno.NOTEMPTY)
                before.removed = True
            del source.folder.nodes[source.name]
            found.folder.nodes[found.name] = node
            if before is not None:
                self._tree.forget(before)
            node.ctim = now = self._clock.realtime()
            source.folder.touch(now)
            found.folder.touch(now)

    def entries(self) -> list[Entry]:
        with self._tree.lock:
            return [(name, node.ino, node.filetype) for name, node in self._folder.nodes.items()]


def _holds(folder: _Folder, wanted: _Folder) -> bool:
    """Whether `wanted` is `folder` or somewhere below it."""
    pending = [folder]
    while pending:
        each = pending.pop()
        if each is wanted:
            return True
        pending.extend(node for node in each.nodes.values() if isinstance(node, _Folder))
    return False
