"""`Coverage`: which functions, branches and lines of guests run."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidConfigurationError, ModuleCompileError, UnsupportedFeatureError
from ..host import HostModule
from ..runtimes.base.runtime import BaseRuntime
from ..types import ValueType, printable
from ..values import shown
from ..wasm.probes import HOST_FUNCTION, HOST_MODULE, probed
from ..wasm.reading import HEADER
from .covered import CoveredModule
from .lcov import written

if TYPE_CHECKING:
    from ..protocols import CompiledModule, Runtime

__all__ = ["Coverage"]

_FORM = 1  # of saved files


class Coverage:
    """Tells which code of guests runs, over any number of modules, instances, runtimes and processes.

        coverage = pywasmrt.Coverage()
        module = coverage.compile(runtime, pathlib.Path("guest.wasm"))
        instance = runtime.instantiate(module, ...)     # as often as wanted, and in the usual way
        ...
        print(coverage.report())
        coverage.lcov("guest.info")                     # for genhtml, Codecov, editors
        print(coverage.listing())

    `compile` compiles a changed module, which reports each block of its code and each outcome of its branches when an
    instance first reaches them. So the counts are of instances, not of rounds of loops. Nothing has to be read back:
    what a guest has reached is known even after it trapped, was stopped, or was dropped. Works on every runtime. Code
    that was reached before costs one more load and test.

    A changed module has one more import, which is served automatically, and its instances use more fuel. It cannot be
    serialised; pickled, it arrives as the original module, which reports nothing there. It has no
    debug information, so traps tell no source lines; reports have them, from the original module.

    Any thread may use it, and instances of several threads may run meanwhile.
    """

    def __init__(self) -> None:
        self._modules: dict[str, CoveredModule] = {}
        self._probed: dict[str, bytes] = {}

    @property
    def modules(self) -> tuple[CoveredModule, ...]:
        """The modules, in the order in which they came."""
        return tuple(self._modules.values())

    def compile(self, runtime: Runtime, source: Any, *, name: str | None = None) -> CompiledModule:
        """Compile a module as `Runtime.compile` does, so that it reports what it reaches. `name` is what reports call
        it: the file's, unless given. The same module may be compiled again, also on another runtime: it is counted as
        one.

        Raises what `Runtime.compile` raises, `UnsupportedFeatureError` for an instruction that is not known here, and
        `TypeError` for a runtime that is not made from this package's base classes: `instrument` serves any other.
        """
        if not isinstance(runtime, BaseRuntime):
            raise TypeError(
                f"compile takes a runtime made by new_runtime, not {shown(runtime)}; use instrument, and compile that"
            )
        runtime._check_open()
        data = runtime._binary(source)
        runtime.validate(data)
        instrumented, imports = self.instrument(data, name=name or _name_of(source))
        module = runtime.compile(instrumented)
        module.original = data
        module.own_imports = (imports,)
        return module

    def instrument(self, data: bytes, *, name: str | None = None) -> tuple[bytes, HostModule]:
        """Change a valid module so that it reports what it reaches. Returns its binary, and the host module that has to
        be among its imports. Raises `ModuleCompileError` if `data` is not a module, `UnsupportedFeatureError` for an
        unknown instruction, and `TypeError` if `data` is not bytes.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"instrument takes the bytes of a module in binary form, not {shown(data)}")
        if not data.startswith(HEADER):
            raise ModuleCompileError("instrument takes a module in binary form, which this is not")
        key = sha256(data).hexdigest()
        if key not in self._modules:
            self._probed[key], plan = probed(data)
            self._modules.setdefault(key, CoveredModule(printable(name or f"module-{key[:8]}"), data, plan))
        elif key not in self._probed:  # `load` has read it, so its probes are not made yet
            self._probed[key], _ = probed(data)
        covered = self._modules[key]
        host = HostModule(HOST_MODULE)
        host.add_function(HOST_FUNCTION, [ValueType.I32], [], _counter(covered.hits))
        return self._probed[key], host

    # Reports

    def report(self) -> str:
        """A table: for each module how many of its functions, branch outcomes and source lines were reached, and the
        functions that were not called.
        """
        rows = ["functions     branches      lines         module"]
        for module in self.modules:
            functions = module.functions
            called = sum(function.hits > 0 for function in functions)
            outcomes = [sum(part) for part in zip(*(each.outcomes for each in functions), strict=True)] or [0, 0]
            counts = [hits for lines in module.source_lines.values() for hits in lines.values()]
            reached = sum(map(bool, counts))
            parts = [_part(called, len(functions)), _part(*outcomes), _part(reached, len(counts))]
            rows.append("  ".join(part.ljust(12) for part in parts) + f"  {module.name}")
            missed = [function.name for function in functions if not function.hits]
            if missed:
                more = f" and {len(missed) - 10} others" if len(missed) > 10 else ""
                rows.append(f"    not called: {', '.join(missed[:10])}{more}")
        return "\n".join(rows)

    def lcov(self, path: str | Path) -> None:
        """Write a tracefile of LCOV: functions, branches and lines of the source, where the module has debug
        information. The code of other modules is reported by the lines of their listings, which are written beside it,
        as NAME.wat. Raises `OSError`.
        """
        path = Path(path)
        records, listings = written(self.modules, path)
        for place, text in listings.items():
            place.write_text(text, encoding="utf-8", errors="backslashreplace")
        path.write_text(records, encoding="utf-8", errors="backslashreplace")

    def listing(self) -> str:
        """The code of all modules, each instruction with the number of instances that have reached it: `#####` where
        none has, `-` where none can. Behind branches stands how often each outcome came, before instructions the source
        line that they come from.
        """
        return "\n".join(_listed(module) for module in self.modules)

    # Merging

    def merge(self, other: Coverage) -> None:
        """Add the counts of another `Coverage`. Raises `TypeError` for anything else."""
        if not isinstance(other, Coverage):
            raise TypeError(f"merge takes a Coverage, not {shown(other)}")
        for key, theirs in list(other._modules.items()):
            ours = self._modules.get(key)
            if ours is None:
                ours = self._modules[key] = CoveredModule(theirs.name, theirs.data, theirs.plan)
            for n, hits in enumerate(theirs.hits):
                ours.hits[n] += hits

    def save(self, path: str | Path) -> None:
        """Write what was counted, for `load`: JSON with the modules in it. Raises `OSError`."""
        modules = [
            {"name": each.name, "module": base64.b64encode(zlib.compress(each.data)).decode(), "hits": each.hits}
            for each in self.modules
        ]
        Path(path).write_text(json.dumps({"form": _FORM, "modules": modules}), encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> Coverage:
        """Read what `save` wrote. Raises `OSError`, and `InvalidConfigurationError` for another file."""
        text = Path(path).read_bytes()
        loaded = Coverage()
        try:
            content = json.loads(text)
            if content["form"] != _FORM:
                raise ValueError(f"its form is {content['form']!r}")
            for each in content["modules"]:
                data = zlib.decompress(base64.b64decode(each["module"]))
                loaded.instrument(data, name=str(each["name"]))
                hits = loaded._modules[sha256(data).hexdigest()].hits
                hits[:] = [int(count) for _, count in zip(hits, each["hits"], strict=True)]
        except (ValueError, KeyError, TypeError, zlib.error, ModuleCompileError, UnsupportedFeatureError) as error:
            raise InvalidConfigurationError(f"{str(path)!r} is no file that Coverage.save wrote: {error}") from None
        return loaded

    # For the pytest plugin

    def instrument_all(self) -> Callable[[], None]:
        """Make every module that is compiled from now on, by any runtime of this process, report what it reaches.
        Modules that cannot be changed are compiled as they are. Returns a function that ends this.
        """

        def instrument(source: Any, data: bytes) -> tuple[bytes, tuple[Any, ...]] | None:
            if HOST_MODULE.encode() in data:
                return None
            try:
                instrumented, host = self.instrument(data, name=_name_of(source))
            except (ModuleCompileError, UnsupportedFeatureError):
                return None
            return instrumented, (host,)

        before = BaseRuntime.instrument
        BaseRuntime.instrument = staticmethod(instrument)

        def end() -> None:
            BaseRuntime.instrument = before

        return end

    def __repr__(self) -> str:
        return f"<Coverage modules={[module.name for module in self.modules]}>"


def _counter(hits: list[int]) -> Callable[[int], None]:
    def reached(probe: int) -> None:
        hits[probe] += 1

    return reached


def _name_of(source: Any) -> str | None:
    return source.name if isinstance(source, Path) else None


def _part(some: int, all: int) -> str:
    return f"{some}/{all} {some / all:.0%}" if all else "-"


def _listed(module: CoveredModule) -> str:
    return "\n".join([f";; {module.name}", *_columns(module)])


def _columns(module: CoveredModule) -> Iterable[str]:
    for line in module.listing():
        count = "" if not line.text else "-" if line.hits is None else str(line.hits) if line.hits else "#####"
        yield f"{count:>8} | {line.text}" if line.text else ""
