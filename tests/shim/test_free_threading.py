"""The native parts need the interpreter's lock: a free-threaded interpreter turns it on for them, and says so."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pywasmrt import _shim

SOURCES = Path(__file__).resolve().parents[2] / "csrc"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
OPEN = """
import sys, warnings, pywasmrt
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    print([(info.name, info.reason) for info in pywasmrt.list_runtimes() if info.name == "wasmtime"])
print(sys._is_gil_enabled(), *[each.message for each in told])
"""


def opened(*options: str) -> str:
    child = subprocess.run(
        [sys.executable, *options, "-c", OPEN], text=True, capture_output=True, check=True, timeout=120
    )
    return child.stdout


def test_every_extension_module_declares_that_it_needs_the_lock() -> None:
    if not SOURCES.exists():
        pytest.skip("needs the sources")
    modules = [path for path in SOURCES.rglob("*.c") if "PyModuleDef_Slot" in path.read_text(encoding="utf-8")]
    assert sorted(path.name for path in modules) == ["files.c", "module.c", "wire.c"]
    for path in modules:
        assert re.search(r"#ifdef Py_mod_gil\n    \{Py_mod_gil, Py_MOD_GIL_USED\},", path.read_text(encoding="utf-8"))


def test_without_the_lock_the_native_parts_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    if _shim.unavailable_reason() is not None:
        pytest.skip("there are no native parts")
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    reason = _shim.unavailable_reason.__wrapped__()
    assert reason is not None
    assert "PYTHON_GIL=0" in reason


@pytest.mark.skipif(not FREE_THREADED, reason="needs a free-threaded interpreter")
class TestFreeThreaded:
    def test_the_lock_is_turned_on_with_a_warning(self) -> None:
        answer = opened()
        assert "[('wasmtime', None)]\nTrue The global interpreter lock (GIL) has been enabled to load module" in answer

    def test_a_lock_that_is_forbidden_makes_them_unavailable(self) -> None:
        answer = opened("-X", "gil=0")
        assert "need the global interpreter lock" in answer
        assert "\nFalse" in answer
