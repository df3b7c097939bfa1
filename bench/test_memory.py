"""Reading and writing a guest's memory. Run by `pytest bench/ --benchmark-only`."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("job", ["read", "write"])
def test_memory(run: Any, job: str) -> None:
    run(job, 1000)
