"""Whether the tests run in a build with a sanitizer, for those that it cannot run."""

from __future__ import annotations

import os

ADDRESS_SANITIZER = "libasan" in os.environ.get("LD_PRELOAD", "")
"""Whether the address sanitizer is loaded: it keeps what was freed, and takes much address space."""
