"""`pywasmrt inspect` of a coredump: where the guest was, and what it held."""

from __future__ import annotations

from collections.abc import Iterator

from ..wasm.coredump import Coredump, CoreFrame, read_coredump
from .common import printable

__all__ = ["inspect_coredump"]


def inspect_coredump(data: bytes) -> int:
    dump = read_coredump(data)
    print(f"coredump: {printable(dump.name) or 'of an executable without a name'}")
    for title, rows in (
        *[
            (f"stack of {printable(name)}, innermost first", [_frame(dump, each) for each in frames])
            for name, frames in dump.threads
        ],
        ("instances", list(_instances(dump))),
        ("memories", list(_memories(dump))),
        (
            "globals",
            [f"{n}: {'mut ' * mutable}{type} {_value(value)}" for n, (type, mutable, value) in enumerate(dump.globals)],
        ),
    ):
        print(f"{title}:" if rows else f"{title}: none")
        for row in rows:
            print(f"  {printable(row)}")
    return 0


def _frame(dump: Coredump, frame: CoreFrame) -> str:
    values = [
        f" {word} {', '.join('?' if each is None else str(each) for each in found)}"
        for word, found in (("locals", frame.locals), ("operands", frame.stack))
        if found
    ]
    place = f"function {frame.function} at 0x{frame.offset:x} of instance {frame.instance}"
    return f"{place}{_module(dump, frame.instance)}{''.join(values)}"


def _module(dump: Coredump, instance: int) -> str:
    number = dump.instances[instance].module if instance < len(dump.instances) else len(dump.modules)
    found = dump.modules[number] if number < len(dump.modules) else ""
    return f" ({found})" if found else ""


def _instances(dump: Coredump) -> Iterator[str]:
    for n, each in enumerate(dump.instances):
        held = [
            f"{word} {', '.join(map(str, numbers))}"
            for word, numbers in (("memories", each.memories), ("globals", each.globals))
            if numbers
        ]
        yield f"{n}{_module(dump, n)}: {'; '.join(held) or 'nothing that was written'}"


def _memories(dump: Coredump) -> Iterator[str]:
    for n, each in enumerate(dump.memories):
        written = sum(len(data) for _, data in each.parts)
        yield f"{n}: {each.type}, {each.size} bytes, of which {written} were written"


def _value(value: object) -> str:
    if value is None:
        return "null or a reference"
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
