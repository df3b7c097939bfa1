"""Making instances, and the way from bytes to a first result. Run by `pytest bench/ --benchmark-only`."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("job", ["create", "first"])
def test_creation(run: Any, job: str) -> None:
    run(job, 1)
