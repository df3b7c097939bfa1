"""Coredumps: what a guest held when it trapped, written to a file that debuggers of WebAssembly read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count
from typing import IO, TYPE_CHECKING, Any, Union

from ..errors import Trap
from ..runtimes.base.instance import BaseInstance
from ..types import ExternKind, MemoryType, expect
from ..values import copied_buffer, shown
from ..wasm.coredump import (
    Coredump,
    CoreFrame,
    CoreInstance,
    CoreMemory,
    exported_names,
    exporting_all,
    pieces,
    read_coredump,
)

if TYPE_CHECKING:
    from ..protocols import ModuleInstance

__all__ = [
    "CoreFrame",
    "CoreInstance",
    "CoreMemory",
    "Coredump",
    "dumpable",
    "read_coredump",
    "write_coredump",
]

Target = Union[str, "os.PathLike[str]", IO[bytes]]


def dumpable(module: bytes) -> bytes:
    """The binary module `module`, changed so that a coredump of its instances has all their memories and globals, not
    only those that it exports. The changed module exports all of them under additional names that begin with
    "coredump:".

    Raises `ModuleCompileError` where `module` is malformed.
    """
    expect("dumpable", "bytes", (bytes, bytearray, memoryview), module=module)
    return exporting_all(copied_buffer(module))


def write_coredump(trap: Trap, instance: ModuleInstance, to: Target, *, name: str = "") -> None:
    """Write what `instance` holds, and where `trap` says that the guest was, as a coredump of the tool conventions.

    Call it when the trap is caught, before anything else runs in the instance. `to` is a path, or a binary file that is
    left open; `name` is the executable's. The file holds the memories and globals that the instance exports, or all of
    them if the module went through `dumpable`; a reference in a global is written as null. Blocks of a memory that are
    all zeros are left out. Locals are not written, since the engine does not tell them. Frames of modules with another
    name than the outermost one are written as those of instances without memories.

    Raises `TypeError` if `trap` is not a trap, `ClosedError` and `BusyError` as using the instance does, and `OSError`.

        try:
            instance.exports.run()
        except pywasmrt.Trap as trap:
            write_coredump(trap, instance, "run.coredump")
            raise
    """
    if not isinstance(trap, Trap):
        raise TypeError(f"a coredump is written of a Trap, not of {shown(trap)}")
    expect("write_coredump", "an instance", BaseInstance, instance=instance)
    expect("write_coredump", "a str", str, name=name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"name of write_coredump is written in UTF-8, which has no {shown(name)}") from None
    if not isinstance(to, (str, os.PathLike)) and not hasattr(type(to), "write"):
        raise TypeError(f"to of write_coredump is a path or a binary file, not {shown(to)}")
    memories = list(_externs(instance, ExternKind.MEMORY, "memory"))
    globals_ = [each for each in _externs(instance, ExternKind.GLOBAL, "global") if not each.type.content.judged]
    modules = [""]
    if trap.frames:
        modules[0] = trap.frames[-1].module_name or ""
        modules += sorted({each.module_name or "" for each in trap.frames} - {modules[0]})
    dump = Coredump(
        name,
        tuple(modules),
        (
            CoreInstance(0, tuple(range(len(memories))), tuple(range(len(globals_)))),
            *[CoreInstance(n) for n in range(1, len(modules))],
        ),
        tuple([CoreMemory(_as_it_is(each)) for each in memories]),
        tuple([(each.type.content, each.type.mutable, each.value) for each in globals_]),
        (
            (
                "main",
                tuple(
                    [
                        CoreFrame(modules.index(each.module_name or ""), each.func_index, each.func_offset or 0)
                        for each in trap.frames
                    ]
                ),
            ),
        ),
    )
    opened: Any = open(to, "wb") if isinstance(to, (str, os.PathLike)) else nullcontext(to)  # noqa: SIM115
    with opened as file:
        for piece in pieces(dump, [each.read for each in memories]):
            file.write(piece)


def _externs(instance: ModuleInstance, kind: ExternKind, word: str) -> Iterator[Any]:
    """The memories or globals of an instance: those of `dumpable`, in the module's order, or otherwise each that it
    exports, once.
    """
    exports = instance.exports
    if next(exported_names(word)) in exports:
        for _, name in zip(count(), exported_names(word), strict=False):
            if name not in exports:
                return
            yield exports[name]
    seen: list[Any] = []
    for export in instance.module.exports:
        if export.kind is kind:
            extern: Any = exports[export.name]
            handle = getattr(extern, "_handle", extern)
            if not any(handle == each for each in seen):
                seen.append(handle)
                yield extern


def _as_it_is(memory: Any) -> MemoryType:
    """The type of a memory, with its current size as the minimum."""
    type: MemoryType = memory.type
    return MemoryType(memory.size // type.page_size, type.maximum, type.is_64, type.shared, type.page_size)
