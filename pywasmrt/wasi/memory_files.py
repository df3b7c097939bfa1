"""Open files and directories of a tree in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import ref

from .abi import DIRECTORY_INHERITING, DIRECTORY_RIGHTS, FILE_RIGHTS, WRITING_RIGHTS, FdFlags, FileType, OFlags, Stat
from .descriptors import Descriptor, Directory, Entry
from .errno import Errno, WasiError
from .memory_tree import NAME_COST, File, Folder, Found, Link, MemoryTree, Node, resolve
from .resolve import DOTS

if TYPE_CHECKING:
    from .clocks import Clock

__all__ = ["MemoryDirectory", "MemoryFile"]

_LISTED_PIECE = 1 << 12


class MemoryFile(Descriptor):
    """An open file of a tree."""

    __slots__ = ("_clock", "_node", "_position", "_tree")

    filetype = FileType.REGULAR_FILE
    most_rights = FILE_RIGHTS

    def __init__(self, tree: MemoryTree, node: File, clock: Clock, flags: int) -> None:
        super().__init__(flags)
        self._tree = tree
        self._node = node
        self._clock = clock
        self._position = 0

    def read(self, size: int) -> bytes:
        with self._tree.lock:
            data = self._node.get(size, self._position)
            self._position += len(data)
        return data

    def write(self, data: bytes) -> int:
        with self._tree.lock:
            at = self._node.size if self.flags & FdFlags.APPEND else self._position
            self._put(data, at)
            self._position = at + len(data)
        return len(data)

    def read_at(self, size: int, offset: int) -> bytes:
        with self._tree.lock:
            return self._node.get(size, offset)

    def write_at(self, data: bytes, offset: int) -> int:
        with self._tree.lock:
            self._put(data, self._node.size if self.flags & FdFlags.APPEND else offset)
        return len(data)

    def _put(self, data: bytes, at: int) -> None:
        if data:
            if at + len(data) > self._node.size:
                self._tree.reserve(self._node, at + len(data) - self._node.size)
            self._node.put(data, at)
            self._node.touch(self._clock.realtime())

    def _resize(self, size: int) -> None:
        self._tree.reserve(self._node, size - self._node.size)
        self._node.cut(size)

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

    def allocate(self, offset: int, size: int, check: Callable[[], None]) -> None:
        if not size:
            raise WasiError(Errno.INVAL)
        with self._tree.lock:
            if offset + size > self._node.size:
                self._resize(offset + size)

    def readable_bytes(self) -> int:
        return max(0, self._node.size - self._position)


def _set_times(node: Node, atim: int | None, mtim: int | None, clock: Clock) -> None:
    node.atim = node.atim if atim is None else atim
    node.mtim = node.mtim if mtim is None else mtim
    node.ctim = clock.realtime()


class MemoryDirectory(Directory):
    """An open directory of a tree."""

    __slots__ = ("_clock", "_folder", "_read_only", "_tree")

    most_rights = DIRECTORY_RIGHTS
    most_inheriting = DIRECTORY_INHERITING

    def __init__(self, tree: MemoryTree, folder: Folder, clock: Clock, read_only: bool = False) -> None:
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
            slash = path[-1:] == b"/"  # which follows a link, but makes nothing
            found = resolve(self._folder, path, not creates if slash else follow)
            if creates and found.slash and found.name not in DOTS:
                raise WasiError(Errno.ISDIR)
            node = found.checked().node
            if node is None:
                if not creates:
                    raise WasiError(Errno.NOENT)
                node = File()
                self._add(found, node)
            elif creates and oflags & OFlags.EXCL:
                raise WasiError(Errno.EXIST)
            elif isinstance(node, Link):
                raise WasiError(Errno.NOTDIR if oflags & OFlags.DIRECTORY else Errno.LOOP)
            if isinstance(node, Folder):
                if write or creates or oflags & OFlags.TRUNC:
                    raise WasiError(Errno.ISDIR)
                return MemoryDirectory(self._tree, node, self._clock, self._read_only)
            if found.slash or oflags & OFlags.DIRECTORY:
                raise WasiError(Errno.NOTDIR)
            assert isinstance(node, File)
            file = MemoryFile(self._tree, node, self._clock, fdflags)
            if oflags & OFlags.TRUNC:
                file.set_size(0)
            if self._read_only:
                file.rights &= ~WRITING_RIGHTS
            return file

    def _check_writable(self) -> None:
        if self._read_only:
            raise WasiError(Errno.ROFS)

    def _add(self, found: Found, node: Node) -> None:
        if found.folder.removed:
            raise WasiError(Errno.NOENT)
        self._tree.reserve(None, NAME_COST + node.size)
        found.folder.nodes[found.name] = node
        if isinstance(node, Folder):
            node.parent = ref(found.folder)
        node.atim = now = self._clock.realtime()
        node.touch(now)
        found.folder.touch(now)

    def _existing(self, path: bytes, follow: bool) -> Node:
        return self._checked(resolve(self._folder, path, follow or path[-1:] == b"/"))

    @staticmethod
    def _checked(found: Found) -> Node:
        """What is there, a directory where a slash asks for one."""
        node = found.checked().node
        if node is None:
            raise WasiError(Errno.NOENT)
        if found.slash and not isinstance(node, Folder):
            raise WasiError(Errno.NOTDIR)
        return node

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
            found = resolve(self._folder, path, False).checked()
            if found.node is not None:
                raise WasiError(Errno.EXIST)
            self._add(found, Folder())

    def remove_directory(self, path: bytes) -> None:
        self._check_writable()
        with self._tree.lock:
            found = resolve(self._folder, path, False).checked()
            if found.node is None:
                raise WasiError(Errno.NOENT)
            if not isinstance(found.node, Folder):
                raise WasiError(Errno.NOTDIR)
            if found.name == b".":
                raise WasiError(Errno.INVAL)
            if found.node.nodes or found.name == b"..":
                raise WasiError(Errno.NOTEMPTY)
            self._remove(found)

    def _remove(self, found: Found) -> None:
        node = found.folder.nodes.pop(found.name)
        if isinstance(node, Folder):
            node.removed = True
        self._tree.forget(node)
        node.ctim = now = self._clock.realtime()
        found.folder.touch(now)

    def unlink(self, path: bytes) -> None:
        self._check_writable()
        with self._tree.lock:
            found = resolve(self._folder, path, False).checked()
            if found.node is None:
                raise WasiError(Errno.NOENT)
            if isinstance(found.node, Folder):
                raise WasiError(Errno.ISDIR)
            if found.slash:
                raise WasiError(Errno.NOTDIR)
            self._remove(found)

    def readlink(self, path: bytes) -> bytes:
        with self._tree.lock:
            node = self._existing(path, False)
            if not isinstance(node, Link):
                raise WasiError(Errno.INVAL)
            return node.target

    def symlink(self, target: bytes, path: bytes) -> None:
        self._check_writable()
        with self._tree.lock:
            found = resolve(self._folder, path, False).checked()
            self._check_new(found)
            self._add(found, Link(target))

    @staticmethod
    def _check_new(found: Found) -> None:
        """Check that the name can be given to something other than a directory."""
        if found.slash:
            if found.node is None:
                raise WasiError(Errno.NOENT)
            raise WasiError(Errno.EXIST if isinstance(found.node, Folder) else Errno.NOTDIR)
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
            source = resolve(self._folder, path, path[-1:] == b"/")
            found = resolve(other._folder, to_path, False)  # both parents first, as Wasmtime does it
            node = self._checked(source)
            self._check_new(found.checked())
            if isinstance(node, Folder):
                raise WasiError(Errno.PERM)
            if found.folder.removed:
                raise WasiError(Errno.NOENT)
            self._tree.reserve(None, NAME_COST)
            found.folder.nodes[found.name] = node
            node.nlink += 1
            node.ctim = now = self._clock.realtime()
            found.folder.touch(now)

    def rename(self, path: bytes, to: Directory, to_path: bytes) -> None:
        other = self._same_tree(to)
        with self._tree.lock:
            source = resolve(self._folder, path, False)
            found = resolve(other._folder, to_path, False)
            node, before = source.node, found.node
            if {source.name, found.name} & DOTS:
                raise WasiError(Errno.BUSY)
            source.checked()
            if node is None:
                raise WasiError(Errno.NOENT)
            found.checked()
            if (source.slash or found.slash) and not isinstance(node, Folder):
                raise WasiError(Errno.NOTDIR)
            if found.folder.removed:
                raise WasiError(Errno.NOENT)
            if isinstance(node, Folder) and found.folder.within(node):
                raise WasiError(Errno.INVAL)
            if isinstance(before, Folder) and source.folder.within(before):
                raise WasiError(Errno.NOTEMPTY)
            if before is node:
                return
            if before is not None and isinstance(node, Folder) is not isinstance(before, Folder):
                raise WasiError(Errno.NOTDIR if isinstance(node, Folder) else Errno.ISDIR)
            if isinstance(before, Folder):
                if before.nodes:
                    raise WasiError(Errno.NOTEMPTY)
                before.removed = True
            del source.folder.nodes[source.name]
            found.folder.nodes[found.name] = node
            if isinstance(node, Folder):
                node.parent = ref(found.folder)
            if before is not None:
                self._tree.forget(before)
            node.ctim = now = self._clock.realtime()
            source.folder.touch(now)
            found.folder.touch(now)

    def entries(self, check: Callable[[], None]) -> list[Entry]:
        listed: list[Entry] = []
        with self._tree.lock:
            for name, node in self._folder.nodes.items():
                listed.append((name, node.ino, node.filetype))
                if not len(listed) % _LISTED_PIECE:
                    check()
        return listed
