"""Engines do the same with values that wait on the stack, where wasm3's own compiler was wrong before it was mended."""

from __future__ import annotations

import pytest
from helpers.stack_programs import programs
from hypothesis import given, settings
from hypothesis import strategies as st

from pywasmrt import Runtime
from pywasmrt.testing import differential


@settings(max_examples=settings().max_examples * 3)
@given(data=st.data())
def test_engines_agree(runtimes: list[Runtime], data: st.DataObject) -> None:
    if len(runtimes) < 2:
        pytest.skip("there is only one engine")
    differential(data.draw(programs), runtimes[:2])
