"""Programs that are run in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from pywasmrt import (
    ValueType,
)

I32, V128, EXTERNREF = ValueType.I32, ValueType.V128, ValueType.EXTERNREF
Needs = Callable[..., None]
TIMEOUT = 60  # seconds after which a hanging child is given up


def in_child(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, since it may crash."""
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", script, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def run_in_child(script: str, *args: str) -> None:
    done = in_child(script, *args)
    assert (done.returncode, done.stderr) == (0, ""), f"it ended with {done.returncode}: {done.stderr}"
