"""Draws docs/images/adaptive.png: calls at once against what the server bears, for 64 slots, then 16, then 64.

    python -m benchmarks.plot_refusals [docs/images/adaptive.png]

A simulated server in virtual time; the calls go through the engine. Needs matplotlib: `pip install -e ".[bench]"`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

from benchmarks.capacity import Case, run_case
from fanmap import Adaptive

SECONDS, FALL, RISE = 180.0, 60.0, 120.0
INK, BLUE, RED = "#444444", "#1f6fb2", "#c0392b"


def slots(now: float) -> int:
    return 16 if FALL <= now < RISE else 64


def main() -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/adaptive.png")
    used, refused, limits, server = run_case(Case("64, 16, 64", slots, Adaptive(), SECONDS, (0, 0)), seed=1)
    figure, axes = pyplot.subplots(figsize=(7.2, 3.2), dpi=110, layout="constrained")
    steps = [time for time, _ in server.served], [calls for _, calls in server.served]
    axes.step(
        [0, FALL, RISE, SECONDS], [64, 16, 64, 64], where="post", color=INK, lw=1.2, ls="--", label="what it bears"
    )
    axes.step(*steps, where="post", color=BLUE, lw=0.9, label="calls at once")
    cuts = [(change.time, change.before) for change in limits.history if change.why == "refused"]
    axes.plot(*zip(*cuts, strict=True), ".", color=RED, ms=4, label="the ceiling was cut")
    axes.set(xlabel="seconds (an answer takes about one)", xlim=(0, SECONDS), ylim=(0, 76))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="upper center", fontsize=8.5)
    axes.set_title(f"{used:.0%} of the capacity used, {refused:.1%} of the calls refused", fontsize=10, color=INK)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Software": ""})
    print(target, target.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
