"""WASI 0.2 of the engine's own, from the same `WasiConfig`; and the command line with components."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt import ComponentError, UnsupportedFeatureError, wasi

from .guests import COMMAND, RESULTS


@pytest.fixture
def command(components: pywasmrt.Runtime) -> pywasmrt.Component:
    return components.compile_component(COMMAND)


def started(runtime: pywasmrt.Runtime, command: pywasmrt.Component, **settings: Any) -> pywasmrt.ComponentInstance:
    return runtime.instantiate_component(command, wasi=wasi.WasiConfig(**settings))


def test_arguments_environment_and_output(components: pywasmrt.Runtime, command: pywasmrt.Component) -> None:
    out = bytearray()
    with started(components, command, args=["prog"], env={"NAME": "värld"}, stdout=out) as instance:
        assert instance.run() == 0
        assert out.decode() == "prog\nvärld"
        assert instance.exports["wasi:cli/run"].run() is None
    assert out.decode() == "prog\nvärld" * 2


def test_every_form_of_stream(components: pywasmrt.Runtime, command: pywasmrt.Component, tmp_path: Path) -> None:
    parts: list[bytes] = []
    binary, text, path = io.BytesIO(), io.StringIO(), tmp_path / "out"
    path.write_bytes(b"from before")
    for stdout in (parts.append, binary, text, path, None):
        with started(components, command, args=["a"], stdout=stdout) as instance:
            assert instance.run() == 0
    assert b"".join(parts) == binary.getvalue() == path.read_bytes() == b"a\n"
    assert text.getvalue() == "a\n"


def test_how_a_command_ends(components: pywasmrt.Runtime, command: pywasmrt.Component) -> None:
    with started(components, command, args=["a", "b"]) as instance:
        with pytest.raises(ComponentError):
            instance.exports["wasi:cli/run@0.2.0"].run()
        assert instance.run() == 1
    with started(components, command, args=["a", "b", "c"]) as instance:
        assert instance.run() == 1
    with started(components, command, args=["a", "b", "c"]) as instance, pytest.raises(pywasmrt.Exit) as caught:
        instance.exports["wasi:cli/run"].run()
    assert caught.value.code == 1


def test_what_a_stream_raises_comes_out(components: pywasmrt.Runtime, command: pywasmrt.Component) -> None:
    def refuse(data: bytes) -> None:
        raise LookupError("no room")

    with (
        started(components, command, args=["a"], stdout=refuse) as instance,
        pytest.raises(LookupError, match="no room"),
    ):
        instance.run()


def test_without_wasi_it_says_what_to_pass(components: pywasmrt.Runtime, command: pywasmrt.Component) -> None:
    with pytest.raises(pywasmrt.ModuleInstantiateError, match=r"it is WASI 0\.2, so pass wasi=WasiConfig"):
        components.instantiate_component(command)
    with pytest.raises(TypeError, match=r"wasi is a pywasmrt\.wasi\.WasiConfig"):
        components.instantiate_component(command, wasi=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clock", wasi.FixedClock(5)),
        ("random", 5),
        ("on_exit", print),
        ("max_descriptors", 10),
        ("network", wasi.Network(connect=["127.0.0.1:80"])),
        ("stdin", lambda size: b""),
        ("preopens", {"/": wasi.MemoryTree({})}),
        ("args", ["\udc80"]),
    ],
)
def test_what_cannot_be_kept_is_named(
    components: pywasmrt.Runtime, command: pywasmrt.Component, field: str, value: Any
) -> None:
    with pytest.raises(UnsupportedFeatureError, match=rf"WasiConfig\.{field} cannot be kept") as caught:
        started(components, command, **{field: value})
    assert caught.value.feature == "component-model"


def test_a_directory_that_is_not_there(
    components: pywasmrt.Runtime, command: pywasmrt.Component, tmp_path: Path
) -> None:
    with started(components, command, args=["a"], preopens={"/data": tmp_path}) as instance:
        assert instance.run() == 0
    with pytest.raises(FileNotFoundError):
        started(components, command, preopens={"/data": tmp_path / "nothing"})


def test_the_host_may_stand_in_for_a_part(components: pywasmrt.Runtime, command: pywasmrt.Component) -> None:
    class Environment:
        def get_environment(self) -> list[tuple[str, str]]:
            return []

        def get_arguments(self) -> list[str]:
            return ["mine"]

    out = bytearray()
    config = wasi.WasiConfig(args=["theirs"], stdout=out)
    with components.instantiate_component(command, {"wasi:cli/environment": Environment()}, wasi=config) as instance:
        assert instance.run() == 0
    assert out == b"mine\n"


def test_what_is_no_command(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(RESULTS)
    instance = components.instantiate_component(component, {"check": lambda x: x})
    with pytest.raises(pywasmrt.FunctionNotExportedError, match="no command"):
        instance.run()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pywasmrt", *words], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def file(components: pywasmrt.Runtime, tmp_path: Path) -> Path:
    if components.info.name != "wasmtime":
        pytest.skip("the command line takes the runtime that is best")
    path = tmp_path / "command.wat"
    path.write_text(f";; a comment\n{COMMAND}")
    return path


def test_run_takes_commands(file: Path) -> None:
    done = run("run", "--env", "X=y", str(file), "one")
    assert (done.returncode, done.stdout, done.stderr) == (1, "command.wat\none\ny", "")
    assert run("run", str(file)).returncode == 0
    assert run("run", str(file), "a", "b").returncode == 1
    done = run("run", "--invoke", "run", str(file))
    assert done.returncode == 1
    assert "call them from Python" in done.stderr


def test_run_says_what_is_no_command(file: Path) -> None:
    file.write_text(RESULTS)
    done = run("run", str(file))
    assert done.returncode == 1
    assert "is no command (it exports no wasi:cli/run, but check)" in done.stderr


def test_inspect_shows_the_world(file: Path) -> None:
    done = run("inspect", str(file))
    assert done.returncode == 0
    assert "  export wasi:cli/run@0.2.0;\n" in done.stdout
    assert "  wasmtime: yes\n" in done.stdout
