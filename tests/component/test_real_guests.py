"""Guests that other tools made: Python by componentize-py, JavaScript by componentize-js, and Rust.

Each is skipped where its tools are not there; `make nightly` fetches them.
"""

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

from . import guest_tools

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


def made_by_node(name: str, folder: Path) -> Path:
    """The component that `make.mjs` of a guest makes in `folder`, or a skip."""
    modules = guest_tools.node_modules()
    if modules is None:
        pytest.skip("node or its packages are not there: python tests/component/guest_tools.py")
    for path in (HERE / name).iterdir():
        shutil.copy(path, folder)
    (folder / "node_modules").symlink_to(modules)
    done = subprocess.run(
        ["node", "make.mjs", str(folder)], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "guest.wasm"


@pytest.fixture(scope="module")
def javascript_guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by_node("js_guest", tmp_path_factory.mktemp("javascript"))


@pytest.fixture(scope="module")
def rust_guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = guest_tools.rustc()
    if found is None:
        pytest.skip("no Rust compiler has the target wasm32-unknown-unknown: python tests/component/guest_tools.py")
    command, environment = found
    folder = tmp_path_factory.mktemp("rust")
    source = HERE / "rust_guest" / "guest.rs"
    done = subprocess.run(
        [*command, "--edition", "2021", "-O", str(source), "-o", str(folder / "core.wasm")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return made_by_node("rust_guest", folder)


def test_a_javascript_guest(runtime: pywasmrt.Runtime, needs: Callable[..., None], javascript_guest: Path) -> None:
    needs("component-model")
    component: Any = runtime.compile_component(javascript_guest)
    types = component.types["local:demo/words"]
    host = Host()
    with runtime.instantiate_component(component, {"local:demo/host": host}, wasi=wasi.WasiConfig()) as instance:
        words = instance.exports["local:demo/words"]
        assert words.counts("ä b, Ä; c b b") == [types.Count("b", 3), types.Count("c", 1), types.Count("ä", 2)]
        json = '{"a": 1.5, "b": "text", "c": [1, {"d": null}]}'
        assert words.member(json, "a") == types.ValueNumber(1.5)
        assert words.member(json, "b") == types.ValueText("text")
        assert words.member(json, "x") == types.ValueNone()
        with pytest.raises(ComponentError) as caught:
            words.member("{", "a")
        assert caught.value.payload == "SyntaxError"
        with words.Tally(3) as tally:
            assert [tally.add("four"), tally.add("é")] == [7, 8]
    assert host.log_lines == ["3 words"]


def test_a_rust_guest(runtime: pywasmrt.Runtime, needs: Callable[..., None], rust_guest: Path) -> None:
    needs("component-model")
    component = runtime.compile_component(rust_guest)
    host = Host()
    with runtime.instantiate_component(component, {"local:demo/host": host}) as instance:
        texts = instance.exports["local:demo/texts"]
        assert texts.shout("héllo") == "HÉLLO!"
        assert texts.shout("") == "!"
        assert texts.sum([1, 2, 0xFFFFFFFF]) == 0x100000002
        assert texts.sum([]) == 0
        assert texts.longest(["a", "drei", "zwei"]) == "zwei"
        assert texts.longest([]) is None
        for n in range(1000):  # what the host gives and takes, the guest frees
            assert texts.longest(["x" * (n % 50)] * 50) == "x" * (n % 50)
    assert host.log_lines == ['shouting "héllo"', 'shouting ""']
