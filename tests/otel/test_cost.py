"""A processor does not grow, however often it is called. Slow."""

from __future__ import annotations

import gc

import pytest
from helpers.plugin_guests import c_guest, config
from helpers.resident import resident

import pywasmrt
from pywasmrt.otel import TelemetryError, WasmProcessor

pytestmark = pytest.mark.slow


def after_a_collection() -> int:
    gc.collect()
    return resident()


@pytest.mark.parametrize("abi", ["experimental", "v1"])
def test_a_million_calls(abi: str, runtime: pywasmrt.Runtime) -> None:
    calls = 1_000_000 if runtime.info.name == "wasmtime" else 20_000
    payload = bytes(range(256)) * 2
    with WasmProcessor(config(c_guest("echo", abi), runtime.info.name)) as processor:
        process = processor.process_logs

        def work(count: int) -> None:
            for _ in range(count):
                process(payload)

        work(calls // 10)
        before = after_a_collection()
        work(calls)
        assert after_a_collection() - before < 1 << 20
        assert processor.counters("logs").succeeded_batches == calls + calls // 10


def test_ten_thousand_failures(runtime: pywasmrt.Runtime) -> None:
    """Each puts a new instance in the place of the old one."""
    listed = [{"key": "a", "value": 1, "action": "insert"}]
    count = 10_000 if runtime.info.name == "wasmtime" else 300
    made = config(c_guest("attributesprocessor", "v1"), runtime.info.name, plugin_config={"actions": listed})
    with WasmProcessor(made) as processor:

        def work(times: int) -> None:
            for _ in range(times):
                processor.plugin._guests[0].lost = True
                with pytest.raises(TelemetryError):
                    processor.process_logs(b"\x0a\x05")

        work(count // 5)
        before = after_a_collection()
        work(count)
        assert after_a_collection() - before < 4 << 20
        assert processor.plugin.restarts == count + count // 5
