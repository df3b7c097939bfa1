"""How much memory the process has, for tests of what is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.sanitizers import ADDRESS_SANITIZER

STATM = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of resident memory. Skips the test where they tell nothing."""
    if not STATM.exists():
        pytest.skip("the size of the process is read from /proc")
    if ADDRESS_SANITIZER:
        pytest.skip("the sanitizer keeps what was freed")
    return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
