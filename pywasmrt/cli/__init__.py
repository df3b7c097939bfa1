"""The command line, a file for each command. The entry point `pywasmrt` calls `main`."""

from __future__ import annotations

from .dispatch import main

__all__ = ["main"]
