"""What belongs to an engine in this process is not copied or pickled, and says what to do instead."""

from __future__ import annotations

import copy
import pickle

import pytest

import pywasmrt
from pywasmrt.testing import to_binary

GUEST = """(module (memory (export "memory") 1) (table (export "t") 1 funcref) (global (export "g") i32 (i32.const 1))
  (func (export "f")))
"""


def test_the_error_says_what_to_hand_over(runtime: pywasmrt.Runtime) -> None:
    instance = runtime.instantiate(runtime.compile(to_binary(GUEST)))
    things = [
        runtime,
        instance,
        instance.store,
        instance.memory(),
        instance.function("f"),
        instance.table("t"),
        instance.global_("g"),
    ]
    for thing in things:
        for operation in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be copied or pickled: it belongs to this process; hand over"):
                operation(thing)
