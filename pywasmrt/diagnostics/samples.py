"""What a profile consists of: a tree of frames, and the time spent at each of its nodes.

The engine records the stacks of guests, with its own names for functions. This module adds the names and source lines
from the guests' modules, and the host functions between the guests. `csrc/fast/profile.c` says how host functions are
timed.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from struct import Struct
from typing import Any, NamedTuple

from ..errors import ModuleCompileError
from ..types import printable
from ..wasm.dwarf import Line, LineTable, read_function_names, read_lines
from ..wasm.symbols import (
    Body,
    bodies,
    custom_sections,
    exported_functions,
    function_names,
    imported_functions,
)

__all__ = ["GUEST", "HOST", "Frame", "Host", "Sample", "Tree", "assembled", "described_host"]

GUEST, HOST = "guest", "host"

_SAMPLE = Struct("=qqii")  # as `Sample` of profile.c
_RUNNING = Struct("=qiii4x")  # and `Running`
_UNNAMED = re.compile(r"<wasm function (\d+)>")
_NOWHERE = "(code of a module that is not profiled)"


class Frame(NamedTuple):
    """A function that was on the stack: GUEST or HOST, its name, and where its source begins, if that is known."""

    kind: str
    name: str
    source: Line | None


class Host(NamedTuple):
    """A host function: what the guest calls it, and the Python function that serves it."""

    label: str
    callable: Callable[..., Any]


class Sample(NamedTuple):
    """One sample: when, in ns of the monotonic clock, the node of the tree, and the ns that it stands for."""

    time: int
    node: int
    weight: int


class Tree:
    """Stacks, each a node: the frame, and the node of the stack below it (-1 for none)."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.nodes: list[tuple[int, int]] = []  # (parent, frame)
        self.samples: list[Sample] = []
        self._frames: dict[Frame, int] = {}
        self._nodes: dict[tuple[int, int], int] = {}

    def frame(self, frame: Frame) -> int:
        """The number of a frame, entered if it is new."""
        number = self._frames.setdefault(frame, len(self.frames))
        if number == len(self.frames):
            self.frames.append(frame)
        return number

    def node(self, parent: int, frame: int) -> int:
        """The node of a frame upon a stack, entered if it is new. A parent is entered before its children."""
        key = (parent, frame)
        number = self._nodes.setdefault(key, len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(key)
        return number


class _Names:
    """The functions of one module, by the engine's names for them. Broken sections give no names, and no error."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data or b""

    def frame(self, engine_name: str) -> Frame:
        found = _UNNAMED.fullmatch(engine_name)
        index = self._by_name.get(engine_name) if found is None else self._imported + int(found[1])
        if index is None:
            return Frame(GUEST, _short(engine_name), None)
        body = self._bodies[1].get(index)
        name = engine_name if found is None else self._other_name(index, body)
        return Frame(GUEST, _short(name), self._source(body))

    def _other_name(self, index: int, body: Body | None) -> str:
        """The name of a function that has none in the name section: by DWARF, or as an export."""
        address = None if body is None else body.begin - self._bodies[0]
        return self._named_by_dwarf.get(address or -1) or self._exported.get(index) or f"function {index}"

    def _source(self, body: Body | None) -> Line | None:
        if body is None:
            return None
        begin = self._bodies[0]
        return self._lines.first(body.begin - begin, body.end - begin)

    @cached_property
    def _by_name(self) -> dict[str, int]:
        by_name: dict[str, int] = {}
        for index, name in (_tried(function_names, self._data) or {}).items():
            by_name.setdefault(name, index)
        return by_name

    @cached_property
    def _imported(self) -> int:
        return _tried(imported_functions, self._data) or 0

    @cached_property
    def _bodies(self) -> tuple[int, dict[int, Body]]:
        begin, found = _tried(bodies, self._data) or (0, [])
        return begin, {body.function: body for body in found}

    @cached_property
    def _sections(self) -> dict[str, bytes]:
        return _tried(custom_sections, self._data) or {}

    @cached_property
    def _lines(self) -> LineTable:
        begin, found = self._bodies
        return read_lines(self._sections, max([body.end - begin for body in found.values()], default=0))

    @cached_property
    def _named_by_dwarf(self) -> dict[int, str]:
        return read_function_names(self._sections)

    @cached_property
    def _exported(self) -> dict[int, str]:
        return _tried(exported_functions, self._data) or {}


def _tried(read: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return read(data) if data else None
    except ModuleCompileError:
        return None


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= 500 else name[:499] + "…"


def described_host(host: Host) -> Frame:
    """The frame of a host function: what the guest calls it, the Python function, and where that is."""
    function = inspect.unwrap(getattr(host.callable, "__func__", host.callable))
    code = getattr(function, "__code__", None)
    source = None if code is None else Line(code.co_filename, code.co_firstlineno)
    name = getattr(function, "__qualname__", None)
    label = host.label if not isinstance(name, str) else f"{host.label} ({name})"
    return Frame(HOST, _short(label), source)


class _Assembling:
    """Turns one recording into a tree."""

    def __init__(self, text: bytes, running: bytes, modules: Sequence[bytes | None], hosts: Sequence[Frame]) -> None:
        profile = json.loads(text)
        thread = profile["threads"][0]
        self.tree = Tree()
        self._stacks: list[int | None] = thread["samples"]["stack"]
        self._prefix: list[int | None] = thread["stackTable"]["prefix"]
        self._running = list(_RUNNING.iter_unpack(running))
        self._hosts = hosts
        self._host_frames: dict[int, int] = {}
        self._plain: dict[int, int] = {}
        self._mixed: dict[tuple[int | None, int], int] = {}
        self._frame_of_stack = self._named(profile, thread, modules)

    def _named(self, profile: Any, thread: Any, modules: Sequence[bytes | None]) -> list[int]:
        """The frame of each row of the engine's table of stacks."""
        strings, functions = thread["stringArray"], thread["funcTable"]
        libraries = [int(each["name"]) for each in profile["libs"]]
        of_resource = [libraries[at] for at in thread["resourceTable"]["lib"]]
        names = [_Names(data) for data in modules]
        known = [
            self.tree.frame(names[of_resource[resource]].frame(strings[name]))
            for name, resource in zip(functions["name"], functions["resource"], strict=True)
        ]
        of_frame = [known[at] for at in thread["frameTable"]["func"]]
        return [of_frame[at] for at in thread["stackTable"]["frame"]]

    def add(self, n: int, time: int, weight: int, running: int, number: int) -> None:
        """Add sample `n` of the engine's recording."""
        node = self._node(self._stacks[n], running)
        if number >= 0:
            node = self.tree.node(node, self._host(number))
        elif node < 0:
            node = self.tree.node(-1, self.tree.frame(Frame(GUEST, _NOWHERE, None)))
        if weight:
            self.tree.samples.append(Sample(time, node, weight))

    def add_own_times(self, times: Sequence[int]) -> None:
        """Add the time that host functions took before the guests that they called polled."""
        for own, outer, number, marker in self._running:
            if own:
                stack = self._stacks[marker] if marker >= 0 else None
                node = self.tree.node(self._node(stack, outer), self._host(number))
                self.tree.samples.append(Sample(times[marker] if marker >= 0 else times[-1], node, own))

    def _host(self, number: int) -> int:
        frame = self._host_frames.get(number)
        if frame is None:
            frame = self._host_frames[number] = self.tree.frame(self._hosts[number])
        return frame

    def _node(self, stack: int | None, running: int) -> int:
        """The node of one of the engine's stacks, with the host functions that were running between its guests."""
        if running < 0:
            return -1 if stack is None else self._plain_node(stack)
        key = (stack, running)
        if key not in self._mixed:
            self._mixed[key] = self._mixed_node(stack, running)
        return self._mixed[key]

    def _path(self, stack: int | None) -> list[int]:
        """The rows of a stack, from the outermost frame on."""
        rows = []
        while stack is not None:
            rows.append(stack)
            stack = self._prefix[stack]
        rows.reverse()
        return rows

    def _plain_node(self, stack: int) -> int:
        unknown = []
        at: int | None = stack
        while at is not None and at not in self._plain:
            unknown.append(at)
            at = self._prefix[at]
        node = -1 if at is None else self._plain[at]
        for row in reversed(unknown):
            node = self._plain[row] = self.tree.node(node, self._frame_of_stack[row])
        return node

    def _mixed_node(self, stack: int | None, running: int) -> int:
        places: list[tuple[int, int]] = []  # how many guest frames lie below, and the host function
        while running >= 0:
            _, outer, number, marker = self._running[running]
            places.append((len(self._path(self._stacks[marker])) if marker >= 0 else 0, number))
            running = outer
        path = self._path(stack)
        node = -1
        done = 0
        for depth, number in reversed(places):
            for row in path[done : max(depth, done)]:
                node = self.tree.node(node, self._frame_of_stack[row])
            done = max(depth, done)
            node = self.tree.node(node, self._host(number))
        for row in path[done:]:
            node = self.tree.node(node, self._frame_of_stack[row])
        return node


def assembled(
    recorded: tuple[bytes, bytes, bytes, int], modules: Sequence[bytes | None], hosts: Sequence[Frame]
) -> Tree:
    """The tree of what `_fastcall.Profile.finish` gave. `modules` are the binaries of the profiled modules, None where
    one is not known; `hosts` are the probes' host functions by number.
    """
    text, samples, running, _ = recorded
    assembling = _Assembling(text, running, modules, hosts)
    times = []
    for n, (time, weight, within, number) in enumerate(_SAMPLE.iter_unpack(samples)):
        times.append(time)
        assembling.add(n, time, weight, within, number)
    if times:
        assembling.add_own_times(times)
    assembling.tree.samples.sort()
    return assembling.tree
