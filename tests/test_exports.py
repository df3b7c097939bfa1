"""The public names: all there, sorted, documented, and cheap to import."""

from __future__ import annotations

import types

import pywasmrt
from pywasmrt import errors, protocols
from pywasmrt import types as wasm_types


def test_all_is_sorted_and_complete() -> None:
    public = {
        name for name, value in vars(pywasmrt).items() if name[0] != "_" and not isinstance(value, types.ModuleType)
    }
    assert set(pywasmrt.__all__) == public | {"__version__"}
    # constants, then classes, then the rest, as the linter sorts them
    assert pywasmrt.__all__ == sorted(
        pywasmrt.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )


def test_every_error_and_record_is_public() -> None:
    assert set(errors.__all__) <= set(pywasmrt.__all__)
    assert set(wasm_types.__all__) <= set(pywasmrt.__all__)


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
