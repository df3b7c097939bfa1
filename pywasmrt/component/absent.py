"""Methods for runtimes that cannot run components: each says so."""

from __future__ import annotations

from typing import Any, NoReturn

from ..errors import UnsupportedFeatureError

__all__ = ["NoComponents"]


class NoComponents:
    """What `protocols.Runtime` asks for components, for a runtime without the feature "component-model"."""

    info: Any

    def _refuse(self) -> NoReturn:
        raise UnsupportedFeatureError(f"{self.info.name} runs no components", "component-model")

    def compile_component(self, source: Any) -> NoReturn:
        self._refuse()

    def deserialize_component(self, blob: Any) -> NoReturn:
        self._refuse()

    def link_component(self, component: Any, *imports: Any, wasi: Any = None, limits: Any = None) -> NoReturn:
        self._refuse()

    async def instantiate_component_async(
        self, component: Any, *imports: Any, wasi: Any = None, limits: Any = None
    ) -> NoReturn:
        self._refuse()

    def instantiate_component(self, component: Any, *imports: Any, wasi: Any = None, limits: Any = None) -> NoReturn:
        self._refuse()
