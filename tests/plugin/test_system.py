"""What a plugin's guest may use of the system, and how its configuration says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.plugin_guests import binary, c_guest, config

import pywasmrt
from pywasmrt.otel import WasmExporter, WasmReceiver
from pywasmrt.plugin import GuestStatusError, PluginConfig, Role, Stack, WasmPlugin
from pywasmrt.plugin.system import wasi_config
from pywasmrt.wasi import INHERIT, Network, WasiConfig


class Module:
    """A module that imports one function of WASI."""

    imports = (type("Import", (), {"module": "wasi_snapshot_preview1"})(),)
    exports = ()


def made(wasi: Any = None, role: Role | None = Role.PROCESSOR) -> Any:
    return wasi_config(PluginConfig("x/guest.wasm", wasi=wasi), Module(), role)  # type: ignore[arg-type]


def test_a_processor_gets_nothing_but_standard_output() -> None:
    found = made()
    assert found.args == ["guest"]
    assert found.env == {}
    assert found.stdin is None
    assert (found.stdout, found.stderr) == (INHERIT, INHERIT)
    assert found.preopens == {}
    assert found.network == Network()


def test_receivers_and_exporters_reach_the_network() -> None:
    exporter, receiver = made(role=Role.EXPORTER).network, made(role=Role.RECEIVER).network
    address = ("192.0.2.1", 4318)
    assert exporter.may_connect(address)
    assert not exporter.may_listen(address)
    assert receiver.may_listen(address)
    assert receiver.may_connect(address)
    assert not receiver.may_connect("/run/docker.sock")
    assert not made({"network": False}, Role.RECEIVER).network.may_listen(address)
    assert made({"network": True}).network.may_connect("/run/docker.sock")
    listed = made({"network": {"connect": ["127.0.0.1:80"], "resolve": True}}, Role.RECEIVER).network
    assert (listed.may_connect(("127.0.0.1", 80)), listed.may_listen(address), listed.resolve) == (True, False, True)


def test_what_is_given_is_taken(tmp_path: Path) -> None:
    lines = bytearray()
    found = made(
        {
            "args": ["a", "b"],
            "env": {"K": "v"},
            "stdout": lines,
            "stderr": "discard",
            "preopens": {"/a": str(tmp_path), "/b": {"path": str(tmp_path), "readonly": True, "limit": 5}},
        }
    )
    assert (found.args, found.env, found.stdout, found.stderr) == (["a", "b"], {"K": "v"}, lines, None)
    assert found.preopens["/a"] == str(tmp_path)
    assert found.preopens["/b"].readonly
    assert found.preopens["/b"].limit == 5
    assert made({"stdout": "out.txt"}).stdout == Path("out.txt")
    own = WasiConfig()
    assert made(own) is own


def test_a_guest_without_wasi_needs_none() -> None:
    module = type("Module", (), {"imports": ()})()
    assert wasi_config(PluginConfig("x", wasi={"env": {}}), module, None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wasi", "message"),
    [
        (3, "^wasi is a mapping or a WasiConfig, not 3"),
        ({"enw": {}}, "^wasi has no key 'enw'.*did you mean 'env'"),
        ({"env": {"a=b": "c"}}, "^wasi: 'a=b' is no name"),
        ({"args": "one"}, "^wasi: WasiConfig.args is a list"),
        ({"stdout": 3}, "^wasi.stdout is inherit, discard, log or the path of a file, not 3"),
        ({"preopens": []}, r"^wasi.preopens is a mapping, not \[\]"),
        (
            {"preopens": {"/": {"pth": "."}}},
            r"^wasi.preopens\['/'\] is a path, or a mapping with path, readonly and limit",
        ),
        ({"network": "all"}, "^wasi.network is true, false or a mapping, not 'all'"),
        ({"network": {"conect": []}}, "^wasi.network has no key 'conect'"),
        ({"network": {"connect": "127.0.0.1:1"}}, "^wasi.network.connect and listen are lists"),
        ({"network": {"connect": ["nowhere"]}}, "^wasi: 'nowhere' is no address pattern"),
        ({"network": {"resolve": 1}}, "^wasi.network.resolve is true or false"),
    ],
)
def test_a_wrong_value_is_told_by_its_key(wasi: Any, message: str) -> None:
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=message):
        made(wasi)


def test_lines_are_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    write = made({"stdout": "log"}).stdout
    with caplog.at_level("INFO", "pywasmrt.guest.guest"):
        write(b"first\nsec")
        write(b"ond\n\xff")
        write(b"x" * 70000)
    assert [each.getMessage()[:7] for each in caplog.records] == ["first", "second", "\ufffdxxxxxx"]


def test_the_hosts_environment_stays_with_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    path = tmp_path / "guest.wasm"
    path.write_bytes(
        binary(
            """(module (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
              (memory (export "memory") 1)
              (func (export "getSupportedTelemetry") (result i32)
                (drop (call $sizes (i32.const 0) (i32.const 4)))
                (select (i32.const 7) (i32.const 4) (i32.load (i32.const 0))))
              (func (export "pushTraces") (result i32) (i32.const 0)))"""
        )
    )
    with WasmExporter(config(path)) as exporter:
        assert exporter.plugin.supported_telemetry == 4
    with WasmExporter(config(path, wasi={"env": {"A": "b"}})) as exporter:
        assert exporter.plugin.supported_telemetry == 7


# Starting


def initialising(exports: str, marker: str = "") -> str:
    return f"""(module (import "otelwasm" "otelwasm_get_plugin_config" (func $config (param i32 i32) (result i32)))
      (memory (export "memory") 1) (global $size (mut i32) (i32.const 0))
      (func $read (global.set $size (i32.add (global.get $size) (call $config (i32.const 0) (i32.const 0)))))
      {exports} {marker}
      (func (export "getSupportedTelemetry") (result i32) (global.get $size))
      (func (export "otelwasm_get_supported_telemetry") (result i32) (global.get $size)))"""


MARKER = '(func (export "otelwasm_abi_version_0_1_0"))'


@pytest.mark.parametrize(
    ("wat", "reads"),
    [
        pytest.param(initialising('(export "_initialize" (func $read))'), 1, id="initialize"),
        pytest.param(initialising('(export "_initialize" (func $read)) (export "_start" (func $read))'), 1, id="both"),
        pytest.param(initialising('(export "_start" (func $read))'), 0, id="start-of-the-experimental-dialect"),
        pytest.param(initialising('(export "_start" (func $read))', MARKER), 1, id="start-of-v1"),
        pytest.param(initialising("(start $read)", MARKER), 1, id="start-section"),
    ],
)
@pytest.mark.parametrize("wasi", [False, True])
def test_a_guest_is_initialised_once_and_may_read_its_configuration(
    tmp_path: Path, runtime: pywasmrt.Runtime, wat: str, reads: int, wasi: bool
) -> None:
    if wasi:
        wat = wat.replace("(module", '(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))', 1)
    path = tmp_path / "guest.wasm"
    path.write_bytes(binary(wat))
    with WasmPlugin(config(path, runtime.info.name, plugin_config={})) as plugin:
        assert plugin.supported_telemetry == reads * len("{}")


def test_a_command_that_exits_with_an_error_is_refused(tmp_path: Path, runtime: pywasmrt.Runtime) -> None:
    for code, error in ((0, None), (3, pywasmrt.Exit)):
        path = tmp_path / f"{code}.wasm"
        path.write_bytes(
            binary(
                f"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                  (memory (export "memory") 1) {MARKER}
                  (func (export "_start") (call $exit (i32.const {code})))
                  (func (export "otelwasm_get_supported_telemetry") (result i32) (i32.const 4)))"""
            )
        )
        if error is None:
            WasmPlugin(config(path, runtime.info.name)).shutdown()
        else:
            with pytest.raises(error):
                WasmPlugin(config(path, runtime.info.name))


# Receivers of several signals


IN_TURN = """(module
  (import "opentelemetry.io/wasm" "setResultTraces" (func $traces (param i32 i32)))
  (import "opentelemetry.io/wasm" "setResultMetrics" (func $metrics (param i32 i32)))
  (import "opentelemetry.io/wasm" "setResultLogs" (func $logs (param i32 i32)))
  (memory (export "memory") 1) (global $n (mut i32) (i32.const 0))
  (func $next (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
  (func (export "getSupportedTelemetry") (result i32) (i32.const 7))
  (func (export "startTracesReceiver")
    (call $traces (i32.const 0) (call $next)) (call $logs (i32.const 0) (call $next)))
  (func (export "startMetricsReceiver") (call $metrics (i32.const 0) (call $next)))
  (func (export "startLogsReceiver") (call $logs (i32.const 0) (call $next))))"""


def test_one_guest_serves_all_signals_in_turn(tmp_path: Path, runtime: pywasmrt.Runtime) -> None:
    got: list[tuple[str, int]] = []

    class Consumer:
        def consume_traces(self, data: bytes) -> None:
            got.append(("traces", len(data)))

        def consume_metrics(self, data: bytes) -> None:
            got.append(("metrics", len(data)))

        def consume_logs(self, data: bytes) -> None:
            got.append(("logs", len(data)))

    path = tmp_path / "guest.wasm"
    path.write_bytes(binary(IN_TURN))
    with WasmReceiver(config(path, runtime.info.name), Consumer()) as receiver:
        assert receiver.wait()  # not started
        receiver.start()
        assert receiver.wait(20)
    # One instance: the count goes on from one start function to the next.
    assert got == [("traces", 1), ("logs", 2), ("metrics", 3), ("logs", 4)]


def test_a_plugin_tells_what_it_is() -> None:
    plugin = WasmPlugin(config(c_guest("echo", "v1"), "auto"), ["otelwasm_consume_logs"])
    assert repr(plugin) == f"<WasmPlugin {plugin.name} (v1, {plugin._runtime.info.name})>"
    with plugin, pytest.raises(pywasmrt.FunctionNotExportedError, match=r"does not export the function fly"):
        plugin.process_function_call("fly", Stack())
    assert repr(plugin).endswith(" closed>")
    with pytest.raises(pywasmrt.ClosedError):
        plugin.__enter__()
    assert plugin.interrupt() is False
    assert issubclass(GuestStatusError, pywasmrt.WasmError)


def test_a_stack_knows_its_fields() -> None:
    assert repr(Stack(current_logs=b"ab", result_traces=b"c")) == "<Stack traces: 0 in, 1 out; logs: 2 in, nothing out>"
    assert repr(Stack()) == "<Stack empty>"
    with pytest.raises(TypeError, match=r"a Stack has no 'curent_logs'"):
        Stack(curent_logs=b"")
