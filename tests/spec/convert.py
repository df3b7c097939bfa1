"""A script to commands: plain data, as JSON can hold it, with modules in the binary format (base64) where they have
one.

The form is that of wabt's `wast2json`, with the modules inside. Newer scripts' `module definition`, `module instance`,
`assert_exception` and `either` are known too.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from .literals import float_bits, int_bits
from .sexpr import Node, ScriptError, Str, ascii_only, parse

__all__ = ["Command", "convert"]

Command = dict[str, Any]
"""One command: its `type`, the `line` of the script, and what the type has besides."""

_REFERENCES = {
    "func": "funcref",
    "extern": "externref",
    "any": "anyref",
    "none": "nullref",
    "nofunc": "nullfuncref",
    "noextern": "nullexternref",
    "exn": "exnref",
    "noexn": "nullexnref",
    "i31": "i31ref",
    "struct": "structref",
    "array": "arrayref",
    "eq": "eqref",
}
_COMMANDS = {"module", "register", "invoke", "get", "script", "input", "output"}
_OF_MODULES = ("assert_malformed", "assert_invalid", "assert_malformed_custom", "assert_invalid_custom")
_DEFINITION = re.compile(rb"\bdefinition\b")


def convert(source: bytes, to_binary: Callable[[bytes], bytes]) -> list[Command]:
    """The commands of a script. `to_binary` turns the text format into the binary one, or raises."""
    root = parse(source)
    if not any(_is_command(node) for node in root):
        # inline-module.wast: the whole script is the fields of one module.
        return [{"type": "module", "line": 1, "name": None, **_binary(to_binary(b"(module " + source + b")"))}]
    return [_Reader(source, to_binary).command(node) for node in root]


def _is_command(node: object) -> bool:
    return isinstance(node, Node) and bool(node) and (node[0] in _COMMANDS or str(node[0]).startswith("assert_"))


def _binary(data: bytes) -> Command:
    return {"format": "binary", "module_bytes": base64.b64encode(data).decode()}


def _text(data: bytes) -> Command:
    return {"format": "text", "module_bytes": base64.b64encode(data).decode()}


def _name(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _value(node: Node) -> Command:
    """A constant or a pattern for a result."""
    op = node[0]
    if op in ("i32.const", "i64.const"):
        return {"type": op[:3], "value": int_bits(node[1], int(op[1:3]))}
    if op in ("f32.const", "f64.const"):
        return {"type": op[:3], "value": float_bits(node[1], int(op[1:3]))}
    if op == "v128.const":
        lane = node[1].split("x")[0]
        read = int_bits if lane[0] == "i" else float_bits
        return {"type": "v128", "lane": lane, "value": [read(item, int(lane[1:])) for item in node[2:]]}
    if op == "ref.null":
        return {"type": _REFERENCES.get(node[1], "refnull") if len(node) > 1 else "refnull", "value": "null"}
    if op in ("ref.extern", "ref.host"):
        reference = {"type": "externref" if op == "ref.extern" else "anyref"}
        return {**reference, "value": int_bits(node[1], 32)} if len(node) > 1 else reference
    if op.startswith("ref.") and op[4:] in _REFERENCES:
        return {"type": _REFERENCES[op[4:]]}
    if op == "either":
        return {"type": "either", "values": [_value(item) for item in node[1:]]}
    raise ScriptError(f"unknown form of value: {op}")


class _Reader:
    """Reads the commands of one script."""

    def __init__(self, source: bytes, to_binary: Callable[[bytes], bytes]) -> None:
        self._source = source
        self._to_binary = to_binary

    def command(self, node: Node) -> Command:
        if not isinstance(node, Node) or not node:
            raise ScriptError(f"not a command: {node!r}")
        op = node[0]
        command: Command = {"type": op, "line": self._source.count(b"\n", 0, node.start) + 1}
        if op == "module":
            command.update(self._module_command(node))
        elif op == "register":
            command["as"] = _name(node[1])
            command["name"] = node[2] if len(node) > 2 else None
        elif op in ("invoke", "get"):
            command.update(type="action", action=self._action(node))
        elif op == "assert_return":
            command.update(action=self._action(node[1]), expected=[_value(item) for item in node[2:]])
        elif op in ("assert_return_canonical_nan", "assert_return_arithmetic_nan"):  # scripts of WebAssembly 1.0
            pattern = {"type": "float", "value": "nan:" + op.split("_")[2]}
            command.update(type="assert_return", action=self._action(node[1]), expected=[pattern])
        elif op in ("assert_trap", "assert_exhaustion", "assert_exception") and node[1][0] in ("invoke", "get"):
            command.update(action=self._action(node[1]), text=_name(node[2]) if len(node) > 2 else "")
        elif op in ("assert_trap", "assert_uninstantiable", "assert_unlinkable") and node[1][0] == "module":
            command.update(self._module_command(node[1]), text=_name(node[2]))
            command["type"] = "assert_uninstantiable" if op == "assert_trap" else op
        elif op in _OF_MODULES:
            command.update(self._module(node[1], convert_quoted=False), text=_name(node[2]))
        else:
            raise ScriptError(f"unknown command {op} at line {command['line']}")
        return command

    def _module_command(self, node: Node) -> Command:
        if len(node) > 1 and node[1] == "instance":
            names = [item for item in node[2:] if isinstance(item, str)]
            if len(names) == 2:
                return {"type": "module_instance", "name": names[0], "definition": names[1]}
            return {"type": "module_instance", "definition": names[0] if names else None}
        if len(node) > 1 and node[1] == "definition":
            return {"type": "module_definition", **self._module(node)}
        return {"type": "module", **self._module(node)}

    def _module(self, node: Node, *, convert_quoted: bool = True) -> Command:
        """The module of a command. A quoted one that is to be refused stays text: it is the text that is wrong."""
        body = list(node[1:])
        text = self._source[node.start : node.end]
        if body and body[0] == "definition":
            body.pop(0)
            text = _DEFINITION.sub(b"", text, count=1)
        name = body.pop(0) if body and isinstance(body[0], str) and body[0].startswith("$") else None
        if body and body[0] in ("binary", "quote"):
            data = b"".join(item for item in body[1:] if isinstance(item, Str))
            if body[0] == "binary":
                module = _binary(data)
            else:
                module = self._converted(data, _text(data)) if convert_quoted else _text(data)
        else:
            module = self._converted(ascii_only(text), _text(text))
        return {"name": name, **module}

    def _converted(self, text: bytes, otherwise: Command) -> Command:
        try:
            return _binary(self._to_binary(text))
        except Exception:  # malformed, mostly on purpose: the runtime is given the text
            return otherwise

    def _action(self, node: Node) -> Command:
        body = list(node[1:])
        module = body.pop(0) if isinstance(body[0], str) and not isinstance(body[0], Str) else None
        action = {"type": node[0], "module": module, "field": _name(body.pop(0))}
        if node[0] == "invoke":
            action["args"] = [_value(item) for item in body]
        return action
