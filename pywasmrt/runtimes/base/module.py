"""What the modules of every adapter share: imports and exports by name and type, and serialising."""

from __future__ import annotations

from typing import Any

from ...errors import UnsupportedFeatureError
from ...types import ExportType, ImportType
from ...wasm.reading import Interface, interface_only, read_interface
from .contracts import OwningRuntime
from .lifetime import Closable
from .linking import RecentLinking
from .serialized import pack_blob

__all__ = ["BaseModule"]


class BaseModule(Closable):
    """A compiled module. `handle` is the adapter's."""

    _kind = "module"

    def __init__(self, runtime: OwningRuntime, handle: Any, data: bytes) -> None:
        """`data` is the module's binary form, or what `interface_only` left of it."""
        self.runtime: Any = runtime  # a protocols.Runtime for users
        self.handle = handle
        self._data = data
        self._interface: Interface | None = None
        self._by_name: dict[str, ExportType] | None = None
        self.own_imports: tuple[Any, ...] = ()  # providers of the imports that we have added to the module
        self.source: bytes | None = None  # the bytes it was compiled from; None if unknown
        self.original: bytes | None = None  # the same before we added imports, for other processes
        self.recent: RecentLinking | None = None
        super().__init__(runtime)

    def interface(self) -> Interface:
        """The imports and exports, read at the first need. Works on a closed module too."""
        interface = self._interface
        if interface is None:
            interface = read_interface(self._data)
            if len(self._data) > 4096:  # serialising needs only this; the code is not kept twice
                self._data = interface_only(self._data)
            self._interface = interface
        return interface

    def exports_by_name(self) -> dict[str, ExportType]:
        """The exports by name, in the module's order."""
        by_name = self._by_name
        if by_name is None:
            by_name = self._by_name = {export.name: export for export in self.interface().exports}
        return by_name

    @property
    def imports(self) -> tuple[ImportType, ...]:
        """What the module asks for, in its order."""
        return self.interface().imports

    @property
    def exports(self) -> tuple[ExportType, ...]:
        """What the module offers, in its order."""
        return self.interface().exports

    def serialize(self) -> bytes:
        """The compiled code as a blob for `Runtime.deserialize`, of this engine, version and settings only."""
        self._check_open()
        if self.own_imports:
            raise UnsupportedFeatureError(
                "a module that reports its coverage cannot be serialised, as a blob has nobody to report to; serialise"
                " the module that Runtime.compile gives, or pickle this one, whose copy reports nothing",
                "serialize",
            )
        self.interface()
        return pack_blob(self.runtime.identity(), interface_only(self._data), self._serialize())

    def _free(self) -> None:
        self.recent = None

    def __copy__(self) -> BaseModule:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> BaseModule:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_open()
        recipe: tuple[Any, ...] = self.runtime.recipe(self)
        return recipe

    def _serialize(self) -> bytes:
        """Hook: the engine's blob."""
        raise UnsupportedFeatureError(f"{self.runtime.info.name} cannot serialise compiled modules", "serialize")

    def __repr__(self) -> str:
        imports, exports = self.imports, self.exports
        state = " closed" if self.closed else ""
        return f"<Module imports={len(imports)} exports={len(exports)} ({self.runtime.info.name}){state}>"
