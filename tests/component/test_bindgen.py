"""What `pywasmrt bindgen` writes: the same each time, clean to type checkers, and at work."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt.component.bindgen import package_files
from pywasmrt.component.types import World
from pywasmrt.testing.components import echo_component

from .guests import CALLS_HOST, COUNTERS, HOST_RESOURCE, RESULTS
from .test_values import COLOR, LINES, RIGHTS, SHAPE

ROOT = Path(pywasmrt.__file__).resolve().parent.parent


def everything() -> str:
    from pywasmrt.component import OptionType, PrimitiveType, ResultType, TupleType

    text = PrimitiveType("string")
    return echo_component(
        TupleType((LINES, SHAPE, COLOR, RIGHTS, OptionType(OptionType(text)), ResultType(None, text)))
    )


GUESTS = {
    "calls_host": CALLS_HOST,
    "counters": COUNTERS,
    "things": HOST_RESOURCE,
    "results": RESULTS,
    "everything": everything(),
}


@pytest.fixture
def packages(components: pywasmrt.Runtime, tmp_path: Path) -> Path:
    """A folder with a package for each guest."""
    for name, text in GUESTS.items():
        component = components.compile_component(text)
        folder = tmp_path / f"guest_{name}"
        folder.mkdir()
        for file, content in package_files(World(component.imports, component.exports)).items():
            (folder / file).write_text(content)
        (folder / "guest.wat").write_text(text)
    return tmp_path


USE = """
from __future__ import annotations

import pathlib

import pywasmrt
from guest_calls_host import Component
from guest_calls_host.local_demo_host import Pair
from guest_counters import Component as Counters
from guest_everything import Component as Everything
from guest_everything.world import Color, Lines, Point, Rights, ShapeCircle
from guest_results import Component as Results
from guest_things import Component as Things
from pywasmrt.component import Err, Some

HERE = pathlib.Path(__file__).parent


class Host:
    def inc(self, x: int) -> int:
        return x + 1

    def swap(self, pair: Pair) -> Pair:
        return Pair(pair.right, pair.left)

    def join_all(self, texts: list[str]) -> str:
        return "-".join(texts)


class Thing:
    def __init__(self, start: int) -> None:
        self.value = start

    def add(self, x: int) -> int:
        self.value += x
        return self.value

    @staticmethod
    def count() -> int:
        return 5


OneThing = Thing


class Shop:
    Thing = Thing

    def take(self, thing: OneThing) -> None:
        pass


def check(x: int) -> int:
    if x > 5:
        raise pywasmrt.ComponentError("too much")
    return x


def main() -> None:
    runtime = pywasmrt.new_runtime()
    with Component(runtime, HERE / "guest_calls_host" / "guest.wat").instantiate(
        {"local:demo/host@1.2.0": Host()}
    ) as instance:
        pair: Pair = instance.exports.swap(Pair(1, 2))
        print(pair, instance.exports.join_all(["a", "b"]))
    with Counters(runtime, HERE / "guest_counters" / "guest.wat").instantiate() as counting:
        counters = counting.exports["local:demo/counters"]
        with counters.Counter(5) as counter:
            number: int = counter.inc()
        print(number, counters.Counter.live())
    with Everything(runtime, HERE / "guest_everything" / "guest.wat").instantiate() as echoing:
        lines = Lines([Point(1, 2.0)], "x")
        value = (lines, ShapeCircle(1.5), Color.HOT_PINK, Rights.READ | Rights.RUN_IT, Some(None), Err("no"))
        [back] = echoing.exports.echo([value])
        print(back == value, type(back[0]) is Lines)
    with Results(runtime, HERE / "guest_results" / "guest.wat").instantiate({"check": check}) as checking:
        print(checking.exports.check(3))
    with Things(runtime, HERE / "guest_things" / "guest.wat").instantiate({"local:demo/things": Shop()}) as using:
        print(using.exports.use(5))


main()
"""

TAKES_THINGS = """
from __future__ import annotations

import pywasmrt
from guest_things import Component


class Thing:
    def __init__(self, start: int) -> None:
        self.value = start


def use(component: Component) -> None:
    component.instantiate({"local:demo/things": Thing(5)})
"""


def test_the_same_world_gives_the_same_text(components: pywasmrt.Runtime) -> None:
    for text in GUESTS.values():
        one, two = (components.compile_component(text) for _ in range(2))
        worlds = [World(each.imports, each.exports) for each in (one, two)]
        assert package_files(worlds[0]) == package_files(worlds[1])


def test_what_is_written_works_with_its_own_classes(packages: Path) -> None:
    (packages / "use.py").write_text(USE)
    path = os.pathsep.join([str(packages), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "use.py"],
        cwd=packages,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["Pair(left=2, right=1) a-b", "6 0", "True True", "3", "8"]


@pytest.mark.slow
def test_type_checkers_take_it_and_refuse_what_is_wrong(packages: Path) -> None:
    pytest.importorskip("mypy")
    (packages / "use.py").write_text(USE)
    (packages / "wrong.py").write_text(TAKES_THINGS)
    environment = {**os.environ, "MYPYPATH": os.pathsep.join([str(packages), str(ROOT)])}

    def mypy(*names: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(packages / "cache"), *names]
        return subprocess.run(
            command, cwd=packages, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    good = mypy("use.py", *(f"guest_{name}" for name in GUESTS))
    assert good.returncode == 0, good.stdout
    bad = mypy("wrong.py")
    assert "Incompatible types" in bad.stdout


@pytest.mark.slow
def test_pyright_takes_it_and_refuses_what_is_wrong(packages: Path) -> None:
    beside = [Path(sys.executable).with_name(name) for name in ("basedpyright", "pyright")]
    checkers = [str(path) for path in beside if path.exists()] or [path for path in [shutil.which("pyright")] if path]
    if not checkers:
        pytest.skip("neither pyright nor basedpyright is installed: pip install basedpyright")
    (packages / "use.py").write_text(USE)
    (packages / "wrong.py").write_text(TAKES_THINGS)
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "venvPath": "."}
    (packages / "pyrightconfig.json").write_text(json.dumps(settings))
    guests = [f"guest_{name}" for name in GUESTS]
    for names, error in ((["use.py", *guests], ""), (["wrong.py"], "reportArgumentType")):
        command = [checkers[0], "--outputjson", "--pythonpath", sys.executable, *names]
        done = subprocess.run(command, cwd=packages, capture_output=True, text=True, timeout=300, check=False)
        told = json.loads(done.stdout)
        rules = [each.get("rule") for each in told["generalDiagnostics"]]
        assert told["summary"]["filesAnalyzed"] >= len(names), done.stderr
        assert rules == [] if not error else error in rules, done.stdout


def test_the_command_writes_a_package(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = packages / "guest_calls_host" / "guest.wat"
    target = packages / "made" / "by_command"
    done = subprocess.run(
        [sys.executable, "-m", "pywasmrt", "bindgen", str(source), "-o", str(target)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for path in (packages / "guest_calls_host").glob("*.py"):
        assert (target / path.name).read_text() == path.read_text()
    monkeypatch.syspath_prepend(str(packages / "made"))
    made: Any = importlib.import_module("by_command")
    assert made.Component
    module = packages / "module.wat"
    module.write_text("(module)")
    done = subprocess.run(
        [sys.executable, "-m", "pywasmrt", "bindgen", str(module), "-o", str(target)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "is no component" in done.stderr
