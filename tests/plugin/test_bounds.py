"""What a configuration may become, what a damaged cache may cost, and what a guest may write into logs."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from helpers.sanitizers import ADDRESS_SANITIZER

import pywasmrt
from pywasmrt import InvalidConfigurationError
from pywasmrt.plugin import PluginConfig
from pywasmrt.plugin.logs import GuestLog
from pywasmrt.types import Frame, FunctionType
from pywasmrt.values import shown
from pywasmrt.wasm.module import Module


def aliases(levels: int, end: str = "") -> str:
    """YAML whose last list holds 10**(levels + 1) values."""
    lines = ["  a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"  a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels + 1)]
    return "path: x.wasm\nplugin_config:\n" + "\n".join(lines) + "\n" + end


def merges(levels: int) -> str:
    lines = ["  a0: &a0 {k: 1, l: 2}"]
    lines += [f"  a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 10)}], m{n}: 1}}" for n in range(1, levels + 1)]
    return "path: x.wasm\nplugin_config:\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        aliases(8),
        aliases(200),
        merges(8),
        aliases(8, "name: *a8\n"),
        aliases(8, "wasi: {env: *a8}\n"),
        aliases(8, "timeout: *a8\n"),
        aliases(8, "runtime_config: {type: *a8}\n"),
        "path: x\nplugin_config: {big: &b '" + "x" * 100_000 + "', many: [" + ",".join(["*b"] * 1000) + "]}",
    ],
    ids=["lists", "deep", "merges", "name", "wasi", "timeout", "type", "text"],
)
def test_aliases_that_multiply_are_refused(text: str) -> None:
    pytest.importorskip("yaml")
    if ADDRESS_SANITIZER:
        pytest.skip("the sanitizer needs more address space than the limit leaves")
    code = "import resource, sys\nresource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n" + textwrap.dedent("""
        from pywasmrt.plugin import PluginConfig
        try:
            PluginConfig.from_yaml(sys.stdin.read())
        except ValueError as error:
            print(type(error).__name__, error)
    """)
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, timeout=300)
    assert "aliases written out, is larger than" in done.stdout, done
    assert done.stderr == ""


def test_aliases_that_do_not_multiply_are_fine() -> None:
    pytest.importorskip("yaml")
    config = PluginConfig.from_yaml(aliases(3))
    assert len(config.plugin_config["a3"]) == 10
    assert config.plugin_config_json().count(b'"x"') == 10 + 100 + 1000 + 10_000
    merged = PluginConfig.from_yaml(merges(2)).plugin_config["a2"]
    assert merged == {"k": 1, "l": 2, "m1": 1, "m2": 1}
    long = "path: x\nplugin_config:\n" + "".join(f"  key{n}: {'v' * 1000}\n" for n in range(2000))
    assert len(PluginConfig.from_yaml(long).plugin_config) == 2000


def multiplied(levels: int) -> Any:
    value: Any = ["x"] * 10
    for _ in range(levels):
        value = [value] * 10
    return value


@pytest.mark.parametrize("make", [lambda v: {"a": v}, lambda v: {"a": {"b": v}}, lambda v: {"a": (v,)}])
def test_a_mapping_whose_values_multiply_is_refused(make: Any) -> None:
    with pytest.raises(InvalidConfigurationError, match="larger than"):
        PluginConfig("x.wasm", make(multiplied(9))).validate()
    with pytest.raises(InvalidConfigurationError, match="larger than"):
        PluginConfig("x.wasm", {"a": ["x" * (1 << 20)] * 17}).validate()


def test_a_message_shows_a_bounded_part_of_a_value() -> None:
    """However often a value holds another, and whatever its kind."""
    wide: Any = {"k": 1}
    for _ in range(40):
        wide = dict.fromkeys(range(10), wide)
    deep: Any = ()
    for _ in range(100_000):
        deep = (deep,)
    for value in (multiplied(40), wide, deep, "x" * 10_000_000, [b"x" * 10_000_000], {frozenset([("a",) * 10_000])}):
        assert len(shown(value)) < 100
    with pytest.raises(InvalidConfigurationError):
        PluginConfig("x.wasm", name=multiplied(40)).validate()
    with pytest.raises(InvalidConfigurationError):
        PluginConfig("x.wasm", timeout=multiplied(40)).validate()
    while deep:  # undone one by one: freeing all at once would recurse
        deep = deep[0]


# What guests choose

EVIL = "\x1b[2J\x1b]0;title\x07\u202e\x9b31m\rred"


def test_a_guests_log_cannot_steer_a_terminal_or_forge_a_record(caplog: pytest.LogCaptureFixture) -> None:
    log = GuestLog("evil")
    with caplog.at_level(logging.DEBUG):
        log.text(2, f"{EVIL}\nERROR root: forged".encode())
        log.json(2, b'{"message": "\\u001b[2Jx", "fields": {"k\\u001b[2J": "\\nERROR root: forged"}}')
    for record in caplog.records:
        text = record.getMessage()
        assert all(each.isprintable() or each in "\n\t" for each in text)
        assert "\nERROR" not in text
    assert r"\x1b[2J\x1b]0;title\x07\u202e\x9b31m\rred" in caplog.records[0].getMessage()
    assert caplog.records[1].fields == {"k\x1b[2J": "\nERROR root: forged"}  # type: ignore[attr-defined]  # as it came


def test_names_of_a_guest_are_escaped_in_messages(runtime: pywasmrt.Runtime) -> None:
    guest = Module()
    guest.import_(EVIL, EVIL, FunctionType((), ()))
    guest.function(FunctionType((), ()), [], export=EVIL)
    module = runtime.compile(guest.encode())
    texts = [str(each) for each in (*module.imports, *module.exports)]
    with pytest.raises(pywasmrt.ModuleInstantiateError) as raised:
        runtime.instantiate(module)
    texts.append(str(raised.value))
    instance = runtime.instantiate(module, {EVIL: {EVIL: lambda: None}})
    with pytest.raises(pywasmrt.FunctionNotExportedError) as missing:
        instance.exports.nothing  # noqa: B018 - looking is the test
    texts.append(str(missing.value))
    texts.append(repr(instance.exports))
    for text in texts:
        assert all(each.isprintable() or each in "\n\t" for each in text), text
        assert r"\x1b[2J" in text or r"\\x1b[2J" in text
    assert module.exports[0].name == EVIL


def test_frames_and_reasons_are_escaped() -> None:
    trap = pywasmrt.Trap(EVIL, frames=[Frame(0, EVIL, EVIL)])
    error = pywasmrt.plugin.GuestStatusError(EVIL, 1, EVIL)
    for text in (str(trap), str(error)):
        assert all(each.isprintable() or each in "\n\t" for each in text)
    assert error.reason == EVIL
