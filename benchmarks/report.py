"""Writes docs/performance.md from what the benchmarks have measured last."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from common import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = """# Performance

What Assay costs beside its peers and limits, measured side by side in one run by `make bench`: medians, with the
smallest and the largest, in seconds, and as multiples of the first line. The multiples mean more than the seconds.
This page is written by `benchmarks/report.py`; what each benchmark does is said at its beginning.
"""


def section(measured: dict[str, Any]) -> str:
    """Return what is said of one benchmark."""
    versions = ", ".join(f"{package} {number}" for package, number in measured["versions"].items())
    lines = [f"## `{measured['name']}.py`", "", f"{measured['date']}, {measured['machine']}; {versions}.", ""]
    for title, rows in measured["tables"].items():
        first = median(next(iter(rows.values())))
        lines += [f"| {title} | median | range | |", "|---|---|---|---|"]
        for name, seconds in rows.items():
            typical = median(seconds)
            spread = f"{min(seconds):.4f} to {max(seconds):.4f}"
            lines.append(f"| {name} | {typical:.4f} | {spread} | × {typical / first:.2f} |")
        lines.append("")
    if measured["goals"]:
        lines += ["| goal | measured | limit | |", "|---|---|---|---|"]
    for goal in measured["goals"]:
        limit = f"≤ {goal['at_most']:g}" if goal["at_most"] is not None else f"≥ {goal['at_least']:g}"
        lines.append(
            f"| {goal['name']} | {goal['figure']:.3f} | {limit} | {'met' if goal['is_met'] else '**missed**'} |"
        )
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page."""
    measured = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    PAGE.write_text("\n".join([HEAD, *map(section, measured)]))


if __name__ == "__main__":
    main()
