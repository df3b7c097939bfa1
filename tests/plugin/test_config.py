"""The configuration of a plugin: both spellings, defaults, and what is wrong told by its key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt import InvalidConfigurationError
from pywasmrt.plugin import PluginConfig, RuntimeMode, RuntimeType, WasmPlugin

yaml = pytest.mark.skipif(
    not __import__("importlib.util", fromlist=["util"]).find_spec("yaml"), reason="needs the package PyYAML"
)
AVAILABLE = [info.name for info in pywasmrt.list_runtimes() if info.available]
WITHOUT_WAZERO = pytest.mark.skipif("wazero" in AVAILABLE, reason="where wazero is built, its options are its own")


def test_the_defaults() -> None:
    config = PluginConfig.from_mapping({"path": "x/main.wasm"})
    assert config.plugin_config_json() == b"{}"
    assert config.runtime().type == "auto"
    assert config.timeout == 30
    assert config.memory_bytes == 512 << 20
    assert config.cache is True
    assert config.guest_name() == "x"  # upstream's guests are all called main.wasm
    assert PluginConfig("y/echo.wasm").guest_name() == "echo"
    assert PluginConfig(Path("y/echo.wasm"), name="other").guest_name() == "other"


def test_both_spellings() -> None:
    main = PluginConfig.from_mapping({"path": "p", "runtime": {"mode": "compiled"}})
    assert main.runtime().type == "auto"
    other = PluginConfig.from_mapping(
        {"path": "p", "runtime_config": {"type": AVAILABLE[0], AVAILABLE[0]: {}, "wazero": {"mode": "interpreter"}}}
    )
    assert other.runtime().type == AVAILABLE[0]
    with pytest.raises(InvalidConfigurationError, match=r"two spellings of one key"):
        PluginConfig.from_mapping({"path": "p", "runtime": {}, "runtime_config": {}})


def test_the_interpreter_is_wasm3() -> None:
    mapping = {"path": "p", "runtime": {"mode": RuntimeMode.INTERPRETER}}
    if RuntimeType.WASM3 in AVAILABLE:
        assert PluginConfig.from_mapping(mapping).runtime().type == "wasm3"
    else:
        with pytest.raises(InvalidConfigurationError, match=r"the runtime 'wasm3' is not installed; there are auto, "):
            PluginConfig.from_mapping(mapping)


def test_options_of_the_chosen_runtime_are_taken() -> None:
    config = {
        "path": "p",
        "runtime_config": {"type": "auto", "wasmtime": {"strategy": "cranelift"}, "options": {"a": 1}},
    }
    assert PluginConfig.from_mapping(config).runtime().options == {"strategy": "cranelift", "a": 1}
    config = {"path": "p", "runtime_config": {"interruptible": False, "trap_on_grow_failure": True}}
    assert not PluginConfig.from_mapping(config).runtime().interruptible
    assert PluginConfig.from_mapping(config).runtime().trap_on_grow_failure
    config = {"path": "p", "runtime_config": pywasmrt.RuntimeConfig(AVAILABLE[0])}
    assert PluginConfig.from_mapping(config).runtime().type == AVAILABLE[0]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "^path is required"),
        ({"path": ""}, "^path is the file of the guest's module, not ''"),
        ({"path": 3}, "^path is the file"),
        (
            {"path": "p", "plugin_confg": {}},
            "no key 'plugin_confg'.*only path, plugin_config.*did you mean 'plugin_config'",
        ),
        ({"path": "p", 3: 4}, "no key 3"),
        ({"path": "p", "plugin_config": [1]}, r"^plugin_config is a mapping, not \[1\]"),
        ({"path": "p", "plugin_config": {1: 2}}, "^plugin_config cannot be written as JSON: the key 1"),
        ({"path": "p", "plugin_config": {"a": float("nan")}}, "^plugin_config cannot be written as JSON"),
        ({"path": "p", "plugin_config": {"a": object()}}, "^plugin_config cannot be written as JSON"),
        ({"path": "p", "timeout": "30s"}, "^timeout is a number of seconds above 0, or null for no limit; not '30s'"),
        ({"path": "p", "timeout": True}, "^timeout is"),
        ({"path": "p", "timeout": 0}, "^timeout is"),
        ({"path": "p", "memory_bytes": 1.5}, "^memory_bytes is a number of bytes"),
        ({"path": "p", "cache": 3}, "^cache is true, false, or the path of a folder"),
        ({"path": "p", "name": ""}, "^name is a str that is not empty"),
        ({"path": "p", "runtime": "wasmtime"}, "^runtime_config is a mapping, not 'wasmtime'"),
        ({"path": "p", "runtime": {"mod": "x"}}, "^runtime_config has no key 'mod'.*did you mean 'mode'"),
        ({"path": "p", "runtime": {"mode": "jit"}}, "^runtime_config.mode is one of compiled, interpreter, not 'jit'"),
        ({"path": "p", "runtime": {"mode": "compiled", "type": "auto"}}, "a type and a mode"),
        ({"path": "p", "runtime_config": {"type": "wasmer"}}, "'wasmer' is not installed; there are auto, "),
        ({"path": "p", "runtime_config": {"type": "wasmtim"}}, "'wasmtim' is not installed; .*did you mean 'wasmtime"),
        ({"path": "p", "runtime_config": {"type": 1}}, "^runtime_config.type is one of auto, "),
        pytest.param(
            {"path": "p", "runtime_config": {"wazero": {"mode": "x"}}},
            "^runtime_config.wazero.mode is one of",
            marks=WITHOUT_WAZERO,
        ),
        pytest.param(
            {"path": "p", "runtime_config": {"wazero": {"strategy": "x"}}},
            "^runtime_config.wazero has no key",
            marks=WITHOUT_WAZERO,
        ),
        ({"path": "p", "runtime_config": {"wasmtime": 3}}, "^runtime_config.wasmtime is a mapping of options, not 3"),
        ({"path": "p", "runtime_config": {"options": {"a": 1}, "wasmtime": {"a": 2}}}, "gives the option 'a' twice"),
        ({"path": "p", "runtime_config": {"features": "simd"}}, "^runtime_config.features is a list of names"),
        ({"path": "p", "runtime_config": {"features": True}}, "^runtime_config.features is a list of names, not True"),
        ({"path": "p", "runtime_config": {"features": {"simd": False}}}, "^runtime_config.features is a list of"),
        ({"path": "p", "runtime_config": {"features": [1]}}, "^runtime_config.features is a list of names"),
        (
            {"path": "p", "runtime_config": {"interruptible": 1}},
            "^runtime_config.interruptible is true or false, not 1",
        ),
        (
            {"path": "p", "runtime_config": {"trap_on_grow_failure": 0}},
            "^runtime_config.trap_on_grow_failure is true or",
        ),
    ],
)
def test_a_wrong_value_is_told_by_its_key(mapping: Any, message: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=message):
        PluginConfig.from_mapping(mapping)


def test_the_engines_options_are_checked_when_the_plugin_is_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError, match=r"speed"):
        WasmPlugin({"path": tmp_path / "x.wasm", "runtime_config": {AVAILABLE[0]: {"speed": 3}, "type": AVAILABLE[0]}})


def test_a_configuration_is_a_mapping() -> None:
    with pytest.raises(InvalidConfigurationError, match=r"a plugin is a mapping, not 3"):
        PluginConfig.from_mapping(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfigurationError, match=r"is a mapping, not 'guest.wasm'.*under its key path$"):
        WasmPlugin("guest.wasm")
    with pytest.raises(InvalidConfigurationError, match=r"path is the file"):
        WasmPlugin(PluginConfig(None))  # type: ignore[arg-type]


@yaml
@yaml
@pytest.mark.skipif("wasmtime" not in AVAILABLE, reason="the example names wasmtime")
def test_the_example_of_the_docstring_is_one() -> None:
    text = (sys.modules[PluginConfig.__module__].__doc__ or "").split("\n\n")[1].replace("{...}", "{}")
    config = PluginConfig.from_yaml(text.replace("      mode: ", "      # mode: "))  # beside a type
    assert config.instances() == 2


def test_yaml_is_read_as_the_collector_reads_it() -> None:
    config = PluginConfig.from_yaml(
        """
        path: ./main.wasm
        plugin_config: {word: yes, time: 12:30, date: 2024-01-01, padded: 010, hex: 0x1F, octal: 0o17, real: 1e3,
          tiny: 2.5e-3, none: ~, empty: , flag: true, list: [off, -3, .5]}
        runtime_config:
        cache:
        """
    )
    assert config.plugin_config == {
        "word": "yes",
        "time": "12:30",
        "date": "2024-01-01",
        "padded": 10,
        "hex": 31,
        "octal": 15,
        "real": 1000.0,
        "tiny": 0.0025,
        "none": None,
        "empty": None,
        "flag": True,
        "list": ["off", -3, 0.5],
    }
    assert config.cache is True


@yaml
def test_yaml_merges_mappings_as_the_collector_does() -> None:
    config = PluginConfig.from_yaml(
        """
        path: main.wasm
        plugin_config:
          base: &base {a: 1, b: 1}
          other: &other {c: 2}
          made: {<<: *base, <<: *other, b: 3}
          text: "<<"
        """
    )
    assert config.plugin_config["made"] == {"a": 1, "b": 3, "c": 2}
    assert config.plugin_config["text"] == "<<"


@yaml
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "this is no YAML that can be read"),
        ("path: a\npath: b", "line 2: the key 'path' is given twice"),
        ("[]", "is a mapping, not "),
        ("", "is a mapping, not None"),
        ("path: !!python/object/apply:os.getcwd []", "this is no YAML that can be read"),
        ("path: a\nplugin_config: {<<: 3}", "this is no YAML that can be read"),
        ("path: a\nplugin_config: &x {y: *x}", "plugin_config cannot be written as JSON|no YAML"),
    ],
)
def test_what_is_wrong_with_yaml_is_told(text: str, message: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=message):
        PluginConfig.from_yaml(text)


def test_without_pyyaml_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from pywasmrt.plugin import _yaml

    monkeypatch.setitem(sys.modules, "yaml", None)
    _yaml._loader.cache_clear()
    with pytest.raises(InvalidConfigurationError, match=r"install pywasmrt\[yaml\], or use PluginConfig.from_mapping"):
        PluginConfig.from_yaml("path: x")
    monkeypatch.undo()
    _yaml._loader.cache_clear()


def test_yaml_is_a_str() -> None:
    with pytest.raises(TypeError, match=r"YAML text is a str"):
        PluginConfig.from_yaml(b"path: x")  # type: ignore[arg-type]
