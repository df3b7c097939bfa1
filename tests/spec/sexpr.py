"""S-expressions, as scripts are written in them, with the place of each list in the source."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["Node", "ScriptError", "Str", "ascii_only", "parse"]

_TOKEN = re.compile(
    rb"""
    (?P<space>[ \t\r\n]+|;;[^\n]*)
  | (?P<comment>\(;)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<atom>[^ \t\r\n()";]+(?:;(?!;)[^ \t\r\n()";]*)*|;)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(rb"\(;|;\)")
_ESCAPE = re.compile(rb"\\(u\{[0-9a-fA-F_]+\}|[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b'"': b'"', b"'": b"'", b"\\": b"\\"}


class ScriptError(ValueError):
    """A script that cannot be read."""


class Node(list[Any]):
    """A list of atoms (`str`), strings (`Str`) and lists; `start` and `end` are offsets in the source."""

    def __init__(self, start: int, items: tuple[Any, ...] = ()) -> None:
        super().__init__(items)
        self.start = start
        self.end = start


class Str(bytes):
    """A string of the source, its escapes resolved."""


def _unescaped(data: bytes) -> bytes:
    def resolve(match: re.Match[bytes]) -> bytes:
        text = match.group(1)
        if text in _ESCAPES:
            return _ESCAPES[text]
        if text[:1] == b"u":
            return chr(int(text[2:-1].replace(b"_", b""), 16)).encode("utf-8", "surrogatepass")
        return bytes([int(text, 16)])

    return _ESCAPE.sub(resolve, data)


def _after_comment(source: bytes, at: int) -> int:
    """The offset behind the block comment that begins at `at`; block comments nest."""
    depth = 0
    while True:
        edge = _COMMENT_EDGE.search(source, at)
        if edge is None:
            raise ScriptError("a block comment does not end")
        depth += 1 if edge.group() == b"(;" else -1
        at = edge.end()
        if depth == 0:
            return at


def parse(source: bytes) -> Node:
    """The top-level list of a script. Annotations, `(@name ...)`, are left out."""
    root = Node(0)
    stack = [root]
    at = 0
    while at < len(source):
        token = _TOKEN.match(source, at)
        if token is None:
            raise ScriptError(f"line {source.count(bytes([10]), 0, at) + 1}: not a token: {source[at : at + 20]!r}")
        if token.lastgroup == "comment":
            at = _after_comment(source, at)
            continue
        if token.lastgroup == "open":
            node = Node(at)
            stack[-1].append(node)
            stack.append(node)
        elif token.lastgroup == "close":
            node = stack.pop()
            if not stack:
                raise ScriptError("a parenthesis too many is closed")
            node.end = token.end()
            if source.startswith(b"@", node.start + 1):
                stack[-1].pop()
        elif token.lastgroup == "string":
            stack[-1].append(_string(token.group()))
        elif token.lastgroup == "atom":
            stack[-1].append(token.group().decode("utf-8", "surrogateescape"))
        at = token.end()
    if len(stack) != 1:
        raise ScriptError("a parenthesis is not closed")
    root.end = len(source)
    return root


def _string(token: bytes) -> Str:
    try:
        return Str(_unescaped(token[1:-1]))
    except ValueError:  # a wrong escape; only found inside annotations, which nobody reads
        return Str(token)


def ascii_only(text: bytes) -> bytes:
    """`text` with other bytes escaped in strings and blanked in comments.

    Wasmtime's text parser refuses some Unicode that looks confusing, wherever it stands.
    """
    if text.isascii():
        return text
    out = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            part = text[at : at + 1]
        elif token.lastgroup == "comment":
            part = re.sub(rb"[\x80-\xff]", b"?", text[at : _after_comment(text, at)])
        else:
            part = token.group()
            at_string = token.lastgroup == "string"
            if at_string:
                part = re.sub(rb"[\x80-\xff]", lambda byte: b"\\%02x" % byte.group()[0], part)
            elif token.lastgroup == "space":
                part = re.sub(rb"[\x80-\xff]", b"?", part)
            out.append(part)
            at = token.end()
            continue
        out.append(part)
        at += len(part)
    return b"".join(out)
