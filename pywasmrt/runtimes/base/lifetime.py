"""How things end: closing marks a whole subtree at once, then frees children before parents, each once."""

from __future__ import annotations

from operator import methodcaller
from typing import Any, ClassVar, NoReturn, TypeVar
from weakref import ref

from ...errors import ClosedError

__all__ = ["Closable", "Life", "stays"]

_Self = TypeVar("_Self", bound="Closable")


_called = methodcaller("__call__")


class Life:
    """Whether something may still be used. Objects that close together share one; `ended_by` names the object that was
    closed.
    """

    ended_by: str | None = None

    def error(self, what: str) -> ClosedError:
        """The error for using `what` after its end."""
        if self.ended_by == what:
            return ClosedError(f"this {what} was closed")
        return ClosedError(f"the {self.ended_by} that this {what} belongs to was closed")


def stays(kind: str, made_of: str = "module") -> NoReturn:
    """Refuse to copy or pickle an object that belongs to an engine in this process."""
    article = "an" if kind[0] in "aeiou" else "a"
    raise TypeError(
        f"{article} {kind} cannot be copied or pickled: it belongs to this process; hand over the {made_of}, which can "
        "be pickled, or its source, and make the rest where it is used"
    )


class Closable:
    """An object with a life, and with children whose lives end with its own.

    Closing first marks the whole subtree, then frees children before parents. A busy object (see `_idle`) calls
    `_release` when its use ends; then it and its parents are freed. Each `_free` runs once.
    """

    _kind: ClassVar[str]
    _has_children: ClassVar[bool] = True
    _freed = False
    _most_children = 16  # beyond this, references to dead children are removed

    def __init__(self, parent: Closable | None) -> None:
        self._life = Life()
        self._parent = parent
        if self._has_children:
            self._children: list[ref[Closable]] = []
        if parent is not None:
            children = parent._children
            children.append(ref(self))  # without a callback, which would cost more than this whole method
            if len(children) > parent._most_children:
                parent._forget_dead_children()
            if parent._life.ended_by is not None:  # closed meanwhile, on another thread
                self.close()
                raise parent._life.error(parent._kind)

    def __reduce__(self) -> Any:
        stays(self._kind)

    @property
    def closed(self) -> bool:
        """Whether this, or something that it belongs to, was closed."""
        return self._life.ended_by is not None

    def close(self) -> None:
        """Close this and everything that belongs to it. Idempotent; later use raises `ClosedError`."""
        self._mark(self._kind)
        self._release()

    def __enter__(self: _Self) -> _Self:
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._life.ended_by is not None:
            raise self._life.error(self._kind)

    def _forget_dead_children(self) -> None:
        children = self._children
        self._most_children = 2 * len(children)  # first, so that a destructor that runs meanwhile does not come here
        children[:] = filter(_called, children)  # in one step, so that no other thread appends in between
        self._most_children = 16 + 2 * len(children)

    def _living(self) -> list[Closable]:
        if not self._has_children:
            return []
        return [child for child in (reference() for reference in list(self._children)) if child is not None]

    def _mark(self, ended_by: str) -> None:
        """Mark this and everything below as closed. An adapter that keeps a flag of its own extends this."""
        if self._life.ended_by is None:
            self._life.ended_by = ended_by
        for child in self._living():
            child._mark(ended_by)

    def _release(self) -> None:
        """Free what is closed, children first. The parents of a busy child stay until that child is freed."""
        at: Closable | None = self
        while at is not None and at._life.ended_by is not None and at._free_subtree():
            at = at._parent

    def _free_subtree(self) -> bool:
        """Free this and everything below, as far as it is idle. Returns whether everything was freed."""
        if self._freed:
            return True
        left = [child for child in self._living() if not child._free_subtree()]
        if left or not self._idle():
            return False
        me = object()
        if self.__dict__.setdefault("_freeing", me) is not me:  # one step, which decides a race between threads
            return False  # another thread frees it, and then its parent
        self._free()
        self._freed = True
        return True

    def _idle(self) -> bool:
        """Hook: whether nothing runs in here. An object that is busy calls `_release` when that ends."""
        return True

    def _free(self) -> None:
        """Hook: give back what the engine holds for this. Called once, after the same hook of the children."""
