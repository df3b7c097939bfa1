"""The same guest from each toolchain that is installed, built with its defaults, on every runtime."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pywasmrt import Runtime

from .building import assemblyscript_guest, rust_guest, zig_guest


@pytest.mark.parametrize("build", [zig_guest, rust_guest, assemblyscript_guest], ids=["Zig", "Rust", "AssemblyScript"])
def test_a_guest_of_todays_toolchain(runtime: Runtime, build: Callable[[str], bytes]) -> None:
    module = runtime.compile(build("dispatch"))
    imports = {"env": {"abort": lambda message, file, line, column: None}} if module.imports else {}
    with runtime.instantiate(module, imports) as instance:
        guest = instance.exports
        assert (guest.apply(0, 6, 7), guest.apply(1, 6, 7)) == (13, 42)
        guest.set(0, 1)
        assert guest.apply(0, 6, 7) == 42
        before = guest.grow()
        assert guest.grow() == before + 1
