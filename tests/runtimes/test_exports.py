"""The public names: all there, sorted, documented, and cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pywasmrt
from pywasmrt import errors, protocols
from pywasmrt import types as wasm_types


def test_all_is_sorted_and_complete() -> None:
    assert set(pywasmrt.__all__) == {"__version__", *pywasmrt._HOME}
    assert set(pywasmrt.__all__) <= set(dir(pywasmrt))
    # constants, then classes, then the rest, as the linter sorts them
    assert pywasmrt.__all__ == sorted(
        pywasmrt.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )


def test_type_checkers_see_every_name_where_it_is() -> None:
    tree = ast.parse(Path(pywasmrt.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert seen == pywasmrt._HOME


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pywasmrt' has no attribute 'nonsense'"):
        getattr(pywasmrt, "nonsense")  # noqa: B009


def test_importing_loads_neither_an_engine_nor_much_else() -> None:
    script = (
        "import sys, pywasmrt; print(sorted(m for m in sys.modules if m.split('.')[0] in ('pywasmrt', 'wasmtime')))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "['pywasmrt', 'pywasmrt._version']"


def test_every_error_and_record_is_public() -> None:
    assert set(errors.__all__) <= set(pywasmrt.__all__)
    assert set(wasm_types.__all__) == set(pywasmrt._HOMES["types"])


def test_the_seven_protocols_are_public() -> None:
    seven = {"Runtime", "CompiledModule", "ModuleInstance", "FunctionInstance", "Memory", "Context", "HostModule"}
    assert seven <= set(pywasmrt.__all__)
    assert seven <= set(protocols.__all__)


def test_everything_public_is_documented() -> None:
    for name in pywasmrt.__all__:
        value = getattr(pywasmrt, name)
        if isinstance(value, type) or callable(value):
            assert (value.__doc__ or "").strip(), name


def test_every_error_is_a_wasm_error() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), pywasmrt.WasmError)


def test_a_missing_export_is_an_error_of_both_ways_of_asking() -> None:
    error = pywasmrt.FunctionNotExportedError("no such export")
    for kind in (AttributeError, KeyError, LookupError, pywasmrt.WasmError):
        assert isinstance(error, kind)
    assert str(error) == "no such export"


def test_the_version_has_one_source() -> None:
    assert pywasmrt.__version__ == pywasmrt._version.__version__
