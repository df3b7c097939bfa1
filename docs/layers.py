"""Draws the picture of the layers, `docs/layers.svg`: run `python docs/layers.py` after a change here.

A higher layer may use the layers below it, never the other way round. `tests/project/test_layers.py` checks the order
of the Python packages and of the folders of the C code.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

TARGET = Path(__file__).with_suffix(".svg")

# From the top down: the language of a row, and its boxes with what each holds.
ROWS: list[tuple[str, list[tuple[str, str]]]] = [
    ("Python", [("cli", "the command pywasmrt")]),
    ("Python", [("otel", "OpenTelemetry components"), ("testing", "the testing kit")]),
    ("Python", [("diagnostics", "traces, profiles, coverage")]),
    (
        "Python",
        [
            ("plugin", "guests of the otelwasm ABI"),
            ("columns", "data frames and workers"),
            ("wasi", "WASI preview 1"),
        ],
    ),
    ("Python", [("registry", "runtimes by name")]),
    (
        "Python",
        [
            ("runtimes/native", "over wrt.h"),
            ("runtimes/base", "what all runtimes share"),
            ("runtimes/wasmtime_py", "over the package wasmtime"),
        ],
    ),
    (
        "Python",
        [
            ("_shim", "loads the native parts"),
            ("wasm", "the binary format"),
            ("component", "WIT"),
            ("values, host", "the value rules"),
        ],
    ),
    ("Python", [("types, errors, protocols", "what users meet: records, errors, contracts")]),
    ("C", [("csrc/fast", "the call path: functions, host functions, memories, stores")]),
    ("C", [("csrc/wrt.h", "the contract with an engine: one table of functions")]),
    (
        "C",
        [
            ("engines/wasmtime", "its C API"),
            ("engines/wasm3", "compiled in"),
            ("engines/wazero", "in Go"),
            ("engines/fault", "fails on demand"),
        ],
    ),
]
COLOURS = {"Python": ("#eef4fb", "#4878a8"), "C": ("#fdf3e7", "#b07a30")}

WIDTH, HEIGHT, GAP, LABEL = 900, 52, 12, 70


def box(x: float, y: float, width: float, title: str, text: str, colours: tuple[str, str]) -> list[str]:
    """One box with its two lines of text."""
    fill, line = colours
    middle = x + width / 2
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="{line}"/>',
        f'<text x="{middle:g}" y="{y + 22:g}" font-weight="600">{escape(title)}</text>',
        f'<text x="{middle:g}" y="{y + 40:g}" font-size="12" fill="#444">{escape(text)}</text>',
    ]


def picture() -> str:
    """The whole picture as SVG."""
    height = len(ROWS) * (HEIGHT + GAP) + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-size="14"'
        ' font-family="system-ui, sans-serif" text-anchor="middle">',
        "<title>The layers of pywasmrt: each uses what stands below it</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    told = ""
    for n, (language, boxes) in enumerate(ROWS):
        y = GAP + n * (HEIGHT + GAP)
        if language != told:
            lines.append(f'<text x="{LABEL / 2:g}" y="{y + 31}" fill="{COLOURS[language][1]}">{language}</text>')
            told = language
        width = (WIDTH - LABEL - GAP * len(boxes)) / len(boxes)
        for k, (title, text) in enumerate(boxes):
            lines += box(LABEL + k * (width + GAP), y, width, title, text, COLOURS[language])
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    TARGET.write_text(picture(), encoding="utf-8")
