"""Fixtures for tests of the OpenTelemetry components."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from helpers.plugin_endpoint import Endpoint, otlp_endpoint
from helpers.plugin_guests import kept_folder


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYWASMRT_CACHE_DIR", str(kept_folder() / "compiled"))
    with otlp_endpoint() as serving:
        yield serving
