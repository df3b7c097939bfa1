"""`profile`: where the time of guests goes, sampled while they run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from ..errors import BusyError
from ..runtimes.base.instance import BaseInstance, InstanceState
from ..runtimes.base.linking import HostImport
from ..runtimes.base.store import BaseStore
from ..types import expect
from ..values import shown, shown_int
from ..wasm.probes import HOST_MODULE as COVERAGE
from .firefox import firefox_profile
from .flamegraph import flamegraph_svg
from .samples import Frame, Host, Tree, assembled, described_host

if TYPE_CHECKING:
    from ..protocols import ModuleInstance
    from ..runtimes.base.module import BaseModule

__all__ = ["FunctionTime", "FunctionTimes", "Profile", "profile"]

_MOST_SAMPLES = 1_000_000


def profile(instance: ModuleInstance, *others: ModuleInstance, max_samples: int = _MOST_SAMPLES) -> Profile:
    """Sample where the guests of an instance's store spend their time, until the profile is closed.

        with pywasmrt.profile(instance) as p:
            instance.exports.run()

        print(p.top())
        p.save("guest.json")        # for https://profiler.firefox.com
        p.flamegraph("guest.svg")   # for any browser

    A sample is taken at each tick, every 5 ms, on whatever thread the guest runs; calls shorter than that are found in
    proportion to their number. A guest is sampled where it polls, at the beginning of a function or of a round of a
    loop, so a sample may stand a little behind the place where the time went. Host functions appear in the stack of the
    guest that calls them, with all the time that they take; a guest that they call appears upon them.

    Names come from the module's name section, else from its debug information (DWARF), else from its exports; source
    lines from DWARF. What is broken in them is left out. `others` are further instances of the same store whose
    functions get names too; code of modules that are not given is shown as one function.

    Without a profile, calls cost what they did before. With one, a host call takes some nanoseconds more, and a sample
    some microseconds. After `max_samples` samples no more are taken; `Profile.dropped` counts them.

    An instance whose call runs on another thread can be profiled; its host functions appear then only from the next
    profile on. In asynchronous stores host functions do not appear, since they run on the event loop.

    Raises `UnsupportedFeatureError` on a runtime without the feature "profiling", `ClosedError`, `ValueError` where the
    store is being profiled already or `others` live elsewhere, and `TypeError` for anything but instances of modules.
    """
    return Profile((instance, *others), max_samples)


class FunctionTime(NamedTuple):
    """The time of one function: in it alone, and with what it called; in seconds, and as parts of the whole."""

    name: str
    kind: str
    source: str
    self_seconds: float
    total_seconds: float
    self_share: float
    total_share: float


class FunctionTimes(tuple["FunctionTime", ...]):
    """Rows of `Profile.top`. As text it is a table."""

    def __repr__(self) -> str:
        lines = ["    self          total         function"]
        for row in self:
            source = f"  {row.source}" if row.source else ""
            host = " [host]" if row.kind == "host" else ""
            lines.append(
                f"{row.self_seconds:8.3f} s {row.self_share:4.0%}  {row.total_seconds:8.3f} s {row.total_share:4.0%}  "
                f"{row.name}{host}{source}"
            )
        return "\n".join(lines)


class Profile:
    """Where the time of guests went. It is made by `profile`, and is a context manager. Its results are available after
    `close`, which the methods below call if it has not been called.
    """

    def __init__(self, instances: Sequence[ModuleInstance], max_samples: int = _MOST_SAMPLES) -> None:
        expect("a Profile", "a tuple of instances of modules; profile makes one", (tuple, list), instances=instances)
        if not instances:
            raise ValueError("the instances of a Profile are one or more; there are none")
        store = _store_of(instances)
        if not isinstance(max_samples, int) or isinstance(max_samples, bool):
            raise TypeError(f"max_samples is an int, not {shown(max_samples)}")
        if not 0 < max_samples < 1 << 31:
            raise ValueError(f"max_samples is 1 to 2**31 - 1, not {shown_int(max_samples)}")
        modules = list(dict.fromkeys(cast("BaseModule", each.module) for each in instances))
        self._sources = [module.source for module in modules]
        self._hosts: list[Host] = []
        self._host_frames: list[Frame] = []
        self._began = time.time()
        self._recorded: tuple[bytes, bytes, bytes, int] | None = None
        self._recording = store._begin_profile(modules, max_samples)
        self._store: BaseStore | None = store
        self._keeper: list[Any] | None = modules  # keeps the modules alive, whose names the engine uses
        self._host_functions = store._mode != "asynchronous"
        if self._host_functions:
            try:
                store.observe(self._stand_in)
            except BusyError:
                self._host_functions = False

    def _stand_in(self, state: InstanceState, function: HostImport) -> Callable[..., Any]:
        store = self._store
        if store is None or function.module == COVERAGE:
            return function.callable
        self._hosts.append(Host(f"{function.module}.{function.name}", function.callable))
        return store._probe(self._recording, function.callable, len(self._hosts) - 1)

    @property
    def closed(self) -> bool:
        """Whether it has stopped taking samples."""
        return self._store is None

    def close(self) -> None:
        """Stop taking samples. Idempotent; from any thread, also while the guest runs, and after the store was closed.
        In the child of a fork, a profile that the parent has begun is empty.
        """
        store, self._store = self._store, None
        if store is None:
            return
        store.unobserve(self._stand_in)
        self._recorded = self._recording.finish()
        self._host_frames = [described_host(host) for host in self._hosts]
        self._keeper = None
        self._hosts.clear()  # host functions may hold anything, even the instance

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @cached_property
    def _tree(self) -> Tree:
        self.close()
        return Tree() if self._recorded is None else assembled(self._recorded, self._sources, self._host_frames)

    @property
    def running_samples(self) -> int:
        """How many samples there are by now, for a guest that still runs; this does not end the profile."""
        return self._recording.count if self._store is not None else self.samples

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self._tree.samples)

    @property
    def seconds(self) -> float:
        """The time that the samples stand for: that of the guests and their host functions, to a tick or two."""
        return sum(sample.weight for sample in self._tree.samples) / 1e9

    @property
    def dropped(self) -> int:
        """How many samples were not kept, beyond `max_samples`."""
        self.close()
        return 0 if self._recorded is None else self._recorded[3]

    def top(self, count: int | None = 20) -> FunctionTimes:
        """The functions that took the most time by themselves, at most `count` of them: a tuple of `FunctionTime` whose
        text is a table. Raises `TypeError` or `ValueError` for a `count` that is not a count.
        """
        if count is not None and (not isinstance(count, int) or isinstance(count, bool)):
            raise TypeError(f"count is an int, or None for all, not {shown(count)}")
        if count is not None and count < 0:
            raise ValueError(f"count is 0 or more, not {count}")
        tree = self._tree
        own, total = _times(tree)
        whole = sum(own) or 1
        rows = [
            FunctionTime(
                frame.name,
                frame.kind,
                "" if frame.source is None else f"{frame.source.file}:{frame.source.line}",
                own[n] / 1e9,
                total[n] / 1e9,
                own[n] / whole,
                total[n] / whole,
            )
            for n, frame in enumerate(tree.frames)
            if total[n]
        ]
        rows.sort(key=lambda row: (-row.self_seconds, -row.total_seconds, row.name))
        return FunctionTimes(rows if count is None else rows[:count])

    def save(self, path: str | Path, *, title: str = "guest") -> None:
        """Write the profile for the Firefox profiler, which opens it at https://profiler.firefox.com ("Load a profile
        from file"); nothing is sent anywhere by that. Raises `OSError`.
        """
        text = json.dumps(firefox_profile(self._tree, title, self._began))
        Path(path).write_text(text, encoding="utf-8")

    def flamegraph(self, path: str | Path, *, title: str = "guest") -> None:
        """Write a flame graph, an SVG picture: the wider a function, the longer it ran, upon the function that called
        it. Raises `OSError`.
        """
        Path(path).write_text(flamegraph_svg(self._tree, title), encoding="utf-8", errors="backslashreplace")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a profile cannot be copied or pickled: it belongs to this process; hand over the file that save() writes,"
            " or the rows of top()"
        )

    def __repr__(self) -> str:
        if self._store is not None:
            return f"<Profile samples={self._recording.count}>"
        return f"<Profile samples={self.samples} seconds={self.seconds:.3f} closed>"


def _store_of(instances: Sequence[ModuleInstance]) -> BaseStore:
    for each in instances:
        if not isinstance(each, BaseInstance):
            raise TypeError(f"profile takes instances of modules, not {shown(each)}")
        if each.closed:
            raise each._state.life.error("instance")
        if each.store is not instances[0].store:
            raise ValueError("the instances of a profile live in one store; profile each store by itself")
    return cast("BaseStore", instances[0].store)


def _times(tree: Tree) -> tuple[list[int], list[int]]:
    """For each frame, the time in it alone, and the time in which it was on the stack, however often."""
    own = [0] * len(tree.frames)
    at_node = [0] * len(tree.nodes)
    for sample in tree.samples:
        own[tree.nodes[sample.node][1]] += sample.weight
        at_node[sample.node] += sample.weight
    total = [0] * len(tree.frames)
    children: dict[int, list[int]] = {}
    for node, (parent, _) in enumerate(tree.nodes):
        children.setdefault(parent, []).append(node)
    for node in reversed(range(len(tree.nodes))):
        parent = tree.nodes[node][0]
        if parent >= 0:
            at_node[parent] += at_node[node]
    # Down each stack once: a frame counts where it comes first, not again in its own recursion.
    on_stack = [0] * len(tree.frames)
    waiting = [(node, True) for node in children.get(-1, [])]
    while waiting:
        node, entering = waiting.pop()
        frame = tree.nodes[node][1]
        if not entering:
            on_stack[frame] -= 1
            continue
        if on_stack[frame] == 0:
            total[frame] += at_node[node]
        on_stack[frame] += 1
        waiting.append((node, False))
        waiting.extend((child, True) for child in children.get(node, []))
    return own, total
