"""Compiled modules on disk: what they are kept by, who may read them, and what happens when something is wrong."""

from __future__ import annotations

import logging
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.plugin_guests import binary, c_guest

import pywasmrt
from pywasmrt import InvalidConfigurationError, RuntimeConfig
from pywasmrt.otel import WasmProcessor
from pywasmrt.runtimes.base.cache import ModuleCache, cache_of, default_folder

ADD = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'
SERIALISES = [each.name for each in pywasmrt.list_runtimes() if each.available and "serialize" in each.features]
pytestmark = pytest.mark.skipif(not SERIALISES, reason="needs a runtime that serialises modules")


class Compiler:
    """Compiles with a runtime of its own each time, as another process would, and counts what was not in the cache."""

    def __init__(self, config: RuntimeConfig) -> None:
        self.config = config
        self.compiled = 0

    def __call__(self, wat: str = ADD, change: Callable[[Any], object] | None = None, **changes: Any) -> int:
        with pywasmrt.new_runtime(replace(self.config, **changes)) as runtime:
            inner: Any = runtime
            compile_ = inner._compile

            def counted(data: bytes) -> Any:
                self.compiled += 1
                return compile_(data)

            inner._compile = counted
            if change is not None:
                change(inner)
            with runtime.instantiate(runtime.compile(binary(wat))) as instance:
                result: int = instance.exports.add(40, 2)
                return result


@pytest.fixture(params=SERIALISES)
def add(request: pytest.FixtureRequest, tmp_path: Path) -> Compiler:
    return Compiler(RuntimeConfig(request.param, cache=tmp_path / "c"))


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_the_second_compilation_is_a_read(tmp_path: Path, add: Compiler) -> None:
    folder = tmp_path / "a" / "b"
    assert [add(cache=folder) for _ in range(3)] == [42] * 3
    assert add.compiled == 1
    (kept,) = files(folder)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_text_format_is_kept_as_what_it_stands_for(tmp_path: Path, add: Compiler) -> None:
    add()
    with pywasmrt.new_runtime(add.config) as runtime:
        runtime.compile(ADD)
    assert len(files(tmp_path / "c")) == 1


@pytest.mark.parametrize("failing", ["serialize", "deserialize"])
def test_an_engine_that_fails_at_it_is_no_obstacle(
    add: Compiler, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: without the cache the module is compiled."""

    def fail(*args: object) -> Any:
        raise pywasmrt.WasmError("this failure was asked for")

    with pywasmrt.new_runtime(replace(add.config, cache=None)) as runtime:
        owner = type(runtime) if failing == "deserialize" else type(runtime.compile(binary(ADD)))
    monkeypatch.setattr(owner, failing, fail)
    assert [add() for _ in range(2)] == [42] * 2
    assert add.compiled == 2


def test_other_modules_and_settings_have_files_of_their_own(tmp_path: Path, add: Compiler) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"wat": ADD.replace("(module", '(module (memory (export "m") 1)')},
        {"features": frozenset()},
        {"options": {"cranelift_opt_level": "none"}},
        {"interruptible": False},
        {"trap_on_grow_failure": True},
    ]
    for each in changes * 2:
        assert add(**each) == 42
    assert add.compiled == len(changes)
    assert len(files(tmp_path / "c")) == len(changes)


HEAD = b"pywasmrt module 1\n"


@pytest.mark.parametrize("damage", [b"", b"x", HEAD + bytes(100), "cut", "bit", "foreign"])
def test_a_damaged_file_is_made_again(tmp_path: Path, add: Compiler, damage: bytes | str) -> None:
    add()
    (kept,) = files(tmp_path / "c")
    whole = kept.read_bytes()
    if damage == "foreign":  # a whole file, of other settings, under this name
        add(options={"cranelift_opt_level": "none"})
        (other,) = [each for each in files(tmp_path / "c") if each != kept]
        other.replace(kept)
        add.compiled -= 1
    else:
        broken = {"cut": whole[:-1], "bit": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]}
        kept.write_bytes(damage if isinstance(damage, bytes) else broken[damage])
    assert add() == 42
    assert add.compiled == 2
    assert len(kept.read_bytes()) == len(whole)
    assert add() == 42
    assert add.compiled == 2


def test_what_others_can_write_is_not_trusted(tmp_path: Path, add: Compiler, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "c"
    add()
    (kept,) = files(folder)
    kept.chmod(0o620)
    assert add() == 42
    assert add.compiled == 2
    (kept,) = files(folder)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600  # replaced
    folder.chmod(0o777)
    with caplog.at_level(logging.WARNING, "pywasmrt.cache"):
        assert add() == 42
    assert add.compiled == 3
    assert "others than its owner can write to" in caplog.text
    assert "chmod go-w" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_not_trusted(tmp_path: Path, add: Compiler) -> None:
    add()
    (kept,) = files(tmp_path / "c")
    os.chown(kept, 12345, 12345)
    assert add() == 42
    assert add.compiled == 2
    os.chown(tmp_path / "c", 12345, 12345)
    assert add() == 42
    assert add.compiled == 3


def test_a_link_is_not_followed(tmp_path: Path, add: Compiler) -> None:
    folder = tmp_path / "c"
    add()
    (kept,) = files(folder)
    kept.rename(tmp_path / "elsewhere")
    kept.symlink_to(tmp_path / "elsewhere")
    assert add() == 42
    assert add.compiled == 2
    assert not kept.is_symlink()


def test_a_pipe_is_not_waited_for(tmp_path: Path, add: Compiler) -> None:
    add()
    (file,) = files(tmp_path / "c")
    file.unlink()
    os.mkfifo(file, 0o600)
    assert add() == 42


@pytest.mark.parametrize("size", [20 << 30, 1 << 62])
def test_a_huge_file_is_not_read(tmp_path: Path, add: Compiler, caplog: pytest.LogCaptureFixture, size: int) -> None:
    add()
    (file,) = files(tmp_path / "c")
    try:
        os.truncate(file, size)  # a file of one hole
    except OSError:
        pytest.skip("the file system has no such files")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with caplog.at_level(logging.WARNING, "pywasmrt.cache"):
        assert add() == 42
    assert f"it has {size} bytes" in caplog.text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (256 << 10)
    assert add() == 42
    assert add.compiled == 2


def test_a_folder_that_cannot_be_used_is_no_obstacle(tmp_path: Path, add: Compiler) -> None:
    (tmp_path / "file").write_text("")
    assert add(cache=tmp_path / "file") == 42
    assert add(cache=tmp_path / "file" / "below") == 42
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert add(cache=tmp_path / "link") == 42


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = ModuleCache(tmp_path / "c", 250)
    for n, key in enumerate(("a", "b", "d"), 1):
        cache.write(key, bytes(100))
        os.utime(tmp_path / "c" / f"{key}.cwasm", (n, n))
    assert [each.name for each in cache.modules()] == ["d.cwasm", "b.cwasm"]
    os.utime(tmp_path / "c" / "b.cwasm", (9, 9))
    cache.write("e", bytes(100))
    assert {each.name for each in cache.modules()} == {"e.cwasm", "b.cwasm"}
    cache.write("f", bytes(251))  # more than all may have
    assert cache.read("f") is None
    (tmp_path / "c" / "x.tmp").write_bytes(bytes(200))  # of a process that was ended
    os.utime(tmp_path / "c" / "x.tmp", (1, 1))
    cache.write("g", bytes(10))
    assert not (tmp_path / "c" / "x.tmp").exists()


def test_nothing_is_kept_unless_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, add: Compiler) -> None:
    monkeypatch.setenv("PYWASMRT_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.delenv("PYWASMRT_CACHE", raising=False)
    for setting in (None, False):
        assert [add(cache=setting) for _ in range(2)] == [42, 42]
    assert add.compiled == 4
    assert not (tmp_path / "own").exists()
    assert [add(cache=True) for _ in range(2)] == [42, 42]
    assert add.compiled == 5
    assert len(files(tmp_path / "own")) == 1


@pytest.mark.parametrize("wrong", [5, b"folder", "", ["x"]])
def test_wrong_settings(wrong: Any) -> None:
    with pytest.raises(InvalidConfigurationError, match="cache is True, False, None or a folder"):
        pywasmrt.new_runtime("auto", {"cache": wrong})


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
    assert cache_of(True) is None


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PYWASMRT_CACHE", "PYWASMRT_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
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


def test_long_compilations_are_logged(add: Compiler, caplog: pytest.LogCaptureFixture) -> None:
    big = ADD.removesuffix(")") + f' (memory 32) (data (i32.const 0) "{"x" * (1 << 20)}"))'
    with caplog.at_level(logging.INFO, "pywasmrt.compile"):
        add()
        assert caplog.records == []
        add(big)
        assert [record.message.split()[0] for record in caplog.records] == ["compiling", "compiled"]
        add(big)
        assert len(caplog.records) == 2  # it was kept


PROGRAM = """
import sys
import pywasmrt
folder, path, name = sys.argv[1:]
for n in range(20):
    with pywasmrt.new_runtime(pywasmrt.RuntimeConfig(name, cache=folder)) as runtime:
        module = runtime.compile(open(path, "rb").read())
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
    assert [process.communicate(timeout=300)[1] for process in running] == [""] * 3
    assert [path for path in files(tmp_path / "c") if path.suffix != ".cwasm"] == []
