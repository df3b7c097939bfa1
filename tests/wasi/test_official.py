"""The official WASI tests (WebAssembly/wasi-testsuite), where PYWASMRT_WASI_TESTSUITE names a checkout of its branch
prod/testsuite-base, which holds them compiled. With openat2 and without.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import pywasmrt
from pywasmrt import wasi
from pywasmrt.wasi import resolve

SUITE = Path(os.environ.get("PYWASMRT_WASI_TESTSUITE", "/nonexistent")) / "tests"
MODULES = sorted(SUITE.glob("*/testsuite/wasm32-wasip1/*.wasm"))


@pytest.mark.skipif(not MODULES, reason="PYWASMRT_WASI_TESTSUITE names no checkout of the official WASI tests")
@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "walk"])
@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_an_official_test(
    runtime: pywasmrt.Runtime, module: Path, kernel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel and not resolve.kernel_resolves:
        pytest.skip("this kernel has no openat2")
    monkeypatch.setattr(resolve, "kernel_resolves", kernel)
    described = module.with_suffix(".json")
    wanted = json.loads(described.read_text()) if described.exists() else {}
    for folder in module.parent.iterdir():
        if folder.is_dir():
            shutil.copytree(folder, tmp_path / folder.name)
    out, err = bytearray(), bytearray()
    config = wasi.WasiConfig(
        args=[module.name, *wanted.get("args", [])],
        env=wanted.get("env", {}),
        stdout=out,
        stderr=err,
        preopens={"/": tmp_path / wanted["root"]} if "root" in wanted else {},
    )
    try:
        compiled = runtime.compile(module)
    except pywasmrt.UnsupportedFeatureError as error:
        pytest.skip(str(error))
    with runtime.instantiate(compiled, wasi=config) as instance:
        assert instance.run() == wanted.get("exit_code", 0), err.decode()
    assert out.decode() == wanted.get("stdout", out.decode())
