"""A component's world as WIT text. (Component model: design/mvp/WIT.md.)

Packages that the world imports from come after it, each with the interfaces that it uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .names import resource_function
from .types import (
    BorrowType,
    ComponentFunctionType,
    EnumType,
    FlagsType,
    InterfaceType,
    ListType,
    NamedType,
    OptionType,
    OwnType,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    World,
    WorldItem,
)

__all__ = ["function_text", "interface_text", "type_text", "world_text"]

_KEYWORDS = frozenset(
    "use type resource func record enum flags variant static interface world import export package include with as from"
    " list option result tuple future stream own borrow constructor bool string char u8 u16 u32 u64 s8 s16 s32 s64"
    " f32 f64 async error-context".split()
)


def _id(name: str) -> str:
    return f"%{name}" if name in _KEYWORDS else name


def type_text(type: WitType) -> str:
    """A type where it is used: a named one by its name."""
    if isinstance(type, NamedType):
        return _id(type.name)
    if isinstance(type, ListType):
        return f"list<{type_text(type.element)}>"
    if isinstance(type, TupleType):
        return f"tuple<{', '.join(map(type_text, type.elements))}>"
    if isinstance(type, OptionType):
        return f"option<{type_text(type.payload)}>"
    if isinstance(type, ResultType):
        if type.err is None:
            return "result" if type.ok is None else f"result<{type_text(type.ok)}>"
        return f"result<{'_' if type.ok is None else type_text(type.ok)}, {type_text(type.err)}>"
    if isinstance(type, OwnType):
        return _id(type.resource.name)
    if isinstance(type, BorrowType):
        return f"borrow<{_id(type.resource.name)}>"
    return str(type)


def _params(params: Iterable[tuple[str, WitType]]) -> str:
    return ", ".join(f"{_id(name)}: {type_text(type)}" for name, type in params)


def function_text(type: ComponentFunctionType, skip: int = 0) -> str:
    """A function's type, without its first `skip` parameters."""
    result = "" if type.result is None else f" -> {type_text(type.result)}"
    return f"{'async ' if type.is_async else ''}func({_params(type.params[skip:])}){result}"


def _block(head: str, lines: list[str]) -> list[str]:
    return [f"{head} {{", *(f"  {line}" for line in lines), "}"] if lines else [f"{head} {{", "}"]


def _definition(name: str, target: WitType) -> list[str]:
    if isinstance(target, RecordType):
        return _block(f"record {name}", [f"{_id(field)}: {type_text(type)}," for field, type in target.fields])
    if isinstance(target, VariantType):
        cases = [f"{_id(case)}," if type is None else f"{_id(case)}({type_text(type)})," for case, type in target.cases]
        return _block(f"variant {name}", cases)
    if isinstance(target, (EnumType, FlagsType)):
        word = "enum" if isinstance(target, EnumType) else "flags"
        return _block(f"{word} {name}", [f"{_id(each)}," for each in target.names])
    return [f"type {name} = {type_text(target)};"]


def _resource(name: str, functions: Mapping[str, ComponentFunctionType]) -> list[str]:
    lines: list[str] = []
    for full, type in functions.items():
        parsed = resource_function(full)
        if parsed is None or parsed[1] != name:
            continue
        kind, _, function = parsed
        if kind == "constructor":
            fallible = isinstance(type.result, ResultType)
            result = f" -> {type_text(type.result)}" if fallible and type.result is not None else ""
            lines.append(f"constructor({_params(type.params)}){result};")
        elif kind == "static":
            lines.append(f"{_id(function)}: static {function_text(type)};")
        else:
            lines.append(f"{_id(function)}: {function_text(type, 1)};")
    return _block(f"resource {_id(name)}", lines) if lines else [f"resource {_id(name)};"]


def _interface_lines(interface: InterfaceType, package: str) -> list[str]:
    lines: list[str] = []
    for name, type in interface.types.items():
        root = type.root() if isinstance(type, NamedType) else type
        owner = root.owner
        if owner is not None and owner != interface.name:
            lines.append(f"use {_local(owner, package)}.{{{_use(root.name, name)}}};")
        elif isinstance(type, ResourceType):
            lines += _resource(name, interface.functions)
        elif root is not type:
            lines.append(f"type {_id(name)} = {_id(root.name)};")
        else:
            lines += _definition(_id(name), type.target)
    for name, function in interface.functions.items():
        if not name.startswith("["):
            lines.append(f"{_id(name)}: {function_text(function)};")
    return lines


def _use(name: str, as_name: str) -> str:
    return _id(name) if name == as_name else f"{_id(name)} as {_id(as_name)}"


def _local(name: str, package: str) -> str:
    """The name of an interface, seen from a package: without the package where it is its own."""
    owner, inner = _package_of(name)
    return inner if owner == package else name


def _package_of(name: str) -> tuple[str, str]:
    """`ns:pkg/iface@1.0.0` as the package `ns:pkg@1.0.0` and `iface`; ("", name) for one without a package."""
    base, _, version = name.partition("@")
    package, slash, interface = base.rpartition("/")
    if not slash:
        return "", name
    return f"{package}@{version}" if version else package, interface


def interface_text(interface: InterfaceType) -> str:
    """One interface as WIT text."""
    package, inner = _package_of(interface.name)
    return "\n".join(_block(f"interface {_id(inner)}", _interface_lines(interface, package)))


def _world_item(verb: str, item: WorldItem) -> list[str]:
    if isinstance(item.type, ComponentFunctionType):
        return [f"{verb} {_id(item.name)}: {function_text(item.type)};"]
    if isinstance(item.type, InterfaceType):
        if "/" in item.name:
            return [f"{verb} {item.name};"]
        head, *rest = _block(f"{verb} {_id(item.name)}: interface", _interface_lines(item.type, ""))
        return [head, *rest]
    return []


def _world_types(world: World) -> list[str]:
    """The types of the world itself, which come before what uses them."""
    functions = {
        item.name: item.type
        for item in (*world.imports, *world.exports)
        if isinstance(item.type, ComponentFunctionType)
    }
    lines: list[str] = []
    seen: set[str] = set()
    for item in (*world.imports, *world.exports):
        if item.name in seen or not isinstance(item.type, (NamedType, ResourceType)):
            continue
        seen.add(item.name)
        if isinstance(item.type, ResourceType):
            lines += _resource(item.name, functions)
            continue
        root = item.type.root()
        if root.owner is not None:
            lines.append(f"use {root.owner}.{{{_use(root.name, item.name)}}};")
        elif root is not item.type and root.name in seen:
            lines.append(f"type {_id(item.name)} = {_id(root.name)};")
        else:
            lines += _definition(_id(item.name), root.target)
    return lines


def world_text(world: World) -> str:
    """The world, and after it the packages of its interfaces."""
    lines = _world_types(world)
    for verb, items in (("import", world.imports), ("export", world.exports)):
        for item in items:
            if not item.name.startswith("["):
                lines += _world_item(verb, item)
    text = ["package root:component;", "", *_block("world root", lines)]
    packages: dict[str, dict[str, InterfaceType]] = {}
    for item in (*world.imports, *world.exports):
        if isinstance(item.type, InterfaceType) and "/" in item.name:
            package, inner = _package_of(item.name)
            packages.setdefault(package, {}).setdefault(inner, item.type)
    for package, interfaces in packages.items():
        inside: list[str] = []
        for inner, interface in interfaces.items():
            inside += _block(f"interface {_id(inner)}", _interface_lines(interface, package))
        text += ["", *_block(f"package {package}", inside)]
    return "\n".join(text) + "\n"
