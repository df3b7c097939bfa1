"""Writes a profile in the form that https://profiler.firefox.com reads: the "processed profile format", version 55.

(Its description is in the repository of the Firefox profiler, docs-developer/processed-profile-format.md.)
"""

from __future__ import annotations

from typing import Any

from .samples import HOST, Tree

__all__ = ["firefox_profile"]

_CATEGORIES = [("Other", "grey"), ("WebAssembly", "purple"), ("Python", "blue")]
_WASM, _PYTHON = 1, 2


class _Strings:
    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self.all))
        if number == len(self.all):
            self.all.append(text)
        return number


def firefox_profile(tree: Tree, title: str, began: float) -> dict[str, Any]:
    """The profile as what `json.dump` takes. `began` is the time of the first moment, in seconds since the epoch."""
    strings = _Strings()
    count = len(tree.frames)
    names = [strings.number(frame.name) for frame in tree.frames]
    files = [None if frame.source is None else strings.number(frame.source.file) for frame in tree.frames]
    lines = [None if frame.source is None else frame.source.line for frame in tree.frames]
    categories = [_PYTHON if frame.kind == HOST else _WASM for frame in tree.frames]
    begin = tree.samples[0].time if tree.samples else 0
    times = [(sample.time - begin) / 1e6 for sample in tree.samples]
    length = len(times)
    last = times[-1] if times else 0.0
    thread = {
        "name": title,
        "processType": "default",
        "processName": title,
        "pid": "0",
        "tid": "0",
        "isMainThread": True,
        "showMarkersInTimeline": False,
        "registerTime": 0.0,
        "unregisterTime": last,
        "processStartupTime": 0.0,
        "processShutdownTime": last,
        "pausedRanges": [],
        "samples": {
            "length": length,
            "weightType": "tracing-ms",
            "weight": [sample.weight / 1e6 for sample in tree.samples],
            "stack": [sample.node for sample in tree.samples],
            "time": times,
        },
        "stackTable": {
            "length": len(tree.nodes),
            "prefix": [None if parent < 0 else parent for parent, _ in tree.nodes],
            "frame": [frame for _, frame in tree.nodes],
        },
        "frameTable": {
            "length": count,
            "address": [-1] * count,
            "inlineDepth": [0] * count,
            "category": categories,
            "subcategory": [0] * count,
            "func": list(range(count)),
            "nativeSymbol": [None] * count,
            "innerWindowID": [0] * count,
            "line": lines,
            "column": [None] * count,
        },
        "funcTable": {
            "length": count,
            "name": names,
            "isJS": [False] * count,
            "relevantForJS": [False] * count,
            "resource": [-1] * count,
            "fileName": files,
            "lineNumber": lines,
            "columnNumber": [None] * count,
        },
        "resourceTable": {"length": 0, "lib": [], "name": [], "host": [], "type": []},
        "nativeSymbols": {"length": 0, "address": [], "functionSize": [], "libIndex": [], "name": []},
        "markers": {
            "length": 0,
            "category": [],
            "data": [],
            "endTime": [],
            "name": [],
            "phase": [],
            "startTime": [],
        },
        "stringArray": strings.all,
    }
    return {
        "meta": {
            "version": 24,
            "preprocessedProfileVersion": 55,
            "product": title,
            "interval": 5.0,
            "startTime": began * 1e3,
            "processType": 0,
            "categories": [{"name": name, "color": colour, "subcategories": ["Other"]} for name, colour in _CATEGORIES],
            "markerSchema": [],
            "debug": False,
            "symbolicated": True,
            "usesOnlyOneStackType": True,
            "sourceCodeIsNotOnSearchfox": True,
            "pausedRanges": [],
            "extensions": {"length": 0, "baseURL": [], "id": [], "name": []},
            "sampleUnits": {"time": "ms", "eventDelay": "ms", "threadCPUDelta": "µs"},
        },
        "libs": [],
        "threads": [thread],
        "pages": [],
        "counters": [],
        "profilerOverhead": [],
    }
