"""What `pywasmrt run` and `pywasmrt inspect` do with components, and `pywasmrt bindgen`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..component.binary import is_component
from ..component.bindgen import package_files
from ..component.types import ComponentFunctionType, World
from ..errors import WasmError
from ..registry import list_runtimes, new_runtime
from .common import Failure, printable, read_source

if TYPE_CHECKING:
    from ..protocols import Component, Runtime
    from ..types import Limits
    from ..wasi import WasiConfig

__all__ = ["bindgen", "component_in", "inspect_component", "is_component_source", "run_component"]


def is_component_source(source: bytes | str) -> bool:
    """Whether a file holds a component, in binary or in text form."""
    if isinstance(source, bytes):
        return is_component(source)
    without_comments = re.sub(r";;[^\n]*|\(;.*?;\)", "", source, flags=re.DOTALL)
    return re.match(r"\s*\(\s*component\b", without_comments) is not None


def component_in(data: bytes) -> bytes | str | None:
    """The component in the content of a file, or None if the content is not a component."""
    source = data if data.startswith(b"\0asm") else data.decode(errors="replace")
    return source if is_component_source(source) else None


def run_component(
    runtime: Runtime, source: bytes | str, name: str, wasi: WasiConfig, limits: Limits, invoke: str | None
) -> int:
    """Run a command component and return its exit code. Raises `Exit` where it ends itself."""
    if invoke is not None:
        raise Failure("--invoke calls functions of modules; a component's take values of WIT, so call them from Python")
    component = runtime.compile_component(source)
    exports = [item.name for item in component.exports]
    if not any(each.partition("@")[0] == "wasi:cli/run" for each in exports):
        listed = ", ".join(map(printable, exports[:10])) or "nothing"
        raise Failure(f"{name} is no command (it exports no wasi:cli/run, but {listed}); call it from Python")
    with runtime.instantiate_component(component, wasi=wasi, limits=limits) as instance:
        return instance.run()


def _compiled(source: bytes | str) -> tuple[Component, dict[str, str]]:
    """The component, compiled by the first runtime that takes it, and the verdict of each runtime."""
    found: Component | None = None
    verdicts: dict[str, str] = {}
    for info in list_runtimes():
        if not info.available:
            verdicts[info.name] = f"not available: {info.reason}"
            continue
        try:
            made = new_runtime(info.name).compile_component(source)
        except WasmError as error:
            verdicts[info.name] = f"no: {error}"
        else:
            verdicts[info.name] = "yes"
            found = found or made
    if found is None:
        raise Failure("no runtime takes it\n" + "\n".join(f"  {name}: {text}" for name, text in verdicts.items()))
    return found, verdicts


def inspect_component(source: bytes | str) -> int:
    """Print a component's world as WIT, and which runtimes take it."""
    component, verdicts = _compiled(source)
    for line in component.wit().splitlines():
        print(printable(line))
    print("runtimes:")
    for name, verdict in verdicts.items():
        print(f"  {printable(f'{name}: {verdict}')}")
    return 0


def bindgen(words: list[str], guest: list[str]) -> int:
    """`pywasmrt bindgen FILE -o DIR`."""
    parser = argparse.ArgumentParser(
        prog="pywasmrt bindgen",
        description="Write a typed Python package for a component: dataclasses and enums for its types, Protocols for"
        " what it imports and exports, and a class that compiles and instantiates it.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the component, in binary or text form")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="the package's folder")
    options = parser.parse_args(words + guest)
    source = read_source(options.file)
    if not is_component_source(source):
        raise Failure(f"{options.file.name} is no component, and only components have interfaces in WIT")
    component, _ = _compiled(source)
    files = package_files(World(component.imports, component.exports))
    options.output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (options.output / name).write_text(text, encoding="utf-8")
    functions = sum(isinstance(item.type, ComponentFunctionType) for item in component.exports)
    interfaces = len(files) - 3
    print(f"wrote {options.output}: {len(files)} files, {interfaces} interfaces, {functions} functions of the world")
    return 0
