"""A tree of files in memory, shaped by the host before a guest runs and looked at afterwards: what it is made of."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple, NoReturn, Union, cast
from weakref import ref

from ..values import copied_buffer, shown
from .abi import FileType, Stat
from .errno import Errno, WasiError
from .resolve import DOTS, MAX_LINKS, Path, split

__all__ = ["NAME_COST", "File", "Folder", "Found", "Link", "MemoryTree", "Node", "resolve"]

Content = Union[bytes, bytearray, memoryview, str, Mapping[str, Any]]
NAME_COST = 640
"""What a name in a directory counts for, the name and what it names included, so that empty files fill no memory."""
_BLOCK = 1 << 16
_MAX_NAME = 255
_MAX_DEPTH = 2048
_numbers = count(1)


class Node:
    """A file, a link or a folder. It lives as long as something refers to it, even without a name."""

    __slots__ = ("__weakref__", "atim", "ctim", "ino", "mtim", "nlink")

    filetype: int

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


class File(Node):
    """The bytes of a file, in blocks: none is copied when the file grows, and what was never written takes no room."""

    __slots__ = ("_first", "_others", "_size")

    filetype = FileType.REGULAR_FILE

    def __init__(self, data: bytes = b"") -> None:
        super().__init__()
        self._first: bytearray | None = None  # block 0, which is all that most files have
        self._others: dict[int, bytearray] | None = None
        self._size = 0
        if data:
            self.put(data, 0)

    @property
    def size(self) -> int:
        return self._size

    def _block(self, number: int) -> bytearray | None:
        return self._first if number == 0 else self._others.get(number) if self._others else None

    def _keep(self, number: int, block: bytearray) -> None:
        if number == 0:
            self._first = block
        elif self._others is None:
            self._others = {number: block}
        else:
            self._others[number] = block

    def get(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`."""
        end = min(offset + size, self._size)
        if end <= offset:
            return b""
        if end <= _BLOCK and self._first is not None and end <= len(self._first):
            return bytes(self._first[offset:end])
        pieces = []
        while offset < end:
            number, begin = divmod(offset, _BLOCK)
            length = min(_BLOCK - begin, end - offset)
            block = self._block(number)
            piece = b"" if block is None else bytes(memoryview(block)[begin : begin + length])
            pieces.append(piece)
            if len(piece) < length:  # a block ends where nothing was written behind it
                pieces.append(bytes(length - len(piece)))
            offset += length
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def put(self, data: bytes, offset: int) -> None:
        """Write `data` at `offset`; the file grows as it must."""
        end = offset + len(data)
        if end <= _BLOCK and self._first is not None and offset <= len(self._first):
            self._first[offset:end] = data
            self._size = max(self._size, end)
            return
        view = memoryview(data)
        at = 0
        while at < len(view):
            number, begin = divmod(offset + at, _BLOCK)
            piece = view[at : at + _BLOCK - begin]
            block = self._block(number)
            if block is None:
                self._keep(number, bytearray(begin) + piece)
            else:
                if len(block) < begin:
                    block.extend(bytes(begin - len(block)))
                block[begin : begin + len(piece)] = piece
            at += len(piece)
        self._size = max(self._size, end)

    def cut(self, size: int) -> None:
        """Make the file as large as `size`, by cutting it off or by zeros."""
        if size < self._size:
            last, rest = divmod(size, _BLOCK)
            if self._others:
                for number in [each for each in self._others if each > last or (each == last and not rest)]:
                    del self._others[number]
            block = self._block(last)
            if block is not None and len(block) > rest:  # a copy: what a bytearray is cut by it may keep
                self._keep(last, bytearray(memoryview(block)[:rest]))
        self._size = size


class Link(Node):
    """A symbolic link."""

    __slots__ = ("target",)

    filetype = FileType.SYMBOLIC_LINK

    def __init__(self, target: bytes) -> None:
        super().__init__()
        self.target = target

    @property
    def size(self) -> int:
        return len(self.target)


class Folder(Node):
    """A directory. It holds its parent weakly: a tree is no cycle."""

    __slots__ = ("nodes", "parent", "removed")

    filetype = FileType.DIRECTORY

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[bytes, Node] = {}
        self.parent: ref[Folder] | None = None
        self.removed = False

    def within(self, other: Folder) -> bool:
        """Whether this is `other` or lies somewhere below it."""
        folder: Folder | None = self
        while folder is not None and folder is not other:
            folder = None if folder.parent is None else folder.parent()
        return folder is other


class Found(NamedTuple):
    """Where a path leads: a folder, the name in it (`.` or `..` where the path says so), what is there, and whether
    slashes follow the name.
    """

    folder: Folder
    name: bytes
    node: Node | None
    slash: bool

    def checked(self) -> Found:
        """This, or `ENAMETOOLONG`: of two paths both are walked before either name is looked at."""
        if len(self.name) > _MAX_NAME:
            raise WasiError(Errno.NAMETOOLONG)
        return self


class MemoryTree:
    """Files and directories in memory, to be given to guests as a preopened directory.

        tree = MemoryTree({"config.json": b"{}", "data": {"a.txt": "text, as UTF-8"}})
        WasiConfig(preopens={"/": tree})
        tree.read("data/result.txt")

    A file's content is bytes-like or text, a directory's a mapping. It outlives the guests, and several may share it,
    in any thread. `limit` bounds the bytes of all files and links together, where each name in a directory counts for
    640, and a file that was removed until it is closed; a guest that wants more gets `ENOSPC`. The host's memory for
    it stays below one and a quarter of that.

    Raises `TypeError` and `ValueError` for contents and names that make no sense, and `OSError` as `write` does.
    """

    def __init__(self, files: Mapping[str, Content] | None = None, *, limit: int = 1 << 28) -> None:
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise ValueError(f"the limit of a MemoryTree is a number of bytes, not {shown(limit)}")
        if files is not None and not isinstance(files, Mapping):
            raise TypeError(f"a MemoryTree is made of a mapping of names to contents, not {shown(files)}")
        self.limit = limit
        self.lock = threading.RLock()
        self.root = Folder()
        self._charged = 0
        self._orphans: list[ref[Node]] = []  # files without a name, some of which may still be open
        self._prune_at = 64
        if files:
            self._put([], files)

    @property
    def used(self) -> int:
        """The bytes that count against `limit`."""
        return self._charged + sum(node.size for node in map(_alive, self._orphans) if node is not None)

    def write(self, path: str, content: Content) -> None:
        """Make or replace the file at `path`, and the directories on the way. A mapping makes a directory.

        Raises `TypeError` for a content that is neither bytes-like nor text nor a mapping, `ValueError` for a name
        that no guest could open (`.`, `..`, one with a NUL, or of more than 255 bytes), and `OSError` where the limit
        or what is there forbids it. Contents and names are checked before anything is written.
        """
        parts = _parts(path)
        if not isinstance(content, Mapping) and (not parts or path.endswith("/")):
            raise ValueError(f"{path!r} is the path of a directory: its content is a mapping, not {shown(content)}")
        self._put(parts, content)

    def _put(self, parts: list[bytes], content: Content) -> None:
        """Check everything in `content`, and then put it there."""
        files: list[tuple[list[bytes], bytes | None]] = []  # None: a directory
        pending: list[tuple[list[bytes], Any]] = [(parts, content)]
        wanted = 0
        while pending:
            where, each = pending.pop()
            if isinstance(each, Mapping):
                if len(where) > _MAX_DEPTH:
                    raise ValueError(f"the directories of a MemoryTree are nested to {_MAX_DEPTH} at most")
                files.append((where, None))
                pending.extend(
                    (where + _parts(name, dict_key=True), value) for name, value in reversed(list(each.items()))
                )
            else:
                data = _bytes(where, each)
                files.append((where, data))
                wanted += len(data)
            wanted += NAME_COST
            if wanted > self.limit + NAME_COST:
                raise self._full()
        with self.lock:
            for where, content_of in files:
                if content_of is None:
                    self._folder(where)
                else:
                    self._write(where, content_of)

    def _write(self, parts: list[bytes], data: bytes) -> None:
        *folders, name = parts
        folder = self._folder(folders)
        before = folder.nodes.get(name)
        if before is not None and not isinstance(before, File):
            raise FileExistsError(f"{_shown(parts)} is no file in this tree")
        freed = 0 if before is None else NAME_COST + (before.size if before.nlink == 1 else 0)
        self._charge(NAME_COST + len(data) - freed)
        self._charged += freed
        if before is not None:
            self.forget(before)
        folder.nodes[name] = File(data)

    def _charge(self, size: int) -> None:
        if size > 0 and self.used + size > self.limit:
            raise self._full()
        self._charged += size

    def _full(self) -> OSError:
        return OSError(f"the tree's limit of {self.limit} bytes is reached")

    def read(self, path: str) -> bytes:
        """The content of the file at `path`, as `files` names it. Raises `FileNotFoundError`, `TypeError` where `path`
        is no str, and `ValueError` where no file can have it.
        """
        if not isinstance(path, str):
            raise TypeError(f"a name in a MemoryTree is a str, not {shown(path)}")
        try:
            names = [part.encode(errors="surrogateescape") for part in path.split("/") if part]
        except UnicodeEncodeError:
            raise ValueError(f"{shown(path)} is no name for a file of a guest: it has no UTF-8") from None
        with self.lock:
            node: Node | None = self.root
            for name in names:
                node = node.nodes.get(name) if isinstance(node, Folder) else None
            if not isinstance(node, File):
                raise FileNotFoundError(f"there is no file {path!r} in this tree")
            return node.get(node.size, 0)

    def files(self) -> dict[str, bytes]:
        """Every file by its path, in order. All paths together may be far longer than `limit`, where a guest that
        nobody trusts has nested directories: then rather `read` what is expected.
        """
        found: dict[str, bytes] = {}
        names: list[bytes] = []  # of the folders above the node at hand
        with self.lock:
            for depth, name, node in self._nodes():
                names[depth:] = [name]
                if isinstance(node, File):
                    found[b"/".join(names).decode(errors="surrogateescape")] = node.get(node.size, 0)
        return found

    def _nodes(self) -> Iterator[tuple[int, bytes, Node]]:
        """What is below the root, in order: how deep each lies, its name, and itself."""
        pending: list[tuple[int, bytes, Node]] = []  # a guest may nest deeper than Python recurses
        depth, node = -1, cast("Node", self.root)
        while True:
            if isinstance(node, Folder):
                pending.extend((depth + 1, name, node.nodes[name]) for name in sorted(node.nodes, reverse=True))
            if not pending:
                return
            depth, name, node = pending.pop()
            yield depth, name, node

    def _folder(self, parts: list[bytes]) -> Folder:
        folder = self.root
        for at, part in enumerate(parts):
            node = folder.nodes.get(part)
            if node is None:
                self._charge(NAME_COST)
                node = Folder()
                node.parent = ref(folder)
                folder.nodes[part] = node
            if not isinstance(node, Folder):
                raise NotADirectoryError(f"{_shown(parts[: at + 1])} is no directory in this tree")
            folder = node
        return folder

    # For the descriptors of guests, which hold the lock

    def reserve(self, node: Node | None, size: int) -> None:
        """Account for `size` more bytes, of `node` or of a new one. `ENOSPC` beyond the limit."""
        if size > 0 and self.used + size > self.limit:
            raise WasiError(Errno.NOSPC)
        if node is None or node.nlink:  # what has no name is counted by its size
            self._charged += size

    def forget(self, node: Node) -> None:
        """One name less for `node`."""
        node.nlink -= 1
        self._charged -= NAME_COST
        if node.nlink == 0:
            self._charged -= node.size
            if isinstance(node, File):
                self._orphans.append(ref(node))
                if len(self._orphans) > self._prune_at:
                    self._orphans = [each for each in self._orphans if each() is not None]
                    self._prune_at = 64 + 2 * len(self._orphans)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a MemoryTree cannot be copied or pickled: it belongs to this process, where the host reads what guests"
            " wrote; hand over what files() gives, and make another tree of it where it is used"
        )

    def __repr__(self) -> str:
        with self.lock:
            count = sum(isinstance(node, File) for _, _, node in self._nodes())
            return f"<MemoryTree of {count} files, {self.used} of {self.limit} bytes>"


def _alive(node: ref[Node]) -> Node | None:
    return node()


def _parts(path: str, dict_key: bool = False) -> list[bytes]:
    """The names in a path of the host's; slashes that are doubled, at the beginning or at the end say nothing."""
    if not isinstance(path, str):
        raise TypeError(f"a name in a MemoryTree is a str, not {shown(path)}")
    parts = []
    for part in path.split("/"):
        if not part:
            continue
        try:
            name = part.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{part!r} is no name for a file of a guest: it has no UTF-8") from None
        if name in DOTS or b"\0" in name or len(name) > _MAX_NAME:
            raise ValueError(
                f"{shown(part)} is no name for a file of a guest: it may not be '.' or '..', hold a NUL, or have more "
                f"than {_MAX_NAME} bytes"
            )
        parts.append(name)
    if dict_key and not parts:
        raise ValueError(f"{path!r} is no name for a file of a guest: it is empty")
    return parts


def _bytes(parts: list[bytes], content: Any) -> bytes:
    if isinstance(content, str):
        try:
            return content.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the text of {_shown(parts)} has no UTF-8; give its bytes") from None
    try:
        return copied_buffer(content)
    except TypeError:
        raise TypeError(
            f"the content of {_shown(parts)} is bytes-like or str, or a mapping for a directory; not {shown(content)}"
        ) from None
    except ValueError as error:
        raise ValueError(f"the content of {_shown(parts)} cannot be read: {error}") from None


def _shown(parts: list[bytes]) -> str:
    return repr(b"/".join(parts).decode(errors="replace"))


def resolve(root: Folder, path: bytes, follow: bool) -> Found:
    """Find where a path leads, never above `root`. With `follow`, a link at its end is followed too, and `.` and `..`
    lead to their directory under the name `.`; without, the last component is as it is written. The errors are those of
    the module `resolve`.
    """
    parts = split(path)
    folder = root
    for each in parts.folders:
        below = folder.nodes.get(each)
        if type(below) is not Folder:
            break
        folder = below
    else:  # as most paths are: directories by their names, and at the end no link to follow
        found = folder.nodes.get(parts.name)
        if parts.name not in DOTS and len(parts.name) <= _MAX_NAME and not (follow and isinstance(found, Link)):
            return Found(folder, parts.name, found, parts.slash)
    return _resolve_slowly(root, parts, follow)


def _resolve_slowly(root: Folder, parts: Path, follow: bool) -> Found:
    stack = [root]
    links = 0

    def up() -> None:
        if len(stack) == 1:
            raise WasiError(Errno.PERM)
        stack.pop()

    def target(node: Link) -> Any:
        nonlocal links
        links += 1
        if links > MAX_LINKS:
            raise WasiError(Errno.LOOP)
        return split(node.target)

    def down(folders: list[bytes]) -> None:
        pending = deque(folders)
        while pending:
            name = pending.popleft()
            if name == b"..":
                up()
                continue
            node = _look(stack[-1], name)
            if isinstance(node, Folder):
                stack.append(node)
            elif isinstance(node, Link):
                more = target(node)
                if more.name != b".":
                    pending.appendleft(more.name)
                pending.extendleft(reversed(more.folders))
            else:
                raise WasiError(Errno.NOENT if node is None else Errno.NOTDIR)

    down(parts.folders)
    name, slash = parts.name, parts.slash
    if not follow:
        if name not in DOTS:
            return Found(stack[-1], name, stack[-1].nodes.get(name), slash)
        folder = stack[-1]
        if name == b"..":
            up()
        return Found(folder, name, stack[-1], slash)
    while name not in DOTS:
        node = _look(stack[-1], name)
        if not isinstance(node, Link):
            return Found(stack[-1], name, node, slash)
        more = target(node)
        down(more.folders)
        name, slash = more.name, slash or more.slash
    if name == b"..":
        up()
    return Found(stack[-1], b".", stack[-1], slash)


def _look(folder: Folder, name: bytes) -> Node | None:
    if len(name) > _MAX_NAME:
        raise WasiError(Errno.NAMETOOLONG)
    return folder.nodes.get(name)
