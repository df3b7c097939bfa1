"""The environment variables that configure the exporters for the OpenTelemetry SDK.

    OTEL_EXPORTER_WASM_PROCESSORS   guests to process with, first to last: paths separated by commas
    OTEL_EXPORTER_WASM_MODULE       the guest to export with; without one, OTLP over HTTP
    OTEL_EXPORTER_WASM_CONFIG       its plugin_config, in JSON
    OTEL_EXPORTER_WASM_RUNTIME      the runtime of guests that do not name one
    OTEL_EXPORTER_WASM_ENDPOINT     where OTLP goes over HTTP; else as OTEL_EXPORTER_OTLP_ENDPOINT and its kin say

A path that ends in .yaml or .yml is a whole configuration of a plugin (`PluginConfig.from_yaml`), any other the module
itself. Each variable may carry the signal (`OTEL_EXPORTER_WASM_TRACES_MODULE`), which comes before the general one.
Others that begin with `OTEL_EXPORTER_WASM_` are errors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from ..errors import InvalidConfigurationError
from ..plugin.abi import SIGNALS
from ..plugin.config import PluginConfig
from ..values import did_you_mean
from .endpoints import url_of_signal
from .http import DEFAULT_ENDPOINT, OtlpHttpSender

__all__ = ["Settings", "otlp_sender", "settings_from_environment"]

_PREFIX = "OTEL_EXPORTER_WASM"
_NAMES = tuple(
    f"{_PREFIX}_{signal}{name}"
    for signal in ("", *(f"{signal.upper()}_" for signal in SIGNALS))
    for name in ("PROCESSORS", "MODULE", "CONFIG", "RUNTIME", "ENDPOINT")
)


@dataclass(frozen=True)
class Settings:
    """A chain: the guests to process with, in order, and what comes last: a guest, or None for OTLP over HTTP."""

    processors: tuple[PluginConfig, ...] = ()
    module: PluginConfig | None = None
    endpoint: str | None = None


def settings_from_environment(signal: str, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings for one signal. Raises `InvalidConfigurationError`, naming the variable."""

    def variable(name: str) -> tuple[str, str]:
        for key in (f"{_PREFIX}_{signal.upper()}_{name}", f"{_PREFIX}_{name}"):
            value = environment.get(key, "").strip()
            if value:
                return key, value
        return f"{_PREFIX}_{name}", ""

    _check_names(environment)
    _, runtime = variable("RUNTIME")
    key, listed = variable("PROCESSORS")
    processors = tuple(_plugin(key, each.strip(), runtime, None) for each in listed.split(",") if each.strip())
    key, path = variable("MODULE")
    config_key, text = variable("CONFIG")
    module = _plugin(key, path, runtime, _json(config_key, text) if text else None) if path else None
    _, endpoint = variable("ENDPOINT")
    if not processors and module is None:
        raise InvalidConfigurationError(
            f"{_PREFIX}_MODULE or {_PREFIX}_PROCESSORS is required: the guest to export with, or guests to process with"
        )
    return Settings(processors, module, endpoint or None)


def _check_names(environment: Mapping[str, str]) -> None:
    """Refuse unknown variables: a misspelt name must not silently leave out a guest that scrubs telemetry."""
    for name in environment:
        if name.startswith(f"{_PREFIX}_") and name not in _NAMES:
            raise InvalidConfigurationError(f"there is no variable {name}{did_you_mean(name, _NAMES)}")


def _json(key: str, text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidConfigurationError(f"{key} is a plugin_config in JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise InvalidConfigurationError(f"{key} is a plugin_config in JSON, an object; not {text[:40]}")
    return value


def _plugin(key: str, path: str, runtime: str, plugin_config: Mapping[str, Any] | None) -> PluginConfig:
    try:
        if path.endswith((".yaml", ".yml")):
            with open(path, encoding="utf-8") as file:
                config = PluginConfig.from_yaml(file.read())
            if not os.path.isabs(os.fspath(config.path)):  # as seen from the file that names it
                config = replace(config, path=os.path.join(os.path.dirname(path), os.fspath(config.path)))
        else:
            config = PluginConfig(path)
        if runtime and not config.runtime_config:
            config = replace(config, runtime_config={"type": runtime})
        if plugin_config is not None:
            config = replace(config, plugin_config=plugin_config)
        config.validate()
    except (InvalidConfigurationError, OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError(f"{key}: {path}: {error}") from None
    return config


def otlp_sender(
    signal: str, endpoint: str | None = None, environment: Mapping[str, str] = os.environ
) -> OtlpHttpSender:
    """The sender of one signal over HTTP, set up by `endpoint` and by the SDK's own OTEL_EXPORTER_OTLP_* variables.

    Raises `InvalidConfigurationError`, also for a protocol other than http/protobuf unless `endpoint` is given: an
    endpoint for another protocol cannot take these payloads.
    """

    def variable(name: str) -> tuple[str, str]:
        for key in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            value = environment.get(key, "").strip()
            if value:
                return key, value
        return f"OTEL_EXPORTER_OTLP_{name}", ""

    key, protocol = variable("PROTOCOL")
    if endpoint is None and protocol not in ("", "http/protobuf"):
        raise InvalidConfigurationError(
            f"{key} is {protocol!r}, and OTLP goes out as http/protobuf here; name an endpoint for that by"
            f" {_PREFIX}_ENDPOINT"
        )
    full = environment.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
    if endpoint is not None or not full:
        base = variable("ENDPOINT")[1] or DEFAULT_ENDPOINT if endpoint is None else endpoint
        full = url_of_signal(base, signal)
    headers = {}
    key, listed = variable("HEADERS")
    for each in filter(None, map(str.strip, listed.split(","))):
        name, equals, value = each.partition("=")
        if not equals:
            raise InvalidConfigurationError(f"{key} is a list of name=value with commas between; not with {name!r}")
        headers[unquote(name.strip())] = unquote(value.strip())
    key, timeout = variable("TIMEOUT")
    try:
        seconds = float(timeout) if timeout else 10.0
    except ValueError:
        raise InvalidConfigurationError(f"{key} is a number of seconds, not {timeout!r}") from None
    return OtlpHttpSender(
        {signal: full},
        headers=headers,
        timeout=seconds,
        compression=variable("COMPRESSION")[1].lower() or "none",
        certificate=variable("CERTIFICATE")[1] or None,
        client_certificate=variable("CLIENT_CERTIFICATE")[1] or None,
        client_key=variable("CLIENT_KEY")[1] or None,
    )
