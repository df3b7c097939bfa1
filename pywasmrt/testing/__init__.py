"""A kit for testing what runs WebAssembly: guest modules made for it, and Hypothesis strategies for their values.

* `guests` builds modules around host functions, memories, tables, globals and traps; `Module` is the builder under it.
* `strategies` (needs the `hypothesis` package) draws types, signatures, values, host functions and damaged modules.
* `same_value` says whether two values are the same to WebAssembly.
"""

from __future__ import annotations

from . import guests
from .comparing import as_guest_sees, same_value, same_values
from .parts import Instruction, Module, const

__all__ = ["Instruction", "Module", "as_guest_sees", "const", "guests", "same_value", "same_values"]
