"""Versions in the names of interfaces, `namespace:package/interface@1.2.3`, and their compatibility."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["find", "split"]

_VERSION = re.compile(r"([0-9]{1,20})\.([0-9]{1,20})\.([0-9]{1,20})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


def split(name: str) -> tuple[str, str | None]:
    """The name without its version, and the version or None."""
    base, mark, version = name.partition("@")
    return base, version if mark else None


def find(wanted: str, offered: Iterable[str]) -> str | None:
    """Which of the names `offered` serves for the interface `wanted`, or None.

    The same name serves. A name without a version serves every version, and every version serves a wanted name without
    one. Otherwise the versions must be compatible by semver: the same major version (the same minor below 1.0, the same
    patch below 0.1) and not older. Of several the newest.
    """
    names = list(offered)
    if wanted in names:
        return wanted
    base, version = split(wanted)
    if base in names:
        return base
    least = None if version is None else _parsed(version)
    found: list[tuple[tuple[int, ...], str]] = []
    for name in names:
        other, has = split(name)
        number = None if has is None else _parsed(has)
        if other != base or number is None:
            continue
        if version is None or (least is not None and _track(number) == _track(least) and number >= least):
            found.append((number, name))
    return max(found)[1] if found else None


def _parsed(version: str) -> tuple[int, int, int] | None:
    match = _VERSION.fullmatch(version)
    if match is None or match[4]:  # a pre-release is compatible with itself alone
        return None
    return int(match[1]), int(match[2]), int(match[3])


def _track(version: tuple[int, ...]) -> tuple[int, ...]:
    major, minor, patch = version
    if major:
        return (major,)
    return (0, minor) if minor else (0, 0, patch)
