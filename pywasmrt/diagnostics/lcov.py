"""Writes coverage as a tracefile of LCOV (its form is described in the manual page of geninfo)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .covered import CoveredModule, Outcome

__all__ = ["written"]


class _File:
    """What is known of one source file."""

    def __init__(self) -> None:
        self.functions: dict[str, tuple[int, int]] = {}  # line and hits
        self.branches: list[tuple[int, list[Outcome]]] = []
        self.lines: dict[int, int] = {}


def written(modules: Sequence[CoveredModule], path: Path) -> tuple[str, dict[Path, str]]:
    """The tracefile's text, and the listings to be written beside it."""
    files: dict[str, _File] = {}
    listings: dict[Path, str] = {}
    for module in modules:
        if len(module.lines):
            _by_source(module, files)
        else:
            place = path.with_name(f"{path.stem}-{_file_name(module.name)}.wat")
            listings[place] = _by_listing(module, files.setdefault(str(place), _File()))
    return "".join(_record(name, file) for name, file in files.items()), listings


def _file_name(name: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in name)[:100]


def _by_source(module: CoveredModule, files: dict[str, _File]) -> None:
    for name, lines in module.source_lines.items():
        file = files.setdefault(name, _File())
        for line, hits in lines.items():
            file.lines[line] = file.lines.get(line, 0) + hits
    for function in module.functions:
        if function.source is not None:
            _add_function(
                files.setdefault(function.source.file, _File()), function.name, function.source.line, function.hits
            )
    for branch in module.plan.branches:
        at = module.line_at(branch.at)
        if at is not None:
            files.setdefault(at.file, _File()).branches.append((at.line, module.outcomes(branch)))


def _add_function(file: _File, name: str, line: int, hits: int) -> None:
    name = name.replace(",", ";").replace("\n", " ")
    before = file.functions.get(name, (line, 0))
    file.functions[name] = before[0], before[1] + hits


def _by_listing(module: CoveredModule, file: _File) -> str:
    texts = []
    branches = {branch.at: branch for branch in module.plan.branches}
    waiting = sorted(branches)
    for number, line in enumerate(module.listing(), 1):
        texts.append(line.text)
        if line.hits is None:
            continue
        if line.text.startswith("func "):
            _add_function(file, line.text.split(" ", 2)[2], number, line.hits)
        else:
            file.lines[number] = line.hits
            if ";; " in line.text and waiting:
                file.branches.append((number, module.outcomes(branches[waiting.pop(0)])))
    return "\n".join(texts) + "\n"


def _record(name: str, file: _File) -> str:
    rows = ["TN:", f"SF:{name}"]
    rows += [f"FN:{line},{function}" for function, (line, _) in file.functions.items()]
    rows += [f"FNDA:{hits},{function}" for function, (_, hits) in file.functions.items()]
    rows += [f"FNF:{len(file.functions)}", f"FNH:{sum(hits > 0 for _, hits in file.functions.values())}"]
    found = hit = 0
    for block, (line, outcomes) in enumerate(sorted(file.branches, key=lambda each: each[0])):
        for n, outcome in enumerate(outcomes):
            rows.append(f"BRDA:{line},{block},{n},{'-' if outcome.hits is None else outcome.hits}")
            found += 1
            hit += bool(outcome.hits)
    rows += [f"BRF:{found}", f"BRH:{hit}"]
    rows += [f"DA:{line},{hits}" for line, hits in sorted(file.lines.items())]
    rows += [f"LF:{len(file.lines)}", f"LH:{sum(hits > 0 for hits in file.lines.values())}", "end_of_record"]
    return "\n".join(rows) + "\n"
