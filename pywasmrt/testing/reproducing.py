"""Failing examples as programs: a report prints a program that runs as it is."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from ..types import FunctionType, ValueType
from ..wasm.module import Module

__all__ = ["call_script", "expression", "module_lines", "types_expression"]


def expression(value: Any) -> str:
    """Python that makes `value` if it is a number, bytes, text or None; otherwise a placeholder to replace.

    It may need `float_from_bits` of `pywasmrt.testing.edge_values`.
    """
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return f"float_from_bits(0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016x}, 64)"
        return f"float({str(value)!r})"
    if value is None or isinstance(value, (bool, int, float, bytes, str)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "(" + "".join(expression(each) + ", " for each in value).rstrip(" ") + ")"
    return f"object()  # {type(value).__name__}"


def types_expression(types: Sequence[ValueType]) -> str:
    """Python that makes a list of types."""
    return "[" + ", ".join(f"ValueType.{type.name}" for type in types) + "]"


def module_lines(binary: bytes, text: str | None) -> list[str]:
    """Python that sets BINARY: from the text if there is one."""
    if text is None:
        return [f'BINARY = bytes.fromhex("{binary.hex()}")']
    return ['BINARY = to_binary(r"""', *text.rstrip().splitlines(), '""")']


def call_script(
    runtimes: Sequence[str], binary: bytes, text: str | None, calls: Sequence[tuple[str, tuple[Any, ...]]]
) -> str:
    """A program that runs the calls on each of the runtimes and prints all that can be seen."""
    lines = [
        "This program shows it:",
        "",
        "import pywasmrt",
        "from pywasmrt.testing import to_binary",
        "from pywasmrt.testing.edge_values import float_from_bits",
        "from pywasmrt.testing.observation import observe",
        "",
        *module_lines(binary, text),
        "CALLS = [",
        *(f"    ({name!r}, {expression(args)})," for name, args in calls),
        "]",
        f"for name in {list(runtimes)!r}:",
        "    with pywasmrt.new_runtime(name) as runtime:",
        "        print(name, observe(runtime, BINARY, lambda functions: CALLS).steps)",
    ]
    return "\n".join(lines)


def host_script(
    runtime: str,
    module: Module,
    function: Sequence[str],
    type: FunctionType,
    pass_caller: bool,
    call: str,
    again: bool,
) -> str:
    """A program that offers a function to the guest and calls an export. `function` are the lines that set it; with
    `again` its first call calls the guest's `start_again` before anything else.
    """
    offered, calling = "function", []
    if again:
        offered = "again"
        calling = [
            "",
            "def again(*args):",
            "    if not entered:",
            "        entered.append(True)",
            f"        print(instance.exports.start_again{call[call.index('(') :]})",
            "    return function(*args)",
            "",
            "entered = []",
        ]
    lines = [
        "import pywasmrt",
        "from pywasmrt import HostModule, ValueType",
        "from pywasmrt.testing import to_binary",
        "from pywasmrt.testing.edge_values import float_from_bits",
        *function,
        *calling,
        "",
        *module_lines(module.encode(), module.wat()),
        'env = HostModule("env")',
        f'env.add_function("f", {types_expression(type.params)}, {types_expression(type.results)}, {offered}, '
        f"pass_caller={pass_caller})",
        f"runtime = pywasmrt.new_runtime({runtime!r})",
        "instance = runtime.instantiate(runtime.compile(BINARY), env)",
        f"print(instance.exports.{call})",
    ]
    return "\n".join(lines)
