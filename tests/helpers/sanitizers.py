"""Whether the tests run in a build with a sanitizer, for those that it cannot run."""

from __future__ import annotations

import os

ADDRESS_SANITIZER = "libasan" in os.environ.get("LD_PRELOAD", "")
"""Whether the address sanitizer is loaded. It keeps what was freed, has its own allocator, and needs much address space."""
