"""Directories and links that change while a guest uses their paths: `tests/wasi/test_races.py`, for longer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wasi.guest import Raw
from wasi.test_races import FUNCTIONS, OLD, PATHS, picture, swapping

import pywasmrt
from pywasmrt import wasi
from pywasmrt.wasi import resolve

from .attack import Attack, Found

__all__ = ["paths"]


def paths(attack: Attack) -> None:
    """Every function of a path, resolved by the kernel and step by step, with and without a limit."""
    with pywasmrt.new_runtime("auto") as runtime:
        ways = ["kernel", "walk", "bounded"] if resolve.kernel_resolves else ["walk"]
        rounds = [(function, way) for function in FUNCTIONS for way in ways]
        attack.random.shuffle(rounds)
        for function, way in attack.shares(rounds):
            with tempfile.TemporaryDirectory() as folder:
                _race(attack, runtime, function, way, Path(folder))


def _race(attack: Attack, runtime: Any, function: Callable[[Raw, str], Any], way: str, folder: Path) -> None:
    root, outside = folder / "root", folder / "outside"
    for place, content in ((root / "real", "inside"), (outside, "canary")):
        (place / "sub").mkdir(parents=True)
        (place / "file").write_text(content)
        (place / "sub" / "deep").write_text(content)
        (place / "link").symlink_to(f"{content} target")
        (place / "empty").mkdir()
    (outside / "secret").write_text("canary")
    (root / "plain").write_text("inside")
    (root / "way").symlink_to("real")
    for each in (*outside.rglob("*"), outside):
        os.utime(each, ns=(OLD, OLD), follow_symlinks=False)
    before = picture(outside)
    kernel, resolve.kernel_resolves = resolve.kernel_resolves, way != "walk"
    try:
        given: Any = wasi.Preopen(root, limit=1 << 20) if way == "bounded" else root
        with Raw(runtime, wasi.WasiConfig(preopens={"/": given})) as guest, swapping(root):
            while attack.going():
                for path in PATHS:
                    function(guest, path)
                attack.counts["operations on swapped paths"] += len(PATHS)
    finally:
        resolve.kernel_resolves = kernel
    if picture(outside) != before:
        raise Found(f"{function.__name__} reached the outside ({way})")
