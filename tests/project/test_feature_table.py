"""The table of features in the documentation says what the runtimes declare."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import pywasmrt

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> Any:
    spec = importlib.util.spec_from_file_location("docs_features", DOCS / "features.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(generator: Any) -> dict[str, list[str]]:
    lines = generator.TARGET.read_text(encoding="utf-8").splitlines()
    assert lines[0] == generator.HEADER
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {name.strip("`"): rest for name, *rest in cells}


def test_every_feature_is_in_the_table(generator: Any) -> None:
    assert {name: cells[0] for name, cells in written(generator).items()} == dict(generator.rows())


@pytest.mark.parametrize("name", ["wasmtime", "wasm3", "wasmtime-py", "wazero"])
def test_the_table_is_what_the_runtimes_declare(generator: Any, name: str) -> None:
    info = next(each for each in pywasmrt.list_runtimes() if each.name == name)
    if name == "wasm3" and info.version != "0.5.0":
        pytest.skip("the table is of the wasm3 that is built by default")
    if name == "wasmtime" and "component-model" not in info.features:
        pytest.skip("the table is of a Wasmtime that has components")
    if generator.declared(name) is None:
        pytest.skip(f"{name} is not available")
    column = 1 + generator.NAMES.index(name)
    wrong = {
        feature: (cells[column], generator.cell(name, feature))
        for feature, cells in written(generator).items()
        if cells[column] != generator.cell(name, feature)
    }
    assert wrong == {}, "run `python docs/features.py`"


def test_what_a_built_wazero_declares_is_what_it_declares_unbuilt() -> None:
    from pywasmrt.runtimes.native import wazero

    info = next(each for each in pywasmrt.list_runtimes() if each.name == "wazero")
    if not info.available:
        pytest.skip("wazero is not built")
    assert info.features == wazero.declared_features(wat="wat" in info.features)


def test_pages_leave_tables_of_features_to_this_one(generator: Any) -> None:
    """A table with a column of features and one for a runtime would have to be kept right by hand."""
    for page in [*DOCS.glob("*.md"), *DOCS.glob("*/*.md")]:
        if page != generator.TARGET:
            heads = [
                line for line in page.read_text(encoding="utf-8").splitlines() if re.match(r"\|.*\bfeature\b", line)
            ]
            assert not [line for line in heads if "`wasm3`" in line], page
