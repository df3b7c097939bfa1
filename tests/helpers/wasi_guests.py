"""Guests for tests of WASI."""

from __future__ import annotations

from collections.abc import Callable

from wasi.guest import Raw

Make = Callable[..., Raw]
