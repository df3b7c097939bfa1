"""Writes a typed Python package for a component's world: what `pywasmrt bindgen` does.

One module for each interface that is exported or that the host is to serve, `world.py` for the world's own types, and
`__init__.py` with the class of the component. Imports are Protocols to be fulfilled, exports are Protocols of what an
instance has; records, variants, enums and flags are real classes, which the component then uses. What the engine serves
(`wasi:`) is left out, but for types that something else uses. The same world always gives the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .names import case_name, class_name, member_name, python_name, resource_function
from .semver import split
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
    PrimitiveType,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    World,
    children,
    structure,
)
from .wit import world_text

__all__ = ["package_files"]

_PRIMITIVES = {"bool": "bool", "char": "str", "string": "str", "f32": "float", "f64": "float"}
_HEADER = "# Written by `pywasmrt bindgen`; do not edit."


def package_files(world: World, class_of: str = "Component") -> dict[str, str]:
    """The files of the package, by their names; `class_of` is the name of the component's class."""
    return _Package(world, class_of).files()


def module_name(interface: str) -> str:
    """The module of an interface: `local:demo/calc@1.0.0` is `local_demo_calc`."""
    return re.sub(r"[^a-z0-9_]", "_", python_name(split(interface)[0]))


class _Package:
    def __init__(self, world: World, class_of: str) -> None:
        self.world = world
        self.class_of = class_of
        items = (*world.imports, *world.exports)
        self.interfaces: dict[str, InterfaceType] = {}
        for item in items:
            if isinstance(item.type, InterfaceType):
                self.interfaces.setdefault(item.name, item.type)
        self.exported = {item.name for item in world.exports}
        self.interfaces = self._needed()
        self.modules: dict[str | None, str] = {None: "world"}
        for name in self.interfaces:
            module = module_name(name)
            while module in self.modules.values():
                module += "_"
            self.modules[name] = module
        self.own = {item.name: item.type for item in items if isinstance(item.type, (NamedType, ResourceType))}

    def _needed(self) -> dict[str, InterfaceType]:
        """The interfaces to write: those exported, those the host serves, and those that own the types these use."""
        queue = [name for name in self.interfaces if name in self.exported or not name.startswith("wasi:")]
        for item in (*self.world.imports, *self.world.exports):
            if isinstance(item.type, ComponentFunctionType):
                queue += _owners(_types_of([item.type]))
        found: set[str] = set()
        while queue:
            name = queue.pop()
            if name in found or name not in self.interfaces:
                continue
            found.add(name)
            interface = self.interfaces[name]
            types: list[WitType] = [each for each in interface.types.values() if isinstance(each, NamedType)]
            queue += _owners([*types, *_types_of(interface.functions.values())])
        return {name: type for name, type in self.interfaces.items() if name in found}

    def files(self) -> dict[str, str]:
        found = {f"{self.modules[name]}.py": self._interface(name, type) for name, type in self.interfaces.items()}
        own = [type for type in self.own.values() if isinstance(type, NamedType) and type.root().owner is None]
        found["world.py"] = _Module(self, None).text("The world's own types.", _Module.defined(own))
        found["__init__.py"] = self._root()
        found["py.typed"] = ""
        return found

    def _interface(self, name: str, interface: InterfaceType) -> str:
        module = _Module(self, name)
        body = module.definitions(interface)
        return module.text(f"The interface `{name}`.", body)

    def _root(self) -> str:
        module = _Module(self, None, root=True)
        lines: list[str] = []
        imports = [
            (item.name, item.type)
            for item in self.world.imports
            if isinstance(item.type, InterfaceType) and not item.name.startswith("wasi:") and item.type.functions
        ]
        functions = [(i.name, i.type) for i in self.world.imports if isinstance(i.type, ComponentFunctionType)]
        table = [f'        "{name}": {self.modules[name]}.Host,' for name, _ in imports]
        table += [f'        "{name}": {module.callable(type)},' for name, type in functions]
        if table:
            lines = ["", "", "Imports = typing.TypedDict(", '    "Imports",', "    {", *table, "    },", ")"]
            lines += ['"""What the component imports, by name."""']
        else:
            lines = []
        exports: list[str] = []
        for item in self.world.exports:
            if isinstance(item.type, ComponentFunctionType) and not item.name.startswith("["):
                exports += module.method(python_name(item.name), item.type.params, item.type.result)
        for item in self.world.exports:
            if isinstance(item.type, InterfaceType):
                name = self.modules[item.name]
                exports += [
                    "    @typing.overload" if self._many() else "",
                    *_subscript(item.name, f"{name}.Exports"),
                    "",
                ]
        lines += ["", "", "class Exports(typing.Protocol):", '    """What an instance exports."""', ""]
        lines += _trimmed(exports) or ["    ..."]
        wants = ", imports: Imports" if table else ""
        gives = ", imports" if table else ""
        lines += [
            "",
            "",
            f"class {self.class_of}:",
            '    """The compiled component, with the classes of this package."""',
            "",
            "    def __init__(self, runtime: pywasmrt.Runtime, source: ModuleSource) -> None:",
            '        """Compile it: bytes, a path, or the text format."""',
            "        self.runtime = runtime",
            "        self.component = runtime.compile_component(source)",
            "        self.component.use_classes(CLASSES)",
            "",
            "    def instantiate(",
            f"        self{wants}, *, wasi: typing.Any = None, limits: pywasmrt.Limits | None = None",
            "    ) -> Instance:",
            '        """Make an instance, in a store of its own. The caller closes it."""',
            f"        made = self.runtime.instantiate_component(self.component{gives}, wasi=wasi, limits=limits)",
            "        return Instance(made)",
            "",
            "",
            "class Instance:",
            '    """A running component; `exports` is what it offers."""',
            "",
            "    def __init__(self, instance: pywasmrt.ComponentInstance) -> None:",
            "        self.instance = instance",
            "        self.exports: Exports = instance.exports",
            "",
            "    def close(self) -> None:",
            '        """Close the instance. Idempotent."""',
            "        self.instance.close()",
            "",
            "    def __enter__(self) -> Instance:",
            "        return self",
            "",
            "    def __exit__(self, *error: object) -> None:",
            "        self.close()",
        ]
        classes = self._classes()
        lines += ["", "", "CLASSES: dict[tuple[str | None, str], typing.Any] = {", *classes, "}"]
        used = sorted({self.modules[name] for name in self.interfaces} | {"world"})
        names = [each for each in used if any(f"{each}." in line for line in lines)]
        head = [
            '"""A typed interface to a component.',
            "",
            *(f"    {line}".rstrip() for line in world_text(self.world).splitlines()),
            '"""',
            "",
            _HEADER,
            "",
            "from __future__ import annotations",
            "",
            *module.imports(lines),
            "",
            "import pywasmrt",
            *(["from pywasmrt import component"] if _uses_values(lines) else []),
            "from pywasmrt.protocols import ModuleSource",
            "",
            *([f"from . import {', '.join(names)}"] if names else []),
        ]
        return "\n".join([*head, *lines]) + "\n"

    def _many(self) -> bool:
        return sum(isinstance(item.type, InterfaceType) for item in self.world.exports) > 1

    def _classes(self) -> list[str]:
        lines: list[str] = []
        groups: list[tuple[str | None, Iterable[NamedType | ResourceType]]] = [(None, self.own.values())]
        groups += [(name, interface.types.values()) for name, interface in self.interfaces.items()]
        for owner, types in groups:
            for type in types:
                if not isinstance(type, NamedType) or type.root() is not type or type.owner != owner:
                    continue
                key = "None" if owner is None else f'"{owner}"'
                module = self.modules[owner]
                target = type.target
                if isinstance(target, (RecordType, EnumType, FlagsType)):
                    lines.append(f'    ({key}, "{type.name}"): {module}.{class_name(type.name)},')
                elif isinstance(target, VariantType):
                    lines += [
                        f'    ({key}, "{type.name}.{case}"): {module}.{case_name(type.name, case)},'
                        for case, _ in target.cases
                    ]
        return lines


def _types_of(functions: Iterable[ComponentFunctionType]) -> list[WitType]:
    """The types of parameters and results."""
    found: list[WitType] = []
    for function in functions:
        found += [type for _, type in function.params]
        found += [] if function.result is None else [function.result]
    return found


def _owners(types: Iterable[WitType]) -> list[str]:
    """The interfaces that own what the types are made of."""
    found: list[str | None] = []
    for type in types:
        if isinstance(type, NamedType):
            found.append(type.root().owner)
        if isinstance(type, (OwnType, BorrowType)):
            found.append(type.resource.owner)
        found += _owners(children(type))
    return [each for each in found if each is not None]


def _uses_values(lines: list[str]) -> bool:
    """Whether the text names `component.Some` or another of its kind."""
    return any(re.search(r"\bcomponent\.(Some|Ok|Err)\[", line) for line in lines)


def _subscript(name: str, type: str) -> list[str]:
    return [f'    def __getitem__(self, name: typing.Literal["{name}"], /) -> {type}: ...']


def _trimmed(lines: list[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        if line == "" and (not found or found[-1] == ""):
            continue
        found.append(line)
    while found and found[-1] == "":
        found.pop()
    return found


class _Module:
    """One module of the package; `owner` is its interface."""

    def __init__(self, package: _Package, owner: str | None, root: bool = False) -> None:
        self.package = package
        self.owner = owner
        self.root = root
        self.uses: set[str] = set()
        self.loose = False  # whether the value comes from Python, which may then give any sequence
        self.hosted = False  # whether the function is the host's
        self.shadowed: frozenset[str] = frozenset()  # names that a property has where the text goes

    # Types where they are used

    def type(self, type: WitType) -> str:
        if isinstance(type, NamedType):
            if not isinstance(structure(type), (RecordType, VariantType, EnumType, FlagsType)):
                return self.type(type.target)
            root = type.root()
            return self._qualified(root.owner, class_name(root.name))
        if isinstance(type, PrimitiveType):
            return _PRIMITIVES.get(type.name, "int")
        if isinstance(type, ListType):
            element = structure(type.element)
            if element == PrimitiveType("u8"):
                return "bytes"
            return f"{'collections.abc.Sequence' if self.loose else 'list'}[{self.type(type.element)}]"
        if isinstance(type, TupleType):
            return f"tuple[{', '.join(map(self.type, type.elements))}]"
        if isinstance(type, OptionType):
            inner = self.type(type.payload)
            return (
                f"component.Some[{inner}] | None"
                if isinstance(structure(type.payload), OptionType)
                else f"{inner} | None"
            )
        if isinstance(type, ResultType):
            ok = "None" if type.ok is None else self.type(type.ok)
            err = "None" if type.err is None else self.type(type.err)
            return f"component.Ok[{ok}] | component.Err[{err}]"
        if isinstance(type, (OwnType, BorrowType)):
            if self.hosted and not self.loose:
                return "typing.Any"  # an object of the host's own class comes back
            return self._qualified(type.resource.owner, class_name(type.resource.name))
        return "typing.Any"

    def _qualified(self, owner: str | None, name: str) -> str:
        if owner == self.owner and not self.root:
            return f"_{name}" if name in self.shadowed else name
        module = self.package.modules.get(owner, "world")
        self.uses.add(module)
        return f"{module}.{name}"

    def param(self, type: WitType) -> str:
        """The type of a parameter."""
        self.loose = not self.hosted
        found = self.type(type)
        self.loose = False
        return found

    def result(self, type: WitType | None) -> str:
        """The type of what a function returns: for a result, its `ok` type."""
        target = None if type is None else structure(type)
        given = target.ok if isinstance(target, ResultType) else type
        self.loose = self.hosted
        found = "None" if given is None else self.type(given)
        self.loose = False
        return found

    def callable(self, type: ComponentFunctionType) -> str:
        self.hosted = True
        params = ", ".join(self.param(each) for _, each in type.params)
        found = f"collections.abc.Callable[[{params}], {self.result(type.result)}]"
        self.hosted = False
        return found

    def method(
        self,
        name: str,
        params: Iterable[tuple[str, WitType]],
        result: WitType | None,
        head: str = "self",
        decorator: str | None = None,
    ) -> list[str]:
        words = [head] if head else []
        words += [f"{python_name(each)}: {self.param(type)}" for each, type in params]
        lines = [f"    {decorator}"] if decorator else []
        line = f"    def {name}({', '.join(words)}) -> {self.result(result) if name != '__init__' else 'None'}:"
        target = None if result is None else structure(result)
        if isinstance(target, ResultType):
            error = "nothing" if target.err is None else self.type(target.err)
            return [*lines, line, f'        """Raises `ComponentError` with {error} as payload."""', "        ...", ""]
        return [*lines, f"{line} ...", ""]

    # Definitions

    @staticmethod
    def defined(types: Iterable[NamedType]) -> list[NamedType]:
        return [type for type in types if type.root() is type]

    def definitions(self, interface: InterfaceType) -> list[str]:
        lines: list[str] = []
        for type in interface.types.values():
            if isinstance(type, ResourceType):
                if type.owner == interface.name:
                    lines += self._resource(type, interface)
            elif type.root() is type and type.owner == interface.name:
                lines += self._named(type)
        exported = interface.name in self.package.exported
        if interface.functions:
            lines += self._functions(interface, exported)
        return lines

    def _named(self, type: NamedType) -> list[str]:
        target = type.target
        name = class_name(type.name)
        if isinstance(target, RecordType):
            fields = [f"    {python_name(each)}: {self.type(t)}" for each, t in target.fields]
            return ["", "", "@dataclasses.dataclass(frozen=True, slots=True)", f"class {name}:", *fields]
        if isinstance(target, VariantType):
            lines: list[str] = []
            for case, payload in target.cases:
                body = "    pass" if payload is None else f"    value: {self.type(payload)}"
                lines += [
                    "",
                    "",
                    "@dataclasses.dataclass(frozen=True, slots=True)",
                    f"class {case_name(type.name, case)}:",
                    body,
                ]
            names = ", ".join(case_name(type.name, case) for case, _ in target.cases)
            return [*lines, "", "", f"{name} = typing.Union[{names}]"]
        if isinstance(target, EnumType):
            members = [f'    {member_name(each)} = "{each}"' for each in target.names]
            return ["", "", f"class {name}(enum.Enum):", *members]
        if isinstance(target, FlagsType):
            members = [f"    {member_name(each)} = {1 << bit}" for bit, each in enumerate(target.names)]
            return ["", "", f"class {name}(enum.Flag):", *members]
        return []

    def _resource(self, resource: ResourceType, interface: InterfaceType) -> list[str]:
        body: list[str] = []
        exported = interface.name in self.package.exported
        name = class_name(resource.name)
        self.hosted = not exported
        for full, type in interface.functions.items():
            parsed = resource_function(full)
            if parsed is None or parsed[1] != resource.name:
                continue
            kind, _, function = parsed
            if kind == "constructor":
                body += self.method("__init__", type.params, None)
            elif kind == "method":
                body += self.method(python_name(function), type.params[1:], type.result)
            else:
                body += self.method(python_name(function), type.params, type.result, "", "@staticmethod")
        self.hosted = False
        if exported:
            body += ["    def drop(self) -> None: ...", "", f"    def __enter__(self) -> {name}: ...", ""]
            body += ["    def __exit__(self, *error: object) -> None: ...", ""]
        head = ["", "", f"class {name}(typing.Protocol):", f'    """The resource `{resource.name}`."""', ""]
        # The second name is used where a property has the first.
        return [*head, *(_trimmed(body) or ["    ..."]), "", "", f"_{name} = {name}"]

    def _functions(self, interface: InterfaceType, exported: bool) -> list[str]:
        body: list[str] = []
        own = [each for each in interface.types.values() if isinstance(each, ResourceType)]
        resources = frozenset(class_name(each.name) for each in own if each.owner == interface.name)
        for type in interface.types.values():
            if isinstance(type, ResourceType) and type.owner == interface.name:
                name = class_name(type.name)
                body += ["    @property", f"    def {name}(self) -> type[_{name}]: ...", ""]
        for name, function in interface.functions.items():
            if not name.startswith("["):
                self.shadowed = resources
                self.hosted = not exported
                body += self.method(python_name(name), function.params, function.result)
                self.shadowed = frozenset()
                self.hosted = False
        word, text = ("Exports", "What an instance exports.") if exported else ("Host", "What the host is to offer.")
        return ["", "", f"class {word}(typing.Protocol):", f'    """{text}"""', "", *(_trimmed(body) or ["    ..."])]

    # The module

    def imports(self, lines: list[str]) -> list[str]:
        """The modules of the standard library that the text names."""
        text = "\n".join(lines)
        return [f"import {name}" for name in ("collections.abc", "dataclasses", "enum", "typing") if f"{name}." in text]

    def text(self, title: str, body: list[str] | list[NamedType]) -> str:
        """The whole module. `body` is its lines, or the types that it defines."""
        lines = [line for each in body for line in (self._named(each) if isinstance(each, NamedType) else [each])]
        text = "\n".join(lines)
        head = [f'"""{title}"""', "", _HEADER, "", "from __future__ import annotations", "", *self.imports(lines)]
        used = sorted(name for name in self.uses if re.search(rf"\b{name}\.", text))
        if _uses_values(lines):
            head += ["", "from pywasmrt import component"]
        if used:
            head += ["", f"from . import {', '.join(used)}"]
        return "\n".join([*_trimmed(head), *lines]).rstrip("\n") + "\n"
