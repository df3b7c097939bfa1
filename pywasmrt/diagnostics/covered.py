"""What was reached in one module: its probes and their hits, mapped to functions, branches and source lines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..types import expect, printable
from ..wasm.disassembly import disassembled
from ..wasm.dwarf import Line, LineTable, read_function_names, read_lines
from ..wasm.probes import Block, Branch, Plan
from ..wasm.symbols import bodies, custom_sections, exported_functions, function_names

__all__ = ["CoveredModule", "Function", "ListedLine", "Outcome"]


class Outcome(NamedTuple):
    """One way on from a branch: its name, and in how many instances the guest took it; None where the branch itself was
    not reached.
    """

    name: str
    hits: int | None


class Function(NamedTuple):
    """A function: its number (its index in the module), its name, where its source begins, in how many instances it was
    called, and how many of its blocks and of its branches' outcomes were reached, of how many.
    """

    number: int
    name: str
    source: Line | None
    hits: int
    blocks: tuple[int, int]
    outcomes: tuple[int, int]


class ListedLine(NamedTuple):
    """A line of a listing: its text, and in how many instances its code was reached; None where it is not code."""

    text: str
    hits: int | None


class CoveredModule:
    """A module with probes. `hits` counts for each probe the instances that have reached it."""

    def __init__(self, name: str, data: bytes, plan: Plan) -> None:
        expect("a CoveredModule", "a str", str, name=name)
        expect("a CoveredModule", "the bytes of a module", bytes, data=data)
        expect("a CoveredModule", "the plan of its probes; Coverage makes both", Plan, plan=plan)
        self.name = name
        self.data = data
        self.plan = plan
        self.hits = [0] * plan.probes

    def __repr__(self) -> str:
        functions = self.functions
        called = sum(function.hits > 0 for function in functions)
        return f"<CoveredModule {self.name!r} functions={called}/{len(functions)}>"

    # What the module tells of itself

    @cached_property
    def _code(self) -> int:
        return bodies(self.data)[0]

    @cached_property
    def _sections(self) -> dict[str, bytes]:
        return custom_sections(self.data)

    @cached_property
    def lines(self) -> LineTable:
        """The source lines of its code; empty without debug information."""
        found = bodies(self.data)[1]
        return read_lines(self._sections, found[-1].end - self._code if found else 0)

    @cached_property
    def _names(self) -> dict[int, str]:
        """The names of the functions by index, from the name section, the debug information or the exports."""
        names = dict(exported_functions(self.data))
        by_address = read_function_names(self._sections)
        for body in bodies(self.data)[1]:
            name = by_address.get(body.begin - self._code)
            if name is not None:
                names[body.function] = name
        names.update(function_names(self.data))
        return {index: printable(name) for index, name in names.items()}

    def function_name(self, index: int) -> str:
        return self._names.get(index, f"function {index}")

    def line_at(self, at: int) -> Line | None:
        """The source line of the instruction at a place in the module's bytes."""
        return self.lines.at(at - self._code)

    # What was reached

    @property
    def functions(self) -> list[Function]:
        """The functions that the module defines, in its order."""
        hits = self.hits
        blocks: dict[int, list[int]] = {}
        for block in self.plan.blocks:
            blocks.setdefault(block.function, []).append(hits[block.probe])
        outcomes: dict[int, list[int]] = {}
        for branch in self.plan.branches:
            outcomes.setdefault(branch.function, []).extend(hits[probe] for _, probe in branch.outcomes)
        found = []
        for body in bodies(self.data)[1]:
            of_blocks, of_outcomes = blocks.get(body.function, []), outcomes.get(body.function, [])
            found.append(
                Function(
                    body.function,
                    self.function_name(body.function),
                    self.lines.first(body.begin - self._code, body.end - self._code),
                    hits[self.plan.entries[body.function]],
                    (sum(map(bool, of_blocks)), len(of_blocks)),
                    (sum(map(bool, of_outcomes)), len(of_outcomes)),
                )
            )
        return found

    @property
    def source_lines(self) -> dict[str, dict[int, int]]:
        """For each source file, the lines that have code, and in how many instances each was reached."""
        begins, blocks = self._blocks_by_place
        found: dict[str, dict[int, int]] = {}
        for address, file, line in self.lines.rows():
            n = bisect_right(begins, address + self._code) - 1
            if n < 0 or address + self._code >= blocks[n].end:
                continue  # code that no guest can reach
            lines = found.setdefault(file, {})
            lines[line] = max(lines.get(line, 0), self.hits[blocks[n].probe])
        return found

    @cached_property
    def _blocks_by_place(self) -> tuple[list[int], list[Block]]:
        blocks = sorted(self.plan.blocks, key=lambda block: block.begin)
        return [block.begin for block in blocks], blocks

    def outcomes(self, branch: Branch) -> list[Outcome]:
        """How often each way on from a branch was taken."""
        hits = [self.hits[probe] for _, probe in branch.outcomes]
        reached = any(hits)
        return [Outcome(name, each if reached else None) for (name, _), each in zip(branch.outcomes, hits, strict=True)]

    # Listing

    def listing(self) -> Iterator[ListedLine]:
        """The module's code, function by function, with the source lines that it comes from."""
        begins, blocks = self._blocks_by_place
        branches = {branch.at: branch for branch in self.plan.branches}
        texts: dict[str, list[str]] = {}
        for function, body in zip(self.functions, bodies(self.data)[1], strict=True):
            yield ListedLine(f"func {function.number} {function.name}", function.hits)
            before: Line | None = None
            for shown in disassembled(self.data, body):
                line = self.line_at(shown.at)
                if line is not None and line != before:
                    before = line
                    yield ListedLine(f"  ;; {printable(line.file)}:{line.line}{_source_text(line, texts)}", None)
                n = bisect_right(begins, shown.at) - 1
                hits = self.hits[blocks[n].probe] if n >= 0 and shown.at < blocks[n].end else None
                yield ListedLine("  " * shown.depth + shown.text + self._told(branches.get(shown.at)), hits)
            yield ListedLine("", None)

    def _told(self, branch: Branch | None) -> str:
        if branch is None:
            return ""
        told = [f"{each.name}: {'-' if each.hits is None else each.hits}" for each in self.outcomes(branch)]
        return f"  ;; {'; '.join(told)}"


def _source_text(line: Line, texts: dict[str, list[str]]) -> str:
    """The text of a source line, if the file is there."""
    if line.file not in texts:
        try:
            path = Path(line.file)
            texts[line.file] = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        except (OSError, ValueError):  # a guest chooses the file's name, which may be invalid
            texts[line.file] = []
    lines = texts[line.file]
    return f"  {printable(lines[line.line - 1].strip())}" if 0 < line.line <= len(lines) else ""
