"""The names in profiles, by name section, DWARF and exports, broken or huge; runtimes that cannot profile; and the
option of the command line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import pywasmrt
from pywasmrt import UnsupportedFeatureError
from pywasmrt.cli.dispatch import main
from pywasmrt.testing.text import to_binary
from pywasmrt.types import FunctionType, ValueType
from pywasmrt.wasm.module import Module
from pywasmrt.wasm.primitives import name, section, uleb, vector
from pywasmrt.wasm.reading import sections

TYPE = FunctionType((ValueType.I32,), (ValueType.I32,))
SPIN = [
    *(("loop", FunctionType((), ())), ("local.get", 0), ("i32.const", 1), ("i32.sub",), ("local.tee", 0)),
    *(("br_if", 0), ("end",), ("local.get", 0)),
]


def bare(functions: int = 1) -> bytes:
    """A module without names: `spin` is exported, and calls its last function."""
    module = Module()
    for n in range(functions):
        module.function(TYPE, SPIN if n == functions - 1 else [("local.get", 0)])
    module.function(TYPE, [("local.get", 0), ("call", functions - 1)], export="spin")
    return module.encode()


def names_section(content: bytes) -> bytes:
    return section(0, name("name") + content)


def sampled(runtime: pywasmrt.Runtime, data: bytes) -> pywasmrt.Profile:
    instance = runtime.instantiate(runtime.compile(data))
    end = time.monotonic() + 60
    while True:  # until a sample stands in the inner function
        with pywasmrt.profile(instance) as profile:
            while profile._recording.count < 2:
                instance.exports.spin(3_000_000)
                assert time.monotonic() < end
        if len(profile.top(None)) > 1:
            return profile


def found(profile: pywasmrt.Profile) -> set[str]:
    return {row.name for row in profile.top(None)}


def test_runtimes_that_show_no_stacks_say_so(runtime: pywasmrt.Runtime) -> None:
    if "profiling" in runtime.info.features:
        pytest.skip("this one shows them")
    with runtime.instantiate(runtime.compile(bare())) as instance, pytest.raises(UnsupportedFeatureError) as caught:
        pywasmrt.profile(instance)
    assert caught.value.feature == "profiling"


def test_functions_without_names_are_called_by_export_or_number(runtime: pywasmrt.Runtime, needs: Any) -> None:
    needs("profiling")
    assert found(sampled(runtime, bare())) == {"function 0", "spin"}


@pytest.mark.parametrize(
    "content",
    [
        b"\x01",
        b"\x01\xff\xff\xff\xff\x0f",
        section(1, b"\xff\xff\xff\xff\x0f\x00"),
        section(1, vector([b"\x00\xff\xff\xff\xff\x0f"])),
        section(1, vector([b"\x00\x03\xff\xfe\xfd"])),
        section(1, b"\xff" * 30),
        b"\xff" * 100,
        section(7, b"abc") + section(1, vector([uleb(1 << 31) + name("nobody")])),
    ],
)
def test_broken_name_sections_are_no_obstacle(runtime: pywasmrt.Runtime, needs: Any, content: bytes) -> None:
    needs("profiling")
    profile = sampled(runtime, bare() + names_section(content))
    assert profile.samples >= 2
    assert str(profile.top())


@pytest.mark.parametrize("kind", [".debug_line", ".debug_info", ".debug_abbrev"])
def test_broken_debug_information_is_no_obstacle(runtime: pywasmrt.Runtime, needs: Any, kind: str) -> None:
    needs("profiling")
    junk = [section(0, name(kind) + bytes([n]) * 40) for n in (0, 1, 4, 0xFF)]
    assert found(sampled(runtime, bare() + junk[1] + junk[3])) == {"function 0", "spin"}


def test_a_huge_table_of_names_and_a_name_without_end(runtime: pywasmrt.Runtime, needs: Any, tmp_path: Path) -> None:
    needs("profiling")
    count = 20_000
    long = "<&\u202e\x1b[31m" + "n" * 1_000_000
    names = [uleb(n) + name(f"f{n}" if n < count - 1 else long) for n in range(count)]
    profile = sampled(runtime, bare(count) + names_section(section(1, vector(names))))
    (row,) = [row for row in profile.top(None) if row.name != "spin"]
    assert len(row.name) <= 500
    assert row.name.isprintable()
    profile.flamegraph(tmp_path / "guest.svg")
    ElementTree.parse(tmp_path / "guest.svg")
    assert (tmp_path / "guest.svg").stat().st_size < 100_000


SOURCE = """\
__attribute__((noinline)) static int spin(int n) {
  volatile int left = n;
  while (left)
    left--;
  return left;
}

__attribute__((export_name("spin"))) int exported(int n) {
  return spin(n);
}
"""


@pytest.mark.parametrize("stripped", [False, True])
def test_debug_information_gives_lines_and_the_names_that_are_missing(
    runtime: pywasmrt.Runtime, needs: Any, tmp_path: Path, stripped: bool
) -> None:
    needs("profiling")
    if find_spec("ziglang") is None:
        pytest.skip("ziglang, which compiles C, is not installed")
    (tmp_path / "guest.c").write_text(SOURCE)
    flags = ["--target=wasm32-freestanding", "-g", "-O1", "-fno-sanitize=all", "-nostdlib", "-Wl,--no-entry"]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-o", "guest.wasm", "guest.c"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    data = (tmp_path / "guest.wasm").read_bytes()
    if stripped:
        found_sections = sections(data)
        kept = [data[start:end] for start, id, at, end in found_sections if id or data[at : at + 5] != name("name")]
        data = data[:8] + b"".join(kept)
    profile = sampled(runtime, data)
    rows = {row.name: row.source for row in profile.top(None)}
    assert Path(rows["spin"]).name == "guest.c:1"
    assert Path(rows["exported"]).name in ("guest.c:8", "guest.c:9")  # its line, or that of its only statement
    profile.save(tmp_path / "guest.json")
    written = json.loads((tmp_path / "guest.json").read_text())
    assert any(text.endswith("guest.c") for text in written["threads"][0]["stringArray"])


def spins(times: int) -> str:
    return f"""(module
  (func $spin (param $n i32)
    (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (memory (export "memory") 1)
  (func $main (export "_start")
    (local $m i32)
    (local.set $m (i32.const {times}))
    (loop $l
      (call $spin (i32.const 60000000))
      (br_if $l (local.tee $m (i32.sub (local.get $m) (i32.const 1)))))))
"""


def test_run_writes_a_profile(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if "profiling" not in pywasmrt.new_runtime("auto").info.features:
        pytest.skip("the runtime of the command line shows no stacks")
    file = tmp_path / "command.wasm"
    samples, times = 0, 1
    while not samples:  # a busy machine may give the sampler no turn while a guest runs
        assert times < 1000
        file.write_bytes(to_binary(spins(times)))
        assert main(["run", "--profile", str(tmp_path / "out.json"), str(file)]) == 0
        assert "samples" in capfd.readouterr().err
        samples = json.loads((tmp_path / "out.json").read_text())["threads"][0]["samples"]["length"]
        times *= 8
    file.write_bytes(to_binary(spins(1)))
    assert main(["run", "--profile", str(tmp_path / "out.svg"), str(file)]) == 0
    ElementTree.parse(tmp_path / "out.svg")
    for end, code, said in (("(unreachable)", 134, "unreachable"), ("(call $exit (i32.const 7))", 7, "")):
        text = f"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1) (func (export "_start") {end}))"""
        (tmp_path / "ends.wasm").write_bytes(to_binary(text))
        capfd.readouterr()
        assert main(["run", "--profile", str(tmp_path / "none" / "out.json"), str(tmp_path / "ends.wasm")]) == code
        err = capfd.readouterr().err
        assert "no profile written to" in err
        assert "No such file" in err
        assert said in err
    assert main(["run", "--runtime", "wasmtime-py", "--profile", str(tmp_path / "no.json"), str(file)]) == 1
    assert not (tmp_path / "no.json").exists()
