"""Writes the tables of docs/explanation/performance.md from results.json (and results-3.11.json).

python -m benchmarks.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- tables: written by `python -m benchmarks.page` -->", "<!-- end of the tables -->"


def _cell(value: float) -> str:
    if value >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table(table: dict[str, Any]) -> str:
    columns: list[str] = table["columns"]
    lines = [
        f"| {table['title']} | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in table["rows"].items():
        cells = [row] + [""] * (len(columns) - 1) if isinstance(row, str) else [_cell(value) for value in row]
        shown = f"**{name}**" if name.startswith("fanmap") else name
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables(path: Path) -> str:
    """All tables of one file, under the interpreter they were made with."""
    found = json.loads(path.read_text(encoding="utf-8"))
    load = ", ".join(f"{value:g}" for value in found["load"])
    head = f"### Python {found['python']}, medians of {found['rounds']}, load at the beginning {load}"
    return "\n\n".join([head, *map(_table, found["tables"].values())])


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    made = "\n\n".join(tables(HERE / name) for name in ("results.json", "results-3.11.json"))
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
