"""The wheels and the sdist: what they hold, and on which systems they install.

`make wheel` and `make wheels` set PYWASMRT_DIST to the folder with what they built, for these tests to look into.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from pywasmrt._shim.build_zig import Target, UnknownTarget

PROJECT = Path(__file__).resolve().parents[2]
DIST = os.environ.get("PYWASMRT_DIST")
WHEELS = sorted(Path(DIST).glob("*.whl")) if DIST else []
OLDEST_GLIBC = (2, 17)  # that of RHEL 7; Debian 11 has 2.31, RHEL 8 2.28
RUN = """
import pywasmrt, pywasmrt._shim._wrt
print(pywasmrt._shim._wrt.__file__)
for info in pywasmrt.list_runtimes():
    if info.available:
        with pywasmrt.new_runtime(info.name) as runtime:
            module = runtime.compile('(module (func (export "add") (param i32 i32) (result i32)'
                                     ' (i32.add (local.get 0) (local.get 1))))')
            print(info.name, runtime.instantiate(module).exports.add(20, 22))
"""


def native_parts(wheel: Path) -> dict[str, bytes]:
    """The extension modules of a wheel, by file name."""
    with zipfile.ZipFile(wheel) as archive:
        return {Path(name).name: archive.read(name) for name in archive.namelist() if name.endswith(".so")}


@pytest.mark.parametrize(
    ("name", "platform", "suffix"),
    [
        ("x86_64-linux-gnu.2.17", "linux-x86_64", ".cpython-311-x86_64-linux-gnu.so"),
        ("aarch64-linux-gnu.2.28", "linux-aarch64", ".cpython-311-aarch64-linux-gnu.so"),
        ("aarch64-linux-musl", "linux-aarch64", ".so"),
    ],
)
def test_a_target_names_the_platform_and_the_files_of_its_python(name: str, platform: str, suffix: str) -> None:
    target = Target.parse(name)
    assert (target.platform, target.suffix(".cpython-311-x86_64-linux-gnu.so")) == (platform, suffix)
    assert target.suffix(".cpython-314t-x86_64-linux-gnu.so").startswith(suffix.replace("311", "314t"))


@pytest.mark.parametrize("name", ["x86_64-linux-gnu", "x86_64-linux-gnu.2", "riscv64-linux-musl", "x86_64-windows-gnu"])
def test_an_unknown_target_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(UnknownTarget, match=f"PYWASMRT_TARGET={re.escape(name)}: .*MACHINE-linux-musl"):
        Target.parse(name)


@pytest.mark.skipif(not WHEELS, reason="PYWASMRT_DIST names no folder with wheels; `make wheel` sets it")
@pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: wheel.name)
class TestWheel:
    """Each wheel that was built."""

    def test_it_holds_the_native_parts_and_no_engine(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            recorded = archive.read("pywasmrt/_shim/_build_info.py").decode()
        assert [name for name in names if "wasmtime" in Path(name).name and not name.endswith(".py")] == []
        wazero = [] if "musllinux" in wheel.name else ["_wrt_wazero"]
        found = sorted(name.split(".")[0] for name in native_parts(wheel))
        assert found == ["_fastcall", "_files", "_wire", "_wrt", *wazero]
        assert {"pywasmrt/py.typed", "pywasmrt/_shim/_fastcall.pyi", "pywasmrt/_shim/_wire.pyi"} <= set(names)
        assert "\nreason: str | None = None\nwasm3_reason: str | None = None\n" in recorded
        told = re.search(r"^wazero_reason: str \| None = (.*)$", recorded, re.MULTILINE)
        assert told is not None
        assert ("musl cannot open" in told[1]) if "musllinux" in wheel.name else told[1] == "None"
        assert [name for name in names if name.endswith("/LICENSE")] != []
        assert {name.split("/")[0].split("-")[0] for name in names} == {"pywasmrt"}

    def test_it_installs_on_old_systems_and_its_symbols_are_as_old_as_its_tag_says(self, wheel: Path) -> None:
        tag = re.search(r"-[^-]*?(manylinux|musllinux)_(\d+)_(\d+)_(x86_64|aarch64)\.whl$", wheel.name)
        assert tag is not None, "auditwheel gave no tag"
        machine = b"\x3e\x00" if tag[4] == "x86_64" else b"\xb7\x00"
        for name, content in native_parts(wheel).items():
            assert content[:5] == b"\x7fELF\x02", name
            assert content[18:20] == machine, name
            versions = {(int(major), int(minor)) for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", content)}
            if tag[1] == "musllinux":
                assert not versions, name
                assert (f"libc.musl-{tag[4]}.so.1".encode() in content) or name.startswith("_wire"), name
            else:
                assert max(versions) <= (int(tag[2]), int(tag[3])) <= OLDEST_GLIBC, name
            if name.startswith("_fastcall"):  # glibc unwinds a thread that ends, musl does not
                assert (b"__gcc_personality_v0" in content) == (tag[1] == "manylinux")

    def test_it_runs_where_it_fits_this_interpreter(self, wheel: Path, tmp_path: Path) -> None:
        version = f"cp{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '').replace('d', '')}"
        machine = sysconfig.get_platform().removeprefix("linux-")
        if f"-{version}-manylinux" not in wheel.name or not wheel.name.endswith(f"_{machine}.whl"):
            pytest.skip("a wheel for another system or another Python")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--target", str(tmp_path), str(wheel)], check=True, timeout=120)
        child = subprocess.run(
            [sys.executable, "-c", RUN],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            text=True,
            capture_output=True,
            check=True,
            timeout=120,
        )
        place, *answers = child.stdout.splitlines()
        assert Path(place).is_relative_to(tmp_path)
        assert {"wasmtime 42", "wasm3 42", "wazero 42"} <= set(answers)


@pytest.mark.skipif(DIST is None, reason="PYWASMRT_DIST names no folder; `make wheel` sets it")
def test_the_sdist_holds_what_it_takes_to_build_and_test_and_nothing_built() -> None:
    [sdist] = Path(DIST or "").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "csrc/wrt.h",
        "csrc/engines/wasmtime/engine.c",
        "setup.py",
        "tests/project/test_packaging.py",
        "Makefile",
    } <= names
    assert [name for name in names if re.search(r"\.(so|o|pyc)$|_build_info|__pycache__", name)] == []


class TestForge:
    """The settings of cibuildwheel, which builds and tests the wheels of a release on a public forge."""

    @pytest.fixture
    def project(self) -> str:
        if not (PROJECT / ".github").exists():
            pytest.skip("needs the checkout")
        return (PROJECT / "pyproject.toml").read_text(encoding="utf-8")

    def test_every_python_that_the_classifiers_name_is_built(self, project: str) -> None:
        promised = re.findall(r"Programming Language :: Python :: 3\.(\d+)", project)
        found = re.search(r'^build = "(.*)"$', project, re.MULTILINE)
        assert found is not None
        assert [f"cp3{minor}-*" for minor in promised] == [each for each in found[1].split() if "t-" not in each]

    def test_the_targets_are_those_of_make_wheels(self, project: str) -> None:
        makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
        wanted = re.search(r"^EVERY_TARGET = (.*)$", makefile, re.MULTILINE)
        assert wanted is not None
        assert sorted(re.findall(r'PYWASMRT_TARGET = "(.*?)"', project)) == sorted(wanted[1].split())

    def test_wheels_for_glibc_are_built_with_wazero(self, project: str) -> None:
        environments = re.findall(r'PYWASMRT_TARGET = "(.*?)"(.*)}', project)
        assert {name: "PYWASMRT_WAZERO" in others for name, others in environments} == {
            name: "-gnu" in name for name, _ in environments
        }

    @pytest.mark.skipif(shutil.which("cibuildwheel") is None, reason="needs cibuildwheel")
    def test_cibuildwheel_takes_its_settings(self, project: str) -> None:
        child = subprocess.run(
            ["cibuildwheel", "--platform", "linux", "--archs", "x86_64", "--print-build-identifiers"],
            cwd=PROJECT,
            text=True,
            capture_output=True,
            check=True,
            timeout=120,
        )
        assert {"cp310-manylinux_x86_64", "cp314t-musllinux_x86_64"} <= set(child.stdout.split())
