"""Compiled modules on disk: what they are kept by, who may read them, and what happens when something is wrong."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.plugin_guests import binary, c_guest

import pywasmrt
from pywasmrt import RuntimeConfig
from pywasmrt.otel import WasmProcessor
from pywasmrt.plugin import ModuleCache
from pywasmrt.plugin.cache import default_folder

ADD = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'
SERIALISES = [each.name for each in pywasmrt.list_runtimes() if each.available and "serialize" in each.features]
pytestmark = pytest.mark.skipif(not SERIALISES, reason="needs a runtime that serialises modules")


class Counted:
    """A runtime whose compilations are counted."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.compiled = 0

    def compile(self, source: Any) -> Any:
        self.compiled += 1
        return self._runtime.compile(source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


@pytest.fixture(params=SERIALISES)
def counted(request: pytest.FixtureRequest) -> Any:
    with pywasmrt.new_runtime(request.param) as runtime:
        yield Counted(runtime)


def add(counted: Any, cache: ModuleCache, config: RuntimeConfig | None = None, wat: str = ADD) -> int:
    module = cache.compile(counted, config or RuntimeConfig(counted.info.name), binary(wat))
    with counted.instantiate(module) as instance:
        result: int = instance.exports.add(40, 2)
        return result


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_the_second_compilation_is_a_read(tmp_path: Path, counted: Any) -> None:
    cache = ModuleCache(tmp_path / "a" / "b")
    assert [add(counted, cache) for _ in range(3)] == [42] * 3
    assert counted.compiled == 1
    (kept,) = files(tmp_path / "a" / "b")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.parametrize("failing", ["serialize", "deserialize"])
def test_an_engine_that_fails_at_it_is_no_obstacle(
    tmp_path: Path, counted: Any, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: without the cache the module is compiled."""

    def fail(*args: object) -> Any:
        raise pywasmrt.WasmError("this failure was asked for")

    cache = ModuleCache(tmp_path / "c")
    owner = counted._runtime if failing == "deserialize" else type(counted.compile(binary(ADD)))
    counted.compiled = 0
    monkeypatch.setattr(owner, failing, fail)
    assert [add(counted, cache) for _ in range(2)] == [42] * 2
    assert counted.compiled == 2


def test_other_modules_and_settings_have_files_of_their_own(tmp_path: Path, counted: Any) -> None:
    cache = ModuleCache(tmp_path / "c")
    name = counted.info.name
    add(counted, cache)
    add(counted, cache, wat=ADD.replace("(module", '(module (memory (export "m") 1)'))
    for config in (RuntimeConfig(name, frozenset()), RuntimeConfig(name, None, {"a": 1}), RuntimeConfig("auto")):
        add(counted, cache, config)
    assert counted.compiled == 5
    assert len(files(tmp_path / "c")) == 5


@pytest.mark.parametrize("damage", [b"", b"x", b"pywasmrt module 1\n" + bytes(100)])
def test_a_damaged_file_is_made_again(tmp_path: Path, counted: Any, damage: bytes) -> None:
    cache = ModuleCache(tmp_path / "c")
    add(counted, cache)
    (kept,) = files(tmp_path / "c")
    whole = kept.read_bytes()
    kept.write_bytes(damage)
    assert add(counted, cache) == 42
    assert counted.compiled == 2
    assert len(kept.read_bytes()) == len(whole)


def test_a_file_or_folder_that_others_can_write_is_not_trusted(tmp_path: Path, counted: Any) -> None:
    folder = tmp_path / "c"
    cache = ModuleCache(folder)
    add(counted, cache)
    (kept,) = files(folder)
    kept.chmod(0o620)
    assert add(counted, cache) == 42
    assert counted.compiled == 2
    (kept,) = files(folder)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600  # replaced
    folder.chmod(0o777)
    assert add(counted, cache) == 42
    assert counted.compiled == 3


def test_a_link_is_not_followed(tmp_path: Path, counted: Any) -> None:
    folder = tmp_path / "c"
    cache = ModuleCache(folder)
    add(counted, cache)
    (kept,) = files(folder)
    kept.rename(tmp_path / "elsewhere")
    kept.symlink_to(tmp_path / "elsewhere")
    assert add(counted, cache) == 42
    assert counted.compiled == 2
    assert not kept.is_symlink()


def test_a_pipe_is_not_waited_for(tmp_path: Path, counted: Any) -> None:
    cache = ModuleCache(tmp_path / "cache")
    add(counted, cache)
    (file,) = files(tmp_path / "cache")
    file.unlink()
    os.mkfifo(file, 0o600)
    assert add(counted, cache) == 42


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PYWASMRT_CACHE", "PYWASMRT_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert default_folder() is None


def test_a_folder_that_cannot_be_used_is_no_obstacle(tmp_path: Path, counted: Any) -> None:
    (tmp_path / "file").write_text("")
    assert add(counted, ModuleCache(tmp_path / "file")) == 42
    assert add(counted, ModuleCache(tmp_path / "file" / "below")) == 42


def test_the_least_recently_used_go_first(tmp_path: Path, counted: Any) -> None:
    folder = tmp_path / "c"
    wats = [ADD.replace("(module", "(module " + f'(memory 1) (export "m{n}" (memory 0))') for n in range(3)]
    add(counted, ModuleCache(folder), wat=wats[0])
    size = files(folder)[0].stat().st_size
    os.utime(files(folder)[0], (1, 1))
    cache = ModuleCache(folder, size * 2 + size // 2)
    add(counted, cache, wat=wats[1])
    add(counted, cache, wat=wats[0])  # used now, so that the other is the older one
    second = max(files(folder), key=lambda path: path.stat().st_mtime)
    for path in files(folder):
        if path != second:
            os.utime(path, (2, 2))
    add(counted, cache, wat=wats[2])
    assert len(files(folder)) == 2
    assert second in files(folder)


def test_no_folder_keeps_nothing(tmp_path: Path, counted: Any) -> None:
    assert [add(counted, ModuleCache(None)) for _ in range(2)] == [42, 42]
    assert counted.compiled == 2
    assert ModuleCache(tmp_path / "c").compile(counted, RuntimeConfig(), ADD) is not None  # text is compiled as it is
    assert not (tmp_path / "c").exists()


def test_the_environment_chooses_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PYWASMRT_CACHE", "PYWASMRT_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == str(tmp_path / ".cache" / "pywasmrt")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == str(tmp_path / ".cache" / "pywasmrt")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_folder() == "/x/pywasmrt"
    monkeypatch.setenv("PYWASMRT_CACHE_DIR", "/y")
    assert default_folder() == "/y"
    monkeypatch.setenv("PYWASMRT_CACHE", "0")
    assert default_folder() is None


def test_a_plugin_uses_the_cache_that_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYWASMRT_CACHE_DIR", str(tmp_path / "default"))
    monkeypatch.delenv("PYWASMRT_CACHE", raising=False)
    base = {"path": c_guest("echo"), "runtime_config": {"type": SERIALISES[0]}}
    for cache in (False, True, str(tmp_path / "own")):
        for _ in range(2):
            with WasmProcessor({**base, "cache": cache}) as processor:
                assert processor.process_logs(b"abc") == b"abc"
    assert len(files(tmp_path / "default")) == 1
    assert len(files(tmp_path / "own")) == 1


PROGRAM = """
import sys
import pywasmrt
from pywasmrt.plugin import ModuleCache
folder, path, name = sys.argv[1:]
runtime = pywasmrt.new_runtime(name)
for n in range(20):
    module = ModuleCache(folder).compile(runtime, pywasmrt.RuntimeConfig(name), open(path, "rb").read())
    assert runtime.instantiate(module).exports.add(40, 2) == 42
    if n % 5 == 4:
        for each in __import__("pathlib").Path(folder).glob("*.cwasm"):
            each.unlink(missing_ok=True)
"""


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "add.wasm").write_bytes(binary(ADD))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "c"), str(tmp_path / "add.wasm"), SERIALISES[0]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(pywasmrt.__file__).parent.parent)])}
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    assert [process.communicate(timeout=60)[1] for process in running] == [""] * 3
    assert [path for path in files(tmp_path / "c") if path.suffix != ".cwasm"] == []
