"""A kit for testing what WebAssembly meets: your host functions, a runtime of your own, or code that uses one.

* `check_host_function` checks a Python function as guests would meet it, on every runtime.
* `differential` checks that runtimes agree on the same guests.
* `check_runtime` checks that a runtime keeps the contracts of `pywasmrt.protocols`.
* `FakeRuntime` stands in for an engine where code that uses one is tested.
* `Module` builds guests, `guests` has many ready-made; `to_binary` reads the text format.
* `strategies` has Hypothesis strategies for types, values, host functions, and whole guests.

`check_host_function`, `strategies` and drawn guests for `differential` need the `hypothesis` package: install the extra
`testing`. The fixtures for pytest are in `pywasmrt.testing.pytest_plugin`, which pytest loads by itself.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers treat it as typing.TYPE_CHECKING; typing takes long to import
if TYPE_CHECKING:
    from typing import Any

    from ..wasm.module import Instruction, Module, const
    from . import guests
    from .agreement import DifferentialReport, Disagreement, common_features, differential
    from .comparing import as_guest_sees, same_value, same_values
    from .conformance import ConformanceError, Report, check_runtime
    from .differences import KNOWN_DIFFERENCES, Difference
    from .fakes import FakeRuntime
    from .host_checking import HostFunctionFailure, check_host_function
    from .text import to_binary

__all__ = [
    "KNOWN_DIFFERENCES",
    "ConformanceError",
    "Difference",
    "DifferentialReport",
    "Disagreement",
    "FakeRuntime",
    "HostFunctionFailure",
    "Instruction",
    "Module",
    "Report",
    "as_guest_sees",
    "check_host_function",
    "check_runtime",
    "common_features",
    "const",
    "differential",
    "guests",
    "same_value",
    "same_values",
    "to_binary",
]

_HOMES = {
    "comparing": ("as_guest_sees", "same_value", "same_values"),
    "conformance": ("ConformanceError", "Report", "check_runtime"),
    "differences": ("KNOWN_DIFFERENCES", "Difference"),
    "agreement": ("DifferentialReport", "Disagreement", "common_features", "differential"),
    "fakes": ("FakeRuntime",),
    "host_checking": ("HostFunctionFailure", "check_host_function"),
    ".wasm.module": ("Instruction", "Module", "const"),
    "text": ("to_binary",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load what is asked for, the first time: pytest imports this package in every run."""
    if name == "guests":
        return import_module(".guests", __name__)
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
