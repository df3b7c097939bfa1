"""The command line, in processes of its own: what it prints where, and its exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pywasmrt
from pywasmrt import cli, registry

ROOT = Path(pywasmrt.__file__).resolve().parent.parent

MODULE = """
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $n (mut i32) (i32.const 0))
  (data (i32.const 40) "\\10\\27\\00\\00\\00\\00\\00\\00")
  (func $print (param $at i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $size))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start")
    (drop (call $sizes (i32.const 16) (i32.const 20)))
    (drop (call $args (i32.const 1000) (i32.const 2000)))
    (call $print (i32.const 2000) (i32.load (i32.const 20)))
    (drop (call $environ (i32.const 1000) (i32.const 3000)))
    (call $print (i32.const 3000) (i32.const 9))
    (if (i32.eqz (call $name (i32.const 3) (i32.const 4000) (i32.const 6)))
      (then (call $print (i32.const 4000) (i32.const 6))))
    (call $exit (i32.load (i32.const 16))))
  (func (export "add") (param i32 i64) (result i64)
    (i64.add (i64.extend_i32_s (local.get 0)) (local.get 1)))
  (func (export "swap") (param f32 f64) (result f64 f32) (local.get 1) (local.get 0))
  (func (export "vector") (param v128))
  (func $inner unreachable)
  (func (export "trap") (call $inner))
  (func (export "loop") (loop (br 0)))
  (func (export "say_and_sleep")
    (i32.store8 (i32.const 4000) (i32.const 46))  ;; a dot
    (call $print (i32.const 4000) (i32.const 1))
    (call $sleep))
  (func $sleep (export "sleep")
    (i64.store (i32.const 524) (i64.const 0))
    (i32.store (i32.const 528) (i32.const 1))
    (i64.store (i32.const 536) (i64.const 3600000000000))
    (drop (call $poll (i32.const 512) (i32.const 600) (i32.const 1) (i32.const 700))))
  (func (export "exit") (param i32) (call $exit (local.get 0))))
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime = pywasmrt.new_runtime()
    if "wat" not in runtime.info.features:
        pytest.skip("no runtime reads the text format")
    path = tmp_path_factory.mktemp("cli") / "guest.wat"
    path.write_text(MODULE)
    return path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: the exit code, and what went to stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


def test_a_command(run: Run, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    code, out, err = run(
        "run", "--dir", f"{module.parent}::/guest", "--env", "NAME=vars", module, "one", "--", "-2", "--env"
    )
    assert (code, err) == (4, "")
    assert out == "guest.wat\0one\0-2\0--env\0NAME=vars/guest"


def test_a_variable_is_passed_on_by_name(run: Run, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_", "abc")
    assert run("run", module, "--env", "HOME_")[1] == "guest.wat\0HOME_=abc"
    monkeypatch.delenv("HOME_")
    code, _, err = run("run", module, "--env", "HOME_")
    assert code == 1
    assert "no such variable" in err


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["--invoke", "add", "FILE", "5", "-7"], "-2\n"),
        (["FILE", "--invoke", "add", "0x10", "1"], "17\n"),
        (["FILE", "--invoke", "swap", "1.5", "2e3"], "2000.0\n1.5\n"),
        (["FILE", "--invoke", "swap", "--", "-1", "inf"], "inf\n-1.0\n"),
        (["FILE", "--invoke", "swap", "-1e5", "-inf"], "-inf\n-100000.0\n"),
        (["--invoke", "swap", "FILE", "-1e5", "--timeout", "60", "-inf"], "-inf\n-100000.0\n"),
        (["FILE", "--invoke=add", "-0x10", "-1"], "-17\n"),
        (["FILE", "--env-inherit", "--invoke", "add", "-0x10", "--trace-to", "/dev/null", "-1"], "-17\n"),
    ],
)
def test_single_functions(run: Run, module: Path, words: list[str], printed: str) -> None:
    assert run("run", *[module if word == "FILE" else word for word in words]) == (0, printed, "")


def test_a_function_whose_name_begins_with_a_dash(run: Run, tmp_path: Path) -> None:
    guest = tmp_path / "dash.wat"
    guest.write_text('(module (func (export "-x") (param i32) (result i32) (local.get 0)))')
    for words in (["--invoke", "-x", guest, "-5"], [guest, "--invoke=-x", "-5"]):
        assert run("run", *words) == (0, "-5\n", "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--invoke", "trap"], 134, "unreachable"),
        (["--invoke", "loop", "--timeout", "0.05"], 134, "deadline"),
        (["--invoke", "sleep", "--timeout", "0.05"], 134, "deadline"),
        (["--invoke", "loop", "--fuel", "1000"], 134, "fuel"),
        (["--invoke", "add", "1"], 1, "takes 2 arguments, 1 given"),
        (["--invoke", "add", "x", "1"], 1, "argument 1 is to be of type i32"),
        (["--invoke", "add", "4294967296", "1"], 1, "out of range"),
        (["--invoke", "vector", "0x00"], 1, "argument 1 is to be of type v128, which '0x00' is not"),
        (["--invoke", "ad"], 1, "no exported function 'ad'"),
        (["--dir", "/no/such/directory"], 1, "cannot open '/no/such/directory'"),
        (["--runtime", "nothing"], 1, "nothing"),
        (["--dir", "/tmp::/a", "--dir", "/::/a:ro"], 1, "there is a '/a' for the guest already"),
        (["--dir", ""], 1, "names no directory"),
        (["--timeout", "-1"], 2, "'-1' is no number of seconds above 0"),
        (["--timeout", "1e10"], 1, "seconds above 0 and below 1e9"),
        (["--timeout", "long"], 2, "'long' is no number of seconds above 0"),
        (["--frobnicate"], 2, "--frobnicate"),
    ],
)
def test_what_goes_wrong_is_said_without_a_traceback(
    run: Run, module: Path, words: list[str], code: int, said: str
) -> None:
    got, out, err = run("run", module, *words)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_fuel_where_it_is_not_counted(run: Run, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(config: pywasmrt.RuntimeConfig) -> pywasmrt.Runtime:
        raise pywasmrt.InvalidConfigurationError(f"no option {min(config.options)}")

    monkeypatch.setattr(registry, "_registered", {})
    pywasmrt.register_runtime("plain", create)
    said = "pywasmrt: the runtime 'plain' does not count fuel, which --fuel needs: no option consume_fuel\n"
    assert run("run", module, "--runtime", "plain", "--fuel", "5") == (1, "", said)


def test_a_trap_shows_the_guests_frames(run: Run, module: Path) -> None:
    err = run("run", module, "--invoke", "trap")[2]
    assert "0: inner" in err


def test_exit_codes(run: Run, module: Path) -> None:
    for code in (0, 1, 255):
        assert run("run", module, "--invoke", "exit", code)[0] == code
    assert run("run", module, "--invoke", "exit", 256 + 7)[0] == 7


def test_files_that_are_no_modules(run: Run, tmp_path: Path) -> None:
    assert "cannot read" in run("run", tmp_path / "missing")[2]
    (tmp_path / "junk").write_bytes(b"\xff\xfe")
    assert "is no WebAssembly module" in run("run", tmp_path / "junk")[2]
    (tmp_path / "invalid").write_bytes(b"\0asm\1\0\0\0\xff")
    code, _, err = run("run", tmp_path / "invalid")
    assert code == 1
    assert "Traceback" not in err
    (tmp_path / "library.wat").write_text('(module (func (export "f")))')
    assert "--invoke calls one of: f" in run("run", tmp_path / "library.wat")[2]
    assert "no runtime takes it" in run("inspect", tmp_path / "invalid")[2]


def test_inspecting(run: Run, module: Path, tmp_path: Path) -> None:
    code, out, _ = run("inspect", module)
    assert code == 0
    for line in (
        "  wasi_snapshot_preview1.proc_exit: function (i32) -> ()",
        "  add: function (i32, i64) -> (i64)",
        "  memory: memory 1",
        "  multi-value",
        f"  {pywasmrt.new_runtime().info.name}: yes",
    ):
        assert line in out.splitlines()
    (tmp_path / "simd.wat").write_text("(module (func (drop (v128.const i32x4 0 0 0 0))))")
    needed = run("inspect", tmp_path / "simd.wat")[1].partition("features needed:\n")[2].splitlines()
    assert needed[:2] == ["  simd", "runtimes:"]


def test_names_do_not_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "names.wat"
    path.write_text(
        """
        (module
          (func (export "\\1b[2Jred") unreachable)
          (func (export "two\\0alines"))
          (func (export "\\e2\\80\\aeleft"))
          (func (export "caf\u00e9")))
        """,
        encoding="utf-8",
    )
    for said in (run("inspect", path)[1], run("run", path)[2], run("run", path, "--invoke", "x")[2]):
        for name in (r"\x1b[2Jred", r"two\nlines", r"\u202eleft", "caf\u00e9"):
            assert name in said
    assert "\x1b" not in run("run", path, "--invoke", "\x1b[2Jred")[2]
    code, said = in_a_shell(f"inspect {path}", PYTHONIOENCODING="ascii")
    assert code == 0
    assert r"caf\xe9: function" in said


def test_a_runtime_that_is_not_there_after_all_is_no_obstacle(
    run: Run, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(config: pywasmrt.RuntimeConfig) -> pywasmrt.Runtime:
        raise ImportError("no engine")

    monkeypatch.setattr(registry, "_registered", {})
    pywasmrt.register_runtime("gone", create)
    code, out, _ = run("inspect", module)
    assert code == 0
    assert "  gone: not available: the runtime 'gone' is not available: no engine" in out.splitlines()


def test_listing_the_runtimes(run: Run) -> None:
    out = run("runtimes")[1]
    for info in pywasmrt.list_runtimes():
        assert f"{info.name} " in out
        assert info.caution is None or not info.available or f"  caution: {info.caution}\n" in out


def test_help_and_wrong_commands(run: Run) -> None:
    assert run("--version")[1].startswith("pywasmrt ")
    assert run("run", "--help")[0] == 0
    assert run("frobnicate")[0] == run()[0] == 2


def in_a_shell(command: str, **variables: str) -> tuple[int, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, **variables, "PYTHONPATH": path}
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m pywasmrt {command}"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def test_streams_that_are_closed_or_full(module: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    try:
        unread = subprocess.run(
            [sys.executable, "-m", "pywasmrt", "runtimes"], env=env, stdout=writing, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(writing)
    assert (unread.returncode, unread.stderr) == (141, b"")
    assert in_a_shell(f"run {module} --invoke add 1 2 <&- >&-") == (0, "")
    if os.path.exists("/dev/full"):
        code, said = in_a_shell("runtimes 2>&1 >/dev/full")
        assert code == 1
        assert "No space left" in said
        assert "Traceback" not in said


def test_in_a_process_of_its_own(module: Path) -> None:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "pywasmrt", "run", str(module), "--invoke", "say_and_sleep"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.read(1) == "."  # the guest runs
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (130, "pywasmrt: stopped\n")


def test_a_module_comes_from_standard_input() -> None:
    command = [sys.executable, "-m", "pywasmrt", "run", "-", "--invoke", "add", "-3", "5"]
    source = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'
    done = subprocess.run(command, input=source, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
