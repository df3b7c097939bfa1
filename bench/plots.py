"""Draws what `bench/compare.py --json` measured: plain SVG, and the table of the documentation's performance page.

    python bench/plots.py build/bench.json --to docs/figures

writes there a copy of the figures as `bench.json`, with the machine and the day added if they are missing, one
`JOB.svg` for each job, and the table as `bench.md`. `make docs-figures` measures, and runs this.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from contestants import JOBS
from measuring import write_json

FLOOR = "floor"
WIDTH, LABEL, ROW, BAR, TOP = 760, 190, 30, 18, 58
SCALE = WIDTH - LABEL - 190  # pixels for the longest bar; behind it the value is written
COLOURS = {FLOOR: "#9aa0a6", "own": "#2b6cb0", "other": "#c58a2b"}


def with_origin(report: dict[str, Any]) -> dict[str, Any]:
    """The report with its machine and day; if it names none, this machine and today."""
    if "machine" in report:
        return report
    machine = {"system": platform.system(), "processor": processor(), "cpus": os.cpu_count()}
    return {"machine": machine, "day": time.strftime("%Y-%m-%d", time.gmtime()), **report}


def processor() -> str:
    """What the processor calls itself, or its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return f"{value.strip()}, {platform.machine()}"
    except OSError:
        pass
    return platform.machine()


def shown(nanoseconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def times(ratio: float) -> str:
    """A ratio to two digits, or to whole numbers where it is large."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def base_of(row: dict[str, float]) -> str:
    """The contestant that the others of a row are compared with: its floor, or the first."""
    return FLOOR if FLOOR in row else next(iter(row))


def chart(title: str, row: dict[str, float]) -> str:
    """One job as bars on a logarithmic scale, the shortest first."""
    ordered = sorted(row.items(), key=lambda each: each[1])
    low = 10 ** math.floor(math.log10(ordered[0][1]) - 0.3)
    decades = max(1.0, math.log10(ordered[-1][1] / low))
    bottom = TOP + ROW * len(ordered)
    base = base_of(row)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 12}" font-family="sans-serif"'
        ' font-size="13" role="img">',
        f'<rect width="{WIDTH}" height="{bottom + 12}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for decade in range(math.floor(decades) + 1):
        x = LABEL + SCALE * decade / decades
        lines.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="#dddddd"/>')
        mark = shown(low * 10**decade)
        lines.append(f'<text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle" fill="#666666">{mark}</text>')
    for n, (name, value) in enumerate(ordered):
        y = TOP + ROW * n
        kind = FLOOR if name == FLOOR else "own" if name.startswith("pywasmrt ") else "other"
        length = SCALE * math.log10(value / low) / decades
        ratio = "" if name == base else f" ({times(value / row[base])} times)"
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[kind]}"/>',
            f'<text x="{LABEL + length + 6:.1f}" y="{y + 14}">{shown(value)}{ratio}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def table(report: dict[str, Any]) -> str:
    """The figures as a table in Markdown, with their machine and day."""
    figures: dict[str, dict[str, float]] = report["nanoseconds"]
    names = list(dict.fromkeys(name for job in JOBS for name in figures.get(job, {}) if name != FLOOR))
    rows = [["", FLOOR, *names], ["---"] * (2 + len(names))]
    for job, title in JOBS.items():
        row = figures.get(job, {})
        cells = [shown(row[name]) if name in row else "" for name in (FLOOR, *names)]
        rows.append([title, *cells])
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    fresh = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in report["import_seconds"].items())
    return "\n".join(
        [
            f"Measured on {report['day']}: {machine['system']}, {machine['processor']}, {machine['cpus']} processors;"
            f" CPython {report['python']}, pywasmrt {report['pywasmrt']}, {versions}.",
            "",
            *(f"| {' | '.join(cells)} |" for cells in rows),
            "",
            f"A fresh interpreter that imports: {fresh} (bare: nothing).",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path, help="what compare.py wrote")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the figures go")
    options = parser.parse_args()
    report = with_origin(json.loads(options.json.read_text(encoding="utf-8")))
    options.to.mkdir(parents=True, exist_ok=True)
    write_json(report, options.to / "bench.json")
    (options.to / "bench.md").write_text(table(report), encoding="utf-8")
    for job, row in report["nanoseconds"].items():
        if job in JOBS:
            (options.to / f"{job}.svg").write_text(chart(JOBS[job], row), encoding="utf-8")


if __name__ == "__main__":
    main()
