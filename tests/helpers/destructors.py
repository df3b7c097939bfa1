"""An object in a cycle with its guest, whose destructor calls the guest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Plugin:
    """A guest whose host function is a method: a cycle, which only the collector frees."""

    def __init__(self, instantiate: Callable[[Callable[[int], None]], Any], seen: list[Any]) -> None:
        """`instantiate` makes the guest, or the component, with `log` as its import."""
        self.seen = seen
        self.instance = instantiate(self.log)

    def log(self, x: int) -> None:
        self.seen.append(x)

    def __del__(self) -> None:
        try:
            self.instance.exports.shutdown()
        except BaseException as error:  # which Python would only print
            self.seen.append(error)
