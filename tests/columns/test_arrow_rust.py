"""Guests of the arrow-udf ABI that arrow-udf's own macros made, from Rust. Slow, and only where Rust builds them.

It takes cargo, the target wasm32-wasip1, and arrow-udf from the registry, which takes minutes to build the first time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from helpers.plugin_guests import kept_folder

from pywasmrt import RowError, Trap
from pywasmrt.columns import Udf

pa = pytest.importorskip("pyarrow")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cargo")]

SOURCE = Path(__file__).parent / "arrow_udf_guest"
DEPENDENCIES = {
    "3.0": 'arrow-udf = "0.9"',
    "2.0": 'arrow-udf = "0.2"\ngenawaiter = "0.99"',  # which the macros of 0.2 expect beside them
}
"""Of the guest, by the version of the ABI that they make."""

BUILD_SECONDS = 3600


@cache
def built(abi: str) -> Path:
    """The guest by that version of the ABI, kept between runs. Skips where it cannot be built."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("needs cargo")
    folder = kept_folder() / f"arrow-udf-{abi}"
    folder.mkdir(exist_ok=True)
    (folder / "lib.rs").write_text((SOURCE / "lib.rs").read_text())
    (folder / "Cargo.toml").write_text((SOURCE / "Cargo.toml").read_text().replace("DEPENDENCIES", DEPENDENCIES[abi]))
    settings = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target")}
    command = [cargo, "build", "--release", "--quiet", "--target", "wasm32-wasip1"]
    done = subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    if done.returncode:
        pytest.skip(f"cargo does not build the guest: {done.stderr[-500:]}")
    return folder / "target" / "wasm32-wasip1" / "release" / "guest.wasm"


@pytest.fixture(params=DEPENDENCIES)
def guest(request: pytest.FixtureRequest) -> Path:
    return built(request.param)


def test_functions_of_numbers_and_text(guest: Path) -> None:
    assert Udf(guest, "gcd")(pa.array([12, None, 35]), 21).to_pylist() == [3, None, 7]
    assert Udf(guest, "wide")(pa.array([2**40, None])).to_pylist() == [2**40 + 1, None]
    assert Udf(guest, "upper")(pa.array(["straße", None, ""])).to_pylist() == ["STRASSE", None, ""]
    assert Udf(guest, "size")(pa.array([b"abc", None])).to_pylist() == [3, None]
    assert Udf(guest, "gcd")(pa.array(range(1, 10_001)), 6).to_pylist()[:6] == [1, 2, 3, 2, 1, 6]


def test_nulls_and_errors(guest: Path) -> None:
    assert Udf(guest, "or_zero")(pa.array([1, None])).to_pylist() == [1, 0]
    with pytest.raises(RowError, match=r"row 1 of div\(\): division by zero"):
        Udf(guest, "div")(pa.array([6, 6]), pa.array([3, 0]))
    assert Udf(guest, "div", on_error="null")(pa.array([6, 6]), pa.array([3, 0])).to_pylist() == [2, None]


def test_table_functions(guest: Path) -> None:
    table = Udf(guest, "series")(pa.array([2, 0, 3]))
    assert table.column("row").to_pylist() == [0, 0, 2, 2, 2]
    assert table.column(1).to_pylist() == [0, 1, 0, 1, 2]
    batches = list(Udf(guest, "series").batches(pa.array([3000])))
    assert sum(batch.num_rows for batch in batches) == 3000
    assert len(batches) > 1


def test_structs(guest: Path) -> None:
    result = Udf(guest, "pair")(pa.array(["a=b", None, "none"]))
    assert result.to_pylist() == [{"key": "a", "value": "b"}, None, None]


def test_a_panic_is_a_trap_and_the_next_call_works(guest: Path) -> None:
    with pytest.raises(Trap):
        Udf(guest, "panics")(pa.array([1]))
    assert Udf(guest, "gcd")(pa.array([4]), 6).to_pylist() == [2]
