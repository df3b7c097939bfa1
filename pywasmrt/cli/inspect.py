"""`pywasmrt inspect`: what a module imports and exports, what it needs, and which runtimes can take it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModuleCompileError, RuntimeNotFoundError, UnsupportedFeatureError, WasmError
from ..registry import list_runtimes, new_runtime
from ..runtimes.base.features import PROPOSALS
from ..types import ExternKind, RuntimeConfig
from ..wasm.coredump import is_coredump
from .common import Failure, printable, read_source
from .component import inspect_component, is_component_source
from .coredump import inspect_coredump

if TYPE_CHECKING:
    from ..protocols import CompiledModule

__all__ = ["inspect"]


def inspect(words: list[str], guest: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pywasmrt inspect", description="Show what a module imports and exports, and which runtimes can take it."
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the module, in binary or text form")
    options = parser.parse_args(words + guest)
    source = read_source(options.file)
    if is_component_source(source):
        return inspect_component(source)
    if isinstance(source, bytes) and is_coredump(source):
        return inspect_coredump(source)
    module, verdicts = _tried(source)
    if module is None:
        raise Failure("no runtime takes it\n" + "\n".join(f"  {name}: {text}" for name, text in verdicts.items()))
    for title, rows in (
        ("imports", [str(each) for each in module.imports]),
        ("exports", [str(each) for each in module.exports]),
        ("memories", _memories(module)),
        ("features needed", _needed(source)),
        ("runtimes", [f"{name}: {verdict}" for name, verdict in verdicts.items()]),
    ):
        print(f"{title}:" if rows else f"{title}: none")
        for row in rows:
            print(f"  {printable(row)}")
    return 0


def _tried(source: bytes | str) -> tuple[CompiledModule | None, dict[str, str]]:
    """The module, compiled by the first runtime that takes it, and the verdicts of all."""
    first: CompiledModule | None = None
    verdicts: dict[str, str] = {}
    for info in list_runtimes():
        if not info.available:
            verdicts[info.name] = f"not available: {info.reason}"
            continue
        try:
            module = new_runtime(info.name).compile(source)
        except RuntimeNotFoundError as error:  # a runtime that a package offers may turn out to be missing
            verdicts[info.name] = f"not available: {error}"
        except WasmError as error:
            verdicts[info.name] = f"no: {error}"
        else:
            verdicts[info.name] = "yes"
            first = first or module
    return first, verdicts


def _memories(module: CompiledModule) -> list[str]:
    imported = [f"{each.module}.{each.name}: {each.type}" for each in module.imports if each.kind is ExternKind.MEMORY]
    exported = [f"{each.name}: {each.type}" for each in module.exports if each.kind is ExternKind.MEMORY]
    return imported + exported


def _needed(source: bytes | str) -> list[str]:
    """The proposals that the module needs to be valid, among those that an available runtime can turn off."""
    names = [info.name for info in list_runtimes() if info.available]
    # All proposals, not only the runtime's features: a runtime may take modules with a proposal that it does not claim,
    # since it cannot carry the proposal's values.
    name = next((name for name in names if _valid(name, source, PROPOSALS)), None)
    if name is None:
        return []
    return [each for each in sorted(PROPOSALS) if _needs(name, source, each)]


def _needs(runtime: str, source: bytes | str, name: str) -> bool:
    valid = _valid(runtime, source, PROPOSALS - {name})
    if valid is None:  # other proposals build on it: try without each of those too
        others = (_valid(runtime, source, PROPOSALS - {name, other}) for other in sorted(PROPOSALS - {name}))
        valid = next((each for each in others if each is not None), None)
    return valid is False


def _valid(runtime: str, source: bytes | str, features: frozenset[str]) -> bool | None:
    """Whether the module is valid with these proposals; None if the runtime cannot be made with these alone."""
    try:
        with new_runtime(runtime, RuntimeConfig(features=features)) as made:
            made.validate(source)
    except (ModuleCompileError, UnsupportedFeatureError):
        return False
    except WasmError:
        return None
    return True
