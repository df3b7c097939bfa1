"""`pywasmrt run --threads`."""

from __future__ import annotations

from pathlib import Path

import pytest

import pywasmrt
from pywasmrt import cli

COMMAND = """(module (import "env" "memory" (memory 1 1 shared)) (export "memory" (memory 0))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func (export "wasi_thread_start") (param i32 i32) (call $exit (local.get 1)))
  (func (export "_start")
    (if (i32.lt_s (call $spawn (i32.const 7)) (i32.const 0)) (then (call $exit (i32.const 3))))
    (loop $again (br $again))))"""


@pytest.mark.skipif(
    not any(
        each.available and {"threads", "interruption"} <= each.features
        for each in pywasmrt.list_runtimes()
        if each.name == "wasmtime"
    ),
    reason="needs a runtime with shared memories",
)
def test_a_command_has_the_threads_that_it_is_given(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "guest.wat"
    path.write_text(COMMAND)
    assert cli.main(["run", "--runtime", "wasmtime", "--threads", "1", str(path)]) == 7
    assert cli.main(["run", "--runtime", "wasmtime", str(path)]) == 1
    assert "WasiConfig(threads=N)" in capfd.readouterr().err
    assert cli.main(["run", "--threads", "-1", str(path)]) == 1
    assert "WasiConfig.threads" in capfd.readouterr().err
