"""Writes the table of what each runtime has, `docs/reference/features.md`: run `python docs/features.py` after changes.

The table is made from the features that the runtimes declare, and `tests/project/test_feature_table.py` compares it
with those of the runtimes that are there.
"""

from __future__ import annotations

from pathlib import Path

import pywasmrt
from pywasmrt.runtimes.base.features import API_FEATURE_TEXTS, PROPOSALS
from pywasmrt.runtimes.native import wazero

TARGET = Path(__file__).parent / "reference" / "features.md"
NAMES = ("wasmtime", "wasm3", "wasmtime-py", "wazero")
HEADER = f"| feature | says that | {' | '.join(f'`{name}`' for name in NAMES)} |"


def declared(name: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """The features that a runtime has by default, and those that it has on request; None where it is missing."""
    info = next(each for each in pywasmrt.list_runtimes() if each.name == name)
    if not info.available:
        if name == "wazero":  # seldom built, and declares its features without being built
            return wazero.declared_features(wat=True), frozenset()
        return None
    if name not in ("wasmtime", "wasmtime-py"):
        return info.features, frozenset()
    every = {"options": {"consume_fuel": True}, "features": PROPOSALS}
    with pywasmrt.new_runtime(name, every) as runtime:
        return info.features, runtime.info.features - info.features


def cell(name: str, feature: str) -> str | None:
    """The table's cell for a feature; None where the runtime is missing."""
    found = declared(name)
    if found is None:
        return None
    if (name, feature) == ("wasmtime-py", "buffer"):
        return "since Python 3.12"
    if name == "wasmtime-py" and feature in ("simd", "relaxed-simd", "threads"):
        return "no, but inside modules"  # no v128 and no shared memory crosses
    has, asked = found
    return "yes" if feature in has else "on request" if feature in asked else "no"


def rows() -> list[tuple[str, str]]:
    """The features in order, each with its meaning: first the proposals, then those of the library."""
    proposals = [(name, "modules may use this proposal") for name in sorted(PROPOSALS)]
    return [*proposals, *API_FEATURE_TEXTS.items()]


def table() -> str:
    """The table. Raises `RuntimeError` where one of its runtimes is missing."""
    lines = [HEADER, "|" + "---|" * (len(NAMES) + 2)]
    for feature, text in rows():
        cells = [cell(name, feature) for name in NAMES]
        if None in cells:
            raise RuntimeError(f"the table needs all of {', '.join(NAMES)}")
        lines.append(f"| `{feature}` | {text} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(table(), encoding="utf-8")
