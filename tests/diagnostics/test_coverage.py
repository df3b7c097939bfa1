"""`Coverage`: what it reports, writes, keeps and merges; and the option of the pytest plugin."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers.asynchronous import run as run_async

import pywasmrt
from pywasmrt import Coverage, InvalidConfigurationError, ModuleCompileError, Trap
from pywasmrt.testing.text import to_binary
from pywasmrt.wasm.primitives import name, section
from pywasmrt.wasm.probes import HOST_MODULE

GUEST = to_binary(
    """
(module
  (import "env" "host" (func $host (param i32) (result i32)))
  (func $even (param i32) (result i32)
    (if (result i32) (i32.and (local.get 0) (i32.const 1)) (then (i32.const 0)) (else (i32.const 1))))
  (func $never (result i32) (i32.const 3))
  (func $check (export "check") (param i32) (result i32) (call $host (call $even (local.get 0))))
  (func $fail (export "fail") (drop (call $even (i32.const 2))) unreachable))
"""
)
IMPORTS: Any = {"env": {"host": lambda x: x + 10}}


def tracefile(path: Path) -> dict[str, list[str]]:
    """The records of a tracefile by their source files; checks that their sums are right."""
    found: dict[str, list[str]] = {}
    for record in path.read_text().split("end_of_record\n"):
        lines = record.splitlines()
        if not lines:
            continue
        assert lines[0] == "TN:"
        assert lines[1].startswith("SF:")
        found[lines[1][3:]] = lines[2:]
        of = {key: [line.split(":", 1)[1] for line in lines if line.startswith(f"{key}:")] for key in KEYS}
        assert of["LF"] == [str(len(of["DA"]))]
        assert of["LH"] == [str(sum(not line.endswith(",0") for line in of["DA"]))]
        assert of["FNF"] == [str(len(of["FN"]))] == [str(len(of["FNDA"]))]
        assert of["FNH"] == [str(sum(not line.startswith("0,") for line in of["FNDA"]))]
        assert of["BRF"] == [str(len(of["BRDA"]))]
        assert of["BRH"] == [str(sum(not line.endswith((",0", ",-")) for line in of["BRDA"]))]
    return found


KEYS = ("FN", "FNDA", "FNF", "FNH", "BRDA", "BRF", "BRH", "DA", "LF", "LH")


def test_functions_and_outcomes_are_counted_by_instances(runtime: pywasmrt.Runtime) -> None:
    coverage = Coverage()
    module = coverage.compile(runtime, GUEST, name="parity")
    for _ in range(2):
        with runtime.instantiate(module, IMPORTS) as instance:
            assert [instance.exports.check(n) for n in (2, 4, 6)] == [11, 11, 11]
    (covered,) = coverage.modules
    functions = {each.name: each for each in covered.functions}
    assert {key: each.hits for key, each in functions.items()} == {"even": 2, "never": 0, "check": 2, "fail": 0}
    assert functions["even"].outcomes == (1, 2)
    (branch,) = covered.plan.branches
    assert covered.outcomes(branch) == [("then", 0), ("else", 2)]
    report = coverage.report().splitlines()
    assert report[1].split() == ["2/4", "50%", "1/2", "50%", "-", "parity"]
    assert report[2] == "    not called: never, fail"
    assert repr(covered) == "<CoveredModule 'parity' functions=2/4>"
    assert repr(coverage) == "<Coverage modules=['parity']>"


def test_what_ends_badly_has_told_what_it_reached(runtime: pywasmrt.Runtime) -> None:
    coverage = Coverage()
    module = coverage.compile(runtime, GUEST)
    instance = runtime.instantiate(module, IMPORTS)
    with pytest.raises(Trap):
        instance.exports.fail()
    del instance  # and was not closed

    def fail(x: int) -> int:
        raise KeyError(x)

    with runtime.instantiate(module, {"env": {"host": fail}}) as instance, pytest.raises(KeyError):
        instance.exports.check(1)
    functions = {each.name: each.hits for each in coverage.modules[0].functions}
    assert functions == {"even": 2, "never": 0, "check": 1, "fail": 1}


def test_the_listing_shows_what_was_not_reached(runtime: pywasmrt.Runtime) -> None:
    coverage = Coverage()
    with runtime.instantiate(coverage.compile(runtime, GUEST, name="parity"), IMPORTS) as instance:
        instance.exports.check(2)
    lines = coverage.listing().splitlines()
    assert lines[0] == ";; parity"
    assert "       1 | func 1 even" in lines
    assert "       1 |   if (result i32)  ;; then: 0; else: 1" in lines
    assert "   ##### |     i32.const 0" in lines
    assert "       1 |     i32.const 1" in lines
    assert "   ##### | func 2 never" in lines
    assert "       - |   end" in lines or "       1 |   end" in lines


def test_lcov_of_a_module_without_debug_information_names_its_listing(
    runtime: pywasmrt.Runtime, tmp_path: Path
) -> None:
    coverage = Coverage()
    with runtime.instantiate(coverage.compile(runtime, GUEST, name="a/b c"), IMPORTS) as instance:
        instance.exports.check(2)
    coverage.lcov(tmp_path / "guest.info")
    ((source, lines),) = tracefile(tmp_path / "guest.info").items()
    assert source == str(tmp_path / "guest-a_b_c.wat")
    texts = Path(source).read_text().splitlines()
    at = {text.strip(): n for n, text in enumerate(texts, 1)}
    assert f"FN:{at['func 1 even']},even" in lines
    assert "FNDA:1,even" in lines
    assert f"DA:{at['i32.const 3']},0" in lines
    assert f"DA:{at['call 0']},1" in lines
    branch = next(n for text, n in at.items() if text.startswith("if "))
    assert [line for line in lines if line.startswith("BRDA")] == [f"BRDA:{branch},0,0,0", f"BRDA:{branch},0,1,1"]


SOURCE = """\
static int size(int n) {
  if (n > 10)
    return 2;
  return 1;
}

__attribute__((export_name("run"))) int run(int n) {
  switch (n) {
  case 0:
    return 0;
  case 1:
    return size(n);
  }
  return -1;
}

__attribute__((export_name("unused"))) int unused(void) {
  return 5;
}
"""


def test_lcov_has_the_lines_of_the_source(
    runtime: pywasmrt.Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("ziglang") is None:
        pytest.skip("ziglang, which compiles C, is not installed")
    monkeypatch.chdir(tmp_path)
    Path("guest.c").write_text(SOURCE)
    flags = ["--target=wasm32-freestanding", "-g", "-O0", "-fno-sanitize=all", "-nostdlib", "-Wl,--no-entry"]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-o", "guest.wasm", "guest.c"]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    coverage = Coverage()
    with runtime.instantiate(coverage.compile(runtime, Path("guest.wasm"))) as instance:
        assert (instance.exports.run(0), instance.exports.run(1)) == (0, 1)
    coverage.lcov("guest.info")
    ((source, lines),) = tracefile(Path("guest.info")).items()
    assert Path(source).name == "guest.c"
    hits = {int(line[3:].split(",")[0]): int(line.split(",")[1]) for line in lines if line.startswith("DA:")}
    assert {n for n, hit in hits.items() if hit} >= {1, 2, 4, 7, 8, 10, 12}
    assert {n for n, hit in hits.items() if not hit} >= {3, 14, 18}
    functions = {line for line in lines if line.startswith("FNDA")}
    assert functions == {"FNDA:1,size", "FNDA:1,run", "FNDA:0,unused"}
    assert "guest.c:8  switch (n) {" in coverage.listing()
    assert coverage.report().splitlines()[1].split()[-1] == "guest.wasm"


def test_runs_are_merged_and_kept(runtimes: list[pywasmrt.Runtime], tmp_path: Path) -> None:
    merged = Coverage()
    for n, runtime in enumerate(runtimes):
        coverage = Coverage()
        with runtime.instantiate(coverage.compile(runtime, GUEST, name="parity"), IMPORTS) as instance:
            instance.exports.check(n)
        coverage.save(tmp_path / "part.json")
        merged.merge(Coverage.load(tmp_path / "part.json"))
    (covered,) = merged.modules
    assert covered.name == "parity"
    assert next(each for each in covered.functions if each.name == "check").hits == len(runtimes)
    runtime = runtimes[0]
    with runtime.instantiate(merged.compile(runtime, GUEST), IMPORTS) as instance:  # it goes on
        instance.exports.check(1)
    assert next(each for each in covered.functions if each.name == "check").hits == len(runtimes) + 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"form": 2, "modules": []}',
        b'{"form": 1, "modules": [{}]}',
        b'{"form": 1, "modules": [{"name": "x", "module": "AAAA", "hits": []}]}',
        b'{"form": 1, "modules": [{"name": "x", "module": "eJwDAAAAAAE=", "hits": []}]}',
        b'{"form": 1, "modules": 5}',
    ],
)
def test_other_files_are_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "part.json").write_bytes(text)
    with pytest.raises(InvalidConfigurationError, match=r"part\.json"):
        Coverage.load(tmp_path / "part.json")
    with pytest.raises(FileNotFoundError):
        Coverage.load(tmp_path / "nothing.json")


def test_bad_modules_are_told_as_ever(runtime: pywasmrt.Runtime) -> None:
    coverage = Coverage()
    invalid = GUEST.replace(b"\x41\x03\x0b", b"\x42\x03\x0b")
    for source in (invalid, b"\0asm\1\0\0\0\x0a", b"nothing"):
        with pytest.raises(ModuleCompileError):
            coverage.compile(runtime, source)
    with pytest.raises(TypeError, match="instrument"):
        coverage.compile(object(), GUEST)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        coverage.instrument(5)  # type: ignore[arg-type]
    with pytest.raises(ModuleCompileError):
        coverage.instrument(b"(module)")
    with pytest.raises(TypeError):
        coverage.merge({})  # type: ignore[arg-type]
    assert coverage.modules == ()
    assert coverage.report().count("\n") == 0
    assert coverage.listing() == ""


def test_broken_names_and_debug_information_are_no_obstacle(runtime: pywasmrt.Runtime, tmp_path: Path) -> None:
    plain = to_binary('(module (func (export "f") (result i32) (i32.const 1)))')
    junk = [section(0, name("name") + b"\x01\xff\xff\xff\xff\x0f"), section(0, name(".debug_line") + b"\x99" * 50)]
    junk.append(section(0, name(".debug_info") + b"\x10\0\0\0\4\0" + b"\x77" * 20))
    coverage = Coverage()
    with runtime.instantiate(coverage.compile(runtime, plain + b"".join(junk))) as instance:
        assert instance.exports.f() == 1
    coverage.lcov(tmp_path / "guest.info")
    assert coverage.modules[0].functions[0].name == "f"
    assert coverage.modules[0].functions[0].hits == 1


def test_other_diagnostics_leave_the_probes_alone(runtime: pywasmrt.Runtime) -> None:
    log = io.StringIO()
    coverage = Coverage()
    with runtime.instantiate(coverage.compile(runtime, GUEST), IMPORTS) as instance, pywasmrt.trace(instance, log):
        instance.exports.check(1)
    assert log.getvalue() == "env.host(0) = 10\n"
    assert coverage.modules[0].functions[0].hits == 1


def test_a_copy_is_the_original_module(runtime: pywasmrt.Runtime) -> None:
    coverage = pywasmrt.Coverage()
    text = '(module (func (export "f") (result i32) (i32.const 3)))'
    module = coverage.compile(runtime, text)
    assert runtime.instantiate(module).exports.f() == 3
    copied = pickle.loads(pickle.dumps(module))
    assert not copied.imports
    assert copied.runtime.instantiate(copied).exports.f() == 3
    assert [function.hits for function in coverage.modules[0].functions] == [1]
    with pytest.raises(pywasmrt.UnsupportedFeatureError, match="a module that reports its coverage cannot be"):
        module.serialize()
    end = coverage.instrument_all()
    try:
        again = pickle.loads(pickle.dumps(runtime.compile(text.replace("const 3", "const 4"))))
        assert again.runtime.instantiate(again).exports.f() == 4
    finally:
        end()
    assert [function.hits for function in coverage.modules[1].functions] == [1]  # where all are changed, copies are too


def test_threads_and_linked_modules(runtime: pywasmrt.Runtime) -> None:
    coverage = Coverage()
    linked = runtime.link(coverage.compile(runtime, GUEST), IMPORTS)

    def work() -> None:
        for n in range(20):
            with linked.instantiate() as instance:
                instance.exports.check(n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert next(each for each in coverage.modules[0].functions if each.name == "check").hits == 80


def test_asynchronous_stores(runtime: pywasmrt.Runtime) -> None:
    async def host(x: int) -> int:
        return x + 10

    async def main() -> None:
        coverage = Coverage()
        instance = await runtime.instantiate_async(coverage.compile(runtime, GUEST), {"env": {"host": host}})
        assert await instance.exports.check.call_async(3) == 10
        assert {each.name for each in coverage.modules[0].functions if each.hits} == {"even", "check"}

    run_async(main)


def test_any_embedding_can_use_the_changed_module(runtime: pywasmrt.Runtime) -> None:
    coverage = Coverage()
    data, host = coverage.instrument(GUEST)
    assert host.name == HOST_MODULE
    with runtime.instantiate(runtime.compile(data), host, IMPORTS) as instance:
        instance.exports.check(3)
    assert coverage.modules[0].functions[0].hits == 1


TESTS = """
from hypothesis import given, strategies as st
import pytest
import pywasmrt

GUEST = '''(module (func $classify (export "classify") (param i32) (result i32)
  (if (result i32) (i32.gt_s (local.get 0) (i32.const 1000000))
    (then (i32.const 1)) (else (i32.const 0)))))'''


def test_small_numbers(wasm_runtime, wat):
    exports = wasm_runtime.instantiate(wat(GUEST)).exports

    @given(st.integers(0, 1000))
    def check(n):
        assert exports.classify(n) == 0

    check()


def test_invalid_modules_are_still_invalid(wasm_runtime):
    with pytest.raises(pywasmrt.ModuleCompileError):
        wasm_runtime.compile(b"\\0asm\\1\\0\\0\\0\\x0a")


def test_a_runtime_of_its_own():
    with pywasmrt.new_runtime() as runtime:
        module = runtime.compile('(module (func $other (export "other")))')
        runtime.instantiate(module).exports.other()
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_the_option_reports_a_whole_test_run(tmp_path: Path, workers: int) -> None:
    if workers and find_spec("xdist") is None:
        pytest.skip("pytest-xdist is not installed")
    if "wat" not in pywasmrt.new_runtime().info.features:
        pytest.skip("the guests are in the text format")
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "out.info.gw9.part").write_text("of a run before this one")
    options = ["-p", "pywasmrt.testing.pytest_plugin", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    options += ["--wasm-coverage", "out.info", *(["-n", str(workers)] if workers else [])]
    root = str(Path(pywasmrt.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_it.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "PYWASMRT_TEST_RUNTIMES": ""},
        timeout=300,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "coverage of WebAssembly guests" in found.stdout
    assert " 1/2 50% " in found.stdout
    assert "written to out.info" in found.stdout
    lines = [line for each in tracefile(tmp_path / "out.info").values() for line in each]
    assert {line.split(",")[1] for line in lines if line.startswith("FNDA:")} == {"classify", "other"}
    left = [path.suffix for path in tmp_path.iterdir() if path.name.startswith("out")]
    assert sorted(left) == [".info", ".wat", ".wat"]
