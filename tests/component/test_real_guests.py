"""A guest that another tool made: Python, by componentize-py. Skipped where that is not installed."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt import ComponentError, wasi

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.slow


def componentize() -> list[str]:
    """The command componentize-py, or a skip."""
    beside = Path(sys.executable).with_name("componentize-py")
    found = str(beside) if beside.exists() else shutil.which("componentize-py")
    if found is None:
        pytest.skip("componentize-py is not installed: pip install componentize-py")
    return [found]


@pytest.fixture(scope="module")
def python_guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guest")
    for path in (HERE / "python_guest").iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    command = [*componentize(), "-d", "world.wit", "-w", "guest", "componentize", "app", "-o", "guest.wasm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "guest.wasm"


class Host:
    def __init__(self) -> None:
        self.log_lines: list[str] = []

    def log(self, text: str) -> None:
        self.log_lines.append(text)

    def scale(self, p: Any) -> Any:
        return type(p)(p.x * 2, p.y * 2)


def test_a_python_guest(
    runtime: pywasmrt.Runtime, needs: Callable[..., None], python_guest: Path, tmp_path: Path
) -> None:
    needs("component-model")
    component: Any = runtime.compile_component(python_guest)
    assert "  export local:demo/shapes;\n" in component.wit()
    types = component.types["local:demo/types"]
    host = Host()
    with runtime.instantiate_component(component, {"local:demo/host": host}, wasi=wasi.WasiConfig()) as instance:
        shapes = instance.exports["local:demo/shapes"]
        assert shapes.area(types.ShapeCircle(2.0)) == math.pi * 4
        assert shapes.area(types.ShapePolygon([types.Point(0, 0), types.Point(1, 2)])) == 2.0
        with pytest.raises(ComponentError, match="nothing has no area"):
            shapes.area(types.ShapeNothing())
        assert shapes.scaled([types.Point(1, 2), {"x": 3, "y": 4}]) == [types.Point(2, 4), types.Point(6, 8)]
        assert shapes.paint(types.Color.RED, []) is None
        assert shapes.paint(types.Color.HOT_PINK, ["ä", "b"]) == "ä, b"
        with shapes.Counter(10) as counter:
            assert [counter.inc(5), counter.inc(by=1)] == [15, 16]
    assert host.log_lines[0] == "area of Shape_Circle"
