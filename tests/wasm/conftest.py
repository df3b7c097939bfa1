"""Fixtures for tests of the binary format."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pywasmrt.runtimes.base.features import WASMTIME_SWITCHES


@pytest.fixture(scope="module")
def validate() -> Callable[[bytes], str]:
    """Why Wasmtime, with every proposal, does not take a module; "" where it does."""
    wasmtime = pytest.importorskip("wasmtime")
    config = wasmtime.Config()
    for switch in WASMTIME_SWITCHES.values():
        setattr(config, switch, True)
    engine = wasmtime.Engine(config)

    def reason(binary: bytes) -> str:
        try:
            wasmtime.Module.validate(engine, binary)
        except wasmtime.WasmtimeError as error:
            return str(error)
        return ""

    return reason
