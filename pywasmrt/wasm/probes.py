"""Makes a module tell which of its code runs: each place tells it once, by calling a host function that is added.

The code of a function is cut into blocks, which run from their beginning to their end unless the guest traps, and its
branches into outcomes. Each block and each outcome has a number, its probe: at the beginning of the block, or on the
way to the outcome, a bit in a global variable is looked at, and where it is not set, it is set and the host is told the
number. So code that has run before costs a load and a test, a guest that traps or exits has told all, and nothing has
to be read back from the instance.

The host function is one more import, so the functions that the module defines get indices greater by one. Types and
globals are appended. Of custom sections, the name section is written anew for the new indices, and those that refer to
places in the code are left out.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import ModuleCompileError
from ..types import ExternKind
from .codes import CODE, CUSTOM, DATA, ELEMENT, EXPORT, FUNCTION, GLOBAL, IMPORT, MEMORY, START, TABLE, TAG, TYPE
from .instructions import skip_instruction, skip_value_type
from .primitives import name, read_uleb, section, skip_leb, sleb, uleb, vector
from .reading import HEADER, malformed, read_interface, read_spaces, sections
from .reencoding import MENTIONS_FUNCTION, Reencoding
from .symbols import Body, bodies, function_names

__all__ = ["HOST_FUNCTION", "HOST_MODULE", "Block", "Branch", "Plan", "probed"]

HOST_MODULE, HOST_FUNCTION = "pywasmrt:coverage", "reached"
"""What the module imports in addition: a function of a probe's number (i32), without results."""


class Block(NamedTuple):
    """Instructions that run one after the other: the probe, the function's index, and their place in the module's
    bytes.
    """

    probe: int
    function: int
    begin: int
    end: int


class Branch(NamedTuple):
    """An instruction after which the guest goes on at one of several places: the function's index, where in the
    module's bytes it stands, and for each outcome its name and its probe.
    """

    function: int
    at: int
    outcomes: tuple[tuple[str, int], ...]


class Plan(NamedTuple):
    """What the probes of a module stand for. The indices of functions are those of the module as it was."""

    probes: int
    blocks: list[Block]
    branches: list[Branch]
    entries: dict[int, int]
    """For each function that the module defines, the probe of its beginning."""


def probed(data: bytes) -> tuple[bytes, Plan]:
    """A validated module with probes, and what they stand for. Raises `UnsupportedFeatureError` for an instruction that
    is not known, `ModuleCompileError` where `data` is malformed or has probes already.
    """
    try:
        return _Probing(data).result()
    except (IndexError, UnicodeDecodeError) as error:
        raise malformed(data, error) from None


_UNREACHABLE, _BLOCK, _LOOP, _IF, _ELSE, _TRY = 0x00, 0x02, 0x03, 0x04, 0x05, 0x06
_CATCH, _THROW, _RETHROW, _THROW_REF, _END = 0x07, 0x08, 0x09, 0x0A, 0x0B
_BR, _BR_IF, _BR_TABLE, _RETURN, _DELEGATE, _CATCH_ALL, _TRY_TABLE = 0x0C, 0x0D, 0x0E, 0x0F, 0x18, 0x19, 0x1F
_ENDINGS = frozenset((_UNREACHABLE, _THROW, _RETHROW, _THROW_REF, _RETURN, 0x12, 0x13, 0x15))  # and tail calls
_BR_ON_NULL, _BR_ON_NON_NULL, _GC, _BR_ON_CAST, _BR_ON_CAST_FAIL = 0xD5, 0xD6, 0xFB, 24, 25

_BITS = 32
_LARGEST_BODY = 7_654_320
"""Bytes of a function that engines take (the implementation limits of the JavaScript API)."""

_ORDER = [TYPE, IMPORT, FUNCTION, TABLE, MEMORY, TAG, GLOBAL, EXPORT, START, ELEMENT, 12, CODE, DATA]
_RANK = {id: n for n, id in enumerate(_ORDER)}
_OF_PLACES = (".debug", "metadata.code.", "sourceMappingURL", "external_debug_info", "reloc.", "linking")


class _Frame:
    """A block of the source that is not closed yet."""

    __slots__ = ("branch", "dead", "kind", "targeted", "then_lives")

    def __init__(self, kind: int, dead: bool) -> None:
        self.kind = kind
        self.dead = dead  # it lies in code that is never reached
        self.targeted = False  # a branch leads to its end
        self.then_lives = False  # of an `if` whose `else` has come: whether the end is reached from before that
        self.branch: tuple[int, int] | None = None  # of an `if`: its place, and the probe of what follows it


class _Probing:
    def __init__(self, data: bytes) -> None:
        self.data = data
        spaces = read_spaces(data)
        imports = read_interface(data).imports
        if any(item.module == HOST_MODULE for item in imports):
            raise ModuleCompileError(f"the module imports {HOST_MODULE!r}: it has probes already")
        self.types = spaces.types
        self.host = sum(1 for item in imports if item.kind is ExternKind.FUNCTION)
        self.globals = sum(1 for item in imports if item.kind is ExternKind.GLOBAL)
        for _, id, begin, _ in sections(data):
            if id == GLOBAL:
                self.globals += read_uleb(data, begin)[0]
        self.scratch = self.globals  # an i32 that holds an operand for a moment
        self.probes = 0
        self.blocks: list[Block] = []
        self.branches: list[Branch] = []
        self.entries: dict[int, int] = {}

    def renumber(self, index: int) -> int:
        return index + (index >= self.host)

    # The module

    def result(self) -> tuple[bytes, Plan]:
        _, found = bodies(self.data)
        code = [self._sized(_Function(self, body).result()) for body in found]
        plan = Plan(self.probes, self.blocks, self.branches, self.entries)
        if not found:
            return self.data, plan
        here = Reencoding(self.data, lambda room: 0, self.renumber)
        missing = {TYPE, IMPORT, GLOBAL}
        parts = [HEADER]
        for _, id, begin, end in sections(self.data):
            if id == CUSTOM:
                parts += self._custom(begin, end)
                continue
            for earlier in sorted(missing, key=_RANK.__getitem__):
                if _RANK[earlier] < _RANK[id]:
                    parts.append(section(earlier, uleb(self._more(earlier)[0]) + self._more(earlier)[1]))
                    missing.discard(earlier)
            if id == CODE:
                content: bytes = vector(code)
            elif id in missing:
                missing.discard(id)
                count, at = read_uleb(bytes(here.content(id, begin, end)), 0)
                added, more = self._more(id)
                content = uleb(count + added) + bytes(here.out[at:]) + more
            else:
                content = bytes(here.content(id, begin, end))
            parts.append(section(id, content))
        return b"".join(parts), plan

    def _more(self, id: int) -> tuple[int, bytes]:
        """What is appended to a section: how many items, and the items."""
        if id == TYPE:
            return 1, b"\x60\x01\x7f\x00"  # (i32) -> ()
        if id == IMPORT:
            return 1, name(HOST_MODULE) + name(HOST_FUNCTION) + b"\x00" + uleb(self.types)
        count = 1 + -(-self.probes // _BITS)
        return count, b"\x7f\x01\x41\x00\x0b" * count  # (mut i32) (i32.const 0)

    def _custom(self, begin: int, end: int) -> list[bytes]:
        data = self.data
        try:
            size, at = read_uleb(data, begin)
            title = data[at : at + size].decode() if at + size <= end else ""
        except (IndexError, UnicodeDecodeError, ModuleCompileError):
            return []
        if title == "name":
            names = {self.renumber(index): text for index, text in function_names(data).items()}
            names[self.host] = f"{HOST_MODULE}.{HOST_FUNCTION}"
            listed = vector([uleb(index) + name(names[index]) for index in sorted(names)])
            return [section(CUSTOM, name("name") + section(1, listed))]
        if title.startswith(_OF_PLACES):
            return []
        return [section(CUSTOM, data[begin:end])]

    def _sized(self, body: bytes) -> bytes:
        return uleb(len(body)) + body

    # Code

    def new_probe(self) -> int:
        self.probes += 1
        return self.probes - 1

    def code(self, probe: int) -> bytes:
        """Tell the host of the probe, where the bit says that it was not told yet."""
        flags = uleb(self.scratch + 1 + probe // _BITS)
        bit = probe % _BITS
        mask = sleb((1 << bit) - ((1 << _BITS) if bit == _BITS - 1 else 0))
        return b"".join(
            [
                b"\x23" + flags + b"\x41" + mask + b"\x71\x45\x04\x40",  # if the bit is not set
                b"\x23" + flags + b"\x41" + mask + b"\x72\x24" + flags,  # set it
                b"\x41" + sleb(probe) + b"\x10" + uleb(self.host) + b"\x0b",
            ]
        )


class _Function:
    """One function, read from its beginning to its end."""

    def __init__(self, module: _Probing, body: Body) -> None:
        self.module = module
        self.data = module.data
        self.body = body
        self.out: list[bytes] = []
        self.kept = body.begin  # what comes before is in `out`
        self.frames: list[_Frame] = []
        self.probe: int | None = None  # of the block that is open; None in code that is never reached
        self.begin = 0  # of that block

    def result(self) -> bytes:
        module, body = self.module, self.body
        mark = module.probes, len(module.blocks), len(module.branches)
        groups, at = read_uleb(self.data, body.begin)
        for _ in range(groups):
            at = skip_value_type(self.data, skip_leb(self.data, at))
        code = at
        self._open(at)
        self.begin = body.begin  # debug information names the locals' place
        module.entries[body.function] = mark[0]
        self.frames.append(_Frame(_BLOCK, False))
        while at < body.end:
            after = skip_instruction(self.data, at)
            self._instruction(self.data[at], at, after)
            at = after
        if at != body.end or self.frames:
            raise ModuleCompileError(f"malformed module: the function at byte {body.begin} does not end where it says")
        self._keep(at)
        made = b"".join(self.out)
        if len(made) <= _LARGEST_BODY:
            return made
        # Too large for any engine: only its beginning is told of.
        module.probes = mark[0] + 1
        del module.blocks[mark[1] :], module.branches[mark[2] :]
        module.blocks.append(Block(mark[0], body.function, body.begin, code + 1))
        return self._beginning_only(code)

    def _beginning_only(self, code: int) -> bytes:
        self.out, self.kept = [], self.body.begin
        self._keep(code)
        self.out.append(self.module.code(self.module.probes - 1))
        at = code
        while at < self.body.end:
            after = skip_instruction(self.data, at)
            if self.data[at] in MENTIONS_FUNCTION:
                self._mention(at, after)
            at = after
        self._keep(at)
        return b"".join(self.out)

    # Blocks

    def _keep(self, to: int) -> None:
        """Copy the source up to `to`."""
        self.out.append(self.data[self.kept : to])
        self.kept = to

    def _emit(self, at: int, code: bytes) -> None:
        self._keep(at)
        self.out.append(code)

    def _close(self, at: int) -> None:
        """The block that is open ends here, and what follows is not reached from it."""
        if self.probe is not None:
            self.module.blocks.append(Block(self.probe, self.body.function, self.begin, at))
        self.probe = None

    def _open(self, at: int) -> int:
        """A block begins here."""
        self._close(at)
        self.probe = self.module.new_probe()
        self.begin = at
        self._emit(at, self.module.code(self.probe))
        return self.probe

    def _target(self, label: int) -> None:
        if self.probe is not None:
            self.frames[-1 - label].targeted = True

    def _branch(self, at: int, *outcomes: tuple[str, int]) -> None:
        self.module.branches.append(Branch(self.body.function, at, outcomes))

    # Instructions

    def _instruction(self, opcode: int, at: int, after: int) -> None:
        data = self.data
        if opcode in MENTIONS_FUNCTION:
            self._mention(at, after)
        if opcode in (_BLOCK, _LOOP, _IF, _TRY, _TRY_TABLE):
            self._enter(opcode, at, after)
        elif opcode == _ELSE:
            self._else(at, after)
        elif opcode == _END:
            self._end(at, after)
        elif opcode in (_CATCH, _CATCH_ALL):
            self._close(at)
            self.frames[-1].then_lives = True
            if not self.frames[-1].dead:
                self._open(after)
        elif opcode == _DELEGATE:
            frame = self.frames.pop()
            self._close(at)
            if not frame.dead:
                self._open(after)
        elif opcode in _ENDINGS:
            self._close(after)
        elif opcode == _BR:
            self._target(read_uleb(data, at + 1)[0])
            self._close(after)
        elif opcode == _BR_IF:
            self._target(read_uleb(data, at + 1)[0])
            if self.probe is not None:
                self._conditional(at, after)
        elif opcode == _BR_TABLE:
            self._table(at, after)
        elif opcode in (_BR_ON_NULL, _BR_ON_NON_NULL):
            self._target(read_uleb(data, at + 1)[0])
            self._go_on(after)
        elif opcode == _GC:
            code, place = read_uleb(data, at + 1)
            if code in (_BR_ON_CAST, _BR_ON_CAST_FAIL):
                self._target(read_uleb(data, place + 1)[0])  # behind a byte of flags
                self._go_on(after)

    def _go_on(self, after: int) -> None:
        if self.probe is not None:
            self._open(after)

    def _mention(self, at: int, after: int) -> None:
        index = read_uleb(self.data, at + 1)[0]
        self._emit(at, self.data[at : at + 1] + uleb(self.module.renumber(index)))
        self.kept = after

    def _enter(self, opcode: int, at: int, after: int) -> None:
        dead = self.probe is None
        if opcode == _TRY_TABLE:
            self._catches(skip_value_type(self.data, at + 1))
        frame = _Frame(opcode, dead)
        self.frames.append(frame)
        if dead:
            return
        if opcode == _LOOP:
            self._open(after)
        elif opcode == _IF:
            frame.branch = at, self._open(after)

    def _catches(self, at: int) -> None:
        count, at = read_uleb(self.data, at)
        for _ in range(count):
            kind = self.data[at]
            at += 1
            if kind < 2:
                at = skip_leb(self.data, at)  # the tag
            label, at = read_uleb(self.data, at)
            self._target(label)

    def _else(self, at: int, after: int) -> None:
        frame = self.frames[-1]
        frame.then_lives = self.probe is not None
        self._close(at)
        if frame.branch is not None:
            place, then = frame.branch
            frame.branch = None
            self._branch(place, ("then", then), ("else", self._open(after)))

    def _end(self, at: int, after: int) -> None:
        frame = self.frames.pop()
        if not self.frames:  # the function's
            self._close(after)
            return
        lives = self.probe is not None
        joins = frame.targeted and frame.kind != _LOOP
        if frame.branch is not None:  # an `if` without `else`, which gets one
            place, then = frame.branch
            otherwise = self.module.new_probe()
            self._emit(at, bytes([_ELSE]) + self.module.code(otherwise))
            self._branch(place, ("then", then), ("else", otherwise))
            joins = True
        if frame.then_lives:
            joins = True
        if frame.dead:
            self._close(at)
        elif joins or (frame.kind == _TRY and not lives):
            self._close(at)
            self._open(after)
        # Otherwise what follows is reached from here alone, or not at all.

    def _conditional(self, at: int, after: int) -> None:
        module = self.module
        taken = module.new_probe()
        scratch = uleb(module.scratch)
        self._emit(
            at,
            b"\x24" + scratch + b"\x23" + scratch + b"\x04\x40" + module.code(taken) + b"\x0b\x23" + scratch,
        )
        self._branch(at, ("taken", taken), ("not taken", self._open(after)))

    def _table(self, at: int, after: int) -> None:
        """Tell where a br_table goes, by one of the same shape before it, whose targets do only that."""
        module = self.module
        count, place = read_uleb(self.data, at + 1)
        labels = []
        for _ in range(count + 1):
            label, place = read_uleb(self.data, place)
            labels.append(label)
        distinct = list(dict.fromkeys(labels))
        for label in distinct:
            self._target(label)
        if self.probe is None:
            return
        number = {label: n for n, label in enumerate(distinct)}
        probes = [module.new_probe() for _ in distinct]
        scratch = uleb(module.scratch)
        parts = [b"\x24", scratch, b"\x02\x40" * (len(distinct) + 1), b"\x23", scratch, b"\x0e", uleb(count)]
        parts += [uleb(number[label]) for label in labels]
        for n, probe in enumerate(probes):
            parts += [b"\x0b", module.code(probe), b"\x0c", uleb(len(distinct) - 1 - n)]
        parts += [b"\x0b\x23", scratch]
        self._emit(at, b"".join(parts))
        cases: dict[int, list[str]] = {}
        for n, label in enumerate(labels):
            cases.setdefault(label, []).append("default" if n == count else str(n))
        named = [f"case {', '.join(cases[label][:8])}{', …' if len(cases[label]) > 8 else ''}" for label in distinct]
        self._branch(at, *zip(named, probes, strict=True))
        self._close(after)
