"""`pywasmrt compile`, `run` of what it wrote, and `pywasmrt cache`."""

from __future__ import annotations

from pathlib import Path

import pytest

import pywasmrt
from pywasmrt.cli import main

ADD = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'
pytestmark = pytest.mark.skipif(
    not any("serialize" in each.features for each in pywasmrt.list_runtimes() if each.available),
    reason="needs a runtime that serialises modules",
)


@pytest.fixture
def wat(tmp_path: Path) -> Path:
    path = tmp_path / "add.wat"
    path.write_text(ADD)
    return path


def test_what_was_compiled_runs(wat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(wat)]) == 0
    told = capsys.readouterr().err
    assert "compiling" in told
    assert "wrote" in told
    compiled = wat.with_suffix(".cwasm")
    assert main(["run", "--invoke", "add", str(compiled), "40", "2"]) == 0
    assert capsys.readouterr().out == "42\n"


def test_it_is_for_the_settings_it_was_compiled_with(wat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = wat.with_name("fuel.cwasm")
    assert main(["compile", str(wat), "-o", str(out), "--fuel"]) == 0
    assert main(["run", "--fuel", "1000", "--invoke", "add", str(out), "40", "2"]) == 0
    assert capsys.readouterr().out == "42\n"
    assert main(["run", "--invoke", "add", str(out), "40", "2"]) == 1
    assert "other settings" in capsys.readouterr().err


def test_what_cannot_be_compiled(wat: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["compile", str(wat)]) == 0
    assert main(["compile", str(wat.with_suffix(".cwasm"))]) == 1
    assert "is compiled already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compile", str(wat), "-o", ""])
    assert "names no file" in capsys.readouterr().err
    assert main(["compile", str(wat), "-o", str(tmp_path / "no" / "folder.cwasm")]) == 1
    assert "cannot write" in capsys.readouterr().err
    if any(each.name == "wasm3" and each.available for each in pywasmrt.list_runtimes()):
        assert main(["compile", "--runtime", "wasm3", str(wat)]) == 1
        assert "no compiled form" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["add.cwasm", "add.wat"]


def test_the_cache_is_told_listed_and_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PYWASMRT_CACHE_DIR", str(folder))
    monkeypatch.delenv("PYWASMRT_CACHE", raising=False)
    assert main(["cache", "where"]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    assert main(["cache", "list"]) == 0
    assert "0 bytes in 0 modules" in capsys.readouterr().out
    with pywasmrt.new_runtime("auto", {"cache": True}) as runtime:
        runtime.compile(ADD)
    assert main(["cache", "list"]) == 0
    assert "bytes in 1 module, of" in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"removed 1 module from {folder}\n"
    assert list(folder.iterdir()) == []
    assert main(["cache", "list", "--folder", str(tmp_path / "other")]) == 0
    (tmp_path / "file").write_text("")
    assert main(["cache", "clear", "--folder", str(tmp_path / "file")]) == 1
    assert "cannot use" in capsys.readouterr().err
    monkeypatch.setenv("PYWASMRT_CACHE", "0")
    assert main(["cache", "where"]) == 1
    assert "there is no cache" in capsys.readouterr().err
