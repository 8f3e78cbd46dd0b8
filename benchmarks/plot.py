"""A picture of the results, for the docs: CPU a call, and time against the greedy schedule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def draw(results: dict[str, Any], path: Path) -> None:
    """Two panels of bars; ImportError where matplotlib is not installed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def bars(axes: Any, key: str, column: int, title: str, *, log: bool) -> None:
        rows = results["tables"][key]["rows"]
        found = sorted(
            ((name, row[column]) for name, row in rows.items() if not isinstance(row, str) and name != "bare loop"),
            key=lambda pair: -pair[1],
        )
        names = [name for name, _ in found]
        values = [value for _, value in found]
        axes.barh(names, values, color=["#00695c" if name.startswith("fanmap") else "#b0bec5" for name in names])
        for place, value in enumerate(values):
            axes.text(value, place, f" {value:.3g}", va="center", fontsize=10)
        if log:
            axes.set_xscale("log")
            axes.set_xlim(1, max(values) * 2)
        else:
            axes.set_xlim(0.9, max(values) * 1.1)
        axes.set_title(title, fontsize=12)
        axes.tick_params(labelsize=10)
        axes.spines[["top", "right"]].set_visible(False)

    # One above the other, and as wide as the text of a page: beside each other nobody could read the names.
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(7.6, 9.2), height_ratios=(18, 13), layout="constrained")
    bars(above, "async-suspend_once", 0, "CPU per call in µs (async, one suspension)", log=True)
    bars(below, "latency-64", 0, "time ÷ greedy schedule (calls of ~20 ms, 64 at once)", log=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    here = Path(__file__).parent
    draw(json.loads((here / "results.json").read_text()), here.parent / "docs" / "images" / "performance.png")
