"""Options of `pywasmrt run` that the commands of other runtimes have too, and what is said of bad values."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import pywasmrt
from pywasmrt import cli
from pywasmrt.testing import to_binary

WORLD = """(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func $print (param $size i32)
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (local.get $size))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start")
    (drop (call $args_sizes (i32.const 16) (i32.const 20)))
    (drop (call $args (i32.const 1024) (i32.const 65536)))
    (call $print (i32.load (i32.const 20)))
    (drop (call $env_sizes (i32.const 16) (i32.const 20)))
    (drop (call $env (i32.const 1024) (i32.const 65536)))
    (call $print (i32.load (i32.const 20)))))"""

FUNCTIONS = """(module
  (memory (export "memory") 1)
  (table (export "table") 1 funcref)
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "tail") (param i32) (result i32) (local.get 0))
  (func (export "answer") (result i32) (i32.const 42)))"""

USES = """(module
  (import "lib" "answer" (func $answer (result i32)))
  (import "more" "twice" (func $twice (param i32) (result i32)))
  (func (export "f") (result i32) (call $twice (call $answer))))"""
TWICE = """(module (import "lib" "answer" (func $answer (result i32)))
  (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (call $answer)))
  (func (export "twice") (param i32) (result i32)
    (i32.add (local.get 0) (global.get $ready))))"""

ACCEPTS = """(module
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "hello")
  (func (export "_start")
    (if (call $accept (i32.const 3) (i32.const 0) (i32.const 16)) (then unreachable))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 5))
    (drop (call $write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))))"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    sources = {"world": WORLD, "functions": FUNCTIONS, "uses": USES, "twice": TWICE, "accepts": ACCEPTS}
    for name, source in sources.items():
        (tmp_path / f"{name}.wasm").write_bytes(to_binary(source))
    return tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = cli.main(["run", *[str(word) for word in words]])
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


def test_the_program_may_have_another_name(run: Run, files: Path) -> None:
    assert run(files / "world.wasm", "--argv0", "ls", "x")[1] == "ls\0x\0"
    assert run(files / "world.wasm")[1] == "world.wasm\0"


def test_all_variables_can_be_passed_on(run: Run, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THIS_PROCESS", "1")
    _, out, _ = run(files / "world.wasm", "--env-inherit", "--env", "MORE=2", "--env", "OF_THIS_PROCESS=3")
    seen = out.split("\0")[1:-1]
    assert {"MORE=2", "OF_THIS_PROCESS=3", f"PATH={os.environ['PATH']}"} <= set(seen)
    assert len(seen) == len(os.environ) + 1


def test_modules_can_be_loaded_before(run: Run, files: Path) -> None:
    lib, more = f"lib={files / 'functions.wasm'}", f"more={files / 'twice.wasm'}"
    command = [files / "uses.wasm", "--invoke", "f"]
    assert run("--preload", lib, "--preload", more, *command) == (0, "84\n", "")
    code, _, err = run("--preload", more, "--preload", lib, *command)
    assert code == 1
    assert "lib.answer" in err
    for wrong in ("lib", "=x", "lib="):
        assert run("--preload", wrong, *command)[0] == 1
    assert "cannot read" in run("--preload", "lib=/nowhere.wasm", *command)[2]


def test_a_reactor_that_is_loaded_before_begins_once(run: Run, files: Path) -> None:
    counts = """(module (global $begun (mut i32) (i32.const 0))
      (func (export "_initialize") (global.set $begun (i32.add (global.get $begun) (i32.const 1))))
      (func (export "answer") (result i32) (global.get $begun)))"""
    asks = """(module (import "lib" "answer" (func $answer (result i32)))
      (func (export "f") (result i32) (call $answer)))"""
    (files / "counts.wasm").write_bytes(to_binary(counts))
    (files / "asks.wasm").write_bytes(to_binary(asks))
    command = ["--preload", f"lib={files / 'counts.wasm'}", files / "asks.wasm", "--invoke", "f"]
    assert run(*command) == (0, "1\n", "")


def test_bounds(run: Run, files: Path) -> None:
    command = [files / "functions.wasm", "--invoke", "grow", "3"]
    assert run("--max-memory", 1 << 17, *command)[1] == "-1\n"
    code, _, err = run("--max-memory", 1 << 17, "--trap-on-grow-failure", *command)
    assert (code, "trapped" in err) == (134, True)
    code, _, err = run("--max-table-elements", 0, *command)
    assert code == 1
    assert "table" in err


def test_proposals_can_be_named(run: Run, files: Path) -> None:
    (files / "tail.wasm").write_bytes(to_binary('(module (func $f (export "f") (return_call $f)))'))
    code, _, err = run("--runtime", "wasmtime-py", "--features", "multi-value,simd", files / "tail.wasm")
    assert (code, "tail-call" in err) == (1, True)
    code, _, err = run("--features", "nothing-has-this", files / "tail.wasm")
    assert (code, "nothing-has-this" in err) == (1, True)


def test_options_of_the_engine(run: Run, files: Path) -> None:
    command = [files / "functions.wasm", "--invoke", "answer"]
    for info in pywasmrt.list_runtimes():
        if info.available and info.name in ("wasmtime", "wasmtime-py"):
            on = ["--runtime", info.name]
            assert (
                run(*on, "--option", "cranelift_opt_level=none", "--option", "max_wasm_stack=0x20000", *command)[1]
                == "42\n"
            )
            code, _, err = run(*on, "--option", "cranelift_opt_level=much", *command)
            assert (code, "cranelift_opt_level" in err) == (1, True)
            assert run(*on, "--option", "nothing=true", *command)[0] == 1
    assert run("--option", "flag", *command)[0] == 1


def test_compiled_modules_can_be_kept(run: Run, files: Path) -> None:
    runtimes = [info.name for info in pywasmrt.list_runtimes() if info.available and "serialize" in info.features]
    for name in runtimes:
        folder = files / name
        command = ["--runtime", name, "--cache", folder, files / "functions.wasm", "--invoke", "answer"]
        assert run(*command)[:2] == (0, "42\n")
        kept = [each for each in folder.rglob("*") if each.is_file()]
        assert kept
        assert run(*command)[:2] == (0, "42\n")


def test_a_socket_is_handed_over(files: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "pywasmrt",
        "run",
        "--tcp-listen",
        f"127.0.0.1:{port}",
        str(files / "accepts.wasm"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    killed = threading.Timer(60, process.kill)
    killed.start()
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                    assert connection.recv(100) == b"hello"
                break
            except ConnectionRefusedError:
                assert process.poll() is None, process.communicate()[1]
        assert process.communicate(timeout=30)[1] == ""
    finally:
        killed.cancel()
        process.kill()
        process.wait()
    assert process.returncode == 0


def test_bad_addresses(run: Run, files: Path) -> None:
    for wrong in (
        "80",
        "127.0.0.1:",
        "127.0.0.1:70000",
        "not a host:80",
        "localhost:²",
        "localhost:" + "1" * 5000,
        f"{'é' * 70}:80",
    ):
        code, _, err = run("--tcp-listen", wrong, files / "accepts.wasm")
        assert (code, wrong in err, "Traceback" in err) == (1, True, False)


COMPONENT = """(component
  (core module $m (func (export "run") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"""


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_a_component_comes_from_standard_input(binary: bool) -> None:
    runtime = pywasmrt.new_runtime()
    if "component-model" not in runtime.info.features:
        pytest.skip("no components here")
    source = runtime.compile_component(COMPONENT)  # it is one
    source.close()
    data = to_binary(COMPONENT) if binary else COMPONENT.encode()
    done = subprocess.run([sys.executable, "-m", "pywasmrt", "run", "-"], input=data, capture_output=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


NUMBERS = """(module
  (func (export "i") (param i32) (result i32) (local.get 0))
  (func (export "f") (param f64) (result f64) (local.get 0)))"""


@pytest.mark.parametrize(
    ("name", "word", "printed"),
    [
        ("i", "-010", "-10"),
        ("i", "007", "7"),
        ("i", "-0b11", "-3"),
        ("i", "-1_000", "-1000"),
        ("f", "-0x1.8p3", "-12.0"),
        ("f", "-0x10", "-16.0"),
        ("f", "-Infinity", "-inf"),
        ("f", "-.5", "-0.5"),
        ("f", "-0.0", "-0.0"),
    ],
)
def test_numbers_as_people_write_them(
    name: str, word: str, printed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "numbers.wat"
    file.write_text(NUMBERS, encoding="utf-8-sig")  # with a mark of the byte order, as some editors write it
    assert cli.main(["run", str(file), "--invoke", name, word]) == 0
    assert capsys.readouterr().out.strip() == printed


@pytest.mark.parametrize("word", ["-0x1p5000", "-", "-x", "0x", "1.5.", "-e", "--"])
def test_what_is_no_number_is_said(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "numbers.wat"
    file.write_text(NUMBERS)
    assert cli.main(["run", str(file), "--invoke", "f", word]) == 1
    said = capsys.readouterr().err
    assert "is to be of type f64" in said or "takes 1 argument, 0 given" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "standard input is empty"),
        (b" \n", "standard input is empty"),
        (b"\xff\xfe\0", "standard input is no WebAssembly module"),
        (b"\0asm", "unexpected end"),
        (b"(modul)", "unknown"),
    ],
)
def test_bad_content_of_standard_input(content: bytes, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pywasmrt", "run", "-"], input=content, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr.decode() or (said == "unknown" and b"-->" in done.stderr)
    assert b"Traceback" not in done.stderr


def test_what_is_compiled_from_standard_input_needs_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["compile", "-"])
    assert "--output" in capsys.readouterr().err
