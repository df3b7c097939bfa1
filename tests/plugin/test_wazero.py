"""A configuration that was written for the Go host runs as it is, where wazero was built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.plugin_guests import binary

import pywasmrt
from pywasmrt.plugin import PluginConfig, Stack, WasmPlugin

pytestmark = pytest.mark.skipif(
    not any(info.name == "wazero" and info.available for info in pywasmrt.list_runtimes()), reason="needs wazero"
)

GUEST = """(module
  (import "opentelemetry.io/wasm" "setResultTraces" (func $set (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\07\\08\\09")
  (func (export "getSupportedTelemetry") (result i32) (i32.const 4))
  (func (export "processTraces") (result i32) (call $set (i32.const 0) (i32.const 3)) (i32.const 0)))"""


@pytest.mark.parametrize(
    ("section", "mode"),
    [
        ({}, "compiler"),
        ({"wazero": None}, "compiler"),
        ({"wazero": {"mode": "interpreter"}}, "interpreter"),
        ({"wazero": {"mode": "compiled"}}, "compiled"),
        ({"wazero": {"mode": "compiler"}}, "compiler"),
        ({"options": {"mode": "interpreter"}}, "interpreter"),
    ],
    ids=str,
)
def test_both_spellings_of_the_modes(tmp_path: Path, section: dict[str, Any], mode: str) -> None:
    path = tmp_path / "guest.wasm"
    path.write_bytes(binary(GUEST))
    config = {"path": str(path), "cache": False, "runtime_config": {"type": "wazero", **section}}
    with WasmPlugin(config, ["processTraces"]) as plugin:
        stack = Stack()
        plugin.process_function_call("processTraces", stack)
        assert stack.result_traces == b"\x07\x08\x09"
    read = PluginConfig.from_mapping(config).runtime()
    assert (read.type, read.options.get("mode", "compiler")) == ("wazero", mode)


def test_a_mode_that_there_is_not(tmp_path: Path) -> None:
    config = {"path": "p", "runtime_config": {"type": "wazero", "wazero": {"mode": "jit"}}}
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=r"'mode' of wazero.*'jit'"):
        WasmPlugin(config, ["processTraces"])
