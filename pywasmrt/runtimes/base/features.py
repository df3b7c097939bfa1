"""The vocabulary of features: the names that `RuntimeInfo.features` and `RuntimeConfig.features` are made of.

The name of a proposal means that modules may use it, and that the values and objects that it adds can cross into
Python. The name of an API feature means that the library can do it with this engine. Tests and programs ask for
features, never for an engine by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...errors import InvalidConfigurationError
from ...values import shown

__all__ = [
    "API_FEATURES",
    "API_FEATURE_TEXTS",
    "PROPOSALS",
    "WASMTIME_DEFAULT",
    "WASMTIME_FIXED",
    "WASMTIME_PROPOSALS",
    "WASMTIME_SWITCHES",
    "allowed_proposals",
    "feature_names",
]

PROPOSALS = frozenset(
    {
        # in WebAssembly 2.0
        "multi-value",
        "sign-extension",
        "saturating-float-to-int",
        "bulk-memory",
        "reference-types",
        "mutable-globals",
        "simd",
        # in WebAssembly 3.0
        "relaxed-simd",
        "tail-call",
        "multi-memory",
        "memory64",
        "extended-const",
        "exceptions",
        "function-references",
        "gc",
        # beyond WebAssembly 3.0
        "threads",
        "custom-page-sizes",
        "wide-arithmetic",
    }
)

API_FEATURE_TEXTS = {
    "wat": "modules in the text format",
    "serialize": "compiled modules as blobs",
    "exception-values": "Python reads guests' exceptions, throws some that guests catch, and makes tags",
    "gc-references": "references of the proposal gc, and others that modules define types of, cross",
    "trap-frames": "a trap tells the guest's frames",
    "trap-offsets": "a trap tells where in the module each of its frames is",
    "trap-null-element": "a call through a null element of a table is told from one beyond the table",
    "table-limit": "Limits.table_elements bounds what guests add to a table as well",
    "stack-limit": "the option max_wasm_stack bounds the stack of a guest",
    "fork": "a child of a fork may go on using what it inherited",
    "externref-release": "what a guest holds as an externref ends when the guest lets go of it, not with the store",
    "memory-sharing": "a shared memory may pass from one store to another, as threads of WASI need",
    "trap-lines": "a trap tells its frames' source lines, where the module has debug information",
    "interruption": "interrupt() and Ctrl-C stop a guest; a long call lets other threads run",
    "deadline": "Limits.timeout and deadline() stop a guest",
    "growth-traps": "growth that is refused traps, where RuntimeConfig.trap_on_grow_failure asks for that",
    "suspension": "in an asynchronous store guests wait on stacks of their own; elsewhere each has a worker thread",
    "pooling": "instances live in a pool, where RuntimeConfig.pool asks for that",
    "fuel": "what a guest uses is counted, where an option asks for that",
    "host-observation": "host calls can be traced, by pywasmrt.trace",
    "profiling": "where guests spend their time can be sampled, by pywasmrt.profile",
    "buffer": "memoryview(memory)",
    "f32-nan-bits": "the bits of an f32 NaN, signaling or not, cross unchanged",
    "import-memory": "modules may import a memory",
    "import-table": "modules may import a table",
    "import-global": "modules may import an immutable global",
    "import-mutable-global": "modules may import a mutable global",
    "host-memory": "the host can make a memory outside of any module",
    "host-table": "the host can make a table outside of any module",
    "partial-instantiation": "what segments have written before one that does not fit stays written",
    "constant-externref": "the host can make an immutable global that holds an externref",
    "component-model": "components, by compile_component",
}
"""What each API feature means, as the documentation shows it."""

API_FEATURES = frozenset(API_FEATURE_TEXTS)

# The proposals of Wasmtime, for each adapter to it.
WASMTIME_PROPOSALS = PROPOSALS
WASMTIME_DEFAULT = PROPOSALS - {"custom-page-sizes"}
# Wasmtime cannot turn these off, or does not start without them.
WASMTIME_FIXED = frozenset(
    {"sign-extension", "saturating-float-to-int", "mutable-globals", "extended-const", "reference-types"}
)

# The engine's own names for the proposals that it can turn off.
WASMTIME_SWITCHES = {
    "multi-value": "wasm_multi_value",
    "bulk-memory": "wasm_bulk_memory",
    "reference-types": "wasm_reference_types",
    "simd": "wasm_simd",
    "relaxed-simd": "wasm_relaxed_simd",
    "tail-call": "wasm_tail_call",
    "multi-memory": "wasm_multi_memory",
    "memory64": "wasm_memory64",
    "threads": "wasm_threads",
    "exceptions": "wasm_exceptions",
    "function-references": "wasm_function_references",
    "gc": "wasm_gc",
    "custom-page-sizes": "wasm_custom_page_sizes",
    "wide-arithmetic": "wasm_wide_arithmetic",
}

_NEEDS = {"relaxed-simd": "simd"}


def feature_names(asked: object) -> frozenset[str]:
    """The names in `RuntimeConfig.features`. Raises `InvalidConfigurationError` unless it is a set of names."""
    # A mapping would count with all its keys, even those whose value is False.
    if isinstance(asked, Iterable) and not isinstance(asked, (str, Mapping)):
        names = list(asked)
        if all(isinstance(name, str) for name in names):
            return frozenset(names)
    raise InvalidConfigurationError(f"features is a set of names, not {shown(asked)}")


def allowed_proposals(
    asked: Iterable[str] | None,
    known: frozenset[str],
    default: frozenset[str],
    fixed: frozenset[str],
    engine: str,
) -> frozenset[str]:
    """Return the proposals in force with `asked` as `RuntimeConfig.features`.

    `known` are those the engine has, `default` the stable ones, `fixed` those that it cannot turn off. Names of API
    features are accepted and have no effect, so that one runtime's `info.features` can be asked of another. Raises
    `InvalidConfigurationError` for any other name, and for a proposal without the one it builds upon.
    """
    if asked is None:
        return default | fixed
    names = feature_names(asked)
    unknown = names - known - API_FEATURES
    if unknown:
        raise InvalidConfigurationError(
            f"{engine} has no feature {', '.join(sorted(map(repr, unknown)))}; it has {', '.join(sorted(known))}"
        )
    for name, base in _NEEDS.items():
        if name in names and base not in names:
            raise InvalidConfigurationError(f"the feature {name!r} needs {base!r} too")
    return (names & known) | fixed
