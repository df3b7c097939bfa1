"""Finds what serves each import of a module among the providers, by WebAssembly's rules of import matching.

The result is the same for every engine: for each import either a Python callable with its exact signature, or an extern
to pass on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from ...errors import ModuleInstantiateError
from ...host import HostModule, callable_for, host_function_from_callable, is_async, resolve
from ...protocols import Exports
from ...types import ExternKind, FunctionType, GlobalType, HostFunction, ImportType, MemoryType, TableType
from ...values import did_you_mean, shown

if TYPE_CHECKING:
    from ...protocols import CompiledModule, WasiProvider

__all__ = ["HostImport", "Linking", "RecentLinking", "extern_kind", "is_provided", "resolve_imports"]

_MISSING: Any = object()
_MOST_HINTS = 16
"""How many missing imports get a hint at the name that was meant. Each is compared with all names, and a module may
have a million imports.
"""


class HostImport(NamedTuple):
    """One import that a Python function serves, with the exact signature by which the guest calls it.

    `owner` is the bound host module whose object for the instance `callable` takes as its first argument, or None.
    """

    module: str
    name: str
    callable: Callable[..., Any]
    type: FunctionType
    pass_caller: bool
    owner: Any = None
    awaits: bool = False  # its results are awaited, which needs an asynchronous store


class Linking:
    """A module and what serves its imports. This is decided once, for any number of instances on any thread.

    `served` has a `HostImport` or an extern for each import, in the module's order, and `callables` has the host
    functions. Objects that belong to one instance are made by `new_states`, in the order of `owners`: the bound host
    modules, and then `wasi`. `bound` has the number of each callable that takes one of them as its first argument, and
    the number of that object. `prepared` is for the adapter.
    """

    __slots__ = ("awaits", "bound", "callables", "module", "owners", "prepared", "served", "wasi")

    def __init__(
        self,
        module: CompiledModule,
        providers: Sequence[object],
        wasi: WasiProvider | None,
        check_extern: Callable[[ImportType, object], str | None],
    ) -> None:
        """Raises what `resolve_imports` raises. `wasi` serves the imports that `providers` do not serve."""
        imports = module.imports
        own = () if wasi is None else wasi.modules(imports)
        ours = getattr(module, "own_imports", ())
        self.module: Any = module  # of the adapter's class
        self.wasi = wasi
        all_providers = [*ours, *providers, *own] if own or ours else providers
        self.served = resolve_imports(imports, all_providers, check_extern)
        self.prepared: Any = None
        callables: list[Callable[..., Any]] = []
        self.owners: list[Any] = []
        self.bound: list[tuple[int, int]] = []
        of_wasi = []
        self.awaits = False
        for each in self.served:
            if type(each) is not HostImport:
                continue
            if each.owner is not None:
                if each.owner in own:
                    of_wasi.append(len(callables))
                else:
                    if each.owner not in self.owners:
                        self.owners.append(each.owner)
                    self.bound.append((len(callables), self.owners.index(each.owner)))
            if each.awaits:
                self.awaits = True
            callables.append(each.callable)
        self.callables = tuple(callables)
        self.bound += [(at, len(self.owners)) for at in of_wasi]

    def of(self, module: CompiledModule | None) -> Linking:
        """The same linking for `module`, which has the same imports, or without a module for None."""
        same = Linking.__new__(Linking)
        same.module = module
        same.wasi, same.served, same.prepared = self.wasi, self.served, self.prepared
        same.callables, same.owners, same.bound = self.callables, self.owners, self.bound
        same.awaits = self.awaits
        return same

    def new_states(self) -> list[Any]:
        """Make the objects of one instance, except for WASI's."""
        return [owner.new_state() for owner in self.owners]

    def bind(self, states: Sequence[Any]) -> tuple[Callable[..., Any], ...]:
        """The host functions of the instance that `states` belong to, in the order of the imports."""
        if not self.bound:
            return self.callables
        made = list(self.callables)
        for at, owner in self.bound:
            made[at] = MethodType(made[at], states[owner])
        return tuple(made)

    def serve(self, states: Sequence[Any]) -> list[HostImport | Any]:
        """What serves the imports of the instance that `states` belong to."""
        if not self.bound:
            return self.served
        callables = iter(self.bind(states))
        return [each._replace(callable=next(callables)) if type(each) is HostImport else each for each in self.served]

    def state(self, states: Sequence[Any], name: str) -> Any:
        """The object among `states` that the bound host module of that name made, or None."""
        for owner, state in zip(self.owners, states, strict=False):
            if owner.name == name:
                return state
        return None

    def calling(self, through: Callable[[Callable[..., Any], bool], Callable[..., Any]]) -> Linking:
        """The same linking with `through(callable, awaits)` in place of each host function's callable."""
        same = copy(self)
        same.served = [
            each._replace(callable=through(each.callable, each.awaits)) if type(each) is HostImport else each
            for each in self.served
        ]
        same.callables = tuple([each.callable for each in same.served if type(each) is HostImport])
        return same

    def check_awaits_nothing(self) -> None:
        """Raise `ModuleInstantiateError` if an import is served by a coroutine function."""
        for each in self.served:
            if type(each) is HostImport and each.awaits:
                raise ModuleInstantiateError(
                    f"cannot instantiate the module: {each.module}.{each.name} is served by an async function, which "
                    "takes an asynchronous store: await instantiate_async(...) instead"
                )


class RecentLinking:
    """How host modules served a module's imports when it was last instantiated: `linking`, without the module, which
    holds this. `often` tells whether the adapter has prepared it for many instances.

    It keeps nothing alive that the host modules do not: it is emptied when the first of them goes.
    """

    __slots__ = ("__weakref__", "_hosts", "_sizes", "linking", "often")

    def __init__(self, linking: Linking, hosts: Sequence[HostModule]) -> None:
        self.linking: Linking | None = linking.of(None)
        self.often = False
        forget = _forgetting(ref(self))
        self._hosts = [ref(host, forget) for host in hosts]
        self._sizes = [len(host.functions) for host in hosts]

    def serves(self, providers: Sequence[object]) -> bool:
        """Whether these are the same host modules with as many functions: functions are added, but never exchanged."""
        if len(providers) != len(self._hosts):
            return False
        for provider, reference, size in zip(providers, self._hosts, self._sizes, strict=True):
            host = reference()
            if host is None or host is not provider or len(host.functions) != size:
                return False
        return True


def _forgetting(recent: ref[RecentLinking]) -> Callable[[object], None]:
    def forget(host: object) -> None:
        found = recent()
        if found is not None:
            found.linking = None

    return forget


def resolve_imports(
    imports: Sequence[ImportType],
    providers: Sequence[object],
    check_extern: Callable[[ImportType, object], str | None],
) -> list[HostImport | Any]:
    """Return what serves each of `imports`, in their order: a `HostImport` or an extern.

    The first of `providers` that has a name serves it. `check_extern` is the adapter's veto: the reason why an extern
    of the right type cannot be used, or None. Raises `TypeError` for a provider of the wrong kind, and one
    `ModuleInstantiateError` that lists every import which is missing or does not match.
    """
    spaces = [_namespaces(provider) for provider in providers]
    found: list[HostImport | Any] = []
    problems: list[str] = []
    for wanted in imports:
        value, provider = _find(spaces, wanted.module, wanted.name)
        if value is _MISSING:
            hint = _suggestion(spaces, wanted) if len(problems) < _MOST_HINTS else ""
            if (wanted.module, wanted.name) == ("wasi", "thread-spawn"):
                hint = "; WasiConfig(threads=N) lets the guest start N threads"
            problems.append(f"{wanted} is not provided{hint}")
            continue
        served, reason = _match(wanted, value, provider, check_extern)
        if reason is None:
            found.append(served)
        else:
            problems.append(f"{wanted} {reason}")
    if problems:
        count = "1 import does" if len(problems) == 1 else f"{len(problems)} imports do"
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise ModuleInstantiateError(f"cannot instantiate the module: {count} not fit{listed}", problems)
    return found


def is_provided(providers: Sequence[object], wanted: ImportType) -> bool:
    """Whether one of `providers` has something under the name of the import."""
    spaces = [_namespaces(provider) for provider in providers]
    return _find(spaces, wanted.module, wanted.name)[0] is not _MISSING


# A namespace is the uniform form of a provider: it maps a module name to something in which `_field` finds a field.
_Namespace = Mapping[str, Any]


def _namespaces(provider: object) -> _Namespace:
    if isinstance(provider, HostModule):
        return {provider.name: provider}
    if isinstance(provider, Mapping):
        for module, fields in provider.items():
            if not isinstance(module, str):
                raise TypeError(f"an import mapping has module names as keys, not {shown(module)}")
            if not _is_namespace(fields):
                raise TypeError(
                    f"imports for module {module!r} are a mapping of field to extern or callable, a HostModule, or an "
                    f"instance; not {shown(fields)}"
                )
        return provider
    if _is_exporting(provider):
        raise TypeError('an instance provides imports under a module name: pass {"name": instance}')
    if _is_host_module(provider):
        return {provider.name: provider}  # type: ignore[attr-defined]
    raise TypeError(
        "an import provider is a HostModule, or a mapping of module name to a mapping of field to extern or callable,"
        f" a HostModule, or an instance; not {shown(provider)}"
    )


def _is_namespace(fields: object) -> bool:
    if isinstance(fields, (HostModule, Mapping)) or _is_exporting(fields):
        return True
    return isinstance(fields, Exports) or _is_host_module(fields)


def _is_exporting(value: object) -> bool:
    return hasattr(type(value), "exports") and hasattr(type(value), "function")


def _is_host_module(value: object) -> bool:
    """Whether it is a host module of another library: an object with a name, and with its functions in a mapping."""
    return isinstance(getattr(value, "functions", None), Mapping) and isinstance(getattr(value, "name", None), str)


def _field(fields: Any, name: str) -> Any:
    if isinstance(fields, HostModule):  # first, as most programs use these
        return fields.functions.get(name, _MISSING)
    if isinstance(fields, Mapping):
        return fields.get(name, _MISSING)
    exports = _exports(fields)
    if exports is not None:
        return exports[name] if name in exports else _MISSING  # noqa: SIM401 - they are no mapping
    return fields.functions.get(name, _MISSING)


def _field_names(fields: Any) -> Iterable[str]:
    if isinstance(fields, Mapping):
        return [name for name in fields if isinstance(name, str)]
    exports = _exports(fields)
    return list(fields.functions if exports is None else exports)


def _exports(fields: Any) -> Exports | None:
    if isinstance(fields, Exports):
        return fields
    exports: Exports | None = fields.exports if _is_exporting(fields) else None
    return exports


def _find(spaces: Sequence[_Namespace], module: str, name: str) -> tuple[Any, Any]:
    """What serves an import, and the provider that has it."""
    for space in spaces:
        fields = space.get(module, _MISSING)
        if fields is not _MISSING:
            value = _field(fields, name)
            if value is not _MISSING:
                return value, fields
    return _MISSING, None


def _suggestion(spaces: Sequence[_Namespace], wanted: ImportType) -> str:
    fields = [space[wanted.module] for space in spaces if wanted.module in space]
    if not fields:
        modules = sorted({name for space in spaces for name in space})
        if not modules:
            return ""
        known = ", ".join(map(repr, modules[:8]))
        return f": there is no module {wanted.module!r} among {known}{did_you_mean(wanted.module, modules)}"
    return did_you_mean(wanted.name, [name for each in fields for name in _field_names(each)])


def extern_kind(value: object) -> ExternKind | None:
    """What kind of extern `value` is, or None if it is none."""
    type_ = getattr(value, "type", None)
    if isinstance(type_, FunctionType):
        return ExternKind.FUNCTION if callable(value) else ExternKind.TAG
    if isinstance(type_, MemoryType):
        return ExternKind.MEMORY
    if isinstance(type_, TableType):
        return ExternKind.TABLE
    if isinstance(type_, GlobalType):
        return ExternKind.GLOBAL
    return None


def _match(
    wanted: ImportType, value: Any, provider: Any, check_extern: Callable[[ImportType, object], str | None]
) -> tuple[Any, str | None]:
    if isinstance(value, HostFunction):
        return _match_host(wanted, value, provider)
    kind = extern_kind(value)
    if kind is None:
        if wanted.kind is ExternKind.FUNCTION and callable(value):
            try:
                function = host_function_from_callable(wanted.name, value)
            except (TypeError, ValueError) as error:
                return None, f"cannot be served by {shown(value)}: {error}"
            return _match_host(wanted, function, None)
        return None, f"was given {shown(value)}{_how_to_make(wanted)}"
    if kind is not wanted.kind:
        return None, f"was given a {kind}"
    return value, _mismatch(wanted.type, value) or check_extern(wanted, value)


def _match_host(wanted: ImportType, function: HostFunction, provider: Any) -> tuple[Any, str | None]:
    # Most imports are matched with the same function again.
    known = function.__dict__.get("_served")
    if known is not None and known[0] is wanted:
        return known[1], None
    if not isinstance(wanted.type, FunctionType) or wanted.kind is not ExternKind.FUNCTION:
        return None, f"was given a host function{_how_to_make(wanted)}"
    try:
        type_ = resolve(function, wanted.type)
    except (TypeError, ValueError) as error:
        return None, f"does not fit its host function: {error}"
    awaits, call = is_async(function.callable), callable_for(function)
    if not function.takes_state:
        served = HostImport(wanted.module, wanted.name, call, type_, function.pass_caller, None, awaits)
        function.__dict__["_served"] = wanted, served  # no cycle: neither refers to the function
        return served, None
    if not callable(getattr(provider, "new_state", None)):
        return None, "is a method of a host module that is not bound: pass HostModule.bind(factory)"
    return HostImport(wanted.module, wanted.name, call, type_, function.pass_caller, provider, awaits), None


def _how_to_make(wanted: ImportType) -> str:
    if wanted.kind is ExternKind.FUNCTION:
        return "; give a callable, or a function of an instance"
    if wanted.kind is ExternKind.TAG:
        return "; give the tag that an instance exports"
    method = "global_" if wanted.kind is ExternKind.GLOBAL else str(wanted.kind)
    return f"; make a {wanted.kind} with store.{method}(...) and pass store=store"


def _mismatch(wanted: object, value: Any) -> str | None:
    """Why the extern `value` is not of the type `wanted`, or None. Types with references of the proposal gc are the
    engine's to judge.
    """
    given = value.type
    if isinstance(wanted, FunctionType):
        if wanted == given or any(
            each.judged for each in wanted.params + wanted.results + given.params + given.results
        ):
            return None
        return f"was given a {'function' if callable(value) else 'tag'} {given}"
    if isinstance(wanted, MemoryType):
        if (wanted.is_64, wanted.shared, wanted.page_size) != (given.is_64, given.shared, given.page_size):
            return f"was given {given}"
        return _limits_mismatch(wanted, given, value.size // given.page_size, "pages")
    if isinstance(wanted, TableType):
        if wanted.is_64 != given.is_64 or (
            wanted.element is not given.element and not (wanted.element.judged or given.element.judged)
        ):
            return f"was given {given}"
        return _limits_mismatch(wanted, given, len(value), "elements")
    if isinstance(wanted, GlobalType):
        if wanted.mutable != given.mutable:
            return f"was given {given}"
        if wanted.content is not given.content and not (wanted.content.judged or given.content.judged):
            return f"was given {given}"
    return None


def _limits_mismatch(wanted: MemoryType | TableType, given: MemoryType | TableType, size: int, unit: str) -> str | None:
    if size < wanted.minimum:
        return f"was given one of {size} {unit}, fewer than the minimum"
    if wanted.maximum is not None and (given.maximum is None or given.maximum > wanted.maximum):
        limit = "no maximum" if given.maximum is None else f"the maximum {given.maximum}"
        return f"was given one with {limit}, beyond what it may be"
    return None
