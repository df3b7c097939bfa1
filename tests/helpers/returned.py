"""What a call returned, for comparing."""

from __future__ import annotations

from typing import Any

from pywasmrt import FunctionType


def as_tuple(type: FunctionType, returned: Any) -> tuple[Any, ...]:
    if len(type.results) == 1:
        return (returned,)
    if not type.results:
        assert returned is None
        return ()
    assert isinstance(returned, tuple)
    return returned
