"""Names of WIT, in kebab-case, as names of Python."""

from __future__ import annotations

import keyword

__all__ = ["case_name", "class_name", "member_name", "python_name", "resource_function"]


def python_name(name: str) -> str:
    """A function, parameter, field or interface: `get-value` is `get_value`, and `from`, a keyword, is `from_`."""
    return _free(name.replace("-", "_").lower())


def class_name(name: str) -> str:
    """A type: `hot-pink` is `HotPink`."""
    return _free(_joined(name))


def case_name(variant: str, case: str) -> str:
    """The class of a variant's case: `shape` with `circle` is `ShapeCircle`."""
    return _joined(variant) + _joined(case)


def _joined(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("-"))


def member_name(name: str) -> str:
    """A case of an enum or a flag: `hot-pink` is `HOT_PINK`."""
    return _free(name.replace("-", "_").upper())


def _free(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) or name in ("None", "True", "False") else name


def resource_function(name: str) -> tuple[str, str, str] | None:
    """What a function's name says of a resource: ("constructor", resource, ""), or ("method" or "static", resource,
    function). None for a function that belongs to no resource.
    """
    if not name.startswith("["):
        return None
    kind, _, rest = name[1:].partition("]")
    resource, _, function = rest.partition(".")
    return kind, resource, function
