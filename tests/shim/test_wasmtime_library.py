"""Finding Wasmtime's library: from made-up packages, and from the one that is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pywasmrt import _shim
from pywasmrt._shim import wasmtime_library as library
from pywasmrt.errors import RuntimeNotFoundError


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where packages are looked for first, with no `wasmtime` imported already."""
    monkeypatch.delitem(sys.modules, "wasmtime", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(folder: Path, version: str | None, *, with_library: bool = True) -> Path:
    """Put a package `wasmtime` that cannot be imported into `folder`; returns where its library belongs."""
    package = folder / "wasmtime"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('the package was imported')\n")
    path = package / library._platform_folder() / library._file_name()
    if with_library:
        path.parent.mkdir()
        path.touch()
    if version is not None:
        info = folder / f"wasmtime-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: wasmtime\nVersion: {version}\n")
    return path


@pytest.mark.parametrize("major", library.SUPPORTED_MAJORS)
def test_an_accepted_version_is_found_without_importing_the_package(packages: Path, major: int) -> None:
    path = install(packages, f"{major}.1.2")
    assert library.find() == library.Library(path, f"{major}.1.2")
    assert library.wasmtime_library_reason() is None
    assert "wasmtime" not in sys.modules


@pytest.mark.parametrize("version", ["36.0.0", "47.9.9", "51.0.0", "480.0", "dev"])
def test_another_version_is_refused_with_those_that_serve(packages: Path, version: str) -> None:
    install(packages, version)
    expected = f"wasmtime {version} is installed, but only versions 48, 49, 50 serve; pip install 'wasmtime>=48,<51'"
    assert library.wasmtime_library_reason() == expected
    with pytest.raises(RuntimeNotFoundError) as caught:
        library.find()
    assert str(caught.value) == expected


def test_a_package_without_a_version_is_refused(packages: Path) -> None:
    install(packages, None)
    folder = packages / "wasmtime"
    expected = f"the version of wasmtime in {folder} cannot be told; pip install 'wasmtime>=48,<51'"
    assert library.wasmtime_library_reason() == expected


def test_a_package_without_a_library_for_this_platform_says_where_it_should_be(packages: Path) -> None:
    path = install(packages, "50.0.0", with_library=False)
    assert library.wasmtime_library_reason() == f"wasmtime 50.0.0 has no library for this platform: there is no {path}"


def test_no_package_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wasmtime", raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    expected = "the Python package wasmtime is not installed; pip install 'wasmtime>=48,<51'"
    assert library.wasmtime_library_reason() == expected


def test_a_module_of_that_name_made_by_hand_is_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wasmtime", type(sys)("wasmtime"))
    assert library.wasmtime_library_reason() == (
        "the Python package wasmtime is not installed; pip install 'wasmtime>=48,<51'"
    )


@pytest.mark.parametrize(
    ("system", "machine", "folder", "name"),
    [
        ("linux", "x86_64", "linux-x86_64", "_libwasmtime.so"),
        ("linux", "aarch64", "linux-aarch64", "_libwasmtime.so"),
        ("darwin", "arm64", "darwin-aarch64", "_libwasmtime.dylib"),
        ("win32", "AMD64", "win32-x86_64", "_wasmtime.dll"),
    ],
)
def test_the_library_s_place_on_each_platform(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, folder: str, name: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert (library._platform_folder(), library._file_name()) == (folder, name)


def test_the_installed_library_is_found_in_a_process_that_never_imports_the_package() -> None:
    if library.wasmtime_library_reason() is not None:
        pytest.skip(str(library.wasmtime_library_reason()))
    program = (
        "import sys; from pywasmrt._shim import wasmtime_library as library; assert library.find().path.is_file(); "
        "assert 'wasmtime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


class TestUnavailableReason:
    """`_shim.unavailable_reason`, from a made-up record of the build."""

    @pytest.fixture(autouse=True)
    def _uncached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_shim, "unavailable_reason", _shim.unavailable_reason.__wrapped__)

    @staticmethod
    def record(monkeypatch: pytest.MonkeyPatch, reason: str | None) -> None:
        info = type(sys)("_build_info")
        info.reason = reason  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pywasmrt._shim._build_info", info)

    def test_what_the_build_recorded_is_given_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.record(monkeypatch, "no compiler")
        assert _shim.unavailable_reason() == "no compiler"

    @pytest.mark.parametrize("missing", ["_wrt", "_fastcall"])
    def test_a_module_that_cannot_be_imported_is_named(self, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
        self.record(monkeypatch, None)
        for name in ("_wrt", "_fastcall"):
            module = None if name == missing else type(sys)(name)
            monkeypatch.setitem(sys.modules, f"pywasmrt._shim.{name}", module)
        reason = _shim.unavailable_reason()
        assert reason is not None
        assert reason.startswith(f"the native module pywasmrt._shim.{missing} cannot be imported: ")

    def test_both_modules_serve(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.record(monkeypatch, None)
        for name in ("_wrt", "_fastcall"):
            monkeypatch.setitem(sys.modules, f"pywasmrt._shim.{name}", type(sys)(name))
        assert _shim.unavailable_reason() is None

    def test_no_record_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pywasmrt._shim._build_info", None)
        assert _shim.unavailable_reason() == (
            "the native parts were never built; install the package, or run `python setup.py build_ext --inplace`"
        )
