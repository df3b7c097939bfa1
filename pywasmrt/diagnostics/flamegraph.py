"""Draws a profile as a flame graph: an SVG picture without scripts, in which each box is a function upon its caller."""

from __future__ import annotations

from colorsys import hls_to_rgb
from html import escape
from zlib import crc32

from ..types import printable
from .samples import HOST, Frame, Tree

__all__ = ["flamegraph_svg"]

_WIDTH, _ROW, _TOP = 1200, 17, 40
_NARROWEST = 0.3
_DEEPEST = 200
"""Rows that are drawn: a recursion may be thousands deep, and its boxes are all as wide as it."""


def flamegraph_svg(tree: Tree, title: str) -> str:
    """The picture. The width of a box is the time that was spent in the function and what it called."""
    totals, children, roots = _summed(tree)
    whole = sum(totals[root] for root in roots) or 1
    scale = _WIDTH / whole
    boxes: list[str] = []
    deepest = hidden = 0
    waiting: list[tuple[int, float, int]] = []

    def place(nodes: list[int], left: float, depth: int) -> None:
        for node in sorted(nodes, key=lambda each: tree.frames[tree.nodes[each][1]].name):
            waiting.append((node, left, depth))
            left += totals[node] * scale

    place(roots, 0, 0)
    while waiting:
        node, left, depth = waiting.pop()
        width = totals[node] * scale
        if width < _NARROWEST:
            continue
        if depth >= _DEEPEST:
            hidden += 1
            continue
        deepest = max(deepest, depth)
        boxes.append(_box(tree.frames[tree.nodes[node][1]], left, depth, width, totals[node], whole))
        place(children.get(node, []), left, depth + 1)
    height = _TOP + (deepest + 1) * _ROW + 10
    note = f"; {hidden} calls deeper than {_DEEPEST} are not drawn" if hidden else ""
    heading = escape(f"{title}: {whole / 1e9:.3f} s in {len(tree.samples)} samples{note}" if tree.samples else title)
    style = "text{font:11px monospace;fill:#222}rect{stroke:#fff;stroke-width:.5}.h{font-size:14px}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">\n'
        f'<style>{style}</style>\n<text class="h" x="6" y="22">{heading}</text>\n' + "".join(boxes) + "</svg>\n"
    )


def _summed(tree: Tree) -> tuple[list[int], dict[int, list[int]], list[int]]:
    """The time in each node and its descendants, the children of each node, and the roots."""
    totals = [0] * len(tree.nodes)
    for sample in tree.samples:
        totals[sample.node] += sample.weight
    children: dict[int, list[int]] = {}
    for node in reversed(range(len(tree.nodes))):  # a parent is entered before its children
        parent = tree.nodes[node][0]
        if parent >= 0:
            totals[parent] += totals[node]
        if totals[node]:
            children.setdefault(parent, []).append(node)
    return totals, children, children.pop(-1, [])


def _box(frame: Frame, left: float, depth: int, width: float, total: int, whole: int) -> str:
    place = "" if frame.source is None else f" at {frame.source.file}:{frame.source.line}"
    told = escape(f"{frame.name}{printable(place)}: {total / 1e9:.3f} s, {100 * total / whole:.1f} %")
    room = int((width - 6) / 6.7)
    text = ""
    if room >= 3:
        name = frame.name if len(frame.name) <= room else frame.name[: room - 1] + "…"
        text = f'<text x="{left + 3:.1f}" y="{_TOP + depth * _ROW + 12}">{escape(name)}</text>'
    return (
        f'<g><title>{told}</title><rect x="{left:.1f}" y="{_TOP + depth * _ROW}" width="{width:.1f}" '
        f'height="{_ROW - 1}" fill="{_colour(frame)}"/>{text}</g>\n'
    )


def _colour(frame: Frame) -> str:
    """The same for the same name: warm for guests, blue for host functions."""
    number = crc32(frame.name.encode("utf-8", "replace"))
    hue = (0.55 if frame.kind == HOST else 0.02) + (number % 97) / 97 * 0.11
    return "#" + "".join(f"{round(255 * part):02x}" for part in hls_to_rgb(hue, 0.72 + number // 97 % 10 / 100, 0.75))
