"""Reading YAML as the Collector does: words and colons that PyYAML takes for truth values and times stay strings."""

from __future__ import annotations

import functools
import re
import sys
from typing import Any

from ..errors import InvalidConfigurationError
from ..values import ended, shown

__all__ = ["MAX_EXPANDED", "load"]

MAX_EXPANDED = 1 << 20
"""Values and characters that a document may stand for once its aliases are written out; or twice its own length."""
_MERGE = "tag:yaml.org,2002:merge"


@functools.cache
def _loader() -> tuple[Any, Any]:
    """PyYAML, and its safe loader with the scalars of YAML 1.2's core schema, and `<<`, which merges. Raises where
    PyYAML is missing.
    """
    try:
        import yaml
    except ImportError:
        if sys.meta_path is None:
            raise ended("yaml") from None
        raise InvalidConfigurationError(
            "reading YAML needs the package PyYAML: install pywasmrt[yaml], or use PluginConfig.from_mapping"
        ) from None

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012 - none of the base class's

        def __init__(self, text: str) -> None:
            super().__init__(text)
            self._most = max(MAX_EXPANDED, 2 * len(text))
            self._expanded = 0  # the nodes and characters so far, an alias counted as all that it stands for
            self._weights: dict[int, int] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            alias = event if isinstance(event, yaml.AliasEvent) else None
            line = event.start_mark.line + 1
            before = self._expanded
            node = super().compose_node(parent, index)
            if alias is None:
                self._expanded += 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
                self._weights[id(node)] = self._expanded - before
            elif id(node) in self._weights:
                self._expanded += self._weights[id(node)]
            else:
                raise InvalidConfigurationError(
                    f"line {line}: this is no YAML for a configuration: *{alias.anchor} stands for what it is a part of"
                )
            if self._expanded > self._most:
                raise InvalidConfigurationError(
                    f"line {line}: what this stands for, aliases written out, is larger than {self._most} characters "
                    "and values"
                )
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = set()
            for key_node, _ in node.value:
                if key_node.tag == _MERGE:
                    continue  # what it brings may be given anew, and it may come more than once
                key = self.construct_object(key_node, deep=True)
                if isinstance(key, str) and key in keys:
                    mark = key_node.start_mark
                    raise InvalidConfigurationError(f"line {mark.line + 1}: the key {key!r} is given twice")
                keys.add(key if isinstance(key, str) else id(key_node))
            return super().construct_mapping(node, deep)

    for tag, pattern, first in (
        ("merge", r"<<", "<"),
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
        ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+0123456789."),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))

    def integer(loader: Any, node: Any) -> int:
        return int(node.value, 8 if node.value.startswith("0o") else 16 if node.value.startswith("0x") else 10)

    def number(loader: Any, node: Any) -> float:
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))

    Loader.add_constructor("tag:yaml.org,2002:int", integer)
    Loader.add_constructor("tag:yaml.org,2002:float", number)
    return yaml, Loader


def load(text: str) -> Any:
    """The document in `text`. Raises `InvalidConfigurationError` if it is not YAML, or PyYAML is missing."""
    if not isinstance(text, str):
        raise TypeError(f"YAML text is a str, not {shown(text)}; read a file's text first")
    yaml, loader = _loader()
    try:
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidConfigurationError):
            raise
        raise InvalidConfigurationError(f"this is no YAML that can be read: {error}") from None
