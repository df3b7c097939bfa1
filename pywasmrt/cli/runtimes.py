"""`pywasmrt runtimes`: the runtimes and what they can do."""

from __future__ import annotations

import argparse

from ..registry import list_runtimes

__all__ = ["runtimes"]


def runtimes(words: list[str], guest: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="pywasmrt runtimes", description="List the runtimes and what they can do.")
    parser.parse_args(words + guest)
    for info in list_runtimes():
        state = f"{info.version or ''}".strip() if info.available else f"not available: {info.reason}"
        print(f"{info.name} {state}".rstrip())
        if info.available and info.features:
            print(f"  {', '.join(sorted(info.features))}")
        if info.available and info.caution is not None:
            print(f"  caution: {info.caution}")
    return 0
